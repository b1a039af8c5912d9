#include <algorithm>

#include "researchkit/graph/splits.hpp"
#include "researchkit/nfgnn/training.hpp"
#include "support/catch.hpp"
#include "support/contains.hpp"

namespace {

using namespace researchkit;
using namespace researchkit::nfgnn;

TrainingOptions short_training() {
  TrainingOptions options;
  options.epochs = 8;
  options.model.hidden = 8;
  return options;
}

}  // namespace

TEST_CASE("inductive training does not see the hidden nodes") {
  const Context ctx;
  graph::NodeDataset data = graph::karate_club(ctx);
  const auto split = graph::balanced_split(data.labels, data.classes, 0.4, 0.2, 5);
  const auto result = train_inductive(ctx, data, split, short_training(), 0.4);
  const auto nodes = graph::observed_nodes(split, 0.4, short_training().model.seed);
  REQUIRE(nodes.size() < 34);
  // Other labels of hidden nodes change what is measured on them and nothing else.
  graph::NodeDataset other = data;
  for (std::int32_t node = 0; node < 34; ++node) {
    const bool seen = std::binary_search(nodes.begin(), nodes.end(), node);
    auto& label = other.labels[static_cast<std::size_t>(node)];
    if (!seen) label = 1 - label;
  }
  const auto changed = train_inductive(ctx, other, split, short_training(), 0.4);
  CHECK(changed.training.losses == result.training.losses);
  CHECK(changed.observed_accuracy == result.observed_accuracy);
  CHECK(changed.unobserved_accuracy == 1 - result.unobserved_accuracy);
}

TEST_CASE("inductive training with nothing hidden is training") {
  const Context ctx;
  const graph::NodeDataset data = graph::karate_club(ctx);
  const auto split = graph::balanced_split(data.labels, data.classes, 0.4, 0.2, 5);
  const auto result = train_inductive(ctx, data, split, short_training(), 0);
  const auto whole = train(ctx, data, split, short_training());
  CHECK(result.training.losses == whole.losses);
  CHECK(result.observed_accuracy == whole.test_accuracy);
}

TEST_CASE("a model takes over the parameters of another, or refuses them whole") {
  const Context ctx;
  const graph::NodeDataset data = graph::karate_club(ctx);
  const auto operator_of = [&] {
    return normalized(ctx, data.adjacency, graph::Normalization::cheb, 0);
  };
  ModelOptions options{.hidden = 6, .K = 3};
  NfgnnModel from(data.features, operator_of(), data.classes, options);
  options.seed = 1;
  NfgnnModel to(data.features, operator_of(), data.classes, options);
  const auto values = [&](NfgnnModel& model) {
    const auto logits = model.evaluate(ctx);
    return std::vector<float>(logits.data_handle(), logits.data_handle() + logits.size());
  };
  const auto before = values(to);
  auto parameters = from.parameters();
  parameters.erase("gamma");
  CHECK_THROWS_WITH(to.load(parameters), test::contains("'gamma'") && test::contains("none"));
  CHECK(values(to) == before);
  parameters["gamma"] = Tensor(DType::f32, {3, 5});
  CHECK_THROWS_WITH(to.load(parameters), test::contains("[3, 4]") && test::contains("[3, 5]"));
  CHECK(values(to) == before);
  to.load(from.parameters());
  CHECK(values(to) == values(from));
}
