#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <string_view>

/// What the losses of bikt do with single rows of logits, in log space relative to the row's largest.
namespace researchkit::bikt {

/// How weighted rows become one loss.
enum class Reduction : std::uint8_t {
  weighted_mean,  ///< divided by the sum of the weights
  mean,           ///< divided by the number of rows
  sum,
};
constexpr std::array<std::string_view, 3> names_of(Reduction) {
  return {"weighted_mean", "mean", "sum"};
}

/// Which nodes may teach the host.
enum class Gate : std::uint8_t {
  none,       ///< all, weight 1
  confident,  ///< where the derived model is at least as sure as the host
  agree,      ///< where both predict one class, weighted by the derived model's confidence
  agree_or_confident,
};
constexpr std::array<std::string_view, 4> names_of(Gate) {
  return {"none", "confident", "agree", "agree_or_confident"};
}

/// Activations of the shared layers.
enum class Activation : std::uint8_t { relu, none, elu };
constexpr std::array<std::string_view, 3> names_of(Activation) { return {"relu", "none", "elu"}; }

template <class Real>
Real activate(Activation kind, Real x) {
  using std::exp;
  if (kind == Activation::none || x > Real(0)) return x;
  return kind == Activation::relu ? Real(0) : exp(x) - Real(1);
}
/// The derivative, where the activation gave y.
template <class Real>
Real slope(Activation kind, Real y) {
  if (kind == Activation::none || y > Real(0)) return Real(1);
  return kind == Activation::relu ? Real(0) : y + Real(1);
}

/// softmax(row / temperature) of n > 0 logits, ready to be asked for its logarithms.
template <class Real>
struct SoftRow {
  const Real* row;
  Real inverse, largest, log_sum;

  SoftRow(const Real* logits, std::int64_t n, Real temperature)
      : row(logits), inverse(Real(1) / temperature), largest(logits[0] * inverse), log_sum(0) {
    using std::exp;
    using std::log;
    for (std::int64_t c = 1; c < n; ++c) largest = std::max(largest, logits[c] * inverse);
    Real sum = 0;
    for (std::int64_t c = 0; c < n; ++c) sum += exp(logits[c] * inverse - largest);
    log_sum = log(sum);
  }
  Real log_probability(std::int64_t c) const { return (row[c] * inverse - largest) - log_sum; }
  Real probability(std::int64_t c) const {
    using std::exp;
    return exp(log_probability(c));
  }
  /// The largest probability.
  Real confidence() const {
    using std::exp;
    return exp(-log_sum);
  }
};

/// KL(teacher || student) of two softmaxes.
template <class Real>
Real kl_divergence(const SoftRow<Real>& student, const SoftRow<Real>& teacher, std::int64_t n) {
  Real sum = 0;
  for (std::int64_t c = 0; c < n; ++c) {
    sum += teacher.probability(c) * (teacher.log_probability(c) - student.log_probability(c));
  }
  return sum;
}

/// The weight of a node for the feedback from the derived model (B4).
template <class Real>
Real gate_weight(Gate mode, const Real* host, const Real* derived, std::int64_t n) {
  if (mode == Gate::none) return Real(1);
  const SoftRow<Real> f(host, n, Real(1)), m(derived, n, Real(1));
  const bool sure = m.confidence() >= f.confidence();
  const bool agree =
      std::max_element(host, host + n) - host == std::max_element(derived, derived + n) - derived;
  if (mode == Gate::confident) return sure ? Real(1) : Real(0);
  if (mode == Gate::agree) return agree ? m.confidence() : Real(0);
  return agree || sure ? Real(1) : Real(0);
}

}  // namespace researchkit::bikt
