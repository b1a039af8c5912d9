#pragma once

namespace researchkit {

/// What one call of an operator does: floating-point operations (a fused multiply-add counts as
/// two; comparisons, min and max as none) and bytes of memory that an ideal machine would move.
struct Cost {
  double flops = 0;
  double bytes = 0;
  /// The true cost depends on the data and is at most this.
  bool upper_bound = false;
};

}  // namespace researchkit
