#include <algorithm>

#include "researchkit/bikt/builtin_hosts.hpp"
#include "researchkit/bikt/training.hpp"
#include "researchkit/graph/splits.hpp"
#include "researchkit/graph/synthetic.hpp"
#include "support/catch.hpp"

namespace {

using namespace researchkit;
using namespace researchkit::bikt;

struct Task {
  graph::NodeDataset data = graph::csbm(
      Context(), {.nodes = 200, .average_degree = 8, .features = 12, .phi = 0.4, .seed = 3});
  graph::Split split = graph::balanced_split(data.labels, data.classes, 0.2, 0.2, 1);
  TrainingOptions options{.epochs = 10, .seed = 5};

  std::shared_ptr<BuiltinHost<float>> host() const {
    return std::make_shared<BuiltinHost<float>>(HostOptions{.hidden = 8}, data.features.columns(),
                                                data.classes);
  }
};

TEST_CASE("a host trained inductively does not see the hidden nodes") {
  const Context ctx({.threads = 1});
  Task task;
  task.options.transfer.warmup = 2;
  for (const Schedule schedule : {Schedule::plain, Schedule::joint}) {
    task.options.schedule = schedule;
    const auto result = train_inductive(ctx, task.host(), task.data, task.split, task.options, 0.4);
    const auto nodes = graph::observed_nodes(task.split, 0.4, task.options.seed);
    graph::NodeDataset other = task.data;
    for (std::int32_t node = 0; node < 200; ++node) {
      const bool seen = std::binary_search(nodes.begin(), nodes.end(), node);
      auto& label = other.labels[static_cast<std::size_t>(node)];
      if (!seen) label = 1 - label;
    }
    const auto changed = train_inductive(ctx, task.host(), other, task.split, task.options, 0.4);
    CHECK(changed.training.losses == result.training.losses);
    CHECK(changed.observed_accuracy == result.observed_accuracy);
    CHECK(changed.derived_observed_accuracy == result.derived_observed_accuracy);
    CHECK(changed.unobserved_accuracy == Approx(1 - result.unobserved_accuracy));
    CHECK(changed.derived_unobserved_accuracy == Approx(1 - result.derived_unobserved_accuracy));
    CHECK(result.derived_observed_accuracy > 0);
  }
}

TEST_CASE("a host trained inductively with nothing hidden is the one trained on the whole graph") {
  const Context ctx({.threads = 1});
  const Task task;
  const auto result = train_inductive(ctx, task.host(), task.data, task.split, task.options, 0);
  const auto whole = train(ctx, task.host(), HostGraph<float>(ctx, task.data.adjacency), task.data,
                           task.split, task.options);
  CHECK(result.training.losses == whole.losses);
  CHECK(result.observed_accuracy == whole.test_accuracy);
  CHECK(result.derived_observed_accuracy == whole.derived_test_accuracy);
  CHECK(result.unobserved_accuracy == 0);
}

TEST_CASE("hidden nodes are classified in the whole graph by the best epoch's host") {
  const Context ctx({.threads = 1});
  const Task task;
  const auto host = task.host();
  const auto result = train_inductive(ctx, host, task.data, task.split, task.options, 0.5);
  const auto part = graph::observed_part(task.data, task.split, 0.5, task.options.seed);
  const HostGraph<float> whole(ctx, task.data.adjacency);
  for (const bool propagate : {true, false}) {
    const Tensor z = predict(ctx, *host, whole, task.data.features, propagate);
    const auto logits = std::as_const(z).view<float, 2>();
    double right = 0, asked = 0;
    for (std::int64_t i = 0; i < 200; ++i) {
      if (part.hidden[static_cast<std::size_t>(i)] == 0) continue;
      ++asked;
      const std::int32_t answer = logits(i, 1) > logits(i, 0) ? 1 : 0;
      right += answer == task.data.labels[static_cast<std::size_t>(i)] ? 1 : 0;
    }
    CHECK(asked == 60);
    CHECK((propagate ? result.unobserved_accuracy : result.derived_unobserved_accuracy) ==
          right / asked);
  }
  CHECK(result.unobserved_accuracy != result.derived_unobserved_accuracy);
}

}  // namespace
