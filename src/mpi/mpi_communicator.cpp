#include "researchkit/core/mpi_communicator.hpp"

#include <fmt/format.h>
#include <mpi.h>

#include <chrono>
#include <limits>
#include <thread>

namespace researchkit {
namespace {

// MPI has no negative tags; those of collective calls lie above all others.
constexpr int kTags = 1 << 20;
int wire_tag(int tag) { return tag < 0 ? kTags - tag : tag; }

[[noreturn]] void fail(int rank, int peer, int code) {
  char words[MPI_MAX_ERROR_STRING];
  int length = 0;
  MPI_Error_string(code, words, &length);
  throw Error(fmt::format("rank {}: transfer with rank {}: {}", rank, peer,
                          std::string_view(words, static_cast<std::size_t>(length))));
}

class MpiTransfer final : public Transfer {
 public:
  MpiTransfer(MPI_Request request, int rank, int peer, double seconds)
      : request_(request), rank_(rank), peer_(peer), limit_(seconds) {}
  ~MpiTransfer() override {
    if (request_ == MPI_REQUEST_NULL) return;
    MPI_Cancel(&request_);
    MPI_Request_free(&request_);
  }
  MpiTransfer(const MpiTransfer&) = delete;
  MpiTransfer& operator=(const MpiTransfer&) = delete;

  void wait() override {
    const auto begin = std::chrono::steady_clock::now();
    for (int done = 0, round = 0; done == 0; ++round) {
      const int code = MPI_Test(&request_, &done, MPI_STATUS_IGNORE);
      if (code != MPI_SUCCESS) fail(rank_, peer_, code);
      if (done != 0) return;
      const std::chrono::duration<double> waited = std::chrono::steady_clock::now() - begin;
      if (waited > limit_) {
        throw Error(fmt::format("rank {}: rank {} did not answer within {:.3g} s", rank_, peer_,
                                limit_.count()));
      }
      if (round > 1000) std::this_thread::sleep_for(std::chrono::microseconds(50));
    }
  }

 private:
  MPI_Request request_;
  int rank_, peer_;
  std::chrono::duration<double> limit_;
};

class MpiCommunicator final : public Communicator {
 public:
  explicit MpiCommunicator(double seconds) : seconds_(seconds) {
    MPI_Comm_dup(MPI_COMM_WORLD, &comm_);
    MPI_Comm_set_errhandler(comm_, MPI_ERRORS_RETURN);
    MPI_Comm_rank(comm_, &rank_);
    MPI_Comm_size(comm_, &size_);
  }
  ~MpiCommunicator() override { MPI_Comm_free(&comm_); }
  MpiCommunicator(const MpiCommunicator&) = delete;
  MpiCommunicator& operator=(const MpiCommunicator&) = delete;

  int rank() const override { return rank_; }
  int size() const override { return size_; }

  std::unique_ptr<Transfer> start_send(std::span<const std::byte> data, int to, int tag) override {
    check_peer(to);
    MPI_Request request = MPI_REQUEST_NULL;
    const int code =
        MPI_Isend(data.data(), count_of(data.size()), MPI_BYTE, to, wire_tag(tag), comm_, &request);
    if (code != MPI_SUCCESS) fail(rank_, to, code);
    return std::make_unique<MpiTransfer>(request, rank_, to, seconds_);
  }
  std::unique_ptr<Transfer> start_receive(std::span<std::byte> data, int from, int tag) override {
    check_peer(from);
    MPI_Request request = MPI_REQUEST_NULL;
    const int code = MPI_Irecv(data.data(), count_of(data.size()), MPI_BYTE, from, wire_tag(tag),
                               comm_, &request);
    if (code != MPI_SUCCESS) fail(rank_, from, code);
    return std::make_unique<MpiTransfer>(request, rank_, from, seconds_);
  }
  void abandon(const std::string& why) override {
    fmt::print(stderr, "rank {} failed: {}\n", rank_, why);
    std::fflush(stderr);
    MPI_Abort(comm_, 1);
  }

 private:
  static int count_of(std::size_t bytes) {
    if (bytes > static_cast<std::size_t>(std::numeric_limits<int>::max())) {
      throw Error(fmt::format("a message of {} bytes: MPI takes at most 2^31 - 1", bytes));
    }
    return static_cast<int>(bytes);
  }
  MPI_Comm comm_ = MPI_COMM_NULL;
  int rank_ = 0, size_ = 1;
  double seconds_;
};

}  // namespace

MpiSession::MpiSession(int& argc, char**& argv) {
  int provided = 0;
  MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &provided);
}
MpiSession::~MpiSession() { MPI_Finalize(); }

std::unique_ptr<Communicator> MpiSession::world(double seconds) const {
  return std::make_unique<MpiCommunicator>(seconds);
}

}  // namespace researchkit
