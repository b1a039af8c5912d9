#include <cmath>

#include "researchkit/bikt/builtin_hosts.hpp"
#include "researchkit/bikt/operators.hpp"
#include "researchkit/bikt/training.hpp"
#include "researchkit/graph/splits.hpp"
#include "researchkit/graph/synthetic.hpp"
#include "researchkit/nn/initialize.hpp"
#include "researchkit/nn/metrics.hpp"
#include "support/catch.hpp"

namespace {

using namespace researchkit;
using namespace researchkit::bikt;

/// Logits of 40 nodes and three classes, and labels of the first 30, of which class 2 has few.
template <class Real>
struct Rows {
  Array<Real, 2> host, derived, teacher;
  std::vector<std::int32_t> labels;
  std::vector<std::uint8_t> mask;
  Array<Real, 1> weight;

  Rows() : host({40, 3}), derived({40, 3}), teacher({40, 3}), weight({40}) {
    for (auto [array, stream] :
         {std::pair{&host, 0}, std::pair{&derived, 1}, std::pair{&teacher, 2}}) {
      nn::normal<Real>({array->data_handle(), 120}, 2, 9, static_cast<std::uint64_t>(stream));
    }
    for (std::int64_t i = 0; i < 40; ++i) {
      labels.push_back(static_cast<std::int32_t>(i % 10 == 0 ? 2 : i % 2));
      mask.push_back(i < 30 ? 1 : 0);
      weight(i) = Real(0.5);
    }
  }
  /// Without divergences, so that cross entropies are all there is.
  bikt::detail::TransferArguments<Real, std::int32_t> arguments(std::vector<Real>& classes) const {
    return {.host = host,
            .derived = derived,
            .host_teacher = host,
            .derived_teacher = derived,
            .labels = {labels.data(), {40}},
            .mask = {mask.data(), {40}},
            .weight = weight,
            .class_weights = classes.empty()
                                 ? Optional<In<Real, 1>>()
                                 : Optional<In<Real, 1>>(In<Real, 1>(classes.data(), {3})),
            .mu = 0.7};
  }
};

template <class Real>
double cross_entropy(In<Real, 2> z, std::int64_t i, std::int32_t label) {
  double sum = 0;
  for (std::int64_t j = 0; j < 3; ++j) sum += std::exp(static_cast<double>(z(i, j)));
  return std::log(sum) - static_cast<double>(z(i, label));
}

template <class Real>
void check_weighted_mean(double tolerance) {
  const Context ctx;
  const Rows<Real> rows;
  std::vector<Real> classes = {Real(1), Real(0.5), Real(4)};
  const auto loss =
      bikt_transfer_loss(ctx, BiktTransferLoss<Real, std::int32_t>{rows.arguments(classes)});
  double host = 0, derived = 0, total = 0;
  for (std::size_t i = 0; i < 30; ++i) {
    const auto w = static_cast<double>(classes[static_cast<std::size_t>(rows.labels[i])]);
    const auto row = static_cast<std::int64_t>(i);
    host += w * cross_entropy<Real>(rows.host, row, rows.labels[i]);
    derived += w * cross_entropy<Real>(rows.derived, row, rows.labels[i]);
    total += w;
  }
  CHECK(std::fabs(static_cast<double>(loss.loss(1)) - host / total) < tolerance);
  CHECK(std::fabs(static_cast<double>(loss.loss(2)) - derived / total) < tolerance);
  std::vector<Real> ones = {1, 1, 1}, none;
  const auto with =
      bikt_transfer_loss(ctx, BiktTransferLoss<Real, std::int32_t>{rows.arguments(ones)});
  const auto without =
      bikt_transfer_loss(ctx, BiktTransferLoss<Real, std::int32_t>{rows.arguments(none)});
  for (std::int64_t i = 0; i < 5; ++i) CHECK(with.loss(i) == without.loss(i));
}

TEST_CASE("cross entropies are means weighted by the rows' classes") {
  check_weighted_mean<float>(1e-5);
  check_weighted_mean<double>(1e-12);
}

TEST_CASE("a class of weight 0 has neither loss nor gradient") {
  const Context ctx;
  const Rows<float> rows;
  std::vector<float> classes = {1, 1, 0};
  Array<float, 1> upstream({5});
  upstream(1) = upstream(2) = 1;  // the cross entropies alone
  const auto gradient = bikt_transfer_loss_backward(
      ctx, BiktTransferLossBackward<float, std::int32_t>{rows.arguments(classes), upstream});
  double largest = 0, others = 0;
  for (std::int64_t i = 0; i < 40; ++i) {
    for (std::int64_t j = 0; j < 3; ++j) {
      const double size = std::fabs(static_cast<double>(gradient.d_host(i, j))) +
                          std::fabs(static_cast<double>(gradient.d_derived(i, j)));
      (rows.labels[static_cast<std::size_t>(i)] == 2 || i >= 30 ? largest : others) += size;
    }
  }
  CHECK(largest == 0);
  CHECK(others > 0.1);
}

TEST_CASE("balanced weights make all classes of a role weigh alike") {
  using graph::Role;
  const std::vector<std::int32_t> labels = {0, 0, 0, 1, 3, 3, 2};
  graph::Split split(7, Role::train);
  split[6] = Role::test;
  const auto weights = graph::balanced_class_weights(labels, 5, split, Role::train);
  CHECK(weights == std::vector<float>{6.f / 9, 2, 0, 1, 0});
}

TEST_CASE("balanced training finds more of a rare class") {
  const Context ctx({.threads = 1});
  graph::NodeDataset data = graph::csbm(
      ctx,
      {.nodes = 600, .average_degree = 6, .features = 40, .phi = 0.3, .epsilon = 1.5, .seed = 4});
  graph::Split split = graph::balanced_split(data.labels, 2, 0.3, 0.3, 1);
  std::int64_t kept = 0;
  for (std::size_t i = 0; i < split.size(); ++i) {  // class 1 has 8 labels, class 0 about 90
    if (split[i] == graph::Role::train && data.labels[i] == 1 && ++kept > 8) {
      split[i] = graph::Role::none;
    }
  }
  const HostGraph<float> graph(ctx, data.adjacency);
  const auto recall = [&](ClassWeights weights, bool propagate) {
    const auto host = std::make_shared<BuiltinHost<float>>(HostOptions{.hidden = 16, .seed = 2},
                                                           data.features.columns(), 2);
    train(ctx, host, graph, data, split, {.class_weights = weights, .epochs = 60, .seed = 1});
    const Tensor z = predict(ctx, *host, graph, data.features, propagate);
    auto mask = mask_of(split, graph::Role::test);
    for (std::size_t i = 0; i < mask.size(); ++i) mask[i] = mask[i] != 0 && data.labels[i] == 1;
    return nn::accuracy(nn::predictions(std::as_const(z).view<float, 2>()), data.labels, mask);
  };
  CHECK(recall(ClassWeights::balanced, true) > recall(ClassWeights::none, true) + 0.1);
  CHECK(recall(ClassWeights::balanced, false) > recall(ClassWeights::none, false) + 0.1);
}

}  // namespace
