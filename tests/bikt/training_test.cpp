#include "researchkit/bikt/training.hpp"

#include <array>
#include <cmath>

#include "researchkit/bikt/builtin_hosts.hpp"
#include "researchkit/bikt/layers.hpp"
#include "researchkit/bikt/operators.hpp"
#include "researchkit/core/compare.hpp"
#include "researchkit/graph/splits.hpp"
#include "researchkit/graph/synthetic.hpp"
#include "researchkit/nn/initialize.hpp"
#include "researchkit/nn/metrics.hpp"
#include "support/catch.hpp"
#include "support/temporary_folder.hpp"

namespace {

using namespace researchkit;
using namespace researchkit::bikt;

constexpr std::array kSchedules = {Schedule::plain,           Schedule::joint,
                                   Schedule::alternating,     Schedule::two_stage,
                                   Schedule::host_to_derived, Schedule::derived_to_host};

std::string name_of(Schedule schedule) {
  return std::string(names_of(schedule)[static_cast<std::size_t>(schedule)]);
}

/// A task with few labels.
struct Task {
  graph::NodeDataset data;
  graph::Split split;
  HostGraph<float> graph;

  explicit Task(std::int64_t nodes, double phi = 0.4, std::int64_t features = 12)
      : data(graph::csbm(
            Context(),
            {.nodes = nodes, .average_degree = 8, .features = features, .phi = phi, .seed = 3})),
        split(graph::balanced_split(data.labels, data.classes, 0.1, 0.3, 1)),
        graph(Context(), data.adjacency) {}

  std::shared_ptr<BuiltinHost<float>> host(HostOptions options = {}) const {
    return std::make_shared<BuiltinHost<float>>(options, data.features.columns(), data.classes);
  }
};

TrainingOptions short_training(Schedule schedule) {
  TrainingOptions options{.schedule = schedule, .epochs = 8, .patience = 2, .seed = 5};
  options.transfer.warmup = 2;
  options.transfer.ramp = 2;
  return options;
}

/// Two hops at once, with weights of its own: what a user writes.
class TwoHops : public DerivableHost<float> {
 public:
  TwoHops(std::int64_t features, std::int64_t classes)
      : w_(autograd::parameter(Tensor(DType::f32, {features, 8}))),
        out_(autograd::parameter(Tensor(DType::f32, {8, classes}))) {
    nn::uniform<float>(w_.mutable_value().values<float>(), 0.5, 1, 1);
    nn::uniform<float>(out_.mutable_value().values<float>(), 0.5, 1, 2);
  }
  std::vector<autograd::Parameter> parameters() const override {
    return {{"w", w_}, {"out", out_}};
  }
  HostOutput forward(Tape& tape, const HostGraph<float>& graph, HostInput<float>& x,
                     const Pass& pass) const override {
    Variable h = x.times(tape, w_);
    if (pass.propagate) {
      const auto& p = graph.normalized(graph::Normalization::sym, 1);
      h = propagate(tape, p, propagate(tape, p, h));
    }
    h = activate(tape, h, Activation::relu);
    return {h, linear(tape, dropout(tape, h, pass.mask(1)), out_)};
  }

 private:
  Variable w_, out_;
};

TEST_CASE("a host of a user's own is trained by BiKT") {
  const Context ctx({.threads = 1});
  const Task task(300);
  const auto host = std::make_shared<TwoHops>(task.data.features.columns(), task.data.classes);
  TrainingOptions options{.lr = 0.02, .epochs = 120};
  const auto result = train(ctx, host, task.graph, task.data, task.split, options);
  CHECK(result.epochs == 120);
  CHECK(result.losses.back() < result.losses.front());
  CHECK(result.test_accuracy > 0.8);
  CHECK(result.derived_test_accuracy > 0.55);
}

TEST_CASE("the loss of a step is the operator's, from the teachers of the evaluation") {
  const Context ctx({.threads = 1});
  const Task task(60);
  const auto host = task.host();
  TrainingOptions options{.dropout = 0};
  options.transfer = {.mu = 0.7,
                      .alpha_derived = 0.4,
                      .alpha_host = 1.3,
                      .temperature = 3,
                      .gate = Gate::agree_or_confident,
                      .warmup = 0,
                      .ramp = 4};
  Trainer trainer(ctx, host, task.graph, task.data, task.split, options);
  const Tensor z = predict(ctx, *host, task.graph, task.data.features, true);
  const Tensor zm = predict(ctx, *host, task.graph, task.data.features, false);
  const auto mask = mask_of(task.split, graph::Role::train);
  const auto n = task.data.nodes();
  const In<float, 2> f = z.view<float, 2>(), m = zm.view<float, 2>();
  const auto gate =
      confidence_gate(ctx, {.host = f, .derived = m, .mode = Gate::agree_or_confident});
  const auto expected = bikt_transfer_loss(
      ctx, BiktTransferLoss<float, std::int32_t>{{.host = f,
                                                  .derived = m,
                                                  .host_teacher = f,
                                                  .derived_teacher = m,
                                                  .labels = {task.data.labels.data(), {n}},
                                                  .mask = {mask.data(), {n}},
                                                  .weight = gate.weight,
                                                  .mu = 0.7,
                                                  .alpha_derived = 0.1,
                                                  .alpha_host = 0.325,
                                                  .temperature = 3}});
  CHECK(std::fabs(trainer.step() - expected.loss(0)) < 1e-5f);
}

TEST_CASE("a step changes no weight of the host where the derived model alone is trained") {
  const Context ctx({.threads = 1});
  const Task task(60);
  const auto host = task.host({.host = Host::gat});
  TrainingOptions options{.schedule = Schedule::alternating, .weight_decay = 0};
  Trainer trainer(ctx, host, task.graph, task.data, task.split, options);
  const auto attention = host->parameters()[1];
  const Tensor before = attention.variable.value().clone();
  trainer.epoch();  // the first step, an even one: the derived model has no attention
  CHECK_FALSE(difference(attention.variable.value(), before, {}).has_value());
  trainer.epoch();
  CHECK(difference(attention.variable.value(), before, {}).has_value());
}

TEST_CASE("the same losses bit for bit on 1, 2 and 7 threads, for every host and schedule") {
  const Task task(1200);
  for (const Host kind : {Host::gcn, Host::gat, Host::mixhop, Host::gcnii, Host::fagcn, Host::sage,
                          Host::appnp, Host::gin}) {
    const Schedule schedule = kSchedules[static_cast<std::size_t>(kind) % kSchedules.size()];
    INFO(names_of(kind)[static_cast<std::size_t>(kind)] << " " << name_of(schedule));
    std::vector<TrainingResult> results;
    for (const int threads : {1, 2, 7}) {
      TrainingOptions options = short_training(schedule);
      options.epochs = 3;
      options.transfer.warmup = options.transfer.ramp = 1;
      options.transfer.nu = 0.1;
      results.push_back(train(Context({.threads = threads}), task.host({.host = kind}), task.graph,
                              task.data, task.split, options));
    }
    CHECK(results[0].losses == results[1].losses);
    CHECK(results[0].losses == results[2].losses);
    CHECK(results[0].validation_losses == results[2].validation_losses);
    CHECK(results[0].derived_test_accuracies == results[2].derived_test_accuracies);
  }
}

TEST_CASE("a checkpoint in the middle continues bit for bit, for every schedule and teacher") {
  const Context ctx({.threads = 1});
  const Task task(120);
  const test::TemporaryFolder folder;
  for (const Schedule schedule : kSchedules) {
    for (const Teacher teacher : {Teacher::eval, Teacher::train, Teacher::ema}) {
      TrainingOptions options = short_training(schedule);
      options.transfer.teacher = teacher;
      const auto trainer = [&] {
        return Trainer(ctx, task.host(), task.graph, task.data, task.split, options);
      };
      Trainer whole = trainer();
      while (!whole.done()) whole.epoch();
      const auto expected = whole.result();
      for (std::int64_t at = 0; at <= expected.epochs; ++at) {
        INFO(name_of(schedule) << " resumed after epoch " << at);
        Trainer half = trainer();
        for (std::int64_t epoch = 0; epoch < at; ++epoch) half.epoch();
        half.save(folder / "a.safetensors");
        Trainer resumed = trainer();
        resumed.load(folder / "a.safetensors");
        while (!resumed.done()) resumed.epoch();
        CHECK(resumed.result().losses == expected.losses);
        CHECK(resumed.result().validation_losses == expected.validation_losses);
        CHECK(resumed.result().best_epoch == expected.best_epoch);
        CHECK(resumed.result().test_accuracy == expected.test_accuracy);
        CHECK(resumed.result().derived_best_test_accuracy == expected.derived_best_test_accuracy);
      }
    }
  }
}

TEST_CASE("the best epoch is the one of the highest validation accuracy, and is restored") {
  const Context ctx({.threads = 1});
  const Task task(200);
  const auto host = task.host();
  const auto result =
      train(ctx, host, task.graph, task.data, task.split, {.epochs = 60, .patience = 20});
  const auto& all = result.validation_accuracies;
  CHECK(result.validation_accuracy == *std::max_element(all.begin(), all.end()));
  CHECK(all[static_cast<std::size_t>(result.best_epoch)] == result.validation_accuracy);
  const Tensor logits = predict(ctx, *host, task.graph, task.data.features, true);
  const auto predicted = nn::predictions(logits.view<float, 2>());
  CHECK(nn::accuracy(predicted, task.data.labels, mask_of(task.split, graph::Role::test)) ==
        result.test_accuracy);
}

TEST_CASE("transfer makes the derived model better than that of the plainly trained host") {
  const Context ctx({.threads = 1});
  const Task task(800, 0.6, 200);
  double plain = 0, both = 0;
  for (std::uint64_t seed = 0; seed < 3; ++seed) {
    TrainingOptions options{.epochs = 150, .seed = seed};
    both += train(ctx, task.host({.seed = seed}), task.graph, task.data, task.split, options)
                .derived_test_accuracy;
    options.schedule = Schedule::plain;
    plain += train(ctx, task.host({.seed = seed}), task.graph, task.data, task.split, options)
                 .derived_test_accuracy;
  }
  INFO(plain / 3 << " " << both / 3);
  CHECK(both > plain);
}

TEST_CASE("a poor derived model is heard less, if that is wished") {
  const Context ctx({.threads = 1});
  // The structure tells classes apart, features hardly do.
  const Task task(600, 0.95, 20);
  TrainingOptions options{.epochs = 60};
  options.transfer.automatic = true;
  CHECK(train(ctx, task.host(), task.graph, task.data, task.split, options).lowered);
  const Task clear(600, 0.05, 20);
  CHECK_FALSE(train(ctx, clear.host(), clear.graph, clear.data, clear.split, options).lowered);
}

TEST_CASE("transfer by homophily is nearly plain training where neighbours differ") {
  const Context ctx({.threads = 1});
  const Task like(600, 0.7, 20), unlike(600, -0.7, 20);
  graph::Split half = graph::balanced_split(unlike.data.labels, 2, 0.5, 0.2, 1);
  CHECK(labelled_homophily(like.data, like.split) > 0.5);
  CHECK(labelled_homophily(unlike.data, half) == 0);
  TrainingOptions options{.epochs = 30};
  options.transfer.warmup = 5;
  options.transfer.by_homophily = true;
  const auto with = train(ctx, unlike.host(), unlike.graph, unlike.data, half, options);
  options.schedule = Schedule::plain;
  const auto plain = train(ctx, unlike.host(), unlike.graph, unlike.data, half, options);
  CHECK(with.losses == plain.losses);
}

TEST_CASE("a gate of the caller's own is asked once teaching begins") {
  const Context ctx({.threads = 1});
  const Task task(60);
  TrainingOptions options = short_training(Schedule::joint);
  int calls = 0;
  options.transfer.custom_gate = [&](In<float, 2>, In<float, 2>, std::span<float> weight) {
    ++calls;
    std::fill(weight.begin(), weight.end(), 0.5f);
  };
  Trainer trainer(ctx, task.host(), task.graph, task.data, task.split, options);
  for (int epoch = 0; epoch < 5; ++epoch) trainer.epoch();
  CHECK(calls == 3);
}

TEST_CASE("the proxy distance is 0 for one distribution and 2 for two far apart") {
  Array<float, 2> a({400, 3}), b({400, 3}), c({400, 3});
  nn::normal<float>({a.data_handle(), 1200}, 1, 0, 0);
  nn::normal<float>({b.data_handle(), 1200}, 1, 0, 1);
  nn::normal<float>({c.data_handle(), 1200}, 1, 0, 2);
  for (std::int64_t i = 0; i < 400; ++i) c(i, 1) += 20;
  CHECK(proxy_distance(a, a) == 0);
  CHECK(proxy_distance(a, b) < 0.25);
  CHECK(proxy_distance(a, c) > 1.98);
}

TEST_CASE("trainers refuse what does not fit") {
  const Context ctx({.threads = 1});
  const Task task(60), other(61);
  const auto build = [&](const TrainingOptions& options) {
    Trainer(ctx, task.host(), task.graph, task.data, task.split, options);
  };
  CHECK_THROWS_AS(build({.dropout = 1}), Error);
  CHECK_THROWS_AS(build({.lr = 0}), Error);
  CHECK_THROWS_AS(build({.transfer = {.mu = -1}}), Error);
  CHECK_THROWS_AS(build({.transfer = {.temperature = 0}}), Error);
  CHECK_THROWS_AS(build({.transfer = {.ramp = 0}}), Error);
  CHECK_THROWS_AS(Trainer(ctx, task.host(), other.graph, task.data, task.split, {}), Error);
  CHECK_THROWS_AS(Trainer(ctx, task.host(), task.graph, task.data, other.split, {}), Error);

  const test::TemporaryFolder folder;
  Trainer joint(ctx, task.host(), task.graph, task.data, task.split, {});
  joint.epoch();
  joint.save(folder / "a.safetensors");
  Trainer plain(ctx, task.host(), task.graph, task.data, task.split, {.schedule = Schedule::plain});
  CHECK_THROWS_AS(plain.load(folder / "a.safetensors"), Error);
  Trainer wider(ctx, task.host({.hidden = 8}), task.graph, task.data, task.split, {});
  CHECK_THROWS_AS(wider.load(folder / "a.safetensors"), Error);
}

}  // namespace
