#pragma once

#include <bit>
#include <cstdint>

#include "researchkit/core/dtype.hpp"

namespace researchkit {

/// The nearest bfloat16, ties to even: within 2^-8 of the value in proportion, where that is a normal
/// number. NaN stays NaN; what is too large becomes infinity.
constexpr BFloat16 to_bfloat16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if (value != value) return {static_cast<std::uint16_t>(bits >> 16 | 0x40)};  // a quiet one
  const std::uint32_t even = bits >> 16 & 1;
  return {static_cast<std::uint16_t>((bits + 0x7fff + even) >> 16)};
}

/// The same number in float, exactly.
constexpr float to_float(BFloat16 value) {
  return std::bit_cast<float>(std::uint32_t{value.bits} << 16);
}

}  // namespace researchkit
