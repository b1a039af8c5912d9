#pragma once

#include "researchkit/bikt/operators_transfer.hpp"

namespace researchkit::bikt {

namespace detail {

/// The arguments that the transfer loss and its backward share.
template <class Real, class Index>
struct TransferArguments {
  In<Real, 2> host = {};                     // [n, c]
  In<Real, 2> derived = {};                  // [n, c]
  In<Real, 2> host_teacher = {};             // [n, c]
  In<Real, 2> derived_teacher = {};          // [n, c]
  In<Index, 1> labels = {};                  // [n]
  In<std::uint8_t, 1> mask = {};             // [n]
  In<Real, 1> weight = {};                   // [n]
  Optional<In<Real, 1>> class_weights = {};  // [c]
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
    io.input(class_weights, "class_weights", "c",
             "of each class in both cross entropies, 1 when absent",
             {.in = "[0, inf)", .contiguous = true});
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
            weight.data_handle(),
            class_weights ? class_weights->data_handle() : nullptr};
  }
  std::int64_t n() const { return host.extent(0); }
  std::int64_t c() const { return host.extent(1); }
  std::int64_t label(std::int64_t i) const { return static_cast<std::int64_t>(labels(i)); }
  /// The four row sums: cross entropies of both, divergences of both.
  Real term(int which, std::int64_t i) const {
    const Real t = Real(temperature);
    if (which < 2) {
      const In<Real, 2>& z = which == 0 ? host : derived;
      if (mask(i) == 0) return Real(0);
      return label_weight(i) * graph::reference::nll(&z(i, 0), c(), label(i));
    }
    const bool to_derived = which == 2;
    const SoftRow<Real> student(to_derived ? &derived(i, 0) : &host(i, 0), c(), t);
    const SoftRow<Real> teacher(to_derived ? &host_teacher(i, 0) : &derived_teacher(i, 0), c(), t);
    const Real divergence = kl_divergence(student, teacher, c());
    return to_derived ? divergence : weight(i) * divergence;
  }
  /// The weight of a masked row's class.
  Real label_weight(std::int64_t i) const {
    return class_weights ? (*class_weights)(label(i)) : Real(1);
  }
  /// What the cross entropies are divided by: the sum of the masked rows' weights.
  Real labelled() const {
    Real sum = 0;
    for (std::int64_t i = 0; i < n(); ++i) {
      if (mask(i) != 0) sum += label_weight(i);
    }
    return sum > Real(0) ? sum : Real(1);
  }
  Real rows() const { return Real(static_cast<double>(std::max<std::int64_t>(n(), 1))); }
  static void arbitrary(Arbitrary& random) {
    arbitrary_weights(random);
    arbitrary_weights(random, "class_weights");
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
/// Cross entropies are means over the masked rows, each weighted by its class's entry of `class_weights`.
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
      graph::reference::nll_gradient(&z(i, 0), c, this->label(i),
                                     label_scale * this->label_weight(i), to);
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
