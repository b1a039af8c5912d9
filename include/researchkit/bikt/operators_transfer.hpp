#pragma once

#include "researchkit/bikt/rows.hpp"
#include "researchkit/bikt/transfer.hpp"
#include "researchkit/graph/checks.hpp"
#include "researchkit/graph/reference.hpp"

namespace researchkit::bikt {

namespace detail {

/// The sum of term(i) over rows, in double for float and double, in pieces of fixed size.
template <class Real, class Term>
Real sum_rows(const Context& ctx, std::int64_t n, Term&& term) {
  return static_cast<Real>(parallel_reduce(
      ctx, n, 1024, 0.0,
      [&](std::int64_t begin, std::int64_t end) {
        double sum = 0;
        for (std::int64_t i = begin; i < end; ++i) sum += static_cast<double>(term(i));
        return sum;
      },
      [](double a, double b) { return a + b; }));
}
template <class Real, class Term>
Real plain_sum(std::int64_t n, Term&& term) {
  Real sum = 0;
  for (std::int64_t i = 0; i < n; ++i) sum += term(i);
  return sum;
}

inline void arbitrary_weights(Arbitrary& random) {
  const Tensor* old = random.call.inputs.find("weight");
  if (old == nullptr) return;
  Tensor weight = old->clone();
  visit_dtype(weight.dtype(), [&]<class T>(T) {
    for (T& value : weight.values<T>()) {
      value = static_cast<T>(std::abs(static_cast<double>(value)) + 0.1);
    }
  });
  random.call.inputs.set("weight", weight);
}

}  // namespace detail

/// Knowledge distillation: T^2 sum w_i KL(softmax(teacher_i / T) || softmax(student_i / T)) / Z with
/// Z the sum of the weights, the number of rows, or 1 (Hinton et al. 2015; B8).
///
///     auto loss = distill_kl(ctx, {.student = z, .teacher = t, .weight = w}).loss;
///
/// Z = 0 gives 0. Rows add up in double.
template <class Real>
struct DistillKl {
  static constexpr std::string_view name = "bikt.distill_kl";
  static constexpr std::string_view summary = "Divergence of a student from its teacher.";
  static constexpr Tolerance tolerance{.rtol = 1e-5, .atol = 1e-6};  // double sums stay double

  In<Real, 2> student = {};  // [n, c]
  In<Real, 2> teacher = {};  // [n, c]
  In<Real, 1> weight = {};   // [n]
  Out<Real, 1> loss = {};    // [1]
  double temperature = 2;
  Reduction reduction = Reduction::weighted_mean;
  bool detach_teacher = true;

  void describe(Description& io) {
    io.dimension("c", "[1, inf)", "classes");
    io.input(student, "student", "n c", "logits that learn", {.contiguous = true});
    io.input(teacher, "teacher", "n c", "logits that teach", {.contiguous = true});
    io.input(weight, "weight", "n", "weight of each row", {.in = "[0, inf)", .contiguous = true});
    io.output(loss, "loss", "1", "the loss", {.contiguous = true});
    io.attribute(temperature, "temperature", "divides the logits", {.in = "(0, inf)"});
    io.attribute(reduction, "reduction", "what the weighted rows are divided by");
    io.attribute(detach_teacher, "detach_teacher", "the teacher gets no gradient");
  }
  Cost cost() const {
    const auto entries = static_cast<double>(student.size());
    return {16 * entries, 2 * sizeof(Real) * entries, true};
  }
  void run(const Context& ctx) const {
    const std::int64_t n = student.extent(0);
    const Real sum = detail::sum_rows<Real>(ctx, n, [&](std::int64_t i) { return row(i); });
    const Real weights = detail::sum_rows<Real>(ctx, n, [&](std::int64_t i) { return weight(i); });
    write(sum, weights);
  }
  void reference() const {
    const std::int64_t n = student.extent(0);
    write(detail::plain_sum<Real>(n, [&](std::int64_t i) { return row(i); }),
          detail::plain_sum<Real>(n, [&](std::int64_t i) { return weight(i); }));
  }
  static void arbitrary(Arbitrary& random) {
    detail::arbitrary_weights(random);
    random.call.attributes["detach_teacher"] = false;
  }

 private:
  Real row(std::int64_t i) const {
    const std::int64_t c = student.extent(1);
    const SoftRow<Real> s(&student(i, 0), c, Real(temperature));
    return weight(i) * kl_divergence(s, SoftRow<Real>(&teacher(i, 0), c, Real(temperature)), c);
  }
  void write(Real sum, Real weights) const {
    const Real divisor = reduction == Reduction::weighted_mean ? weights
                         : reduction == Reduction::mean
                             ? Real(static_cast<double>(student.extent(0)))
                             : Real(1);
    const Real square = Real(temperature * temperature);
    loss(0) = divisor > Real(0) ? square * sum / divisor : Real(0);
  }
};

static_assert(OperatorStruct<DistillKl<float>>);
inline constexpr Function<DistillKl> distill_kl;

/// Gradient of distill_kl: d_student = (w_i / Z) T (p - q), d_teacher = (w_i / Z) T q (log q - log p -
/// l_i), 0 when detached.
template <class Real>
struct DistillKlBackward {
  static constexpr std::string_view name = "bikt.distill_kl_backward";
  static constexpr std::string_view summary = "Gradient of distill_kl.";
  static constexpr Tolerance tolerance{.rtol = 1e-5, .atol = 1e-6};  // double sums stay double

  In<Real, 2> student = {};     // [n, c]
  In<Real, 2> teacher = {};     // [n, c]
  In<Real, 1> weight = {};      // [n]
  In<Real, 1> d_loss = {};      // [1]
  Out<Real, 2> d_student = {};  // [n, c]
  Out<Real, 2> d_teacher = {};  // [n, c]
  double temperature = 2;
  Reduction reduction = Reduction::weighted_mean;
  bool detach_teacher = true;

  void describe(Description& io) {
    io.dimension("c", "[1, inf)", "classes");
    io.input(student, "student", "n c", "logits that learn", {.contiguous = true});
    io.input(teacher, "teacher", "n c", "logits that teach", {.contiguous = true});
    io.input(weight, "weight", "n", "weight of each row", {.in = "[0, inf)", .contiguous = true});
    io.input(d_loss, "d_loss", "1", "gradient of the loss", {.contiguous = true});
    io.output(d_student, "d_student", "n c", "gradient of student", {.contiguous = true});
    io.output(d_teacher, "d_teacher", "n c", "gradient of teacher", {.contiguous = true});
    io.attribute(temperature, "temperature", "divides the logits", {.in = "(0, inf)"});
    io.attribute(reduction, "reduction", "what the weighted rows are divided by");
    io.attribute(detach_teacher, "detach_teacher", "the teacher gets no gradient");
  }
  Cost cost() const {
    const auto entries = static_cast<double>(student.size());
    return {30 * entries, 4 * sizeof(Real) * entries, true};
  }
  void run(const Context& ctx) const {
    const std::int64_t n = student.extent(0);
    const Real scale =
        scale_of(detail::sum_rows<Real>(ctx, n, [&](std::int64_t i) { return weight(i); }));
    parallel_for(ctx, n, 512, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) row(i, scale);
    });
  }
  void reference() const {
    const std::int64_t n = student.extent(0);
    const Real scale =
        scale_of(detail::plain_sum<Real>(n, [&](std::int64_t i) { return weight(i); }));
    for (std::int64_t i = 0; i < n; ++i) row(i, scale);
  }
  static void arbitrary(Arbitrary& random) { detail::arbitrary_weights(random); }

 private:
  Real scale_of(Real weights) const {
    const Real divisor = reduction == Reduction::weighted_mean ? weights
                         : reduction == Reduction::mean
                             ? Real(static_cast<double>(student.extent(0)))
                             : Real(1);
    return divisor > Real(0) ? d_loss(0) * Real(temperature) / divisor : Real(0);
  }
  void row(std::int64_t i, Real scale) const {
    const std::int64_t c = student.extent(1);
    const SoftRow<Real> s(&student(i, 0), c, Real(temperature));
    const SoftRow<Real> t(&teacher(i, 0), c, Real(temperature));
    const Real factor = scale * weight(i);
    const Real divergence = detach_teacher ? Real(0) : kl_divergence(s, t, c);
    for (std::int64_t j = 0; j < c; ++j) {
      const Real q = t.probability(j);
      d_student(i, j) = factor * (s.probability(j) - q);
      d_teacher(i, j) =
          detach_teacher
              ? Real(0)
              : factor * q * ((t.log_probability(j) - s.log_probability(j)) - divergence);
    }
  }
};

static_assert(OperatorStruct<DistillKlBackward<float>>);
inline constexpr Function<DistillKlBackward> distill_kl_backward;

/// The weight of each node for the feedback from the derived model to the host (B4).
///
///     auto weight = confidence_gate(ctx, {.host = zt, .derived = zmt, .mode = Gate::agree}).weight;
///
/// Ties go to the lowest class, and equal confidence passes. Held constant by gradients.
template <class Real>
struct ConfidenceGate {
  static constexpr std::string_view name = "bikt.confidence_gate";
  static constexpr std::string_view summary = "Which nodes may teach the host.";
  static constexpr Tolerance tolerance{.rtol = 1e-6, .atol = 1e-7};  // exponentials by a polynomial

  In<Real, 2> host = {};     // [n, c]
  In<Real, 2> derived = {};  // [n, c]
  Out<Real, 1> weight = {};  // [n]
  Gate mode = Gate::none;

  void describe(Description& io) {
    io.dimension("c", "[1, inf)", "classes");
    io.input(host, "host", "n c", "logits of the host", {.contiguous = true});
    io.input(derived, "derived", "n c", "logits of the derived model", {.contiguous = true});
    io.output(weight, "weight", "n", "weight of each node", {.contiguous = true});
    io.attribute(mode, "mode", "who may teach");
  }
  Cost cost() const {
    const auto entries = static_cast<double>(host.size());
    return {10 * entries + 10 * static_cast<double>(weight.size()), 2 * sizeof(Real) * entries,
            true};
  }
  void run(const Context& ctx) const {
    if constexpr (std::is_same_v<Real, float>) {
      kernels::gate(ctx, mode, host, derived, weight.data_handle());
    } else {
      parallel_for(ctx, host.extent(0), 512,
                   [&](std::int64_t begin, std::int64_t end) { rows(begin, end); });
    }
  }
  void reference() const { rows(0, host.extent(0)); }

 private:
  void rows(std::int64_t begin, std::int64_t end) const {
    for (std::int64_t i = begin; i < end; ++i) {
      weight(i) = gate_weight(mode, &host(i, 0), &derived(i, 0), host.extent(1));
    }
  }
};

static_assert(OperatorStruct<ConfidenceGate<float>>);
inline constexpr Function<ConfidenceGate> confidence_gate;

namespace detail {

/// The arguments that the transfer loss and its backward share.
template <class Real, class Index>
struct TransferArguments {
  In<Real, 2> host = {};             // [n, c]
  In<Real, 2> derived = {};          // [n, c]
  In<Real, 2> host_teacher = {};     // [n, c]
  In<Real, 2> derived_teacher = {};  // [n, c]
  In<Index, 1> labels = {};          // [n]
  In<std::uint8_t, 1> mask = {};     // [n]
  In<Real, 1> weight = {};           // [n]
  double mu = 1;
  double alpha_derived = 1;
  double alpha_host = 1;
  double temperature = 2;

  void describe_inputs(Description& io) {
    io.dimension("c", "[1, inf)", "classes");
    io.input(host, "host", "n c", "logits of the host", {.contiguous = true});
    io.input(derived, "derived", "n c", "logits of the derived model", {.contiguous = true});
    io.input(host_teacher, "host_teacher", "n c", "the host's, without dropout; constant",
             {.contiguous = true});
    io.input(derived_teacher, "derived_teacher", "n c", "the derived model's; constant",
             {.contiguous = true});
    io.input(labels, "labels", "n", "classes, in [0, c) where masked", {.contiguous = true});
    io.input(mask, "mask", "n", "labelled rows: not 0", {.contiguous = true});
    io.input(weight, "weight", "n", "gate of each node", {.in = "[0, inf)", .contiguous = true});
  }
  void describe_attributes(Description& io) {
    io.attribute(mu, "mu", "weight of the derived model's cross entropy", {.in = "[0, inf)"});
    io.attribute(alpha_derived, "alpha_derived", "weight of host to derived", {.in = "[0, inf)"});
    io.attribute(alpha_host, "alpha_host", "weight of derived to host", {.in = "[0, inf)"});
    io.attribute(temperature, "temperature", "divides logits in the divergences",
                 {.in = "(0, inf)"});
  }
  void validate(const Check& check) const {
    graph::require_labels(check, labels, mask, host.extent(1));
  }
  /// The same for the kernel of float32.
  TransferRows<Index> rows_of_kernel() const {
    return {n(),
            c(),
            host.data_handle(),
            derived.data_handle(),
            host_teacher.data_handle(),
            derived_teacher.data_handle(),
            labels.data_handle(),
            mask.data_handle(),
            weight.data_handle()};
  }
  std::int64_t n() const { return host.extent(0); }
  std::int64_t c() const { return host.extent(1); }
  std::int64_t label(std::int64_t i) const { return static_cast<std::int64_t>(labels(i)); }
  /// The four row sums: cross entropies of both, divergences of both.
  Real term(int which, std::int64_t i) const {
    const Real t = Real(temperature);
    if (which < 2) {
      const In<Real, 2>& z = which == 0 ? host : derived;
      return mask(i) == 0 ? Real(0) : graph::reference::nll(&z(i, 0), c(), label(i));
    }
    const bool to_derived = which == 2;
    const SoftRow<Real> student(to_derived ? &derived(i, 0) : &host(i, 0), c(), t);
    const SoftRow<Real> teacher(to_derived ? &host_teacher(i, 0) : &derived_teacher(i, 0), c(), t);
    const Real divergence = kl_divergence(student, teacher, c());
    return to_derived ? divergence : weight(i) * divergence;
  }
  Real labelled() const {
    std::int64_t count = 0;
    for (std::int64_t i = 0; i < n(); ++i) count += mask(i) != 0 ? 1 : 0;
    return Real(static_cast<double>(std::max<std::int64_t>(count, 1)));
  }
  Real rows() const { return Real(static_cast<double>(std::max<std::int64_t>(n(), 1))); }
  static void arbitrary(Arbitrary& random) {
    arbitrary_weights(random);
    graph::arbitrary_labels(random);
  }
};

}  // namespace detail

/// The losses of bi-directional transfer on logits (B5, B9):
/// [total, CE host, CE derived, KL host to derived (mean), KL derived to host (weighted mean)] with
/// total = CE_host + mu CE_derived + alpha_derived KL_1 + alpha_host KL_2.
///
///     auto loss = bikt_transfer_loss(ctx, {.host = z, .derived = zm, ...}).loss;
///
/// Teachers and weights are constants. Rows add up in double.
template <class Real, class Index>
struct BiktTransferLoss : detail::TransferArguments<Real, Index> {
  static constexpr std::string_view name = "bikt.bikt_transfer_loss";
  static constexpr std::string_view summary = "Losses of bi-directional transfer.";
  static constexpr Tolerance tolerance{.rtol = 1e-5, .atol = 1e-5};  // double sums stay double

  Out<Real, 1> loss = {};  // [5]

  void describe(Description& io) {
    this->describe_inputs(io);
    io.output(loss, "loss", "5", "total and its four parts", {.contiguous = true});
    this->describe_attributes(io);
  }
  Cost cost() const {
    const auto entries = static_cast<double>(this->host.size());
    return {50 * entries, 4 * sizeof(Real) * entries, true};
  }
  void run(const Context& ctx) const {
    if constexpr (std::is_same_v<Real, float>) {
      const auto parts = kernels::transfer_loss(
          ctx, this->rows_of_kernel(), static_cast<float>(this->temperature), {}, nullptr, nullptr);
      std::copy(parts.begin(), parts.end(), loss.data_handle() + 1);
      add_up();
    } else {
      write([&](auto&& term) { return detail::sum_rows<Real>(ctx, this->n(), term); });
    }
  }
  void reference() const {
    write([&](auto&& term) { return detail::plain_sum<Real>(this->n(), term); });
  }

 private:
  template <class Sum>
  void write(Sum&& sum) const {
    const auto part = [&](int which) {
      return sum([&](std::int64_t i) { return this->term(which, i); });
    };
    const Real square = Real(this->temperature * this->temperature);
    const Real weights = sum([&](std::int64_t i) { return this->weight(i); });
    loss(1) = part(0) / this->labelled();
    loss(2) = part(1) / this->labelled();
    loss(3) = square * part(2) / this->rows();
    loss(4) = weights > Real(0) ? square * part(3) / weights : Real(0);
    add_up();
  }
  void add_up() const {
    loss(0) = loss(1) + Real(this->mu) * loss(2) + Real(this->alpha_derived) * loss(3) +
              Real(this->alpha_host) * loss(4);
  }
};

static_assert(OperatorStruct<BiktTransferLoss<float, std::int32_t>>);
inline constexpr IndexedFunction<BiktTransferLoss> bikt_transfer_loss;

/// Gradient of bikt_transfer_loss with respect to both models' logits; every one of the five losses may
/// have an upstream gradient.
template <class Real, class Index>
struct BiktTransferLossBackward : detail::TransferArguments<Real, Index> {
  static constexpr std::string_view name = "bikt.bikt_transfer_loss_backward";
  static constexpr std::string_view summary = "Gradient of bikt_transfer_loss.";
  static constexpr Tolerance tolerance{.rtol = 1e-5, .atol = 1e-5};  // double sums stay double

  In<Real, 1> d_loss = {};      // [5]
  Out<Real, 2> d_host = {};     // [n, c]
  Out<Real, 2> d_derived = {};  // [n, c]

  void describe(Description& io) {
    this->describe_inputs(io);
    io.input(d_loss, "d_loss", "5", "gradient of the losses", {.contiguous = true});
    io.output(d_host, "d_host", "n c", "gradient of host", {.contiguous = true});
    io.output(d_derived, "d_derived", "n c", "gradient of derived", {.contiguous = true});
    this->describe_attributes(io);
  }
  Cost cost() const {
    const auto entries = static_cast<double>(this->host.size());
    return {70 * entries, 6 * sizeof(Real) * entries, true};
  }
  void run(const Context& ctx) const {
    if constexpr (std::is_same_v<Real, float>) {
      const float total = d_loss(0);
      kernels::transfer_loss(ctx, this->rows_of_kernel(), static_cast<float>(this->temperature),
                             {total + d_loss(1), total * Real(this->mu) + d_loss(2),
                              total * Real(this->alpha_derived) + d_loss(3),
                              total * Real(this->alpha_host) + d_loss(4)},
                             d_host.data_handle(), d_derived.data_handle());
      return;
    }
    const auto scales = scales_of(
        detail::sum_rows<Real>(ctx, this->n(), [&](std::int64_t i) { return this->weight(i); }));
    parallel_for(ctx, this->n(), 512, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) row(i, scales);
    });
  }
  void reference() const {
    const auto scales = scales_of(
        detail::plain_sum<Real>(this->n(), [&](std::int64_t i) { return this->weight(i); }));
    for (std::int64_t i = 0; i < this->n(); ++i) row(i, scales);
  }

 private:
  struct Scales {
    Real host, derived, to_derived, to_host;
  };
  Scales scales_of(Real weights) const {
    const Real total = d_loss(0), t = Real(this->temperature);
    return {
        (total + d_loss(1)) / this->labelled(),
        (total * Real(this->mu) + d_loss(2)) / this->labelled(),
        (total * Real(this->alpha_derived) + d_loss(3)) * t / this->rows(),
        weights > Real(0) ? (total * Real(this->alpha_host) + d_loss(4)) * t / weights : Real(0)};
  }
  void branch(std::int64_t i, In<Real, 2> z, In<Real, 2> teacher, Real label_scale, Real scale,
              Out<Real, 2> d) const {
    const std::int64_t c = this->c();
    Real* to = &d(i, 0);
    if (this->mask(i) == 0) {
      for (std::int64_t j = 0; j < c; ++j) to[j] = Real(0);
    } else {
      graph::reference::nll_gradient(&z(i, 0), c, this->label(i), label_scale, to);
    }
    const SoftRow<Real> p(&z(i, 0), c, Real(this->temperature));
    const SoftRow<Real> q(&teacher(i, 0), c, Real(this->temperature));
    for (std::int64_t j = 0; j < c; ++j) to[j] += scale * (p.probability(j) - q.probability(j));
  }
  void row(std::int64_t i, const Scales& s) const {
    branch(i, this->host, this->derived_teacher, s.host, s.to_host * this->weight(i), d_host);
    branch(i, this->derived, this->host_teacher, s.derived, s.to_derived, d_derived);
  }
};

static_assert(OperatorStruct<BiktTransferLossBackward<float, std::int32_t>>);
inline constexpr IndexedFunction<BiktTransferLossBackward> bikt_transfer_loss_backward;

}  // namespace researchkit::bikt
