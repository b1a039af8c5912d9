// Plans executed on ranks: gradients are those of one process, and a failing rank ends the run.
#include <chrono>
#include <cmath>
#include <random>

#include "researchkit/dynapipe/executor.hpp"
#include "support/catch.hpp"
#include "support/contains.hpp"

using namespace researchkit;
using namespace researchkit::dynapipe;

namespace {

constexpr std::int64_t kHidden = 8, kInner = 12, kLongest = 64;

template <class Real>
struct Training {
  std::vector<SampleLength> samples = flan_lengths(9, 24, ModelKind::decoder, kLongest);
  Array<Real, 3> inputs{{24, kLongest, kHidden}}, targets{{24, kLongest, kHidden}};
  Array<std::int32_t, 1> lengths{{24}};
  std::vector<MlpParameters<Real>> parameters;
  std::vector<StoredPlan> plans;
  double norm = 0;

  Training(std::int64_t stages, std::int64_t replicas, bool whole_batch = false) {
    std::mt19937_64 random(3);
    const auto fill = [&](std::span<Real> values, double scale) {
      for (Real& value : values) {
        value =
            static_cast<Real>(scale * (2 * (static_cast<double>(random() >> 11) * 0x1p-53) - 1));
      }
    };
    Tensor in = inputs.tensor(), out = targets.tensor();
    fill(in.values<Real>(), 1);
    fill(out.values<Real>(), 1);
    for (std::int64_t i = 0; i < 24; ++i) {
      lengths(i) = samples[static_cast<std::size_t>(i)].input;
      norm += lengths(i);
      // Padding is never read: a NaN there must not reach a gradient.
      for (std::int64_t t = lengths(i); t < kLongest; ++t) inputs(i, t, 0) = NAN;
    }
    for (std::int64_t s = 0; s < stages; ++s) {
      parameters.emplace_back(kHidden, kInner);
      for (const auto part : parameters.back().parts()) fill(part, 0.5);
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

  PipelineData<Real> data() const { return {inputs, targets, lengths, norm}; }

  std::vector<MlpParameters<Real>> run_on_ranks() const {
    const auto stages = static_cast<int>(parameters.size());
    std::vector<MlpParameters<Real>> gradients(parameters.size());
    run_ranks(stages * static_cast<int>(plans.size()), [&](Communicator& ranks) {
      const auto stage = static_cast<std::size_t>(ranks.rank() % stages);
      auto run = run_pipeline(Context({.threads = 1}), ranks, plans, parameters[stage], data());
      if (ranks.rank() < stages) gradients[stage] = run.gradient;
    });
    return gradients;
  }
};

template <class Real>
double largest_difference(const std::vector<MlpParameters<Real>>& a,
                          const std::vector<MlpParameters<Real>>& b) {
  double difference = 0, size = 0;
  for (std::size_t s = 0; s < a.size(); ++s) {
    const auto x = a[s].parts(), y = b[s].parts();
    for (std::size_t p = 0; p < x.size(); ++p) {
      for (std::size_t i = 0; i < x[p].size(); ++i) {
        REQUIRE(std::isfinite(x[p][i]));
        difference = std::max(difference, std::fabs(static_cast<double>(x[p][i] - y[p][i])));
        size = std::max(size, std::fabs(static_cast<double>(y[p][i])));
      }
    }
  }
  return difference / size;
}

}  // namespace

TEST_CASE("ranks bring home the bits of one process") {
  for (const std::int64_t stages : {1, 2, 4}) {
    for (const std::int64_t replicas : {1, 2}) {
      const Training<double> training(stages, replicas);
      REQUIRE(training.plans[0].micro_batches.size() > 2);
      const auto alone =
          run_stages_alone(Context(), training.plans, training.parameters, training.data());
      CHECK(largest_difference(training.run_on_ranks(), alone) == 0);
    }
  }
}

TEST_CASE("gradients do not depend on how the mini-batch is cut") {
  for (const std::int64_t replicas : {1, 2, 3}) {
    const Training<double> cut(4, replicas), whole(4, 1, true);
    CHECK(largest_difference(
              cut.run_on_ranks(),
              run_stages_alone(Context(), whole.plans, whole.parameters, whole.data())) < 1e-11);
    const Training<float> cut32(4, replicas), whole32(4, 1, true);
    CHECK(largest_difference(cut32.run_on_ranks(),
                             run_stages_alone(Context(), whole32.plans, whole32.parameters,
                                              whole32.data())) < 1e-4);
  }
}

TEST_CASE("a rank that dies ends the run with an error that names it") {
  const Training<double> training(4, 1);
  const auto begin = std::chrono::steady_clock::now();
  try {
    run_ranks(4, [&](Communicator& ranks) {
      if (ranks.rank() == 2) throw Error("out of memory");
      run_pipeline(Context({.threads = 1}), ranks, training.plans,
                   training.parameters[static_cast<std::size_t>(ranks.rank())], training.data());
    });
    FAIL("nobody noticed");
  } catch (const Error& error) {
    CHECK_THAT(error.what(), test::contains("rank 2 failed: out of memory"));
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
          run_pipeline(Context({.threads = 1}), ranks, training.plans, training.parameters[0],
                       training.data());
        },
        0.2);
    FAIL("nobody noticed");
  } catch (const Error& error) {
    CHECK_THAT(error.what(), test::contains("rank 1 did not answer within 0.2 s"));
  }
}

TEST_CASE("plans that do not fit the ranks are refused") {
  const Training<double> training(2, 1);
  const auto self = self_communicator();
  try {
    run_pipeline(Context(), *self, training.plans, training.parameters[0], training.data());
    FAIL("was not refused");
  } catch (const Error& error) {
    CHECK(error.argument() == "ranks");
  }
}
