#include "researchkit/core/nccl_communicator.hpp"

#include <cuda_runtime_api.h>
#include <fmt/format.h>
#include <nccl.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <thread>

namespace researchkit {
namespace {

constexpr auto kPause = std::chrono::microseconds(20);

void check_cuda(cudaError_t code, std::string_view what) {
  if (code != cudaSuccess) {
    throw Error(fmt::format("NCCL: {}: {}", what, cudaGetErrorString(code)));
  }
}
void check_nccl(ncclResult_t code, std::string_view what) {
  if (code != ncclSuccess && code != ncclInProgress) {
    throw Error(fmt::format("NCCL: {}: {}", what, ncclGetErrorString(code)));
  }
}

/// Some ranks and the stream of what they exchange.
class Channel {
 public:
  Channel(const ncclUniqueId& id, int size, int rank, int device, double seconds)
      : device_(device), limit_(seconds) {
    check_cuda(cudaSetDevice(device), fmt::format("device {}", device));
    check_cuda(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "a stream");
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;  // a missing rank must not hold this one for ever
    check_nccl(ncclCommInitRankConfig(&comm_, size, id, rank, &config), "a communicator");
    settle("a communicator");
  }
  ~Channel() {
    if (comm_ != nullptr) ncclCommAbort(comm_);
    if (stream_ != nullptr) cudaStreamDestroy(stream_);
  }
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;

  /// Starts an operation and returns when NCCL has taken it.
  template <class Start>
  void start(std::string_view what, Start&& start) {
    check_cuda(cudaSetDevice(device_), "the device");
    check_nccl(start(comm_, stream_), what);
    settle(what);
  }
  /// Returns when the event, or without one everything on the stream, has happened.
  void wait(cudaEvent_t event, const std::string& what) {
    poll(what, [&] {
      const cudaError_t state = event != nullptr ? cudaEventQuery(event) : cudaStreamQuery(stream_);
      if (state != cudaErrorNotReady) check_cuda(state, what);
      ncclResult_t code = ncclSuccess;
      ncclCommGetAsyncError(comm_, &code);
      check_nccl(code, what);
      return state == cudaSuccess;
    });
  }
  void finish(const std::string& what) { wait(nullptr, what); }
  cudaStream_t stream() const { return stream_; }

 private:
  void settle(std::string_view what) {
    poll(std::string(what), [&] {
      ncclResult_t code = ncclSuccess;
      check_nccl(ncclCommGetAsyncError(comm_, &code), what);
      check_nccl(code, what);
      return code == ncclSuccess;
    });
  }
  template <class Done>
  void poll(const std::string& what, Done&& done) {
    const auto begin = std::chrono::steady_clock::now();
    while (!done()) {
      if (std::chrono::steady_clock::now() - begin > limit_) {
        throw Error(fmt::format("NCCL: {}: no answer within {:.3g} s", what, limit_.count()));
      }
      std::this_thread::sleep_for(kPause);
    }
  }

  int device_;
  std::chrono::duration<double> limit_;
  ncclComm_t comm_ = nullptr;
  cudaStream_t stream_ = nullptr;
};

class NcclTransfer final : public Transfer {
 public:
  NcclTransfer(Channel& channel, std::string what) : channel_(channel), what_(std::move(what)) {
    check_cuda(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming), "an event");
    check_cuda(cudaEventRecord(event_, channel.stream()), "an event");
  }
  ~NcclTransfer() override { cudaEventDestroy(event_); }
  NcclTransfer(const NcclTransfer&) = delete;
  NcclTransfer& operator=(const NcclTransfer&) = delete;
  void wait() override { channel_.wait(event_, what_); }

 private:
  Channel& channel_;
  std::string what_;
  cudaEvent_t event_ = nullptr;
};

class NcclCommunicator final : public Communicator {
 public:
  NcclCommunicator(std::shared_ptr<Communicator> hosts, int device, double seconds)
      : hosts_(std::move(hosts)), device_(device), seconds_(seconds) {
    int devices = 0;
    check_cuda(cudaGetDeviceCount(&devices), "devices");
    if (device < 0 || device >= devices) {
      throw Error("nccl_communicator", "device", fmt::format("one of {} devices", devices),
                  fmt::format("{}", device));
    }
    ncclUniqueId id{};
    if (hosts_->rank() == 0) check_nccl(ncclGetUniqueId(&id), "an id");
    hosts_->broadcast(std::as_writable_bytes(std::span(&id, 1)), 0);
    all_ = std::make_unique<Channel>(id, hosts_->size(), hosts_->rank(), device, seconds);
  }
  int rank() const override { return hosts_->rank(); }
  int size() const override { return hosts_->size(); }
  void abandon(const std::string& why) override {
    pairs_.clear();
    all_.reset();
    hosts_->abandon(why);
  }

 protected:
  std::unique_ptr<Transfer> begin_send(std::span<const std::byte> data,
                                       const Message& message) override {
    Channel& pair = pair_with(message.peer);
    const std::string what = words_for("send", data.size(), message);
    pair.start(what, [&](ncclComm_t comm, cudaStream_t stream) {
      return ncclSend(data.data(), data.size(), ncclUint8, other_of(message.peer), comm, stream);
    });
    return std::make_unique<NcclTransfer>(pair, what);
  }
  std::unique_ptr<Transfer> begin_receive(std::span<std::byte> data,
                                          const Message& message) override {
    Channel& pair = pair_with(message.peer);
    const std::string what = words_for("receive", data.size(), message);
    pair.start(what, [&](ncclComm_t comm, cudaStream_t stream) {
      return ncclRecv(data.data(), data.size(), ncclUint8, other_of(message.peer), comm, stream);
    });
    return std::make_unique<NcclTransfer>(pair, what);
  }
  std::unique_ptr<Communicator> group_of(std::span<const int> members, int color) override {
    const auto own = std::find(members.begin(), members.end(), rank()) - members.begin();
    std::shared_ptr<Communicator> group = hosts_->split(color, static_cast<int>(own));
    if (!group) return nullptr;
    return std::make_unique<NcclCommunicator>(std::move(group), device_, seconds_);
  }
  void gather_on_host(std::span<const std::byte> own, std::span<std::byte> all) override {
    hosts_->all_gather(own, all);
  }

  void run_barrier() override {
    all_->finish("barrier");
    hosts_->barrier();
  }
  void run_broadcast(std::span<std::byte> data, int root) override {
    collective("broadcast", [&](ncclComm_t comm, cudaStream_t stream) {
      return ncclBroadcast(data.data(), data.data(), data.size(), ncclUint8, root, comm, stream);
    });
  }
  void run_all_reduce(std::span<std::byte> data, Number number, Reduction how) override {
    collective("all_reduce", [&](ncclComm_t comm, cudaStream_t stream) {
      return ncclAllReduce(data.data(), data.data(), data.size() / width_of(number),
                           type_of(number), operation_of(how), comm, stream);
    });
  }
  void run_reduce_scatter(std::span<const std::byte> data, std::span<std::byte> own, Number number,
                          Reduction how) override {
    collective("reduce_scatter", [&](ncclComm_t comm, cudaStream_t stream) {
      return ncclReduceScatter(data.data(), own.data(), own.size() / width_of(number),
                               type_of(number), operation_of(how), comm, stream);
    });
  }
  void run_all_gather(std::span<const std::byte> own, std::span<std::byte> all) override {
    collective("all_gather", [&](ncclComm_t comm, cudaStream_t stream) {
      return ncclAllGather(own.data(), all.data(), own.size(), ncclUint8, comm, stream);
    });
  }
  void run_all_to_all(std::span<const std::byte> data, std::span<const std::size_t> bytes,
                      std::span<std::byte> received,
                      std::span<const std::size_t> received_bytes) override {
    collective("all_to_all", [&](ncclComm_t comm, cudaStream_t stream) {
      check_nccl(ncclGroupStart(), "all_to_all");
      std::size_t from = 0, to = 0;
      for (int r = 0; r < size(); ++r) {
        const auto at = static_cast<std::size_t>(r);
        if (bytes[at] > 0) {
          check_nccl(ncclSend(data.data() + from, bytes[at], ncclUint8, r, comm, stream),
                     "all_to_all");
        }
        if (received_bytes[at] > 0) {
          check_nccl(ncclRecv(received.data() + to, received_bytes[at], ncclUint8, r, comm, stream),
                     "all_to_all");
        }
        from += bytes[at];
        to += received_bytes[at];
      }
      return ncclGroupEnd();
    });
  }

 private:
  template <class Start>
  void collective(const char* what, Start&& start) {
    all_->start(what, start);
    all_->finish(what);
  }
  int other_of(int peer) const { return peer > rank() ? 1 : 0; }
  std::string words_for(const char* direction, std::size_t bytes, const Message& message) const {
    return fmt::format("rank {}: {} of {} bytes with rank {}, tag {} {}", rank(), direction, bytes,
                       message.peer, message.tag, message.what);
  }
  Channel& pair_with(int peer) {
    auto& pair = pairs_[peer];
    if (pair) return *pair;
    ncclUniqueId id{};
    const auto bytes = std::as_writable_bytes(std::span(&id, 1));
    if (rank() < peer) {
      check_nccl(ncclGetUniqueId(&id), "an id");
      hosts_->send(bytes, peer, kLargestTag);
    } else {
      hosts_->receive(bytes, peer, kLargestTag);
    }
    pair = std::make_unique<Channel>(id, 2, rank() < peer ? 0 : 1, device_, seconds_);
    return *pair;
  }
  static ncclDataType_t type_of(Number number) {
    switch (number) {
      case Number::f32:
        return ncclFloat32;
      case Number::f64:
        return ncclFloat64;
      case Number::i64:
        break;
    }
    return ncclInt64;
  }
  static std::size_t width_of(Number number) { return number == Number::f32 ? 4 : 8; }
  static ncclRedOp_t operation_of(Reduction how) {
    switch (how) {
      case Reduction::sum:
        return ncclSum;
      case Reduction::max:
        return ncclMax;
      case Reduction::min:
        break;
    }
    return ncclMin;
  }

  std::shared_ptr<Communicator> hosts_;
  int device_;
  double seconds_;
  std::unique_ptr<Channel> all_;
  std::map<int, std::unique_ptr<Channel>> pairs_;
};

}  // namespace

std::unique_ptr<Communicator> nccl_communicator(std::shared_ptr<Communicator> hosts, int device,
                                                double seconds) {
  if (!hosts) throw Error("nccl_communicator", "hosts", "a communicator", "none");
  if (!(seconds > 0)) {
    throw Error("nccl_communicator", "seconds", "(0, inf)", fmt::format("{}", seconds));
  }
  return std::make_unique<NcclCommunicator>(std::move(hosts), device, std::min(seconds, 1e8));
}

}  // namespace researchkit
