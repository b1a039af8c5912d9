#include "researchkit/nfgnn/model.hpp"

#include <cmath>

#include "researchkit/autograd/gradcheck.hpp"
#include "researchkit/graph/splits.hpp"
#include "researchkit/graph/synthetic.hpp"
#include "researchkit/nfgnn/operators.hpp"
#include "researchkit/nfgnn/training.hpp"
#include "researchkit/nn/initialize.hpp"
#include "support/catch.hpp"
#include "support/temporary_folder.hpp"

namespace {

using namespace researchkit;
using namespace researchkit::nfgnn;

graph::Csr<float> propagation(const graph::NodeDataset& data) {
  return normalized(Context(), data.adjacency, graph::Normalization::cheb, 0);
}

NfgnnModel club_model(const graph::NodeDataset& data, ModelOptions options) {
  return {data.features, propagation(data), data.classes, options};
}

autograd::Adam adam_of(const NfgnnModel& model) {
  return autograd::Adam({{.parameters = model.dense_parameters(), .lr = 0.05},
                         {.parameters = model.filter_parameters(), .lr = 0.05}});
}

std::vector<float> train_losses(const Context& ctx, const graph::NodeDataset& data,
                                NfgnnModel& model, autograd::Adam& adam, std::int64_t from,
                                std::int64_t to) {
  const std::vector<std::uint8_t> mask(data.labels.size(), 1);
  std::vector<float> losses;
  for (std::int64_t step = from; step < to; ++step) {
    losses.push_back(model.loss_and_gradients(ctx, data.labels, mask, step));
    adam.step(ctx);
  }
  return losses;
}

TEST_CASE("the model's gradients are those of the operator nfgnn_model, without dropout") {
  const Context ctx;
  const graph::NodeDataset data = graph::karate_club(ctx);
  NfgnnModel model =
      club_model(data, {.hidden = 7, .K = 4, .rank = 2, .dropout = 0, .filter_dropout = 0});
  const std::vector<std::uint8_t> mask(34, 1);
  const float loss = model.loss_and_gradients(ctx, data.labels, mask, 0);

  Tensor x(DType::f32, {34, 34});
  for (std::size_t i = 0; i < 34; ++i) x.values<float>()[35 * i] = 1;
  const auto a = propagation(data);
  Arguments call{
      .inputs = {{"indptr", Tensor::from<std::int32_t>(a.indptr(), {35})},
                 {"indices", Tensor::from<std::int32_t>(a.indices(), {a.entries()})},
                 {"values", Tensor::from<float>(a.values(), {a.entries()})},
                 {"x", x},
                 {"labels", Tensor::from<std::int32_t>(std::span(data.labels), {34})},
                 {"mask", Tensor::from<std::uint8_t>(std::span(mask), {34})}},
      .attributes = {
          {"K", std::int64_t{4}}, {"rank", std::int64_t{2}}, {"hidden", std::int64_t{7}}}};
  auto parameters = model.dense_parameters();
  for (const auto& parameter : model.filter_parameters()) parameters.push_back(parameter);
  for (const auto& parameter : parameters)
    call.inputs.set(parameter.name, parameter.variable.value());
  const Registry& all = default_registry();
  const float expected =
      all.at("nfgnn.nfgnn_model").run(ctx, call).outputs.at("loss").values<float>()[0];
  CHECK(std::fabs(loss - expected) < 1e-5f);
  call.inputs.set("d_loss", Tensor::from<float>({1}, {1}));
  const auto gradients = all.at("nfgnn.nfgnn_model_backward").run(ctx, call).outputs;
  for (const auto& parameter : parameters) {
    INFO(parameter.name);
    CHECK_FALSE(difference(parameter.variable.gradient(), gradients.at("d_" + parameter.name),
                           {.rtol = 1e-4, .atol = 1e-6})
                    .has_value());
  }
}

TEST_CASE("the same losses bit for bit on 1, 2 and 7 threads") {
  const Context ctx;
  const graph::NodeDataset data =
      graph::csbm(ctx, {.nodes = 3000, .average_degree = 20, .features = 10});
  std::vector<std::vector<float>> losses;
  for (const int threads : {1, 2, 7}) {
    NfgnnModel model = club_model(data, {.hidden = 16, .seed = 4});
    autograd::Adam adam = adam_of(model);
    losses.push_back(train_losses(Context({.threads = threads}), data, model, adam, 0, 4));
  }
  CHECK(losses[0] == losses[1]);
  CHECK(losses[0] == losses[2]);
}

TEST_CASE("a checkpoint in the middle of training continues bit for bit") {
  const Context ctx;
  const graph::NodeDataset data = graph::karate_club(ctx);
  const test::TemporaryFolder folder;
  NfgnnModel whole = club_model(data, {.seed = 1}), half = club_model(data, {.seed = 1}),
             resumed = club_model(data, {.seed = 1});
  autograd::Adam first = adam_of(whole), second = adam_of(half), third = adam_of(resumed);
  const auto expected = train_losses(ctx, data, whole, first, 0, 12);
  train_losses(ctx, data, half, second, 0, 5);
  save_checkpoint(folder / "a.safetensors", second);
  load_checkpoint(folder / "a.safetensors", third);
  const auto rest = train_losses(ctx, data, resumed, third, third.steps(), 12);
  CHECK(std::equal(rest.begin(), rest.end(), expected.begin() + 5));
}

TEST_CASE("training tells the factions of the karate club apart") {
  const Context ctx;
  const graph::NodeDataset data = graph::karate_club(ctx);
  const auto split = graph::balanced_split(data.labels, 2, 0.6, 0.2, 3);
  const auto result = train(ctx, data, split, {.epochs = 150});
  CHECK(result.losses.back() < result.losses.front() / 3);
  CHECK(result.validation_accuracy == 1);
  CHECK(result.test_accuracy > 0.8);
  CHECK(result.validation_losses[static_cast<std::size_t>(result.best_epoch)] ==
        *std::min_element(result.validation_losses.begin(), result.validation_losses.end()));
}

TEST_CASE("a global filter has one row of coefficients for all nodes") {
  const Context ctx;
  const graph::NodeDataset data = graph::karate_club(ctx);
  NfgnnModel model = club_model(data, {.K = 3, .filter = FilterKind::global});
  model.evaluate(ctx);
  const auto eta = model.coefficients();
  const auto gamma = model.filter_parameters().at(0).variable.value();
  for (std::int64_t i = 0; i < 34; ++i) {
    for (std::int64_t k = 0; k <= 3; ++k) {
      CHECK(std::fabs(eta(i, k) - gamma.values<float>()[static_cast<std::size_t>(k)]) < 1e-6f);
    }
  }
}

TEST_CASE("the output of a node does not depend on nodes more than K hops away") {
  const Context ctx;
  // A path of 12 nodes.
  graph::CsrArrays<float> arrays;
  for (std::int32_t i = 0; i < 12; ++i) {
    if (i > 0) arrays.indices.push_back(i - 1);
    if (i < 11) arrays.indices.push_back(i + 1);
    arrays.indptr.push_back(static_cast<std::int32_t>(arrays.indices.size()));
  }
  arrays.values.assign(arrays.indices.size(), 0.5f);
  const graph::Csr<float> path(arrays, 12);
  Array<float, 2> x({12, 2}), b({4, 2}), gamma({2, 4});
  Array<float, 3> w({4, 2, 2});
  for (auto [data, size, stream] :
       {std::tuple{x.data_handle(), x.size(), 0}, std::tuple{w.data_handle(), w.size(), 1},
        std::tuple{b.data_handle(), b.size(), 2},
        std::tuple{gamma.data_handle(), gamma.size(), 3}}) {
    nn::normal<float>({data, static_cast<std::size_t>(size)}, 1, 5,
                      static_cast<std::uint64_t>(stream));
  }
  const auto filter = [&](Save save) {
    return node_oriented_filter(ctx, NodeOrientedFilter<float, std::int32_t>{
                                         .indptr = {path.indptr().data(), {13}},
                                         .indices = {path.indices().data(), {path.entries()}},
                                         .x = x,
                                         .values = {path.values().data(), {path.entries()}},
                                         .w = w,
                                         .b = b,
                                         .gamma = gamma,
                                         .K = 3,
                                         .save = save});
  };
  const auto before = filter(Save::propagated), rolling = filter(Save::recompute);
  x(0, 0) += 10;
  const auto after = filter(Save::propagated);
  for (std::int64_t i = 0; i < 12; ++i) {
    CHECK((before.y(i, 0) == after.y(i, 0)) == (i > 3));
    CHECK(before.y(i, 0) == rolling.y(i, 0));
    CHECK(before.eta(i, 2) == rolling.eta(i, 2));
  }
}

TEST_CASE("models refuse what does not fit") {
  const Context ctx;
  const graph::NodeDataset data = graph::karate_club(ctx);
  CHECK_THROWS_AS(club_model(data, {.hidden = 0}), Error);
  CHECK_THROWS_AS(club_model(data, {.K = -1}), Error);
  CHECK_THROWS_AS(club_model(data, {.dropout = 1}), Error);
  const graph::Csr<float> small({{0, 0}, {}, {}}, 1);
  CHECK_THROWS_AS(NfgnnModel(data.features, small, 2, {}), Error);
  NfgnnModel model = club_model(data, {});
  const std::vector<std::uint8_t> mask(33, 1);
  CHECK_THROWS_AS(model.loss_and_gradients(ctx, data.labels, mask, 0), Error);
}

}  // namespace
