#pragma once

#include <array>
#include <cmath>
#include <cstdint>

#include "researchkit/core/arbitrary.hpp"
#include "researchkit/core/operator.hpp"
#include "researchkit/core/parallel.hpp"

namespace researchkit::nn {

/// Functions of one number.
enum class Activation : std::uint8_t {
  relu,        ///< max(x, 0); its derivative at 0 is 0
  elu,         ///< x for x > 0, exp(x) - 1 else
  tanh,        ///< hyperbolic tangent
  sigmoid,     ///< 1 / (1 + exp(-x))
  leaky_relu,  ///< x for x > 0, negative_slope x else
  gelu,        ///< x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))
};
constexpr std::array<std::string_view, 6> names_of(Activation) {
  return {"relu", "elu", "tanh", "sigmoid", "leaky_relu", "gelu"};
}

namespace detail {

inline constexpr double kGeluCubic = 0.044715;
inline constexpr double kSqrtTwoOverPi = 0.79788456080286535588;

}  // namespace detail

/// z/2 (1 + tanh u), u = sqrt(2/pi) (z + 0.044715 z^3): the tanh form of z Phi(z) (Hendrycks and
/// Gimpel, arXiv 1606.08415).
template <class Real>
Real gelu(Real z) {
  using std::tanh;
  const Real u = Real(detail::kSqrtTwoOverPi) * (z + Real(detail::kGeluCubic) * (z * z * z));
  return Real(0.5) * z * (Real(1) + tanh(u));
}

/// Its derivative.
template <class Real>
Real gelu_slope(Real z) {
  using std::tanh;
  const Real t = tanh(Real(detail::kSqrtTwoOverPi) * (z + Real(detail::kGeluCubic) * (z * z * z)));
  return Real(0.5) * (Real(1) + t) + Real(0.5) * z * (Real(1) - t * t) *
                                         Real(detail::kSqrtTwoOverPi) *
                                         (Real(1) + Real(3 * detail::kGeluCubic) * z * z);
}

template <class Real>
Real activate_one(Activation kind, Real x, Real negative_slope) {
  using std::exp;
  using std::tanh;
  switch (kind) {
    case Activation::relu:
      return x <= Real(0) ? Real(0) : x;  // NaN stays
    case Activation::elu:
      return x > Real(0) ? x : exp(x) - Real(1);
    case Activation::tanh:
      return tanh(x);
    case Activation::sigmoid:
      return Real(1) / (Real(1) + exp(-x));
    case Activation::gelu:
      return gelu(x);
    case Activation::leaky_relu:
      break;
  }
  return x > Real(0) ? x : negative_slope * x;
}

/// The derivative at x, where the function is y.
template <class Real>
Real activation_slope(Activation kind, Real x, Real y, Real negative_slope) {
  switch (kind) {
    case Activation::relu:
      return x > Real(0) ? Real(1) : Real(0);
    case Activation::elu:
      return x > Real(0) ? Real(1) : y + Real(1);
    case Activation::tanh:
      return Real(1) - y * y;
    case Activation::sigmoid:
      return y * (Real(1) - y);
    case Activation::gelu:
      return gelu_slope(x);
    case Activation::leaky_relu:
      break;
  }
  return x > Real(0) ? Real(1) : negative_slope;
}

/// A function applied to every entry.
///
///     auto hidden = activate(ctx, {.x = x, .kind = Activation::elu}).y;
template <class Real>
struct Activate {
  static constexpr std::string_view name = "nn.activate";
  static constexpr std::string_view summary = "A function of every entry.";

  InFlat<Real> x = {};
  OutFlat<Real> y = {};
  Activation kind = Activation::relu;
  double negative_slope = 0.01;

  void describe(Description& io) {
    io.input(x, "x", "...", "any tensor");
    io.output(y, "y", "...", "the function of each entry", {.like = "x"});
    io.attribute(kind, "kind", "which function");
    io.attribute(negative_slope, "negative_slope", "of leaky_relu", {.in = "[0, 1]"});
  }
  Cost cost() const {
    const auto entries = static_cast<double>(x.size());
    return {9 * entries, 2 * sizeof(Real) * entries, true};
  }
  void run(const Context& ctx) const {
    parallel_for(ctx, x.size(), 16384,
                 [&](std::int64_t begin, std::int64_t end) { entries(begin, end); });
  }
  void reference() const { entries(0, x.size()); }

 private:
  void entries(std::int64_t begin, std::int64_t end) const {
    for (std::int64_t i = begin; i < end; ++i) {
      y.data_handle()[i] = activate_one(kind, x.data_handle()[i], Real(negative_slope));
    }
  }
};

static_assert(OperatorStruct<Activate<float>>);
inline constexpr Function<Activate> activate;

/// Gradient of activate.
template <class Real>
struct ActivateBackward {
  static constexpr std::string_view name = "nn.activate_backward";
  static constexpr std::string_view summary = "Gradient of activate.";

  InFlat<Real> x = {};
  InFlat<Real> y = {};
  InFlat<Real> d_y = {};
  OutFlat<Real> d_x = {};
  Activation kind = Activation::relu;
  double negative_slope = 0.01;

  void describe(Description& io) {
    io.input(x, "x", "...", "what the function was taken of");
    io.input(y, "y", "...", "what it gave");
    io.input(d_y, "d_y", "...", "gradient of y");
    io.output(d_x, "d_x", "...", "gradient of x", {.like = "x"});
    io.attribute(kind, "kind", "which function");
    io.attribute(negative_slope, "negative_slope", "of leaky_relu", {.in = "[0, 1]"});
  }
  void validate(const Check& check) const {
    if (y.shape() != x.shape()) {
      check.refuse("y", "the shape of x, " + to_string(x.shape()), to_string(y.shape()));
    }
    if (d_y.shape() != x.shape()) {
      check.refuse("d_y", "the shape of x, " + to_string(x.shape()), to_string(d_y.shape()));
    }
  }
  Cost cost() const {
    const auto entries = static_cast<double>(x.size());
    return {19 * entries, 4 * sizeof(Real) * entries, true};
  }
  void run(const Context& ctx) const {
    parallel_for(ctx, x.size(), 16384,
                 [&](std::int64_t begin, std::int64_t end) { entries(begin, end); });
  }
  void reference() const { entries(0, x.size()); }
  static void arbitrary(Arbitrary& random) {
    const Tensor like = random.call.inputs.at("x");
    for (const char* name : {"y", "d_y"}) {
      Tensor tensor(like.dtype(), like.shape());
      visit_dtype(tensor.dtype(), [&]<class T>(T) {
        for (T& value : tensor.values<T>()) value = static_cast<T>(random.normal());
      });
      random.call.inputs.set(name, tensor);
    }
  }

 private:
  void entries(std::int64_t begin, std::int64_t end) const {
    for (std::int64_t i = begin; i < end; ++i) {
      const Real slope =
          activation_slope(kind, x.data_handle()[i], y.data_handle()[i], Real(negative_slope));
      d_x.data_handle()[i] = d_y.data_handle()[i] * slope;
    }
  }
};

static_assert(OperatorStruct<ActivateBackward<float>>);
inline constexpr Function<ActivateBackward> activate_backward;

/// Log probabilities of each row: x - log sum exp(x), relative to the row's largest.
///
///     auto log_probs = log_softmax(ctx, {.x = logits}).y;
template <class Real>
struct LogSoftmax {
  static constexpr std::string_view name = "nn.log_softmax";
  static constexpr std::string_view summary = "Log probabilities of each row.";

  In<Real, 2> x = {};   // [n, c]
  Out<Real, 2> y = {};  // [n, c]

  void describe(Description& io) {
    io.dimension("c", "[1, inf)", "classes");
    io.input(x, "x", "n c", "logits", {.contiguous = true});
    io.output(y, "y", "n c", "log probabilities", {.contiguous = true});
  }
  Cost cost() const {
    const auto entries = static_cast<double>(x.size());
    return {5 * entries + static_cast<double>(x.extent(0)), 2 * sizeof(Real) * entries, false};
  }
  void run(const Context& ctx) const {
    parallel_for(ctx, x.extent(0), 512,
                 [&](std::int64_t begin, std::int64_t end) { rows(begin, end); });
  }
  void reference() const { rows(0, x.extent(0)); }

 private:
  void rows(std::int64_t begin, std::int64_t end) const {
    using std::exp;
    using std::log;
    for (std::int64_t i = begin; i < end; ++i) {
      Real largest = x(i, 0), sum = 0;
      for (std::int64_t j = 1; j < x.extent(1); ++j) largest = std::max(largest, x(i, j));
      for (std::int64_t j = 0; j < x.extent(1); ++j) sum += exp(x(i, j) - largest);
      const Real log_sum = log(sum);
      for (std::int64_t j = 0; j < x.extent(1); ++j) y(i, j) = (x(i, j) - largest) - log_sum;
    }
  }
};

static_assert(OperatorStruct<LogSoftmax<float>>);
inline constexpr Function<LogSoftmax> log_softmax;

/// Gradient of log_softmax: d_x = d_y - exp(y) sum(d_y).
template <class Real>
struct LogSoftmaxBackward {
  static constexpr std::string_view name = "nn.log_softmax_backward";
  static constexpr std::string_view summary = "Gradient of log_softmax.";

  In<Real, 2> y = {};     // [n, c]
  In<Real, 2> d_y = {};   // [n, c]
  Out<Real, 2> d_x = {};  // [n, c]

  void describe(Description& io) {
    io.input(y, "y", "n c", "log probabilities", {.contiguous = true});
    io.input(d_y, "d_y", "n c", "gradient of y", {.contiguous = true});
    io.output(d_x, "d_x", "n c", "gradient of x", {.contiguous = true});
  }
  Cost cost() const {
    const auto entries = static_cast<double>(y.size());
    return {4 * entries, 3 * sizeof(Real) * entries, false};
  }
  void run(const Context& ctx) const {
    parallel_for(ctx, y.extent(0), 512,
                 [&](std::int64_t begin, std::int64_t end) { rows(begin, end); });
  }
  void reference() const { rows(0, y.extent(0)); }

 private:
  void rows(std::int64_t begin, std::int64_t end) const {
    using std::exp;
    for (std::int64_t i = begin; i < end; ++i) {
      Real sum = 0;
      for (std::int64_t j = 0; j < y.extent(1); ++j) sum += d_y(i, j);
      for (std::int64_t j = 0; j < y.extent(1); ++j) d_x(i, j) = d_y(i, j) - exp(y(i, j)) * sum;
    }
  }
};

static_assert(OperatorStruct<LogSoftmaxBackward<float>>);
inline constexpr Function<LogSoftmaxBackward> log_softmax_backward;

}  // namespace researchkit::nn
