#include "researchkit/core/communicator.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <numeric>
#include <optional>
#include <thread>
#include <tuple>

namespace researchkit {
namespace {

// Tags of collective calls: no user's tag is negative.
constexpr int kGatherTag = -1, kSpreadTag = -2;

class Done final : public Transfer {
 public:
  void wait() override {}
};

class SelfCommunicator final : public Communicator {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  std::unique_ptr<Transfer> start_send(std::span<const std::byte> /*data*/, int to,
                                       int /*tag*/) override {
    check_peer(to);
    return nullptr;
  }
  std::unique_ptr<Transfer> start_receive(std::span<std::byte> /*data*/, int from,
                                          int /*tag*/) override {
    check_peer(from);
    return nullptr;
  }
  void abandon(const std::string& /*why*/) override {}
};

/// What threads of one process have put down for one another.
class Exchange {
 public:
  using Key = std::tuple<int, int, int>;  // from, to, tag

  explicit Exchange(double seconds) : limit_(seconds) {}

  void put(const Key& key, std::span<const std::byte> data) {
    {
      const std::lock_guard lock(mutex_);
      messages_[key].emplace_back(data.begin(), data.end());
    }
    changed_.notify_all();
  }

  void take(const Key& key, std::span<std::byte> data) {
    std::unique_lock lock(mutex_);
    const auto arrived = [&] { return !messages_[key].empty() || failure_; };
    const int from = std::get<0>(key), to = std::get<1>(key);
    if (!changed_.wait_for(lock, limit_, arrived)) {
      throw Error(
          fmt::format("rank {}: rank {} did not answer within {:.3g} s", to, from, limit_.count()));
    }
    auto& queue = messages_[key];
    if (queue.empty()) throw Error(*failure_);
    if (queue.front().size() != data.size()) {
      throw Error(fmt::format("rank {}: rank {} sent {} bytes, {} were wanted", to, from,
                              queue.front().size(), data.size()));
    }
    std::copy(queue.front().begin(), queue.front().end(), data.begin());
    queue.pop_front();
  }

  void fail(const std::string& why) {
    {
      const std::lock_guard lock(mutex_);
      if (!failure_) failure_ = why;
    }
    changed_.notify_all();
  }

 private:
  std::chrono::duration<double> limit_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<Key, std::deque<std::vector<std::byte>>> messages_;
  std::optional<std::string> failure_;
};

class Receiving final : public Transfer {
 public:
  Receiving(Exchange& exchange, const Exchange::Key& key, std::span<std::byte> data)
      : exchange_(exchange), key_(key), data_(data) {}
  void wait() override { exchange_.take(key_, data_); }

 private:
  Exchange& exchange_;
  Exchange::Key key_;
  std::span<std::byte> data_;
};

class ThreadCommunicator final : public Communicator {
 public:
  ThreadCommunicator(Exchange& exchange, int rank, int size)
      : exchange_(exchange), rank_(rank), size_(size) {}
  int rank() const override { return rank_; }
  int size() const override { return size_; }
  std::unique_ptr<Transfer> start_send(std::span<const std::byte> data, int to, int tag) override {
    check_peer(to);
    exchange_.put({rank_, to, tag}, data);
    return std::make_unique<Done>();
  }
  std::unique_ptr<Transfer> start_receive(std::span<std::byte> data, int from, int tag) override {
    check_peer(from);
    return std::make_unique<Receiving>(exchange_, Exchange::Key{from, rank_, tag}, data);
  }
  void abandon(const std::string& why) override {
    exchange_.fail(fmt::format("rank {} failed: {}", rank_, why));
  }

 private:
  Exchange& exchange_;
  int rank_, size_;
};

/// The first of `members` adds up, in their order, and gives the sums to the others.
template <class Real>
void sum_over(Communicator& ranks, std::span<Real> data, std::span<const int> members) {
  const int root = members.front();
  if (ranks.rank() != root) {
    ranks.send(std::as_bytes(data), root, kGatherTag);
    ranks.receive(std::as_writable_bytes(data), root, kSpreadTag);
    return;
  }
  std::vector<Real> other(data.size());
  for (const int member : members.subspan(1)) {
    ranks.receive(std::as_writable_bytes(std::span(other)), member, kGatherTag);
    for (std::size_t i = 0; i < data.size(); ++i) data[i] += other[i];
  }
  for (const int member : members.subspan(1)) {
    ranks.send(std::as_bytes(data), member, kSpreadTag);
  }
}

}  // namespace

void Communicator::check_peer(int peer) const {
  if (peer < 0 || peer >= size() || peer == rank()) {
    throw Error(fmt::format("rank {} of {}: rank {} is no other rank", rank(), size(), peer));
  }
}

void Communicator::barrier() {
  double nothing = 0;
  std::vector<int> all(static_cast<std::size_t>(size()));
  std::iota(all.begin(), all.end(), 0);
  all_reduce(std::span(&nothing, 1), all);
}

void Communicator::broadcast(std::span<std::byte> data, int root) {
  if (rank() != root) {
    receive(data, root, kSpreadTag);
    return;
  }
  for (int r = 0; r < size(); ++r) {
    if (r != root) send(data, r, kSpreadTag);
  }
}

void Communicator::all_reduce(std::span<float> data, std::span<const int> members) {
  sum_over(*this, data, members);
}
void Communicator::all_reduce(std::span<double> data, std::span<const int> members) {
  sum_over(*this, data, members);
}

std::vector<std::byte> Communicator::all_gather(std::span<const std::byte> data) {
  const auto ranks = static_cast<std::size_t>(size());
  std::vector<std::byte> all(ranks * data.size());
  std::copy(
      data.begin(), data.end(),
      all.begin() + static_cast<std::ptrdiff_t>(static_cast<std::size_t>(rank()) * data.size()));
  for (int root = 0; root < size(); ++root) {
    broadcast(std::span(all).subspan(static_cast<std::size_t>(root) * data.size(), data.size()),
              root);
  }
  return all;
}

std::unique_ptr<Communicator> self_communicator() { return std::make_unique<SelfCommunicator>(); }

void run_ranks(int ranks, const std::function<void(Communicator&)>& body, double seconds) {
  Exchange exchange(seconds);
  std::mutex mutex;
  std::optional<std::string> first;  // what failed first is the cause of what failed later
  std::vector<std::jthread> threads;
  for (int r = 0; r < ranks; ++r) {
    threads.emplace_back([&, r] {
      ThreadCommunicator communicator(exchange, r, ranks);
      try {
        body(communicator);
      } catch (const std::exception& error) {
        {
          const std::lock_guard lock(mutex);
          if (!first) first = fmt::format("rank {} failed: {}", r, error.what());
        }
        communicator.abandon(error.what());
      }
    });
  }
  threads.clear();
  if (first) throw Error(*first);
}

}  // namespace researchkit
