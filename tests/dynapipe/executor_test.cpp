// MLP plans executed on ranks: gradients are those of one process, and a failing rank ends the run.
#include <chrono>
#include <cmath>
#include <random>

#include "dynapipe/pipeline_fixtures.hpp"
#include "researchkit/dynapipe/mlp_pipeline.hpp"
#include "support/contains.hpp"

using namespace researchkit;
using namespace researchkit::dynapipe;
using dynapipe::test::joined;
using dynapipe::test::largest_difference;
using dynapipe::test::run_alone;
using dynapipe::test::run_on_ranks;
using researchkit::test::contains;

namespace {

constexpr std::int64_t kHidden = 8, kInner = 12, kLongest = 64;

template <class Real>
struct Training {
  std::vector<SampleLength> samples = flan_lengths(9, 24, ModelKind::decoder, kLongest);
  Array<Real, 3> inputs{{24, kLongest, kHidden}}, targets{{24, kLongest, kHidden}};
  Array<std::int32_t, 1> lengths{{24}};
  std::vector<TensorMap> weights;
  std::vector<StoredPlan> plans;
  double norm = 0;

  Training(std::int64_t stages, std::int64_t replicas, bool whole_batch = false) {
    std::mt19937_64 random(3);
    const auto fill = [&](Tensor tensor, double scale) {
      for (Real& value : tensor.values<Real>()) {
        value =
            static_cast<Real>(scale * (2 * (static_cast<double>(random() >> 11) * 0x1p-53) - 1));
      }
      return tensor;
    };
    fill(inputs.tensor(), 1);
    fill(targets.tensor(), 1);
    for (std::int64_t i = 0; i < 24; ++i) {
      lengths(i) = samples[static_cast<std::size_t>(i)].input;
      norm += lengths(i);
      // Padding is never read: a NaN there must not reach a gradient.
      for (std::int64_t t = lengths(i); t < kLongest; ++t) inputs(i, t, 0) = NAN;
    }
    constexpr DType dtype = dtype_of<Real>;
    for (std::int64_t s = 0; s < stages; ++s) {
      weights.push_back({{"w1", fill(Tensor(dtype, {kHidden, kInner}), 0.5)},
                         {"b1", fill(Tensor(dtype, {kInner}), 0.5)},
                         {"w2", fill(Tensor(dtype, {kInner, kHidden}), 0.5)},
                         {"b2", fill(Tensor(dtype, {kHidden}), 0.5)}});
    }
    static const ModelProfile profile =
        analytic_profile({kHidden, 1, 8, kInner, 1, false}, ModelKind::decoder);
    Cluster cluster;
    cluster.stages = stages;
    cluster.replicas = replicas;
    cluster.device_memory_mb = 1000;
    const Model model{&profile, 12, 0};
    PlanOptions options;
    options.longest_window = 4;  // several micro-batches, though all would fit into one
    const IterationPlan planned =
        whole_batch ? whole(model, cluster) : plan(Context(), samples, model, cluster, options);
    for (std::size_t g = 0; g < planned.replicas.size(); ++g) {
      plans.push_back(stored_plan(planned, g, "test"));
    }
  }

  IterationPlan whole(const Model& model, const Cluster& cluster) const {
    MicroBatch all;
    for (std::int32_t i = 0; i < 24; ++i) all.samples.push_back(i);
    all.shape = {24, kLongest, 0};
    return plan_micro_batches(Context(), {all}, samples, model, cluster, Recompute::none,
                              SchedulePolicy::f1b1);
  }

  std::unique_ptr<PipelineStage> stage(std::int64_t number, std::int64_t stages) const {
    return std::make_unique<MlpPipelineStage<Real>>(
        Context({.threads = 1}), weights[static_cast<std::size_t>(number)],
        PipelineData<Real>{inputs, targets, lengths, norm}, number + 1 == stages);
  }
  dynapipe::test::MakeStage make() const {
    return [this](std::int64_t number, std::int64_t stages) { return stage(number, stages); };
  }
  TensorMap on_ranks(const RunOptions& options = {}) const {
    return joined(run_on_ranks(plans, make(), options));
  }
  TensorMap alone() const { return joined(run_alone(plans, make())); }
};

}  // namespace

TEST_CASE("ranks bring home the bits of one process") {
  for (const std::int64_t stages : {1, 2, 4}) {
    for (const std::int64_t replicas : {1, 2}) {
      const Training<double> training(stages, replicas);
      REQUIRE(training.plans[0].micro_batches.size() > 2);
      CHECK(largest_difference(training.on_ranks(), training.alone()) == 0);
      CHECK(largest_difference(training.on_ranks({.deterministic = false}), training.alone()) <
            1e-11);
    }
  }
}

TEST_CASE("gradients do not depend on how the mini-batch is cut") {
  for (const std::int64_t replicas : {1, 2, 3}) {
    const Training<double> cut(4, replicas), whole(4, 1, true);
    CHECK(largest_difference(cut.on_ranks(), whole.alone()) < 1e-11);
    const Training<float> cut32(4, replicas), whole32(4, 1, true);
    CHECK(largest_difference(cut32.on_ranks(), whole32.alone()) < 1e-4);
  }
}

TEST_CASE("packed samples give the gradients of samples in sequences of their own") {
  const Training<double> whole(2, 1, true);
  Training<double> packed = whole;
  MicroBatch& batch = packed.plans[0].micro_batches[0];
  // Twice the length holds two samples; shapes stand in the instructions as well.
  for (std::int32_t b = 0; b < 24; ++b) batch.sequence_of.push_back(b / 2);
  batch.shape = {12, 2 * kLongest, 0};
  for (auto& program : packed.plans[0].program.stages) {
    for (Instruction& step : program) {
      if (step.hidden > 0) step.mbs = 12, step.length[0] = 2 * kLongest;
    }
  }
  CHECK(largest_difference(packed.on_ranks(), whole.alone()) < 1e-11);
  batch.sequence_of[0] = 12;
  CHECK_THROWS_AS(packed.on_ranks(), Error);
}

TEST_CASE("a rank that dies ends the run with an error that names it") {
  const Training<double> training(4, 1);
  const auto begin = std::chrono::steady_clock::now();
  try {
    run_ranks(4, [&](Communicator& ranks) {
      if (ranks.rank() == 2) throw Error("out of memory");
      run_pipeline(Context({.threads = 1}), ranks, training.plans,
                   *training.stage(ranks.rank(), 4));
    });
    FAIL("nobody noticed");
  } catch (const Error& error) {
    CHECK_THAT(error.what(), contains("rank 2 failed: out of memory"));
  }
  CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(10));
}

TEST_CASE("a rank that never answers ends the run with an error that names it") {
  const Training<double> training(2, 1);
  try {
    run_ranks(
        2,
        [&](Communicator& ranks) {
          if (ranks.rank() == 1) return;
          run_pipeline(Context({.threads = 1}), ranks, training.plans, *training.stage(0, 2));
        },
        0.2);
    FAIL("nobody noticed");
  } catch (const Error& error) {
    CHECK_THAT(error.what(), contains("rank 1 did not answer within 0.2 s"));
    CHECK_THAT(error.what(), contains("gradients of micro-batch"));
  }
}

TEST_CASE("plans that do not fit the ranks are refused") {
  const Training<double> training(2, 1);
  const auto self = self_communicator();
  const auto blamed = [&](std::vector<StoredPlan> plans) {
    try {
      run_pipeline(Context(), *self, plans, *training.stage(0, 2));
      return std::string("nothing");
    } catch (const Error& error) {
      return error.argument();
    }
  };
  CHECK(blamed(training.plans) == "ranks");
  CHECK(blamed({}) == "plans");
  auto plans = Training<double>(1, 1).plans;
  plans[0].hidden = 7;
  CHECK(blamed(plans) == "plans");
  plans[0].hidden = kHidden;
  plans[0].micro_batches[0].samples[0] = 24;
  CHECK(blamed(plans) == "plans");
}
