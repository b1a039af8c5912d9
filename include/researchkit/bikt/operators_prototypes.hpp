#pragma once

#include <fmt/format.h>

#include <vector>

#include "researchkit/graph/checks.hpp"

namespace researchkit::bikt {

/// The mean representation of each class over the masked rows; zeros for a class without any (B10).
///
///     auto p = class_prototypes(ctx, {.z = h, .labels = y, .mask = train, .num_classes = 7});
template <class Real, class Index>
struct ClassPrototypes {
  static constexpr std::string_view name = "bikt.class_prototypes";
  static constexpr std::string_view summary = "Mean representation of each class.";

  In<Real, 2> z = {};                // [n, d]
  In<Index, 1> labels = {};          // [n]
  In<std::uint8_t, 1> mask = {};     // [n]
  Out<Real, 2> prototypes = {};      // [num_classes, d]
  Out<std::int32_t, 1> counts = {};  // [num_classes]
  std::int64_t num_classes = 1;

  void describe(Description& io) {
    io.input(z, "z", "n d", "representations", {.contiguous = true});
    io.input(labels, "labels", "n", "classes, in [0, num_classes) where masked",
             {.contiguous = true});
    io.input(mask, "mask", "n", "rows that count: not 0", {.contiguous = true});
    io.output(prototypes, "prototypes", "num_classes d", "means", {.contiguous = true});
    io.output(counts, "counts", "num_classes", "rows of each class", {.contiguous = true});
    io.attribute(num_classes, "num_classes", "classes", {.in = "[1, 2147483647)"});
  }
  void validate(const Check& check) const {
    graph::require_labels(check, labels, mask, num_classes);
  }
  Cost cost() const {
    const auto entries = static_cast<double>(z.size());
    return {entries + static_cast<double>(prototypes.size()), sizeof(Real) * entries, true};
  }
  /// One pass over the rows in order: a few thousand labelled rows are not worth a thread.
  void run(const Context&) const { reference(); }
  void reference() const {
    for (std::int64_t c = 0; c < num_classes; ++c) {
      counts(c) = 0;
      for (std::int64_t j = 0; j < z.extent(1); ++j) prototypes(c, j) = Real(0);
    }
    for (std::int64_t i = 0; i < z.extent(0); ++i) {
      if (mask(i) == 0) continue;
      const auto label = static_cast<std::int64_t>(labels(i));
      ++counts(label);
      for (std::int64_t j = 0; j < z.extent(1); ++j) prototypes(label, j) += z(i, j);
    }
    for (std::int64_t c = 0; c < num_classes; ++c) {
      const Real count = Real(static_cast<double>(std::max(counts(c), 1)));
      for (std::int64_t j = 0; j < z.extent(1); ++j) prototypes(c, j) /= count;
    }
  }
  static void arbitrary(Arbitrary& random) {
    random.call.attributes["num_classes"] = std::int64_t{4};
    random.sizes.set("c", 4);
    graph::arbitrary_labels(random);
  }
};

static_assert(OperatorStruct<ClassPrototypes<float, std::int32_t>>);
inline constexpr IndexedFunction<ClassPrototypes> class_prototypes;

/// Gradient of class_prototypes: d_z_i = d_prototypes[y_i] / count for masked rows, else 0.
template <class Real, class Index>
struct ClassPrototypesBackward {
  static constexpr std::string_view name = "bikt.class_prototypes_backward";
  static constexpr std::string_view summary = "Gradient of class_prototypes.";

  In<Index, 1> labels = {};         // [n]
  In<std::uint8_t, 1> mask = {};    // [n]
  In<std::int32_t, 1> counts = {};  // [num_classes]
  In<Real, 2> d_prototypes = {};    // [num_classes, d]
  Out<Real, 2> d_z = {};            // [n, d]

  void describe(Description& io) {
    io.input(labels, "labels", "n", "classes, in [0, num_classes) where masked",
             {.contiguous = true});
    io.input(mask, "mask", "n", "rows that count: not 0", {.contiguous = true});
    io.input(counts, "counts", "num_classes", "rows of each class, from the forward",
             {.contiguous = true});
    io.input(d_prototypes, "d_prototypes", "num_classes d", "gradient of prototypes",
             {.contiguous = true});
    io.output(d_z, "d_z", "n d", "gradient of z", {.contiguous = true});
  }
  void validate(const Check& check) const {
    graph::require_labels(check, labels, mask, counts.extent(0));
  }
  Cost cost() const {
    const auto entries = static_cast<double>(d_z.size());
    return {entries, sizeof(Real) * 2 * entries, true};
  }
  void run(const Context& ctx) const {
    parallel_for(ctx, d_z.extent(0), 1024,
                 [&](std::int64_t begin, std::int64_t end) { rows(begin, end); });
  }
  void reference() const { rows(0, d_z.extent(0)); }
  static void arbitrary(Arbitrary& random) {
    random.resize("num_classes", 4);
    random.sizes.set("c", 4);
    graph::arbitrary_labels(random);
  }

 private:
  void rows(std::int64_t begin, std::int64_t end) const {
    for (std::int64_t i = begin; i < end; ++i) {
      for (std::int64_t j = 0; j < d_z.extent(1); ++j) {
        if (mask(i) == 0) {
          d_z(i, j) = Real(0);
          continue;
        }
        const auto label = static_cast<std::int64_t>(labels(i));
        d_z(i, j) = d_prototypes(label, j) / Real(static_cast<double>(std::max(counts(label), 1)));
      }
    }
  }
};

static_assert(OperatorStruct<ClassPrototypesBackward<float, std::int32_t>>);
inline constexpr IndexedFunction<ClassPrototypesBackward> class_prototypes_backward;

namespace detail {

/// The arguments and rows that the alignment loss and its backward share.
template <class Real, class Index>
struct AlignArguments {
  In<Real, 2> z = {};               // [n, d]
  In<Real, 2> prototypes = {};      // [c, d]
  In<std::int32_t, 1> counts = {};  // [c]
  In<Index, 1> labels = {};         // [n]
  In<std::uint8_t, 1> mask = {};    // [n]
  double tau = 0.5;
  bool detach_prototypes = true;

  void describe_inputs(Description& io) {
    io.input(z, "z", "n d", "representations", {.contiguous = true});
    io.input(prototypes, "prototypes", "c d", "prototype of each class", {.contiguous = true});
    io.input(counts, "counts", "c", "members of each class; 0: left out", {.contiguous = true});
    io.input(labels, "labels", "n", "classes with members, where masked", {.contiguous = true});
    io.input(mask, "mask", "n", "rows that count: not 0", {.contiguous = true});
  }
  void describe_attributes(Description& io) {
    io.attribute(tau, "tau", "divides the cosines", {.in = "(0, inf)"});
    io.attribute(detach_prototypes, "detach_prototypes", "prototypes get no gradient");
  }
  void validate(const Check& check) const {
    graph::require_labels(check, labels, mask, prototypes.extent(0));
    for (std::int64_t i = 0; i < z.extent(0); ++i) {
      if (mask(i) == 0 || counts(label(i)) > 0) continue;
      check.refuse("labels", "classes that have a prototype where masked",
                   fmt::format("class {} with count {} at [{}]", label(i), counts(label(i)), i));
    }
  }
  std::int64_t label(std::int64_t i) const { return static_cast<std::int64_t>(labels(i)); }
  std::int64_t d() const { return z.extent(1); }
  std::int64_t classes() const { return prototypes.extent(0); }
  Real masked() const {
    std::int64_t count = 0;
    for (std::int64_t i = 0; i < z.extent(0); ++i) count += mask(i) != 0 ? 1 : 0;
    return Real(static_cast<double>(count));
  }
  /// 1 / norm, or 0 for a row whose norm is at most 1e-8.
  Real inverse_norm(const Real* row) const {
    using std::sqrt;
    Real sum = 0;
    for (std::int64_t j = 0; j < d(); ++j) sum += row[j] * row[j];
    const Real norm = sqrt(sum);
    return norm > Real(1e-8) ? Real(1) / norm : Real(0);
  }
  /// The softmax over classes of row i's scaled cosines, into `probabilities`; returns its loss.
  Real row(std::int64_t i, const std::vector<Real>& inverse, Real inverse_z,
           std::vector<Real>& probabilities) const {
    using std::exp;
    using std::log;
    Real largest = Real(-HUGE_VAL), sum = 0, own = 0;
    for (std::int64_t c = 0; c < classes(); ++c) {
      if (counts(c) <= 0) continue;
      Real dot = 0;
      for (std::int64_t j = 0; j < d(); ++j) dot += z(i, j) * prototypes(c, j);
      Real& score = probabilities[static_cast<std::size_t>(c)];
      score = dot * inverse_z * inverse[static_cast<std::size_t>(c)] / Real(tau);
      largest = std::max(largest, score);
      if (c == label(i)) own = score;
    }
    for (std::int64_t c = 0; c < classes(); ++c) {
      Real& score = probabilities[static_cast<std::size_t>(c)];
      score = counts(c) > 0 ? exp(score - largest) : Real(0);
      sum += score;
    }
    for (Real& probability : probabilities) probability /= sum;
    return log(sum) - (own - largest);
  }
  std::vector<Real> inverse_norms() const {
    std::vector<Real> inverse;
    for (std::int64_t c = 0; c < classes(); ++c) {
      inverse.push_back(d() == 0 ? Real(0) : inverse_norm(&prototypes(c, 0)));
    }
    return inverse;
  }
  static void arbitrary(Arbitrary& random) {
    random.resize("c", random.integer(1, 5));
    Tensor counts(DType::i32, {random.size("c")});
    for (std::int32_t& count : counts.values<std::int32_t>()) {
      count = static_cast<std::int32_t>(random.integer(1, 3));
    }
    random.call.inputs.set("counts", counts);
    random.call.attributes["detach_prototypes"] = false;
    graph::arbitrary_labels(random);
  }
};

}  // namespace detail

/// Alignment of representations to class prototypes, InfoNCE over cosines: the mean over masked rows
/// of -log softmax_c(cos(z_i, p_c) / tau)[y_i], classes without members left out (B6, B11).
///
///     auto loss = prototype_align_loss(ctx, {.z = h, .prototypes = p.prototypes, .counts = p.counts,
///                                            .labels = y, .mask = train}).loss;
///
/// A vector of norm at most 1e-8 has cosine 0 and no gradient. An empty mask gives 0.
template <class Real, class Index>
struct PrototypeAlignLoss : detail::AlignArguments<Real, Index> {
  static constexpr std::string_view name = "bikt.prototype_align_loss";
  static constexpr std::string_view summary = "Alignment of representations to prototypes.";

  Out<Real, 1> loss = {};  // [1]

  void describe(Description& io) {
    this->describe_inputs(io);
    io.output(loss, "loss", "1", "mean over the masked rows", {.contiguous = true});
    this->describe_attributes(io);
  }
  Cost cost() const {
    const auto pairs = static_cast<double>(this->z.extent(0) * this->classes());
    const auto d = static_cast<double>(this->d());
    return {
        pairs * (2 * d + 8) + 3 * d * static_cast<double>(this->z.extent(0) + this->classes()) + 8,
        sizeof(Real) * static_cast<double>(this->z.size()), true};
  }
  /// One pass over the labelled rows in order: there are few.
  void run(const Context&) const { reference(); }
  void reference() const {
    const Real count = this->masked();
    const auto inverse = this->inverse_norms();
    std::vector<Real> probabilities(inverse.size());
    Real sum = 0;
    for (std::int64_t i = 0; i < this->z.extent(0); ++i) {
      if (this->mask(i) == 0) continue;
      const Real inverse_z = this->d() == 0 ? Real(0) : this->inverse_norm(&this->z(i, 0));
      sum += this->row(i, inverse, inverse_z, probabilities);
    }
    loss(0) = count > Real(0) ? sum / count : Real(0);
  }
};

static_assert(OperatorStruct<PrototypeAlignLoss<float, std::int32_t>>);
inline constexpr IndexedFunction<PrototypeAlignLoss> prototype_align_loss;

/// Gradient of prototype_align_loss; that of the prototypes is 0 when they are detached.
template <class Real, class Index>
struct PrototypeAlignLossBackward : detail::AlignArguments<Real, Index> {
  static constexpr std::string_view name = "bikt.prototype_align_loss_backward";
  static constexpr std::string_view summary = "Gradient of prototype_align_loss.";

  In<Real, 1> d_loss = {};         // [1]
  Out<Real, 2> d_z = {};           // [n, d]
  Out<Real, 2> d_prototypes = {};  // [c, d]

  void describe(Description& io) {
    this->describe_inputs(io);
    io.input(d_loss, "d_loss", "1", "gradient of the loss", {.contiguous = true});
    io.output(d_z, "d_z", "n d", "gradient of z", {.contiguous = true});
    io.output(d_prototypes, "d_prototypes", "c d", "gradient of prototypes", {.contiguous = true});
    this->describe_attributes(io);
  }
  Cost cost() const {
    const auto pairs = static_cast<double>(this->z.extent(0) * this->classes());
    const auto d = static_cast<double>(this->d());
    return {pairs * (8 * d + 12) +
                10 * d * static_cast<double>(this->z.extent(0) + this->classes()) + 8,
            2 * sizeof(Real) * static_cast<double>(this->z.size()), true};
  }
  void run(const Context&) const { reference(); }
  void reference() const {
    const std::int64_t d = this->d(), n = this->z.extent(0), classes = this->classes();
    std::fill_n(d_z.data_handle(), d_z.size(), Real(0));
    std::fill_n(d_prototypes.data_handle(), d_prototypes.size(), Real(0));
    const Real count = this->masked();
    if (!(count > Real(0)) || d == 0) return;
    const auto inverse = this->inverse_norms();
    std::vector<Real> e(inverse.size());
    const Real scale = d_loss(0) / (count * Real(this->tau));
    for (std::int64_t i = 0; i < n; ++i) {
      if (this->mask(i) == 0) continue;
      const Real inverse_z = this->inverse_norm(&this->z(i, 0));
      this->row(i, inverse, inverse_z, e);
      e[static_cast<std::size_t>(this->label(i))] -= Real(1);
      for (std::int64_t c = 0; c < classes; ++c) {
        const auto at = static_cast<std::size_t>(c);
        const Real factor = e[at] * scale;
        for (std::int64_t j = 0; j < d; ++j) {
          d_z(i, j) += factor * this->prototypes(c, j) * inverse[at];
          if (!this->detach_prototypes) d_prototypes(c, j) += factor * this->z(i, j) * inverse_z;
        }
      }
      project(&this->z(i, 0), inverse_z, &d_z(i, 0));
    }
    for (std::int64_t c = 0; c < classes; ++c) {
      project(&this->prototypes(c, 0), inverse[static_cast<std::size_t>(c)], &d_prototypes(c, 0));
    }
  }

 private:
  /// From the gradient of x / |x| to that of x, in place.
  void project(const Real* x, Real inverse, Real* gradient) const {
    Real along = 0;
    for (std::int64_t j = 0; j < this->d(); ++j) along += gradient[j] * (x[j] * inverse);
    for (std::int64_t j = 0; j < this->d(); ++j) {
      gradient[j] = (gradient[j] - along * (x[j] * inverse)) * inverse;
    }
  }
};

static_assert(OperatorStruct<PrototypeAlignLossBackward<float, std::int32_t>>);
inline constexpr IndexedFunction<PrototypeAlignLossBackward> prototype_align_loss_backward;

}  // namespace researchkit::bikt
