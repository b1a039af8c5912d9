#pragma once

// Sums by a warp in the order of their terms, so that they have the bits of a plain loop: the lanes
// fetch and prepare 32 terms side by side, and all of them add these up one after the other. 32
// additions that wait for each other for each chunk; what is gained is the fetching.

#include "researchkit/core/cuda/launch.cuh"

namespace researchkit::graph::RESEARCHKIT_DEVICE {

using namespace device;  // NOLINT(google-build-using-namespace): the vocabulary is the language here

/// term(begin) + ... + term(end - 1), added to `sum` one after the other; the whole warp must come
/// with the same bounds, and each term is asked for by one lane.
template <class Real, class Term>
RESEARCHKIT_DEVICE_FUNCTION Real ordered_sum(Real sum, std::int64_t begin, std::int64_t end,
                                             const Term& term) {
  for (std::int64_t base = begin; base < end; base += kWarp) {
    const Real own = base + lane() < end ? term(base + lane()) : Real(0);
    const int count = static_cast<int>(end - base < kWarp ? end - base : kWarp);
    for (int from = 0; from < count; ++from) sum = add_rn(sum, shuffle(own, from));
  }
  return sum;
}

}  // namespace researchkit::graph::RESEARCHKIT_DEVICE
