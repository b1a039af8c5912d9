// Runs the threads of a cluster in turns and follows what they do to shared memory.
#include "tests/support/emulator/grid.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <exception>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "researchkit/core/context.hpp"
#include "researchkit/core/error.hpp"
#include "researchkit/core/parallel.hpp"
#include "tests/support/emulator/device_emulator.hpp"
#include "tests/support/emulator/fiber.hpp"

namespace researchkit::emulator {
namespace {

std::string text_of(const Site& site) {
  std::string_view file = site.file_name();
  file.remove_prefix(std::min(file.size(), file.rfind('/') + 1));
  return fmt::format("{}:{}", file, site.line());
}
bool same_place(const Site& a, const Site& b) {
  return a.line() == b.line() && a.column() == b.column() &&
         std::string_view(a.file_name()) == b.file_name();
}

enum class State : std::uint8_t { ready, waiting, finished };

/// How often a thread has passed a barrier with others, at some moment.
struct Clock {
  std::uint32_t warp = 0, block = 0, cluster = 0;
  friend bool operator==(const Clock&, const Clock&) = default;
};

struct Thread {
  Fiber fiber;
  Position position;
  State state = State::finished;
  Scope scope = Scope::warp;  // of what it waits for
  const char* operation = "";
  Site site;
  Combine combine = nullptr;
  const void* combine_operation = nullptr;
  std::array<std::byte, 32> value{};  // what it brought, then its result
  std::size_t value_bytes = 0;
};

/// Who touched four bytes of shared memory since the last barrier of its cluster or block.
struct Touch {
  int thread = 0;  // number in the cluster
  Access access = Access::read;
  Clock clock;
  Site site;
};
struct Word {
  bool written = false;
  Clock clock;
  std::vector<Touch> reads, writes;  // atomic ones are writes
};

}  // namespace

class Cluster {
 public:
  void run(std::string_view kernel, const GridShape& shape, std::int64_t first_block,
           bool backwards, const std::function<void()>& body);

  std::byte* access(int block, std::size_t offset, std::size_t size, Access access,
                    const Site& site);
  void wait(Scope scope, const char* operation, const Site& site);
  void exchange(void* value, std::size_t bytes, Combine combine, const void* operation,
                const char* name, const Site& site);
  [[noreturn]] void refuse(const Site& site, const std::string& what) const {
    const Position& p = current_->position;
    throw Error(fmt::format("kernel {}, block {}, thread {}, {}: {}", kernel_, p.block, p.thread,
                            text_of(site), what));
  }

  Thread* current_ = nullptr;
  GridShape shape_;

 private:
  int number_of(const Thread& t) const {
    return t.position.cluster_rank * shape_.block_threads + t.position.thread;
  }
  Clock clock_of(const Thread& t) const {
    return {warp_clock_[static_cast<std::size_t>(number_of(t) / 32)],
            block_clock_[static_cast<std::size_t>(t.position.cluster_rank)], cluster_clock_};
  }
  /// Whether `earlier` is known to come before what the current thread does now.
  bool is_ordered(const Touch& earlier, const Clock& now) const {
    const int thread = number_of(*current_);
    if (earlier.thread == thread || earlier.clock.cluster != now.cluster) return true;
    if (earlier.thread / shape_.block_threads != thread / shape_.block_threads) return false;
    if (earlier.clock.block != now.block) return true;
    return earlier.thread / 32 == thread / 32 && earlier.clock.warp != now.warp;
  }
  void release(Scope scope, std::size_t begin, std::size_t end);
  bool release_all();
  [[noreturn]] void explain_deadlock();

  std::string_view kernel_;
  std::vector<std::unique_ptr<Thread>> threads_;
  std::vector<std::vector<std::byte>> memory_;  // shared memory of each block
  std::vector<std::vector<Word>> words_;
  std::vector<std::uint32_t> warp_clock_, block_clock_;
  std::uint32_t cluster_clock_ = 0;
  std::exception_ptr failure_;
  const std::function<void()>* body_ = nullptr;
};

namespace {

thread_local Cluster* running = nullptr;

}  // namespace

void Cluster::run(std::string_view kernel, const GridShape& shape, std::int64_t first_block,
                  bool backwards, const std::function<void()>& body) {
  kernel_ = kernel;
  shape_ = shape;
  body_ = &body;
  const auto blocks = static_cast<std::size_t>(shape.cluster_blocks);
  const std::size_t count = blocks * static_cast<std::size_t>(shape.block_threads);
  threads_.resize(std::min(threads_.size(), count));
  while (threads_.size() < count) threads_.push_back(std::make_unique<Thread>());
  memory_.assign(blocks, std::vector<std::byte>(shape.shared_bytes, std::byte{0xCD}));
  words_.assign(blocks, std::vector<Word>((shape.shared_bytes + 3) / 4));
  warp_clock_.assign(count / 32, 0);
  block_clock_.assign(blocks, 0);
  cluster_clock_ = 0;
  for (std::size_t i = 0; i < count; ++i) {
    Thread& thread = *threads_[i];
    const auto number = static_cast<int>(i);
    thread.position = {number % shape.block_threads,
                       shape.block_threads,
                       number / shape.block_threads,
                       shape.cluster_blocks,
                       first_block + number / shape.block_threads,
                       shape.blocks};
    thread.state = State::ready;
    thread.combine = nullptr;
    thread.fiber.start(
        [](void* self) {
          auto& cluster = *static_cast<Cluster*>(self);
          try {
            (*cluster.body_)();
          } catch (...) {
            if (!cluster.failure_) cluster.failure_ = std::current_exception();
          }
        },
        this);
  }
  running = this;
  // Every other round goes backwards: code that leans on the order of threads is found out.
  for (;; backwards = !backwards) {
    bool ran = false;
    for (std::size_t i = 0; i < count && !failure_; ++i) {
      Thread& thread = *threads_[backwards ? count - 1 - i : i];
      if (thread.state != State::ready) continue;
      ran = true;
      current_ = &thread;
      if (thread.fiber.resume()) thread.state = State::finished;
    }
    if (!failure_ && !ran && !release_all()) {
      const bool done = std::all_of(threads_.begin(), threads_.end(),
                                    [](const auto& t) { return t->state == State::finished; });
      if (done) break;
      try {
        explain_deadlock();
      } catch (...) {
        failure_ = std::current_exception();
      }
    }
    if (failure_) {
      running = nullptr;
      std::rethrow_exception(std::exchange(failure_, nullptr));
    }
  }
  running = nullptr;
}

std::byte* Cluster::access(int block, std::size_t offset, std::size_t size, Access access,
                           const Site& site) {
  const Clock now = clock_of(*current_);
  const int thread = number_of(*current_);
  for (std::size_t w = offset / 4; w < (offset + size + 3) / 4; ++w) {
    Word& word = words_[static_cast<std::size_t>(block)][w];
    // What lies before the newest barrier is ordered for everybody.
    if (word.clock.cluster != now.cluster ||
        (shape_.cluster_blocks == 1 && word.clock.block != now.block)) {
      word.reads.clear();
      word.writes.clear();
      word.clock = now;
    }
    if (access == Access::read && !word.written) {
      refuse(site, fmt::format("reads byte {} of shared memory, which nobody has written", offset));
    }
    const auto check = [&](const std::vector<Touch>& earlier) {
      for (const Touch& touch : earlier) {
        if (is_ordered(touch, now)) continue;
        if (touch.access == Access::atomic && access == Access::atomic) continue;
        refuse(site,
               fmt::format("race on byte {} of shared memory with thread {} at {}: no barrier lies "
                           "between",
                           offset, touch.thread % shape_.block_threads, text_of(touch.site)));
      }
    };
    check(word.writes);
    if (access != Access::read) check(word.reads);
    // A thread runs until it waits, so what it does again comes right behind what it did.
    auto& mine = access == Access::read ? word.reads : word.writes;
    const bool again = !mine.empty() && mine.back().thread == thread &&
                       mine.back().access == access && mine.back().clock == now;
    if (!again) mine.push_back({thread, access, now, site});
    word.written = true;
  }
  return memory_[static_cast<std::size_t>(block)].data() + offset;
}

void Cluster::wait(Scope scope, const char* operation, const Site& site) {
  Thread& self = *current_;
  self.state = State::waiting;
  self.scope = scope;
  self.operation = operation;
  self.site = site;
  self.fiber.suspend();
}

void Cluster::exchange(void* value, std::size_t bytes, Combine combine, const void* operation,
                       const char* name, const Site& site) {
  Thread& self = *current_;
  if (bytes > self.value.size()) refuse(site, "a warp operation on more than 32 bytes");
  std::memcpy(self.value.data(), value, bytes);
  self.value_bytes = bytes;
  self.combine = combine;
  self.combine_operation = operation;
  wait(Scope::warp, name, site);
  std::memcpy(value, self.value.data(), bytes);
}

/// Lets the threads [begin, end) go on, which all wait at one place.
void Cluster::release(Scope scope, std::size_t begin, std::size_t end) {
  Thread& first = *threads_[begin];
  if (first.combine != nullptr) {
    std::array<std::array<std::byte, 32>, 32> copies;
    const std::byte* brought[32];
    std::byte* results[32];
    for (std::size_t lane = 0; lane < 32; ++lane) {
      copies[lane] = threads_[begin + lane]->value;
      brought[lane] = copies[lane].data();
      results[lane] = threads_[begin + lane]->value.data();
    }
    first.combine(brought, results, first.combine_operation);
  } else if (scope == Scope::warp) {
    ++warp_clock_[begin / 32];
  } else if (scope == Scope::block) {
    ++block_clock_[static_cast<std::size_t>(first.position.cluster_rank)];
  } else {
    ++cluster_clock_;
  }
  for (std::size_t i = begin; i < end; ++i) {
    threads_[i]->state = State::ready;
    threads_[i]->combine = nullptr;
  }
}

/// Releases every warp, block and cluster whose threads have all come to one place.
bool Cluster::release_all() {
  const auto block = static_cast<std::size_t>(shape_.block_threads);
  const std::size_t count = block * static_cast<std::size_t>(shape_.cluster_blocks);
  bool released = false;
  for (const auto& [scope, size] :
       {std::pair{Scope::warp, std::size_t{32}}, std::pair{Scope::block, block},
        std::pair{Scope::cluster, count}}) {
    for (std::size_t begin = 0; begin < count; begin += size) {
      const Thread& first = *threads_[begin];
      bool together = true;
      for (std::size_t i = begin; i < begin + size && together; ++i) {
        const Thread& t = *threads_[i];
        together = t.state == State::waiting && t.scope == scope && t.combine == first.combine &&
                   same_place(t.site, first.site);
      }
      if (!together) continue;
      release(scope, begin, begin + size);
      released = true;
    }
  }
  return released;
}

void Cluster::explain_deadlock() {
  const Thread* waiting = nullptr;
  for (const auto& thread : threads_) {
    if (thread->state == State::waiting && waiting == nullptr) waiting = thread.get();
  }
  current_ = const_cast<Thread*>(waiting);
  for (const auto& other : threads_) {
    if (waiting->scope != Scope::cluster &&
        other->position.cluster_rank != waiting->position.cluster_rank) {
      continue;
    }
    if (waiting->scope == Scope::warp &&
        other->position.thread / 32 != waiting->position.thread / 32) {
      continue;
    }
    if (other->state == State::finished) {
      refuse(waiting->site, fmt::format("divergence: waits at {}, but thread {} has returned",
                                        waiting->operation, other->position.thread));
    }
    if (!same_place(other->site, waiting->site) || other->scope != waiting->scope) {
      refuse(waiting->site, fmt::format("divergence: waits at {}, but thread {} waits at {} ({})",
                                        waiting->operation, other->position.thread,
                                        other->operation, text_of(other->site)));
    }
  }
  refuse(waiting->site, "divergence: waits for threads that never come");
}

const Position& position() { return running->current_->position; }

std::byte* access_shared(int block, std::size_t offset, std::size_t size, Access access,
                         const Site& site) {
  return running->access(block, offset, size, access, site);
}

std::size_t shared_bytes() { return running->shape_.shared_bytes; }

void refuse_access(const char* what, std::int64_t index, std::int64_t size, const Site& site) {
  running->refuse(site, fmt::format("out of bounds: {} of {} {}", index, size, what));
}

void barrier(Scope scope, const Site& site) {
  constexpr const char* kNames[] = {"warp_barrier", "block_barrier", "cluster_barrier"};
  running->wait(scope, kNames[static_cast<int>(scope)], site);
}

void exchange(void* value, std::size_t bytes, Combine combine, const void* operation,
              const char* name, const Site& site) {
  running->exchange(value, bytes, combine, operation, name, site);
}

void run_grid(std::string_view kernel, const GridShape& shape, int workers,
              const std::function<void()>& body) {
  if (shape.block_threads < 32 || shape.block_threads > 1024 || shape.block_threads % 32 != 0 ||
      shape.cluster_blocks < 1 || shape.cluster_blocks > 16 || shape.blocks < 1 ||
      shape.blocks % shape.cluster_blocks != 0 || shape.shared_bytes > 227U * 1024) {
    throw Error(fmt::format(
        "kernel {}: cannot launch {} blocks of {} threads in clusters of {} "
        "with {} bytes of shared memory",
        kernel, shape.blocks, shape.block_threads, shape.cluster_blocks, shape.shared_bytes));
  }
  // Emulated threads are many; their stacks are kept by the worker that runs them.
  const Context ctx({.threads = workers});
  const std::int64_t clusters = shape.blocks / shape.cluster_blocks;
  static std::atomic<std::int64_t> launches{0};
  const std::int64_t launch = launches++;
  parallel_blocks(ctx, clusters, [&](std::int64_t cluster) {
    thread_local Cluster here;
    here.run(kernel, shape, cluster * shape.cluster_blocks, (launch + cluster) % 2 != 0, body);
  });
}

}  // namespace researchkit::emulator
