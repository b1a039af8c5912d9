// Packing inside micro-batches: what is packed, that it fits, and what it saves.
#include <algorithm>
#include <functional>
#include <random>

#include "researchkit/dynapipe/planner.hpp"
#include "researchkit/dynapipe/window_packing.hpp"
#include "support/catch.hpp"
#include "support/contains.hpp"

using namespace researchkit;
using namespace researchkit::dynapipe;

namespace {

struct Setting {
  explicit Setting(ModelKind kind)
      : profile(analytic_profile({1024, 16, 64, 4096, 1, false}, kind)),
        samples(flan_lengths(3, 200, kind, 2048)) {
    const bool encdec = kind == ModelKind::encdec;
    model = {&profile, encdec ? 12 : 24, encdec ? 12 : 0};
    cluster.stages = 4;
    cluster.device_memory_mb = 12000;
    options.recompute = {Recompute::selective};
    options.order = encdec ? OrderMethod::path : OrderMethod::sort;
  }
  IterationPlan planned(bool packed) {
    options.pack_windows = packed;
    return plan(Context(), samples, model, cluster, options);
  }
  ModelProfile profile;
  std::vector<SampleLength> samples;
  Model model;
  Cluster cluster;
  PlanOptions options;
};

std::int64_t packed_batches(const IterationPlan& plan) {
  std::int64_t count = 0;
  for (const MicroBatch& batch : plan.replicas[0].micro_batches) count += batch.packed() ? 1 : 0;
  return count;
}

}  // namespace

TEST_CASE("a growing window is packed as its definition says") {
  std::mt19937_64 random(1);
  for (int round = 0; round < 300; ++round) {
    std::vector<SampleLength> window(1 + random() % 30);
    const bool encdec = random() % 2 == 0, sorted = random() % 2 == 0;
    for (SampleLength& sample : window) {
      sample.input = static_cast<std::int32_t>(1 + random() % (random() % 2 == 0 ? 10 : 60));
      sample.target = encdec ? static_cast<std::int32_t>(1 + random() % 20) : 0;
    }
    if (sorted) {
      std::sort(window.begin(), window.end(),
                [](const auto& a, const auto& b) { return a.input > b.input; });
    }
    const auto most = static_cast<std::int64_t>(1 + random() % 12);
    WindowPacking packing, bounded;
    for (std::size_t k = 0; k < window.size(); ++k) {
      const auto want = reference::pack_window(std::span(window).first(k + 1));
      const std::int64_t sequences = packing.add(window[k]);
      REQUIRE(packing.sequence_of() == want);
      REQUIRE(sequences == *std::max_element(want.begin(), want.end()) + 1);
      // With a bound the number is right up to it.
      REQUIRE(std::min(bounded.add(window[k], most), most + 1) == std::min(sequences, most + 1));
    }
  }
}

TEST_CASE("plans with packed micro-batches hold, and fit their samples") {
  for (const ModelKind kind : {ModelKind::decoder, ModelKind::encdec}) {
    Setting setting(kind);
    const IterationPlan packed = setting.planned(true);
    CHECK(packed_batches(packed) > 0);
    const auto fault = find_plan_fault(packed, setting.samples, setting.cluster.device_memory_mb);
    INFO(fault.value_or(""));
    CHECK_FALSE(fault);
    std::int64_t padded = 0, sequences = 0;
    for (const MicroBatch& batch : packed.replicas[0].micro_batches) {
      padded += std::int64_t{batch.shape.samples} * (batch.shape.input + batch.shape.target);
      sequences += batch.shape.samples;
    }
    CHECK(packed.padding.padded() == padded);
    CHECK(sequences < 200);
    CHECK(packed.padding.efficiency() <= 1);
    const IterationPlan plain = setting.planned(false);
    CHECK(packed_batches(plain) == 0);
    CHECK(packed.iteration_ms() < plain.iteration_ms());
  }
}

TEST_CASE("a plan with packing is never slower than one without") {
  for (const ModelKind kind : {ModelKind::decoder, ModelKind::encdec}) {
    Setting setting(kind);
    for (const std::uint64_t seed : {1, 2, 3, 4, 5, 6}) {
      setting.samples = flan_lengths(seed, 60, kind, 2048);
      CHECK(setting.planned(true).iteration_ms() <= setting.planned(false).iteration_ms());
    }
  }
}

TEST_CASE("a fault in packed sequences is found") {
  Setting setting(ModelKind::decoder);
  const IterationPlan planned = setting.planned(true);
  const double limit = setting.cluster.device_memory_mb;
  auto& batches = planned.replicas[0].micro_batches;
  const auto found = std::find_if(batches.begin(), batches.end(),
                                  [](const MicroBatch& batch) { return batch.packed(); });
  REQUIRE(found != batches.end());
  const auto at = static_cast<std::size_t>(found - batches.begin());
  const auto fault_of = [&](const std::function<void(MicroBatch&)>& damage) {
    IterationPlan damaged = planned;
    damage(damaged.replicas[0].micro_batches[at]);
    return find_plan_fault(damaged, setting.samples, limit).value_or("none");
  };
  CHECK(fault_of([](MicroBatch&) {}) == "none");
  CHECK_THAT(fault_of([](MicroBatch& batch) { batch.sequence_of.pop_back(); }),
             test::contains("sequences of"));
  CHECK_THAT(fault_of([](MicroBatch& batch) { batch.sequence_of[0] = batch.shape.samples; }),
             test::contains("no sequence"));
  CHECK_THAT(fault_of([](MicroBatch& batch) { batch.sequence_of.clear(); }),
             test::contains("samples in"));
  CHECK_THAT(fault_of([](MicroBatch& batch) {
               std::fill(batch.sequence_of.begin(), batch.sequence_of.end(), 0);
             }),
             test::contains("does not fit into sequence 0"));
  CHECK_THAT(fault_of([](MicroBatch& batch) {
               batch.samples.pop_back();
               batch.sequence_of.pop_back();
             }),
             test::contains("is in 0 micro-batches"));
}
