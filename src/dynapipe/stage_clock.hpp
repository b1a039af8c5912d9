#pragma once

#include <ctime>

#include <chrono>

namespace researchkit::dynapipe::detail {

/// Wall and processor time of what a thread does.
struct StageTime {
  double wall_ms = 0;
  double processor_ms = 0;  ///< of the calling thread: other load on the machine does not count
};

template <class Work>
StageTime timed(Work&& work) {
  const auto processor = [] {
    timespec now{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return 1e3 * static_cast<double>(now.tv_sec) + 1e-6 * static_cast<double>(now.tv_nsec);
  };
  const auto begin = std::chrono::steady_clock::now();
  const double before = processor();
  work();
  const double after = processor();
  return {
      std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count(),
      after - before};
}

}  // namespace researchkit::dynapipe::detail
