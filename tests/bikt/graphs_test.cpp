#include <cmath>

#include "researchkit/bikt/builtin_hosts.hpp"
#include "researchkit/bikt/pooled_host.hpp"
#include "researchkit/bikt/training.hpp"
#include "researchkit/graph/splits.hpp"
#include "researchkit/graph/synthetic.hpp"
#include "support/catch.hpp"
#include "support/contains.hpp"
#include "support/temporary_folder.hpp"

namespace {

using namespace researchkit;
using namespace researchkit::bikt;

struct Task {
  graph::GraphDataset data;
  graph::Split split;
  HostGraph<float> graph;

  explicit Task(std::int64_t graphs, double hint = 0.25)
      : data(graph::motif_graphs(Context(), {.graphs = graphs, .hint = hint, .seed = 6})),
        split(graph::balanced_split(data.labels, data.classes, 0.5, 0.2, 1)),
        graph(Context(), data.adjacency) {}

  std::shared_ptr<BuiltinHost<float>> nodes(Host kind = Host::gin) const {
    return std::make_shared<BuiltinHost<float>>(HostOptions{.host = kind, .hidden = 16},
                                                data.features.columns(), data.classes);
  }
  std::shared_ptr<PooledHost<float>> host(Host kind = Host::gin) const {
    return std::make_shared<PooledHost<float>>(nodes(kind), data.members);
  }
};

TEST_CASE("a pooled host sums the rows of each graph's nodes, in both branches") {
  const Context ctx({.threads = 1});
  const Task task(9);
  for (const Host kind : {Host::gcn, Host::gin}) {
    const auto nodes = task.nodes(kind);
    const PooledHost<float> pooled(nodes, task.data.members);
    for (const bool propagate : {true, false}) {
      const Tensor z = predict(ctx, *nodes, task.graph, task.data.features, propagate);
      const Tensor sums = predict(ctx, pooled, task.graph, task.data.features, propagate);
      REQUIRE(sums.shape() == Shape{9, 2});
      const auto rows = std::as_const(z).view<float, 2>();
      const auto got = std::as_const(sums).view<float, 2>();
      const auto members = task.data.members.view();
      for (std::int64_t g = 0; g < 9; ++g) {
        double sum = 0;
        for (std::int64_t e = members.begin(g); e < members.end(g); ++e) {
          sum += static_cast<double>(rows(members.column(e), 1));
        }
        CHECK(std::fabs(static_cast<double>(got(g, 1)) - sum) < 1e-4);
      }
    }
  }
}

TEST_CASE("rings and stars are told apart by the host, and only by hints without the graph") {
  const Context ctx({.threads = 1});
  const Task task(300, 0);
  TrainingOptions options{
      .schedule = Schedule::plain, .dropout = 0, .epochs = 150, .patience = 150};
  const auto alone = train(ctx, task.host(), task.graph, task.data, task.split, options);
  CHECK(alone.test_accuracy > 0.9);
  CHECK(alone.derived_test_accuracy < 0.7);
  // With hints on every node of a motif the derived model learns too.
  const Task hinted(300, 1);
  options.schedule = Schedule::joint;
  options.transfer.mu = 1;
  options.transfer.warmup = options.transfer.ramp = 10;
  const auto both = train(ctx, hinted.host(), hinted.graph, hinted.data, hinted.split, options);
  CHECK(both.test_accuracy > 0.9);
  CHECK(both.derived_test_accuracy > 0.85);
}

TEST_CASE("training on graphs has the same bits for any number of threads and after a checkpoint") {
  const Task task(60);
  TrainingOptions options{.epochs = 8};
  options.transfer.warmup = 2;
  options.transfer.ramp = 2;
  options.transfer.nu = 0.2;
  std::vector<std::vector<float>> losses;
  for (const int threads : {1, 2, 7}) {
    losses.push_back(train(Context({.threads = threads}), task.host(), task.graph, task.data,
                           task.split, options)
                         .losses);
  }
  CHECK(losses[0] == losses[1]);
  CHECK(losses[0] == losses[2]);
  const Context ctx({.threads = 1});
  const test::TemporaryFolder folder;
  options.transfer.teacher = Teacher::ema;
  const auto trainer = [&] {
    return Trainer(ctx, task.host(), task.graph, task.data, task.split, options);
  };
  Trainer whole = trainer(), half = trainer(), resumed = trainer();
  while (!whole.done()) whole.epoch();
  for (int epoch = 0; epoch < 5; ++epoch) half.epoch();
  half.save(folder / "a.safetensors");
  resumed.load(folder / "a.safetensors");
  while (!resumed.done()) resumed.epoch();
  CHECK(resumed.result().losses == whole.result().losses);
}

TEST_CASE("what does not fit graphs is refused") {
  const Context ctx({.threads = 1});
  const Task task(10), other(12);
  TrainingOptions options;
  CHECK_THROWS_AS(Trainer(ctx, task.host(), task.graph, task.data, other.split, options), Error);
  CHECK_THROWS_AS(Trainer(ctx, task.host(), other.graph, task.data, task.split, options), Error);
  options.transfer.by_homophily = true;
  CHECK_THROWS_WITH(Trainer(ctx, task.host(), task.graph, task.data, task.split, options),
                    test::contains("by_homophily"));
}

}  // namespace
