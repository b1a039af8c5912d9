#include "researchkit/nfgnn/scalable.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "researchkit/autograd/gradcheck.hpp"
#include "researchkit/core/bfloat16.hpp"
#include "researchkit/graph/splits.hpp"
#include "researchkit/graph/synthetic.hpp"
#include "researchkit/nfgnn/operators.hpp"
#include "researchkit/nfgnn/training.hpp"
#include "support/catch.hpp"
#include "support/contains.hpp"
#include "support/temporary_folder.hpp"

namespace {

using namespace researchkit;
using namespace researchkit::nfgnn;

/// A small graph whose features fill more than one block of columns.
graph::NodeDataset two_classes(std::int64_t nodes = 90, std::int64_t features = 150) {
  return graph::csbm(
      Context(),
      {.nodes = nodes, .average_degree = 6, .features = features, .phi = 0.6, .seed = 2});
}

graph::Csr<float> propagation(const graph::NodeDataset& data) {
  return normalized(Context(), data.adjacency, graph::Normalization::cheb, 0);
}

std::vector<std::int32_t> numbers(std::int64_t count, std::int32_t from = 0) {
  std::vector<std::int32_t> list(static_cast<std::size_t>(count));
  std::iota(list.begin(), list.end(), from);
  return list;
}

PropagatedFeatures orders_of(const Context& ctx, const graph::NodeDataset& data,
                             const PropagationOptions& options = {}) {
  return {ctx, data.features, propagation(data), numbers(data.nodes()), options};
}

ModelOptions small_model() {
  ModelOptions options = scalable_preset().model;
  options.hidden = 6;
  options.K = 3;
  options.rank = 2;
  options.seed = 7;
  return options;
}

template <class Model>
autograd::Adam adam_of(const Model& model) {
  return autograd::Adam({{.parameters = model.dense_parameters(), .lr = 0.01},
                         {.parameters = model.filter_parameters(), .lr = 0.05}});
}

TEST_CASE("the nearest bfloat16 is at most half a unit away, ties go to even, NaN stays") {
  CHECK(to_float(to_bfloat16(1.f)) == 1.f);
  CHECK(to_float(to_bfloat16(1.00390625f)) == 1.f);        // 1 + 2^-8, between 1 and 1 + 2^-7
  CHECK(to_float(to_bfloat16(1.01171875f)) == 1.015625f);  // 1 + 3 2^-8 goes up
  CHECK(to_float(to_bfloat16(-2.99f)) == -2.984375f);
  CHECK(std::isinf(to_float(to_bfloat16(3.4e38f))));
  CHECK(std::isnan(to_float(to_bfloat16(std::nanf("")))));
  CHECK(std::isnan(to_float(to_bfloat16(std::bit_cast<float>(0x7f800001u)))));
}

TEST_CASE("a directed graph is symmetrised by the mirrors it lacks") {
  const Context ctx;
  //  0 -> 1 with 2, 1 -> 0 with 3, 2 -> 0 with 5
  const graph::Csr<float> a({{0, 1, 2, 3}, {1, 0, 0}, {2, 3, 5}}, 3);
  const graph::Csr<float> both = symmetrized(ctx, a);
  CHECK(std::vector(both.indptr().begin(), both.indptr().end()) ==
        std::vector<std::int32_t>{0, 2, 3, 4});
  CHECK(std::vector(both.indices().begin(), both.indices().end()) ==
        std::vector<std::int32_t>{1, 2, 0, 0});
  CHECK(std::vector(both.values().begin(), both.values().end()) == std::vector<float>{2, 5, 3, 5});
  const auto data = graph::karate_club(ctx);
  CHECK(symmetrized(ctx, data.adjacency).indices().data() == data.adjacency.indices().data());
}

TEST_CASE("stored orders are the rows of nfgnn.propagate, bit for bit") {
  const Context ctx;
  const graph::NodeDataset data = two_classes();
  const graph::Csr<float> a = propagation(data);
  Array<float, 2> x({data.nodes(), data.features.columns()});
  for (std::int64_t i = 0; i < data.nodes(); ++i) {
    for (std::int64_t e = data.features.view().begin(i); e < data.features.view().end(i); ++e) {
      x(i, data.features.view().column(e)) = data.features.view().value(e);
    }
  }
  for (const Basis basis : {Basis::chebyshev, Basis::monomial}) {
    const auto whole = propagate(
        ctx, Propagate<float, std::int32_t>{.indptr = {a.indptr().data(), {a.rows() + 1}},
                                            .indices = {a.indices().data(), {a.entries()}},
                                            .x = x,
                                            .values = {a.values().data(), {a.entries()}},
                                            .K = 4,
                                            .basis = basis});
    const std::vector<std::int32_t> nodes = {3, 4, 17, 88};
    const PropagatedFeatures orders(ctx, data.features, a, nodes, {.K = 4, .basis = basis});
    const auto stored = orders.values().view<float, 3>();
    REQUIRE(orders.values().shape() == Shape{5, 4, data.features.columns()});
    std::int64_t differing = 0;
    for (std::int64_t k = 0; k <= 4; ++k) {
      for (std::size_t i = 0; i < nodes.size(); ++i) {
        for (std::int64_t j = 0; j < x.extent(1); ++j) {
          differing +=
              stored(k, static_cast<std::int64_t>(i), j) == whole.t(k, nodes[i], j) ? 0 : 1;
        }
      }
    }
    CHECK(differing == 0);
  }
}

TEST_CASE("orders in bfloat16 are within 2^-8 of those in float32 in proportion") {
  const Context ctx;
  const graph::NodeDataset data = two_classes();
  const auto exact = orders_of(ctx, data), half = orders_of(ctx, data, {.storage = DType::bf16});
  CHECK(half.values().bytes() * 2 == exact.values().bytes());
  const auto all = numbers(data.nodes());
  std::vector<float> a(static_cast<std::size_t>(exact.values().size())), b(a.size());
  exact.gather<float>(ctx, all, a.data());
  half.gather<float>(ctx, all, b.data());
  double worst = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const auto was = static_cast<double>(a[i]), is = static_cast<double>(b[i]);
    if (was != 0) worst = std::max(worst, std::fabs(is - was) / std::fabs(was));
  }
  CHECK(worst <= 0x1p-8);
  CHECK(worst > 0x1p-10);  // it is stored in bfloat16
}

TEST_CASE("gathered rows come in the order asked for") {
  const Context ctx;
  const graph::NodeDataset data = two_classes();
  const auto orders = orders_of(ctx, data, {.K = 2});
  const std::vector<std::int32_t> which = {5, 0, 5};
  const std::int64_t f = orders.columns();
  std::vector<double> rows(static_cast<std::size_t>(3 * 3 * f));
  orders.gather<double>(ctx, which, rows.data());
  const auto stored = orders.values().view<float, 3>();
  for (std::int64_t k = 0; k < 3; ++k) {
    for (std::int64_t i = 0; i < 3; ++i) {
      CHECK(rows[static_cast<std::size_t>((k * 3 + i) * f + 7)] ==
            static_cast<double>(stored(k, which[static_cast<std::size_t>(i)], 7)));
    }
  }
  CHECK_THROWS_WITH(orders.gather<double>(ctx, std::vector<std::int32_t>{90}, rows.data()),
                    test::contains("'which'") && test::contains("90"));
}

TEST_CASE("the scalable model is the filter with shared sigmoid gates, then three dense layers") {
  const Context ctx;
  const graph::NodeDataset data = two_classes(50, 9);
  const auto orders = orders_of(ctx, data, {.K = 3});
  NfgnnScalable<float> model(9, data.classes, small_model());
  const auto got = model.evaluate(ctx, orders, numbers(50));
  const auto parameters = model.parameters();
  const auto eta = node_filter_coefficients(ctx, {.t = orders.values().view<float, 3>(),
                                                  .w = parameters.at("w").view<float, 3>(),
                                                  .b = parameters.at("b").view<float, 2>(),
                                                  .gamma = parameters.at("gamma").view<float, 2>(),
                                                  .activation = Gate::sigmoid,
                                                  .normalize_by_rank = false});
  CHECK(parameters.at("w").shape() == Shape{1, 9, 2});
  // gamma begins with 0.5 (1 - 0.5)^k, the last 0.5^K.
  CHECK(parameters.at("gamma").view<float, 2>()(1, 2) == 0.125f);
  CHECK(parameters.at("gamma").view<float, 2>()(0, 3) == 0.125f);
  const auto t = orders.values().view<float, 3>();
  double worst = 0;
  for (std::int64_t i = 0; i < 50; ++i) {
    std::vector<double> h(9);
    for (std::int64_t k = 0; k <= 3; ++k) {
      const auto coefficient = static_cast<double>(eta.eta(i, k));
      const auto own = static_cast<double>(got.coefficients.view<float, 2>()(i, k));
      worst = std::max(worst, std::fabs(own - coefficient));
      for (std::int64_t c = 0; c < 9; ++c) {
        h[static_cast<std::size_t>(c)] += coefficient * static_cast<double>(t(k, i, c));
      }
    }
    for (const std::string layer : {"1", "2", "3"}) {
      const auto w = parameters.at("w" + layer).view<float, 2>();
      std::vector<double> next;
      for (std::int64_t j = 0; j < w.extent(1); ++j) {
        auto sum = static_cast<double>(parameters.at("b" + layer).view<float, 1>()(j));
        for (std::int64_t c = 0; c < w.extent(0); ++c) {
          sum += h[static_cast<std::size_t>(c)] * static_cast<double>(w(c, j));
        }
        next.push_back(layer == "3" ? sum : std::max(sum, 0.0));
      }
      h = next;
    }
    for (std::int64_t j = 0; j < 2; ++j) {
      const auto logit = static_cast<double>(got.logits.view<float, 2>()(i, j));
      worst = std::max(worst, std::fabs(logit - h[static_cast<std::size_t>(j)]));
    }
  }
  CHECK(worst < 1e-5);
}

TEST_CASE("gradients of the scalable model hold against differences, with dropout") {
  const Context ctx;
  const graph::NodeDataset data = two_classes(40, 9);
  for (const FilterKind kind : {FilterKind::node, FilterKind::global, FilterKind::local}) {
    ModelOptions options = small_model();
    options.filter = kind;
    const auto orders = orders_of(ctx, data, {.K = 3});
    NfgnnScalable<double> model(9, data.classes, options);
    auto trained = model.filter_parameters();
    for (const auto& parameter : model.dense_parameters()) trained.push_back(parameter);
    std::vector<Tensor> inputs;
    for (const auto& parameter : trained) inputs.push_back(parameter.variable.value().clone());
    const auto which = numbers(25, 10);
    const auto function = [&](autograd::Tape& tape, std::span<const autograd::Variable> x) {
      auto values = model.parameters();
      for (std::size_t i = 0; i < x.size(); ++i) values[trained[i].name] = x[i].value();
      model.load(values);
      const double loss = model.loss_and_gradients(ctx, orders, which, data.labels, 3);
      std::vector<Tensor> gradients;
      for (const auto& parameter : trained) {
        gradients.push_back(parameter.variable.gradient().clone());
      }
      return std::vector{tape.record(Tensor::from<double>({loss}, {1}), {x.begin(), x.end()},
                                     [gradients](const Tensor& d_loss) {
                                       for (Tensor gradient : gradients) {
                                         for (double& g : gradient.values<double>()) {
                                           g *= d_loss.values<double>()[0];
                                         }
                                       }
                                       return gradients;
                                     })};
    };
    const auto report = autograd::gradcheck(ctx, function, inputs);
    INFO(report.worst);
    CHECK(report.checked > 60);
    CHECK(report.worst_error <= 1e-6);
  }
}

TEST_CASE("a batch of more than one piece has the loss and gradients of its parts") {
  const Context ctx;
  const graph::NodeDataset data = two_classes(2500, 12);
  ModelOptions options = small_model();
  options.dropout = options.filter_dropout = 0;
  const auto orders = orders_of(ctx, data, {.K = 3});
  NfgnnScalable<double> model(12, data.classes, options);
  const auto all = numbers(2500);
  const std::span<const std::int32_t> rows = all;
  const auto step = [&](std::span<const std::int32_t> which) {
    const double loss = model.loss_and_gradients(ctx, orders, which, data.labels, 0);
    const Tensor gradient = model.dense_parameters()[0].variable.gradient();
    return std::pair(loss, gradient.values<double>()[5]);
  };
  const auto [loss, gradient] = step(rows);
  const auto [first, d_first] = step(rows.first(1000));
  const auto [second, d_second] = step(rows.subspan(1000));
  CHECK(std::fabs(loss - (0.4 * first + 0.6 * second)) < 1e-12);
  CHECK(std::fabs(gradient - (0.4 * d_first + 0.6 * d_second)) < 1e-12);
}

TEST_CASE("pieces of a batch and its steps have dropout masks of their own") {
  const Context ctx;
  const graph::NodeDataset data = two_classes(30, 20);
  const auto orders = orders_of(ctx, data, {.K = 3});
  NfgnnScalable<float> model(20, data.classes, small_model());
  // One node over and over: its losses differ by their masks alone, and 4096 = 2 pieces of equal masks
  // would have the mean of one.
  const std::vector<std::int32_t> twice(4096, 3), once(2048, 3);
  const auto loss = [&](const std::vector<std::int32_t>& which, std::int64_t step) {
    return model.loss_and_gradients(ctx, orders, which, data.labels, step);
  };
  CHECK(loss(twice, 0) != loss(once, 0));
  CHECK(loss(once, 0) != loss(once, 1));
  CHECK(loss(once, 1) == loss(once, 1));
}

/// Losses of some epochs of three batches each, where the piece size cuts a batch too.
std::vector<float> train_losses(const Context& ctx, const graph::NodeDataset& data,
                                const PropagatedFeatures& orders, NfgnnScalable<float>& model,
                                autograd::Adam& adam, int epochs) {
  const auto rows = numbers(orders.rows() - 7, 7);
  std::vector<float> losses;
  for (int epoch = 0; epoch < epochs; ++epoch) {
    losses.push_back(model.train_epoch(ctx, orders, rows, data.labels, 2200, adam));
  }
  return losses;
}

TEST_CASE("the scalable model's losses have the same bits for any number of threads") {
  const graph::NodeDataset data = two_classes(5000, 40);
  std::vector<std::vector<float>> losses;
  for (const int threads : {1, 2, 7}) {
    const Context ctx({.threads = threads});
    NfgnnScalable<float> model(40, data.classes, small_model());
    autograd::Adam adam = adam_of(model);
    const auto orders = orders_of(ctx, data, {.K = 3, .storage = DType::bf16});
    losses.push_back(train_losses(ctx, data, orders, model, adam, 3));
    const auto held = numbers(3000);
    const Tensor logits = model.evaluate(ctx, orders, held).logits;
    const auto values = logits.values<float>();
    losses.back().insert(losses.back().end(), values.begin(), values.end());
  }
  CHECK(losses[0] == losses[1]);
  CHECK(losses[0] == losses[2]);
}

TEST_CASE("a checkpoint of the scalable model continues bit for bit, batches included") {
  const Context ctx;
  const graph::NodeDataset data = two_classes(5000, 10);
  const auto orders = orders_of(ctx, data, {.K = 3});
  const test::TemporaryFolder folder;
  NfgnnScalable<float> whole(10, data.classes, small_model()),
      half(10, data.classes, small_model()), resumed(10, data.classes, small_model());
  autograd::Adam first = adam_of(whole), second = adam_of(half), third = adam_of(resumed);
  const auto expected = train_losses(ctx, data, orders, whole, first, 5);
  CHECK(first.steps() == 15);
  train_losses(ctx, data, orders, half, second, 2);
  save_checkpoint(folder / "a.safetensors", second);
  load_checkpoint(folder / "a.safetensors", third);
  const auto rest = train_losses(ctx, data, orders, resumed, third, 3);
  CHECK(std::equal(rest.begin(), rest.end(), expected.begin() + 2));
  // Epochs differ by their batches too: without any dropout, one order of the nodes for all would give
  // a model that does not learn the same losses twice.
  CHECK(expected[0] != expected[1]);
}

TEST_CASE("epochs go through all rows once, in orders of their own") {
  const Context ctx;
  const graph::NodeDataset data = two_classes(60, 8);
  const auto orders = orders_of(ctx, data, {.K = 3});
  ModelOptions options = small_model();
  options.dropout = options.filter_dropout = 0;
  NfgnnScalable<double> model(8, data.classes, options);
  // At learning rate 0 the model stays, and the mean over batches is the mean over rows.
  autograd::Sgd still({{.parameters = model.dense_parameters(), .lr = 0}});
  const auto rows = numbers(50, 10);
  const double mean = model.loss_and_gradients(ctx, orders, rows, data.labels, 0);
  for (int epoch = 0; epoch < 3; ++epoch) {
    const double loss = model.train_epoch(ctx, orders, rows, data.labels, 7, still);
    CHECK(std::fabs(loss - mean) < 1e-12);
  }
  CHECK(still.steps() == 24);
  // The last batch's gradient tells which row it had.
  const auto last = [&] { return model.dense_parameters()[0].variable.gradient().clone(); };
  model.train_epoch(ctx, orders, rows, data.labels, 7, still);
  const Tensor one = last();
  model.train_epoch(ctx, orders, rows, data.labels, 7, still);
  const Tensor other = last();
  CHECK(!std::equal(one.values<double>().begin(), one.values<double>().end(),
                    other.values<double>().begin()));
}

TEST_CASE("the scalable variant learns two classes and stops by patience") {
  const Context ctx;
  const graph::NodeDataset data = two_classes(400, 60);
  const auto split = graph::balanced_split(data.labels, data.classes, 0.5, 0.2, 1);
  ScalableOptions options;
  options.training.model.K = 4;
  options.training.model.hidden = 16;
  options.training.lr = 0.01;
  options.training.early_stop = 25;
  options.batch = 64;
  const auto result = train_scalable(ctx, data, split, options);
  const TrainingResult& t = result.training;
  CHECK(t.test_accuracy > 0.8);
  CHECK(t.epochs == t.best_epoch + 26);
  CHECK(t.validation_losses[static_cast<std::size_t>(t.best_epoch)] ==
        *std::min_element(t.validation_losses.begin(), t.validation_losses.end()));
  CHECK(t.test_accuracy == t.test_accuracies[static_cast<std::size_t>(t.best_epoch)]);
  CHECK(t.logits.shape() == Shape{400, 2});
  CHECK(t.coefficients.shape() == Shape{400, 5});
  CHECK(result.stored_bytes == std::size_t{5} * 400 * 60 * 4);
}

TEST_CASE("only nodes with a role are stored, and they know the whole graph") {
  const Context ctx;
  const graph::NodeDataset data = two_classes();
  auto split = graph::balanced_split(data.labels, data.classes, 0.3, 0.2, 1);
  ScalableOptions options;
  options.training.model.K = 2;
  options.training.epochs = 2;
  const auto whole = train_scalable(ctx, data, split, options);
  std::int32_t left = 0;
  while (split[static_cast<std::size_t>(left)] != graph::Role::test) ++left;
  split[static_cast<std::size_t>(left)] = graph::Role::none;
  const auto part = train_scalable(ctx, data, split, options);
  CHECK(part.nodes.size() == 89);
  CHECK(std::find(part.nodes.begin(), part.nodes.end(), left) == part.nodes.end());
  // The node that is not stored still propagates: no loss changes.
  CHECK(part.training.losses == whole.training.losses);
  CHECK(part.training.validation_losses == whole.training.validation_losses);
}

TEST_CASE("the scalable variant propagates over the symmetrised graph") {
  const Context ctx;
  graph::NodeDataset data = two_classes();
  const auto split = graph::balanced_split(data.labels, data.classes, 0.5, 0.2, 1);
  ScalableOptions options;
  options.training.model.K = 2;
  options.training.epochs = 2;
  const auto both = train_scalable(ctx, data, split, options);
  graph::CsrArrays<float> upper;  // one direction of every edge
  for (std::int64_t i = 0; i < data.nodes(); ++i) {
    for (std::int64_t e = data.adjacency.view().begin(i); e < data.adjacency.view().end(i); ++e) {
      if (data.adjacency.view().column(e) < i) continue;
      upper.indices.push_back(static_cast<std::int32_t>(data.adjacency.view().column(e)));
      upper.values.push_back(1);
    }
    upper.indptr.push_back(static_cast<std::int32_t>(upper.indices.size()));
  }
  data.adjacency = graph::Csr<float>(std::move(upper), data.nodes());
  CHECK(train_scalable(ctx, data, split, options).training.losses == both.training.losses);
}

TEST_CASE("the scalable variant refuses what does not fit") {
  const Context ctx;
  const graph::NodeDataset data = two_classes(30, 5);
  const graph::Csr<float> a = propagation(data);
  const auto all = numbers(30);
  const auto make = [&](std::span<const std::int32_t> nodes, PropagationOptions options) {
    return PropagatedFeatures(ctx, data.features, a, nodes, options);
  };
  CHECK_THROWS_WITH(make(all, {.K = -1}), test::contains("'K'"));
  CHECK_THROWS_WITH(make(all, {.storage = DType::f64}), test::contains("'storage'"));
  CHECK_THROWS_WITH(make(numbers(3, 28), {}), test::contains("'nodes'"));
  CHECK_THROWS_WITH(
      PropagatedFeatures(ctx, data.features, graph::Csr<float>({{0, 0}, {}, {}}, 1), all, {}),
      test::contains("'propagation'"));
  CHECK_THROWS_AS(NfgnnScalable<float>(0, 2, {}), Error);
  CHECK_THROWS_AS(NfgnnScalable<float>(5, 2, {.rank = 0}), Error);
  NfgnnScalable<float> model(5, 2, small_model());
  const auto orders = make(all, {.K = 3}), others = make(all, {.K = 2});
  const auto loss = [&](const PropagatedFeatures& of, std::span<const std::int32_t> which,
                        std::span<const std::int32_t> labels) {
    return model.loss_and_gradients(ctx, of, which, labels, 0);
  };
  CHECK_THROWS_WITH(loss(others, all, data.labels), test::contains("'orders'"));
  CHECK_THROWS_AS(loss(orders, {}, data.labels), Error);
  CHECK_THROWS_WITH(loss(orders, all, all), test::contains("'labels'") && test::contains("[0, 2)"));
  CHECK_THROWS_WITH(loss(orders, all, numbers(3)), test::contains("30 rows"));
  CHECK_THROWS_WITH(loss(orders, numbers(3, 28), data.labels), test::contains("'which'"));
  // K = 0 and a node without neighbours are legal.
  CHECK(make(all, {.K = 0}).values().shape() == Shape{1, 30, 5});
}

}  // namespace
