#pragma once

#include <cmath>
#include <cstdint>

namespace researchkit::dynapipe {

/// Time as an integer. Everything that decides between two times compares ticks, so that decisions
/// depend neither on the order of additions nor on the number of threads.
using Ticks = std::int64_t;

/// The default tick: 2^-20 ms, about a nanosecond.
inline constexpr double kTick = 0x1p-20;
/// What cannot run: an infinite time, or one of 2^42 ticks and more (48 days by default).
inline constexpr Ticks kImpossible = Ticks{1} << 60;

/// floor(time / tick + 1/2), kImpossible if that is not below 2^42 or `time` is negative or NaN.
inline Ticks to_ticks(double time, double tick = kTick) {
  const double ticks = time / tick;
  if (!(time >= 0) || !(ticks < 0x1p42)) return kImpossible;
  return static_cast<Ticks>(std::floor(ticks + 0.5));
}

}  // namespace researchkit::dynapipe
