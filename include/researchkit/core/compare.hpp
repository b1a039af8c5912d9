#pragma once

#include <optional>
#include <string>

#include "researchkit/core/tensor.hpp"

namespace researchkit {

/// How far two tensors may differ. The default allows nothing: the same bits, except that any NaN
/// equals any NaN and -0 equals +0.
struct Tolerance {
  /// |got - want| <= atol + rtol |want|, in double, for floating tensors.
  double rtol = 0;
  double atol = 0;
  /// Integer tensors: this fraction of the entries may differ by 1.
  double max_fraction_off_by_one = 0;
};

/// What differs, in words with the first place and the number of places; nothing if the tensors
/// agree. Shapes and dtypes must be the same; NaN agrees with NaN and an infinity with its like.
std::optional<std::string> difference(const Tensor& got, const Tensor& want,
                                      const Tolerance& tolerance = {});

}  // namespace researchkit
