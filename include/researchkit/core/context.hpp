#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <stop_token>
#include <string_view>

#include "researchkit/core/reuse_pool.hpp"
#include "researchkit/core/stream.hpp"
#include "researchkit/core/workspace.hpp"

namespace researchkit {

/// What a Context is made from.
struct ContextOptions {
  /// Where operators without tensor inputs put their outputs.
  Device device = Device::host();
  /// Where the kernels and the memory of a device call are put; without one the default stream.
  Stream stream = {};
  /// Threads that operators may use; 0 takes OMP_NUM_THREADS, or else all processors.
  int threads = 0;
  /// Key of the random numbers that operators without a `seed` attribute draw.
  std::uint64_t seed = 0;
  /// Called now and then by long operators, from the calling thread, with what is done, in [0, 1].
  std::function<void(double fraction, std::string_view what)> progress = {};
  /// Asks a running operator to stop: it throws Cancelled.
  std::stop_token stop = {};
};

/// Where and with what an operator runs. Passed explicitly, first; nothing is global.
///
///     Context ctx({.threads = 4});
///
/// Copies are cheap and share the workspace, so a Context and its copies belong to one thread at a
/// time; several threads have one each.
class Context {
 public:
  explicit Context(ContextOptions options = {});

  Device device() const { return state_->options.device; }
  const Stream& stream() const { return state_->options.stream; }
  int threads() const { return state_->options.threads; }
  std::uint64_t seed() const { return state_->options.seed; }
  const ContextOptions& options() const { return state_->options; }
  Workspace& workspace() const { return state_->workspace; }
  /// Working objects whose memory survives a call; unlike the workspace it may be used by threads.
  ReusePool& reuse_pool() const { return state_->reuse_pool; }

  /// Tells the progress callback, if there is one.
  void report_progress(double fraction, std::string_view what) const {
    if (state_->options.progress) state_->options.progress(fraction, what);
  }
  /// Waits for what this Context put on its device.
  void synchronize() const;
  /// Throws Cancelled if a stop was requested.
  void check_cancelled() const;

 private:
  struct State {
    ContextOptions options;
    mutable Workspace workspace;
    mutable ReusePool reuse_pool;
  };
  std::shared_ptr<State> state_;
};

/// The number of threads that a Context takes for `threads = 0`.
int default_thread_count();

}  // namespace researchkit
