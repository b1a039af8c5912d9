#pragma once

#include "researchkit/core/random.hpp"
#include "researchkit/graph/checks.hpp"
#include "researchkit/graph/dense.hpp"
#include "researchkit/graph/reference.hpp"

namespace researchkit::graph {

/// Cross entropy of the rows that a mask selects: log sum exp(z_i) - z_i[y_i], averaged or summed.
///
///     auto loss = log_softmax_nll(ctx, {.logits = z, .labels = y, .mask = train}).loss;
///
/// Labels of other rows are not read. An empty mask gives 0. Row losses add up in double.
template <class Real, class Index>
struct LogSoftmaxNll {
  static constexpr std::string_view name = "graph.log_softmax_nll";
  static constexpr std::string_view summary = "Cross entropy of masked rows.";
  static constexpr Tolerance tolerance{.rtol = 1e-6, .atol = 1e-7};  // double sums stay double

  In<Real, 2> logits = {};        // [n, c]
  In<Index, 1> labels = {};       // [n]
  In<std::uint8_t, 1> mask = {};  // [n]
  Out<Real, 1> loss = {};         // [1]
  Reduction reduction = Reduction::mean;

  void describe(Description& io) {
    io.dimension("c", "[1, inf)", "classes");
    io.input(logits, "logits", "n c", "unnormalised log probabilities", {.contiguous = true});
    io.input(labels, "labels", "n", "class of each row, in [0, c) where masked",
             {.contiguous = true});
    io.input(mask, "mask", "n", "rows that count: not 0", {.contiguous = true});
    io.output(loss, "loss", "1", "the loss", {.contiguous = true});
    io.attribute(reduction, "reduction", "mean over the masked rows, or their sum");
  }
  void validate(const Check& check) const { require_labels(check, labels, mask, logits.extent(1)); }
  Cost cost() const {
    const auto n = static_cast<double>(logits.extent(0));
    return {n * (reference::nll_flops(logits.extent(1)) + 1) + 1,
            sizeof(Real) * static_cast<double>(logits.size()) + n * (sizeof(Index) + 1), true};
  }
  void run(const Context& ctx) const {
    loss(0) =
        kernels::log_softmax_nll(ctx, logits, labels.data_handle(), mask.data_handle(), reduction);
  }
  void reference() const {
    Real sum = 0;
    std::int64_t count = 0;
    for (std::int64_t i = 0; i < logits.extent(0); ++i) {
      if (mask(i) == 0) continue;
      sum += reference::nll(&logits(i, 0), logits.extent(1), static_cast<std::int64_t>(labels(i)));
      ++count;
    }
    loss(0) = reduction == Reduction::mean && count > 0 ? sum / static_cast<Real>(count) : sum;
  }
  static void arbitrary(Arbitrary& random) { arbitrary_labels(random); }
};

static_assert(OperatorStruct<LogSoftmaxNll<float, std::int32_t>>);
inline constexpr IndexedFunction<LogSoftmaxNll> log_softmax_nll;

/// Gradient of log_softmax_nll: (softmax(z_i) - onehot(y_i)) d_loss / count, 0 where not masked.
template <class Real, class Index>
struct LogSoftmaxNllBackward {
  static constexpr std::string_view name = "graph.log_softmax_nll_backward";
  static constexpr std::string_view summary = "Gradient of log_softmax_nll.";

  In<Real, 2> logits = {};        // [n, c]
  In<Index, 1> labels = {};       // [n]
  In<std::uint8_t, 1> mask = {};  // [n]
  In<Real, 1> d_loss = {};        // [1]
  Out<Real, 2> d_logits = {};     // [n, c]
  Reduction reduction = Reduction::mean;

  void describe(Description& io) {
    io.dimension("c", "[1, inf)", "classes");
    io.input(logits, "logits", "n c", "unnormalised log probabilities", {.contiguous = true});
    io.input(labels, "labels", "n", "class of each row, in [0, c) where masked",
             {.contiguous = true});
    io.input(mask, "mask", "n", "rows that count: not 0", {.contiguous = true});
    io.input(d_loss, "d_loss", "1", "gradient of the loss", {.contiguous = true});
    io.output(d_logits, "d_logits", "n c", "gradient of logits", {.contiguous = true});
    io.attribute(reduction, "reduction", "mean over the masked rows, or their sum");
  }
  void validate(const Check& check) const { require_labels(check, labels, mask, logits.extent(1)); }
  Cost cost() const {
    const auto n = static_cast<double>(logits.extent(0));
    return {n * reference::nll_gradient_flops(logits.extent(1)) + 1,
            2 * sizeof(Real) * static_cast<double>(logits.size()) + n * (sizeof(Index) + 1), true};
  }
  void run(const Context& ctx) const {
    kernels::log_softmax_nll_backward(ctx, logits, labels.data_handle(), mask.data_handle(),
                                      reduction, d_loss(0), d_logits);
  }
  void reference() const {
    std::int64_t count = 0;
    for (std::int64_t i = 0; i < logits.extent(0); ++i) count += mask(i) != 0 ? 1 : 0;
    if (reduction == Reduction::sum || count == 0) count = 1;
    const Real scale = d_loss(0) / static_cast<Real>(count);
    for (std::int64_t i = 0; i < logits.extent(0); ++i) {
      if (mask(i) == 0) {
        for (std::int64_t c = 0; c < logits.extent(1); ++c) d_logits(i, c) = Real(0);
      } else {
        reference::nll_gradient(&logits(i, 0), logits.extent(1),
                                static_cast<std::int64_t>(labels(i)), scale, &d_logits(i, 0));
      }
    }
  }
  static void arbitrary(Arbitrary& random) { arbitrary_labels(random); }
};

static_assert(OperatorStruct<LogSoftmaxNllBackward<float, std::int32_t>>);
inline constexpr IndexedFunction<LogSoftmaxNllBackward> log_softmax_nll_backward;

/// Sets a fraction p of the entries to 0 and divides the others by 1 - p.
///
///     auto hidden = dropout(ctx, {.x = x, .p = 0.5, .seed = run, .stream = step * 16 + site});
///
/// Entry i is kept if word i of Philox(seed, stream) is at least p 2^32, so the mask is the same on
/// any device and for any number of threads, and need not be stored. p = 0 is the identity.
template <class Real>
struct Dropout {
  static constexpr std::string_view name = "graph.dropout";
  static constexpr std::string_view summary = "Random zeros, by counter.";

  InFlat<Real> x = {};
  OutFlat<Real> y = {};
  OutFlat<std::uint8_t> mask = {};
  double p = 0;
  std::uint64_t seed = 0;
  std::uint64_t stream = 0;

  void describe(Description& io) {
    io.input(x, "x", "...", "any tensor");
    io.output(y, "y", "...", "x where kept, divided by 1 - p", {.like = "x"});
    io.output(mask, "mask", "...", "1 where kept", {.like = "x"});
    io.attribute(p, "p", "fraction dropped", {.in = "[0, 1)"});
    io.attribute(seed, "seed", "key of the random numbers");
    io.attribute(stream, "stream", "which of the key's sequences");
  }
  Cost cost() const {
    const auto entries = static_cast<double>(x.size());
    return {entries, entries * (2 * sizeof(Real) + 1), true};
  }
  void run(const Context& ctx) const {
    kernels::dropout(ctx, {p, seed, stream}, x.data_handle(), x.size(), y.data_handle(),
                     mask.data_handle());
  }
  void reference() const {
    const Philox random(seed, stream);
    const auto scale = static_cast<Real>(1 / (1 - p));
    for (std::int64_t i = 0; i < x.size(); ++i) {
      const bool kept = random.word(static_cast<std::uint64_t>(i)) >= dropout_threshold(p);
      mask.data_handle()[i] = kept ? 1 : 0;
      y.data_handle()[i] = kept ? x.data_handle()[i] * scale : Real(0);
    }
  }
};

static_assert(OperatorStruct<Dropout<float>>);
inline constexpr Function<Dropout> dropout;

/// Gradient of dropout: the same mask, made again, over d_y.
template <class Real>
struct DropoutBackward {
  static constexpr std::string_view name = "graph.dropout_backward";
  static constexpr std::string_view summary = "Gradient of dropout.";

  InFlat<Real> d_y = {};
  OutFlat<Real> d_x = {};
  double p = 0;
  std::uint64_t seed = 0;
  std::uint64_t stream = 0;

  void describe(Description& io) {
    io.input(d_y, "d_y", "...", "gradient of y");
    io.output(d_x, "d_x", "...", "gradient of x", {.like = "d_y"});
    io.attribute(p, "p", "fraction dropped", {.in = "[0, 1)"});
    io.attribute(seed, "seed", "key of the random numbers");
    io.attribute(stream, "stream", "which of the key's sequences");
  }
  Cost cost() const {
    const auto entries = static_cast<double>(d_y.size());
    return {entries, entries * 2 * sizeof(Real), true};
  }
  void run(const Context& ctx) const {
    kernels::dropout<Real>(ctx, {p, seed, stream}, d_y.data_handle(), d_y.size(), d_x.data_handle(),
                           nullptr);
  }
  void reference() const {
    const Philox random(seed, stream);
    const auto scale = static_cast<Real>(1 / (1 - p));
    for (std::int64_t i = 0; i < d_y.size(); ++i) {
      const bool kept = random.word(static_cast<std::uint64_t>(i)) >= dropout_threshold(p);
      d_x.data_handle()[i] = kept ? d_y.data_handle()[i] * scale : Real(0);
    }
  }
};

static_assert(OperatorStruct<DropoutBackward<float>>);
inline constexpr Function<DropoutBackward> dropout_backward;

/// One step of Adam (Kingma and Ba, algorithm 1), or of AdamW when `decoupled`.
///
///     auto next = adam_step(ctx, {.p = p, .g = g, .m = m, .v = v, .lr = 0.01, .step = t});
///
/// Not decoupled: weight_decay p is added to the gradient. `step` counts from 1. For parameters that
/// are updated in place use autograd::Adam.
template <class Real>
struct AdamStep {
  static constexpr std::string_view name = "graph.adam_step";
  static constexpr std::string_view summary = "One step of Adam.";

  In<Real, 1> p = {};        // [k]
  In<Real, 1> g = {};        // [k]
  In<Real, 1> m = {};        // [k]
  In<Real, 1> v = {};        // [k]
  Out<Real, 1> next_p = {};  // [k]
  Out<Real, 1> next_m = {};  // [k]
  Out<Real, 1> next_v = {};  // [k]
  double lr = 0.001;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 0;
  std::int64_t step = 1;
  bool decoupled = false;

  void describe(Description& io) {
    io.input(p, "p", "k", "parameters", {.contiguous = true});
    io.input(g, "g", "k", "their gradient", {.contiguous = true});
    io.input(m, "m", "k", "mean of gradients", {.contiguous = true});
    io.input(v, "v", "k", "mean of squared gradients", {.contiguous = true});
    io.output(next_p, "p", "k", "parameters after the step", {.contiguous = true});
    io.output(next_m, "m", "k", "mean of gradients", {.contiguous = true});
    io.output(next_v, "v", "k", "mean of squared gradients", {.contiguous = true});
    io.attribute(lr, "lr", "learning rate", {.in = "[0, inf)"});
    io.attribute(beta1, "beta1", "what is kept of m", {.in = "[0, 1)"});
    io.attribute(beta2, "beta2", "what is kept of v", {.in = "[0, 1)"});
    io.attribute(eps, "eps", "added to the divisor", {.in = "[0, inf)"});
    io.attribute(weight_decay, "weight_decay", "pull towards 0", {.in = "[0, inf)"});
    io.attribute(step, "step", "which step this is", {.in = "[1, inf)"});
    io.attribute(decoupled, "decoupled", "decay the parameter (AdamW), not the gradient");
  }
  Cost cost() const {
    const auto k = static_cast<double>(p.size());
    return {16 * k, 7 * sizeof(Real) * k, false};
  }
  void run(const Context& ctx) const {
    copy_state();
    kernels::adam_step(ctx, settings(), g.data_handle(), g.size(), next_p.data_handle(),
                       next_m.data_handle(), next_v.data_handle());
  }
  void reference() const {
    copy_state();
    const AdamConstants<Real> constants(settings());
    for (std::int64_t i = 0; i < p.size(); ++i) {
      constants.update(next_p(i), g(i), next_m(i), next_v(i));
    }
  }

 private:
  AdamSettings settings() const { return {lr, beta1, beta2, eps, weight_decay, step, decoupled}; }
  void copy_state() const {
    std::copy_n(p.data_handle(), p.size(), next_p.data_handle());
    std::copy_n(m.data_handle(), m.size(), next_m.data_handle());
    std::copy_n(v.data_handle(), v.size(), next_v.data_handle());
  }
};

static_assert(OperatorStruct<AdamStep<float>>);
inline constexpr Function<AdamStep> adam_step;

}  // namespace researchkit::graph
