#include "researchkit/core/context.hpp"

#include <fmt/format.h>
#include <omp.h>

#include "researchkit/core/error.hpp"

namespace researchkit {

int default_thread_count() { return omp_get_max_threads(); }

Context::Context(ContextOptions options) {
  if (options.threads < 0) {
    throw Error("Context", "threads", "a number >= 0", fmt::format("{}", options.threads));
  }
  if (options.threads == 0) options.threads = default_thread_count();
  if (const Device stream = options.stream.device(); !stream.is_host()) {
    if (options.device.is_host()) options.device = stream;
    if (options.device != stream) {
      throw Error("Context", "stream", "a stream of " + to_string(options.device),
                  "one of " + to_string(stream));
    }
  }
  state_ = std::make_shared<State>();
  state_->options = std::move(options);
}

void Context::synchronize() const {
  if (const Device d = device(); !d.is_host()) d.backend->synchronize(d.index);
}

void Context::check_cancelled() const {
  if (state_->options.stop.stop_requested()) throw Cancelled();
}

}  // namespace researchkit
