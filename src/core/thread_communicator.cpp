#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <numeric>
#include <optional>
#include <thread>
#include <tuple>

#include "researchkit/core/communicator.hpp"
#include "src/core/wait_chain.hpp"

namespace researchkit {
namespace {

/// What threads of one process have put down for one another. Ranks are those of run_ranks.
class Exchange {
 public:
  using Key = std::tuple<int, int, int, int>;  // group, from, to, tag

  explicit Exchange(double seconds) : limit_(seconds) {}

  void put(const Key& key, std::span<const std::byte> data) {
    {
      const std::lock_guard lock(mutex_);
      messages_[key].emplace_back(data.begin(), data.end());
    }
    changed_.notify_all();
  }

  void take(const Key& key, std::span<std::byte> data, const std::string& what) {
    const int from = std::get<1>(key), to = std::get<2>(key);
    std::unique_lock lock(mutex_);
    auto& queue = messages_[key];
    waiting_[to] = {from, what};
    const bool answered =
        changed_.wait_for(lock, limit_, [&] { return !queue.empty() || failure_; });
    if (!answered) {
      throw Error(detail::explain_wait(to, limit_.count(), [&](int rank) {
        const auto found = waiting_.find(rank);
        return found == waiting_.end() ? std::nullopt : std::optional(found->second);
      }));
    }
    waiting_.erase(to);
    if (queue.empty()) throw Error(*failure_);
    if (queue.front().size() != data.size()) {
      throw Error(fmt::format("rank {}: rank {} sent {} bytes, {} were wanted: {}", to, from,
                              queue.front().size(), data.size(), what));
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

  /// A number for the group that the `split`th split of `group` makes of a color, the same for all
  /// its members.
  int group_number(int group, int split, int color) {
    const std::lock_guard lock(mutex_);
    return groups_.try_emplace({group, split, color}, static_cast<int>(groups_.size()) + 1)
        .first->second;
  }

 private:
  std::chrono::duration<double> limit_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<Key, std::deque<std::vector<std::byte>>> messages_;
  std::map<int, detail::Waiting> waiting_;
  std::map<std::tuple<int, int, int>, int> groups_;
  std::optional<std::string> failure_;
};

class Sent final : public Transfer {
 public:
  void wait() override {}
};

class Receiving final : public Transfer {
 public:
  Receiving(Exchange& exchange, const Exchange::Key& key, std::span<std::byte> data,
            std::string what)
      : exchange_(exchange), key_(key), data_(data), what_(std::move(what)) {}
  void wait() override { exchange_.take(key_, data_, what_); }

 private:
  Exchange& exchange_;
  Exchange::Key key_;
  std::span<std::byte> data_;
  std::string what_;
};

class ThreadCommunicator final : public Communicator {
 public:
  /// `members`: the ranks of run_ranks that make up the group, in order.
  ThreadCommunicator(Exchange& exchange, int group, int rank, std::vector<int> members)
      : exchange_(exchange), group_(group), rank_(rank), members_(std::move(members)) {}
  int rank() const override { return rank_; }
  int size() const override { return static_cast<int>(members_.size()); }
  void abandon(const std::string& why) override {
    exchange_.fail(fmt::format("rank {} failed: {}", of(rank_), why));
  }

 protected:
  std::unique_ptr<Transfer> begin_send(std::span<const std::byte> data,
                                       const Message& message) override {
    exchange_.put({group_, of(rank_), of(message.peer), message.tag}, data);
    return std::make_unique<Sent>();
  }
  std::unique_ptr<Transfer> begin_receive(std::span<std::byte> data,
                                          const Message& message) override {
    return std::make_unique<Receiving>(
        exchange_, Exchange::Key{group_, of(message.peer), of(rank_), message.tag}, data,
        detail::describe_transfer(message.what, "receive", data.size(), message.tag));
  }
  std::unique_ptr<Communicator> group_of(std::span<const int> members, int color) override {
    const int split = splits_++;
    if (color == kNoColor) return nullptr;
    std::vector<int> chosen;
    for (const int member : members) chosen.push_back(of(member));
    const auto own = std::find(members.begin(), members.end(), rank_) - members.begin();
    return std::make_unique<ThreadCommunicator>(exchange_,
                                                exchange_.group_number(group_, split, color),
                                                static_cast<int>(own), std::move(chosen));
  }

 private:
  int of(int rank) const { return members_[static_cast<std::size_t>(rank)]; }

  Exchange& exchange_;
  int group_, rank_;
  std::vector<int> members_;
  int splits_ = 0;
};

}  // namespace

void run_ranks(int ranks, const std::function<void(Communicator&)>& body, double seconds) {
  if (ranks < 1) throw Error("run_ranks", "ranks", "at least 1", fmt::format("{}", ranks));
  if (!(seconds > 0)) throw Error("run_ranks", "seconds", "(0, inf)", fmt::format("{}", seconds));
  Exchange exchange(std::min(seconds, 1e8));
  std::mutex mutex;
  std::optional<std::string> first;  // what failed first is the cause of what failed later
  std::vector<int> all(static_cast<std::size_t>(ranks));
  std::iota(all.begin(), all.end(), 0);
  std::vector<std::jthread> threads;
  threads.reserve(static_cast<std::size_t>(ranks));
  for (int r = 0; r < ranks; ++r) {
    threads.emplace_back([&, r] {
      ThreadCommunicator communicator(exchange, 0, r, all);
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
