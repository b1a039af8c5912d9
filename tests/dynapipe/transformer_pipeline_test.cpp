// Transformer plans executed on ranks: decoder-only and encoder-decoder, held against one process.
#include <cmath>

#include "dynapipe/pipeline_fixtures.hpp"
#include "researchkit/autograd/gradcheck.hpp"
#include "researchkit/dynapipe/transformer_pipeline.hpp"
#include "researchkit/dynapipe/window_packing.hpp"

using namespace researchkit;
using namespace researchkit::dynapipe;
using dynapipe::test::joined;
using dynapipe::test::largest_difference;
using dynapipe::test::run_alone;
using dynapipe::test::run_on_ranks;

namespace {

constexpr std::int64_t kWidth = 8, kHeads = 2, kInner = 12, kVocabulary = 19;
constexpr std::int64_t kSamples = 14;

enum class Cut : std::uint8_t { planned, path, one_by_one, whole, spare_rows, packed, by_hand };

/// Most of these samples are as long as they may be: makes every other one short.
std::vector<SampleLength> some_short(std::vector<SampleLength> samples) {
  for (std::size_t i = 1; i < samples.size(); i += 2) {
    samples[i].input = 1 + samples[i].input / 4;
    samples[i].target -= 3 * samples[i].target / 4;
  }
  return samples;
}

struct Training {
  TransformerModel model;
  DType dtype;
  std::vector<SampleLength> samples;
  LanguageData data;
  ModelProfile profile;

  Training(ModelKind kind, DType type)
      : model{{kWidth, kHeads, kInner},
              kind == ModelKind::decoder ? 4 : 2,
              kind == ModelKind::decoder ? 0 : 2,
              kVocabulary},
        dtype(type),
        samples(some_short(flan_lengths(5, kSamples, kind, 40))),
        data(synthetic_language(samples, kVocabulary, 3)),
        profile(analytic_profile({kWidth, kHeads, kWidth / kHeads, kInner, 1, false}, kind)) {
    // Behind the end of a sequence anything may stand: it is never read.
    for (std::int64_t i = 0; i < kSamples; ++i) {
      for (std::int64_t t = data.input_lengths(i); t < data.inputs.extent(1); ++t) {
        data.inputs(i, t) = 1 << 30;
      }
      for (std::int64_t t = data.label_lengths(i); t < data.labels.extent(1); ++t) {
        data.labels(i, t) = -5;
      }
    }
  }

  std::vector<StoredPlan> plans(std::int64_t stages, std::int64_t replicas, Cut cut,
                                Recompute recompute = Recompute::none,
                                std::int64_t chunks = 1) const {
    Cluster cluster;
    cluster.chunks = chunks;
    cluster.stages = stages;
    cluster.replicas = replicas;
    cluster.device_memory_mb = 1000;
    const Model layers{&profile, model.encoder_layers, model.decoder_layers};
    PlanOptions options;
    options.longest_window = 3;
    options.recompute = {recompute};
    if (cut == Cut::path) options.order = OrderMethod::path;
    const IterationPlan planned =
        cut == Cut::planned || cut == Cut::path
            ? plan(Context(), samples, layers, cluster, options)
            : plan_micro_batches(Context(), by_hand(cut), samples, layers, cluster, recompute,
                                 SchedulePolicy::f1b1);
    std::vector<StoredPlan> stored;
    for (std::size_t g = 0; g < planned.replicas.size(); ++g) {
      stored.push_back(stored_plan(planned, g, "test"));
    }
    return stored;
  }

  std::vector<MicroBatch> by_hand(Cut cut) const {
    const bool encdec = model.decoder_layers > 0;
    std::vector<MicroBatch> batches;
    if (cut == Cut::by_hand) {
      // Everything in two sequences, and one that stays empty.
      constexpr std::int32_t kHalf = kSamples / 2;
      batches.push_back({{}, {3, 40 * kHalf, encdec ? 48 * kHalf : 0}});
      for (std::int32_t i = 0; i < kSamples; ++i) {
        batches[0].samples.push_back(kSamples - 1 - i);
        batches[0].sequence_of.push_back(2 * (i % 2));
      }
      return batches;
    }
    if (cut == Cut::packed) return packed_windows();
    for (std::int32_t i = 0; i < kSamples; ++i) {
      if (cut != Cut::whole || batches.empty()) {
        // Rows without a sample occur in the last micro-batch of a packing baseline.
        const std::int32_t rows = cut == Cut::whole ? kSamples : cut == Cut::spare_rows ? 2 : 1;
        batches.push_back({{}, {rows, 40, encdec ? 48 : 0}});
      }
      batches.back().samples.push_back(i);
    }
    return batches;
  }

  /// Two windows of long and short samples, packed as the planner does.
  std::vector<MicroBatch> packed_windows() const {
    const Rounding rounding;
    const auto order = order_samples(samples);
    std::vector<MicroBatch> batches(2);
    for (std::size_t w = 0; w < 2; ++w) {
      WindowPacking packing;
      SampleLength longest;
      for (std::size_t k = w; k < order.size(); k += 2) {
        const SampleLength& sample = samples[static_cast<std::size_t>(order[k])];
        batches[w].samples.push_back(order[k]);
        packing.add(sample);
        longest = {std::max(longest.input, sample.input), std::max(longest.target, sample.target)};
      }
      batches[w].sequence_of = packing.sequence_of();
      batches[w].shape = {static_cast<std::int32_t>(packing.sequences()),
                          static_cast<std::int32_t>(rounding.input(longest.input)),
                          static_cast<std::int32_t>(rounding.target(longest.target))};
    }
    return batches;
  }

  dynapipe::test::MakeStage make() const {
    return [this](std::int64_t number, std::int64_t stages) {
      return std::make_unique<TransformerPipelineStage>(Context({.threads = 1}), model, dtype,
                                                        number, stages, 11, data);
    };
  }
  TensorMap on_ranks(const std::vector<StoredPlan>& plans, const RunOptions& options = {}) const {
    return joined(run_on_ranks(plans, make(), options));
  }
  TensorMap alone(const std::vector<StoredPlan>& plans) const {
    return joined(run_alone(plans, make()));
  }
};

}  // namespace

TEST_CASE("transformer gradients have the bits of one process for 1, 2 and 4 stages") {
  for (const ModelKind kind : {ModelKind::decoder, ModelKind::encdec}) {
    const Training training(kind, DType::f64);
    for (const std::int64_t replicas : {1, 2}) {
      for (const std::int64_t stages : {1, 2, 4}) {
        const auto plans = training.plans(stages, replicas, Cut::planned);
        const auto alone = training.alone(plans);
        CHECK(alone.size() > 60);
        CHECK(largest_difference(training.on_ranks(plans), alone) == 0);
        CHECK(largest_difference(training.on_ranks(plans, {.deterministic = false}), alone) <
              1e-11);
      }
    }
  }
}

TEST_CASE("the same micro-batches give the same bits on any number of stages") {
  for (const ModelKind kind : {ModelKind::decoder, ModelKind::encdec}) {
    const Training training(kind, DType::f32);
    const auto one = training.on_ranks(training.plans(1, 1, Cut::one_by_one));
    for (const std::int64_t stages : {2, 4}) {
      CHECK(largest_difference(training.on_ranks(training.plans(stages, 1, Cut::one_by_one)),
                               one) == 0);
    }
  }
}

TEST_CASE("transformer gradients do not depend on the plan") {
  for (const ModelKind kind : {ModelKind::decoder, ModelKind::encdec}) {
    for (const DType dtype : {DType::f64, DType::f32}) {
      const Training training(kind, dtype);
      const double tolerance = dtype == DType::f64 ? 1e-11 : 1e-4;
      const auto whole = training.alone(training.plans(1, 1, Cut::whole));
      for (const Cut cut :
           {Cut::planned, Cut::path, Cut::one_by_one, Cut::spare_rows, Cut::packed, Cut::by_hand}) {
        for (const std::int64_t replicas : {1, 2}) {
          const auto plans = training.plans(4, replicas, cut);
          CHECK(largest_difference(training.on_ranks(plans), whole) <= tolerance);
        }
      }
    }
  }
}

TEST_CASE("packed windows have fewer sequences than samples") {
  for (const ModelKind kind : {ModelKind::decoder, ModelKind::encdec}) {
    const Training training(kind, DType::f64);
    const auto plans = training.plans(2, 1, Cut::packed);
    CHECK(plans[0].micro_batches.size() == 2);
    for (const MicroBatch& batch : plans[0].micro_batches) {
      CHECK(batch.packed());
      CHECK(static_cast<std::size_t>(batch.shape.samples) < batch.samples.size());
    }
  }
}

TEST_CASE("packed samples that do not fit are refused") {
  const Training training(ModelKind::encdec, DType::f64);
  auto plans = training.plans(1, 1, Cut::by_hand);
  const auto make = training.make();
  const auto stage = make(0, 1);
  const auto refused = [&] {
    try {
      run_pipeline(Context(), *self_communicator(), plans, *stage);
      return std::string("nothing");
    } catch (const Error& error) {
      return error.argument();
    }
  };
  CHECK(refused() == "nothing");
  MicroBatch& batch = plans[0].micro_batches[0];
  batch.sequence_of[0] = 3;
  CHECK(refused() == "plans");
  std::fill(batch.sequence_of.begin(), batch.sequence_of.end(), 0);
  batch.shape.input = batch.shape.target = 60;
  CHECK(refused() == "plans");
}

TEST_CASE("chunks on a device give the bits of one process") {
  for (const ModelKind kind : {ModelKind::decoder, ModelKind::encdec}) {
    const Training training(kind, DType::f64);
    const auto whole = training.alone(training.plans(1, 1, Cut::whole));
    for (const auto& [stages, chunks] : {std::pair{2, 2}, {1, 2}, {1, 4}}) {
      for (const std::int64_t replicas : {1, 2}) {
        for (const Cut cut : {Cut::planned, Cut::packed}) {
          const auto plans = training.plans(stages, replicas, cut, Recompute::none, chunks);
          REQUIRE(plans[0].chunks == chunks);
          const auto ranks = training.on_ranks(plans);
          CHECK(largest_difference(ranks, training.alone(plans)) == 0);
          CHECK(largest_difference(ranks, whole) <= 1e-11);
        }
      }
    }
    // The same micro-batches in the other schedule, and with chunks on devices of their own.
    const auto plans = training.plans(2, 1, Cut::one_by_one, Recompute::full, 2);
    CHECK(largest_difference(training.on_ranks(plans),
                             training.on_ranks(training.plans(4, 1, Cut::one_by_one))) == 0);
  }
  const Training training(ModelKind::encdec, DType::f32);
  const auto whole = training.alone(training.plans(1, 1, Cut::whole));
  const auto plans = training.plans(2, 1, Cut::planned, Recompute::none, 2);
  CHECK(largest_difference(training.on_ranks(plans), whole) <= 1e-4);
}

TEST_CASE("a rank without all its chunks is refused") {
  const Training training(ModelKind::decoder, DType::f64);
  const auto plans = training.plans(1, 1, Cut::planned, Recompute::none, 2);
  const auto make = training.make();
  const auto stage = make(0, 2);
  CHECK_THROWS_AS(run_pipeline(Context(), *self_communicator(), plans, *stage), Error);
}

TEST_CASE("recomputation changes no bit and keeps less") {
  for (const ModelKind kind : {ModelKind::decoder, ModelKind::encdec}) {
    const Training training(kind, DType::f64);
    const auto plain = training.plans(2, 1, Cut::planned);
    auto again = plain;
    for (StoredPlan& plan : again) plan.recompute = Recompute::full;
    CHECK(largest_difference(training.on_ranks(again), training.on_ranks(plain)) == 0);
    const auto most_kept = [&](const std::vector<StoredPlan>& plans) {
      std::vector<std::size_t> bytes(2);
      run_ranks(2, [&](Communicator& ranks) {
        const auto stage = training.make()(ranks.rank(), 2);
        bytes[static_cast<std::size_t>(ranks.rank())] =
            run_pipeline(Context({.threads = 1}), ranks, plans, *stage).peak_bytes;
      });
      return bytes;
    };
    CHECK(most_kept(again)[0] * 3 < most_kept(plain)[0]);
  }
}

TEST_CASE("transformer gradients are the slopes of the loss") {
  for (const ModelKind kind : {ModelKind::decoder, ModelKind::encdec}) {
    const Training training(kind, DType::f64);
    const auto plans = training.plans(1, 1, Cut::planned);
    const auto make = training.make();
    const auto stage = make(0, 1);
    const auto self = self_communicator();
    const auto run = run_pipeline(Context(), *self, plans, *stage);
    CHECK(run.loss > 0.5 * std::log(kVocabulary));
    const auto loss = [&] { return run_pipeline(Context(), *self, plans, *stage).loss; };
    std::size_t probed = 0;
    for (auto [name, weight] : stage->weights()) {
      const auto values = weight.values<double>();
      const std::size_t at = (7 * probed++) % values.size();
      const double before = values[at], step = 1e-5;
      values[at] = before + step;
      const double above = loss();
      values[at] = before - step;
      const double below = loss();
      values[at] = before;
      const double slope = (above - below) / (2 * step);
      const double got = run.gradients[0].at(name).values<double>()[at];
      INFO(name << "[" << at << "]: " << got << ", differences give " << slope);
      CHECK(std::fabs(got - slope) <= 1e-8 + 1e-5 * std::fabs(slope));
    }
  }
}

TEST_CASE("threads do not change a bit of a pipeline's gradients") {
  const Training training(ModelKind::encdec, DType::f32);
  const auto plans = training.plans(1, 1, Cut::planned);
  const auto with = [&](int threads) {
    TransformerPipelineStage stage(Context({.threads = threads}), training.model, DType::f32, 0, 1,
                                   11, training.data);
    return run_pipeline(Context(), *self_communicator(), plans, stage).gradients[0];
  };
  const auto one = with(1);
  for (const int threads : {2, 7}) CHECK(largest_difference(with(threads), one) == 0);
}

TEST_CASE("layers that do not divide into the stages are refused") {
  const Training training(ModelKind::encdec, DType::f32);
  CHECK_THROWS_AS(training.make()(0, 3), Error);
  CHECK_THROWS_AS(training.make()(4, 4), Error);
  CHECK_THROWS_AS(synthetic_language(training.samples, 1, 0), Error);
  TransformerModel model = training.model;
  model.layer.heads = 3;
  CHECK_THROWS_AS(TransformerPipelineStage(Context(), model, DType::f32, 0, 1, 11, training.data),
                  Error);
}
