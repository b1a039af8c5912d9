#include "researchkit/core/mpi_communicator.hpp"

#include <fmt/format.h>
#include <mpi.h>

#include <algorithm>
#include <limits>
#include <numeric>

#include "src/mpi/mpi_wait.hpp"

namespace researchkit {
namespace {

// MPI has no negative tags; those of collective calls lie above all others.
int wire_tag(int tag) { return tag < 0 ? Communicator::kLargestTag - tag : tag; }

class MpiTransfer final : public Transfer {
 public:
  /// `exactly`: the bytes that must arrive; nothing for a send.
  MpiTransfer(MPI_Request request, detail::MpiWaits& waits, int peer, std::string what,
              std::optional<int> exactly)
      : request_(request), waits_(waits), peer_(peer), what_(std::move(what)), exactly_(exactly) {}
  ~MpiTransfer() override {
    if (request_ == MPI_REQUEST_NULL) return;
    MPI_Cancel(&request_);
    MPI_Request_free(&request_);
  }
  MpiTransfer(const MpiTransfer&) = delete;
  MpiTransfer& operator=(const MpiTransfer&) = delete;

  void wait() override {
    const MPI_Status status = waits_.wait(request_, peer_, what_);
    if (!exactly_) return;
    int bytes = 0;
    MPI_Get_count(&status, MPI_BYTE, &bytes);
    if (bytes != *exactly_) {
      throw Error(fmt::format("rank {}: rank {} sent {} bytes, {} were wanted: {}", waits_.rank(),
                              peer_, bytes, *exactly_, what_));
    }
  }

 private:
  MPI_Request request_;
  detail::MpiWaits& waits_;
  int peer_;
  std::string what_;
  std::optional<int> exactly_;
};

class MpiCommunicator final : public Communicator {
 public:
  /// `comm` is taken; `members` are its ranks by their number in the world.
  MpiCommunicator(std::shared_ptr<detail::MpiWaits> waits, MPI_Comm comm, std::vector<int> members)
      : waits_(std::move(waits)), comm_(comm), members_(std::move(members)) {
    MPI_Comm_set_errhandler(comm_, MPI_ERRORS_RETURN);
    MPI_Comm_rank(comm_, &rank_);
  }
  ~MpiCommunicator() override {
    const detail::MpiDeadline deadline("MPI_Comm_free", waits_->seconds());
    MPI_Comm_free(&comm_);
  }
  MpiCommunicator(const MpiCommunicator&) = delete;
  MpiCommunicator& operator=(const MpiCommunicator&) = delete;

  int rank() const override { return rank_; }
  int size() const override { return static_cast<int>(members_.size()); }

  void abandon(const std::string& why) override {
    fmt::print(stderr, "rank {} failed: {}\n", waits_->rank(), why);
    std::fflush(stderr);
    MPI_Abort(MPI_COMM_WORLD, 1);
  }

 protected:
  std::unique_ptr<Transfer> begin_send(std::span<const std::byte> data,
                                       const Message& message) override {
    const std::string what =
        detail::describe_transfer(message.what, "send", data.size(), message.tag);
    MPI_Request request = MPI_REQUEST_NULL;
    detail::check_mpi(MPI_Isend(data.data(), count_of(data.size()), MPI_BYTE, message.peer,
                                wire_tag(message.tag), comm_, &request),
                      waits_->rank(), what);
    return std::make_unique<MpiTransfer>(request, *waits_, of(message.peer), what, std::nullopt);
  }
  std::unique_ptr<Transfer> begin_receive(std::span<std::byte> data,
                                          const Message& message) override {
    const std::string what =
        detail::describe_transfer(message.what, "receive", data.size(), message.tag);
    MPI_Request request = MPI_REQUEST_NULL;
    detail::check_mpi(MPI_Irecv(data.data(), count_of(data.size()), MPI_BYTE, message.peer,
                                wire_tag(message.tag), comm_, &request),
                      waits_->rank(), what);
    return std::make_unique<MpiTransfer>(request, *waits_, of(message.peer), what,
                                         count_of(data.size()));
  }
  std::unique_ptr<Communicator> group_of(std::span<const int> members, int color) override {
    // All ranks have just exchanged their colors, so nobody is missing; the deadline is for what
    // happens between the two.
    const detail::MpiDeadline deadline("MPI_Comm_split", waits_->seconds());
    const auto own = std::find(members.begin(), members.end(), rank_) - members.begin();
    MPI_Comm comm = MPI_COMM_NULL;
    detail::check_mpi(MPI_Comm_split(comm_, color == kNoColor ? MPI_UNDEFINED : color,
                                     static_cast<int>(own), &comm),
                      waits_->rank(), "MPI_Comm_split");
    if (color == kNoColor) return nullptr;
    std::vector<int> chosen;
    for (const int member : members) chosen.push_back(of(member));
    return std::make_unique<MpiCommunicator>(waits_, comm, std::move(chosen));
  }

 private:
  static int count_of(std::size_t bytes) {
    if (bytes > static_cast<std::size_t>(std::numeric_limits<int>::max())) {
      throw Error(fmt::format("a message of {} bytes: MPI takes at most 2^31 - 1", bytes));
    }
    return static_cast<int>(bytes);
  }
  int of(int rank) const { return members_[static_cast<std::size_t>(rank)]; }

  std::shared_ptr<detail::MpiWaits> waits_;
  MPI_Comm comm_;
  std::vector<int> members_;
  int rank_ = 0;
};

}  // namespace

MpiSession::MpiSession(int& argc, char**& argv) {
  int provided = 0;
  MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &provided);
  detail::report_waits_on_termination();
}
MpiSession::~MpiSession() {
  // Longer than a transfer, so that a rank that waits for this one speaks first.
  constexpr double kLater = 5;
  const detail::MpiDeadline deadline("MPI_Finalize", seconds_ + kLater);
  MPI_Finalize();
}

std::unique_ptr<Communicator> MpiSession::world(double seconds) {
  if (!(seconds > 0)) throw Error("MpiSession", "seconds", "(0, inf)", fmt::format("{}", seconds));
  seconds_ = std::min(seconds, 1e8);
  auto waits = std::make_shared<detail::MpiWaits>(seconds_);
  const detail::MpiDeadline deadline("MPI_Comm_dup", seconds_);
  MPI_Comm comm = MPI_COMM_NULL;
  MPI_Comm_dup(MPI_COMM_WORLD, &comm);
  int size = 0;
  MPI_Comm_size(comm, &size);
  std::vector<int> members(static_cast<std::size_t>(size));
  std::iota(members.begin(), members.end(), 0);
  return std::make_unique<MpiCommunicator>(std::move(waits), comm, std::move(members));
}

}  // namespace researchkit
