#include "researchkit/core/compare.hpp"

#include <fmt/format.h>

#include <cmath>
#include <cstring>

namespace researchkit {
namespace {

template <class T>
bool agree(T got, T want, const Tolerance& tolerance) {
  if constexpr (std::is_floating_point_v<T>) {
    if (std::isnan(got) || std::isnan(want)) return std::isnan(got) && std::isnan(want);
    if (got == want) return true;
    if (std::isinf(got) || std::isinf(want)) return false;
    const double distance = std::fabs(static_cast<double>(got) - static_cast<double>(want));
    return distance <= tolerance.atol + tolerance.rtol * std::fabs(static_cast<double>(want));
  } else {
    return got == want;
  }
}

template <class T>
std::optional<std::string> compare(const Tensor& got, const Tensor& want,
                                   const Tolerance& tolerance) {
  const auto a = got.values<T>();
  const auto b = want.values<T>();
  std::size_t differing = 0, by_one = 0, first = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (agree(a[i], b[i], tolerance)) continue;
    if (differing++ == 0) first = i;
    if constexpr (std::is_integral_v<T> && !std::is_same_v<T, bool>) {
      by_one += (a[i] > b[i] ? b[i] + 1 == a[i] : a[i] + 1 == b[i]) ? 1 : 0;
    }
  }
  const double allowed = tolerance.max_fraction_off_by_one * static_cast<double>(a.size());
  if (differing == 0 || (by_one == differing && static_cast<double>(by_one) <= allowed)) {
    return std::nullopt;
  }
  Shape position(want.shape().size());
  auto flat = static_cast<std::int64_t>(first);
  for (std::size_t axis = position.size(); axis-- > 0;) {
    position[axis] = flat % want.shape()[axis];
    flat /= want.shape()[axis];
  }
  return fmt::format("{} of {} entries differ, first at {}: {} instead of {}", differing, a.size(),
                     to_string(position), a[first], b[first]);
}

}  // namespace

std::optional<std::string> difference(const Tensor& got, const Tensor& want,
                                      const Tolerance& tolerance) {
  if (got.dtype() != want.dtype() || got.shape() != want.shape()) {
    return fmt::format("{} of shape {} instead of {} of shape {}", to_string(got.dtype()),
                       to_string(got.shape()), to_string(want.dtype()), to_string(want.shape()));
  }
  const Tensor a = got.contiguous(), b = want.contiguous();
  std::optional<std::string> words;
  const bool compared =
      visit_dtype(want.dtype(), [&]<class T>(T) { words = compare<T>(a, b, tolerance); });
  if (!compared && a.bytes() != 0 && std::memcmp(a.data(), b.data(), a.bytes()) != 0) {
    return "the bits differ";
  }
  return words;
}

}  // namespace researchkit
