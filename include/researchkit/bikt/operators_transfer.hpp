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

inline void arbitrary_weights(Arbitrary& random, const char* name = "weight") {
  const Tensor* old = random.call.inputs.find(name);
  if (old == nullptr) return;
  Tensor weight = old->clone();
  visit_dtype(weight.dtype(), [&]<class T>(T) {
    for (T& value : weight.values<T>()) {
      value = static_cast<T>(std::abs(static_cast<double>(value)) + 0.1);
    }
  });
  random.call.inputs.set(name, weight);
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

}  // namespace researchkit::bikt
