#pragma once

#include <cmath>
#include <cstdint>

#include "researchkit/core/dtype.hpp"

namespace researchkit {

/// A double that counts the arithmetic done with it. An operator's `reference()` is run with it to
/// hold the operator's cost model against what is really computed.
class Counted {
 public:
  constexpr Counted() = default;
  constexpr Counted(double value) : value_(value) {}  // NOLINT(google-explicit-constructor)
  constexpr explicit operator double() const { return value_; }
  constexpr explicit operator float() const { return static_cast<float>(value_); }

  /// Operations counted on this thread since the last reset.
  static std::uint64_t flops() { return count(); }
  static void reset() { count() = 0; }

  friend Counted operator+(Counted a, Counted b) { return tally(1, a.value_ + b.value_); }
  friend Counted operator-(Counted a, Counted b) { return tally(1, a.value_ - b.value_); }
  friend Counted operator*(Counted a, Counted b) { return tally(1, a.value_ * b.value_); }
  friend Counted operator/(Counted a, Counted b) { return tally(1, a.value_ / b.value_); }
  friend constexpr Counted operator-(Counted a) { return -a.value_; }
  Counted& operator+=(Counted b) { return *this = *this + b; }
  Counted& operator-=(Counted b) { return *this = *this - b; }
  Counted& operator*=(Counted b) { return *this = *this * b; }
  Counted& operator/=(Counted b) { return *this = *this / b; }
  friend constexpr auto operator<=>(Counted a, Counted b) { return a.value_ <=> b.value_; }
  friend constexpr bool operator==(Counted a, Counted b) { return a.value_ == b.value_; }

  friend Counted fma(Counted a, Counted b, Counted c) {
    return tally(2, std::fma(a.value_, b.value_, c.value_));
  }
  friend Counted sqrt(Counted a) { return tally(1, std::sqrt(a.value_)); }
  friend Counted exp(Counted a) { return tally(1, std::exp(a.value_)); }
  friend Counted log(Counted a) { return tally(1, std::log(a.value_)); }
  friend Counted tanh(Counted a) { return tally(1, std::tanh(a.value_)); }
  friend Counted abs(Counted a) { return std::fabs(a.value_); }
  friend bool isfinite(Counted a) { return std::isfinite(a.value_); }
  friend bool isnan(Counted a) { return std::isnan(a.value_); }

 private:
  static std::uint64_t& count() {
    thread_local std::uint64_t flops = 0;
    return flops;
  }
  static Counted tally(std::uint64_t flops, double value) {
    count() += flops;
    return value;
  }
  double value_ = 0;
};

template <>
struct DTypeOf<Counted> : std::integral_constant<DType, DType::f64> {};

}  // namespace researchkit
