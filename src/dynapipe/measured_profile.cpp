#include "researchkit/dynapipe/measured_profile.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <functional>
#include <limits>

#include "researchkit/core/error.hpp"
#include "src/dynapipe/stage_clock.hpp"

namespace researchkit::dynapipe {
namespace {

/// What one stage takes for one micro-batch.
struct StageCost {
  double fw_ms = std::numeric_limits<double>::infinity();
  double bw_ms = std::numeric_limits<double>::infinity();
  double stored_mb = 0, peak_mb = 0;
};

/// With one thread its processor time: other load on the machine does not count.
template <class Work>
double milliseconds(const Context& ctx, Work&& work) {
  const detail::StageTime time = detail::timed(work);
  return ctx.threads() == 1 ? time.processor_ms : time.wall_ms;
}

std::size_t bytes_of(const Activations& tensors) {
  std::size_t bytes = 0;
  for (const Tensor& tensor : tensors) bytes += tensor.bytes();
  return bytes;
}

StageCost measure(const Context& ctx, PipelineStage& stage, const MicroBatch& batch,
                  const Activations& x, bool has_loss, Recompute recompute, int repeats) {
  StageCost cost;
  for (int r = 0; r < repeats; ++r) {
    Activations y;
    const double fw = milliseconds(ctx, [&] { y = stage.forward(0, batch, x, recompute); });
    cost.stored_mb = static_cast<double>(stage.kept_bytes()) / 1e6;
    cost.peak_mb = cost.stored_mb + static_cast<double>(bytes_of(y)) / 1e6;
    Activations d_y;
    if (!has_loss) {
      for (const Tensor& tensor : y) d_y.push_back(tensor.clone());
    }
    const double bw = milliseconds(ctx, [&] { stage.backward(0, batch, std::move(d_y)); });
    cost.fw_ms = std::min(cost.fw_ms, fw);
    cost.bw_ms = std::min(cost.bw_ms, bw);
  }
  return cost;
}

/// Stages of one layer each: of the encoder (or the model), of the decoder, and the last of all.
class Measuring {
 public:
  Measuring(const Context& ctx, const TransformerModel& model, DType dtype,
            const MeasureOptions& options)
      : ctx_(ctx), model_(model), dtype_(dtype), options_(options) {
    encdec_ = model.decoder_layers > 0;
    model_.encoder_layers = 3;  // the middle one has nothing before or behind it
    model_.decoder_layers = encdec_ ? 3 : 0;
    stages_ = model_.encoder_layers + model_.decoder_layers;
  }

  ModelProfile run() {
    const auto g = static_cast<std::int64_t>(options_.mbs_grid.size());
    const auto l = static_cast<std::int64_t>(options_.seq_grid.size());
    ModelProfile profile;
    profile.model = "measured here";
    profile.hidden = model_.layer.width;
    profile.mbs_grid = options_.mbs_grid;
    profile.seq_grid = options_.seq_grid;
    for (std::size_t mode = 0; mode < 3; ++mode) {
      profile.encoder[mode] = Array<double, 3>({6, g, l});
      profile.decoder[mode] =
          encdec_ ? Array<double, 4>({4, g, l, l}) : Array<double, 4>({4, 0, 0, 0});
    }
    for (std::int64_t b = 0; b < g; ++b) {
      for (std::int64_t e = 0; e < l; ++e) {
        ctx_.check_cancelled();
        measure_shape(profile, b, e);
        if (options_.progress) {
          options_.progress(static_cast<double>(b * l + e + 1) / static_cast<double>(g * l));
        }
      }
    }
    const double h = static_cast<double>(model_.layer.width);
    const double f = static_cast<double>(model_.layer.inner);
    constexpr double kMegabytesPerWeight = 2e-6;
    profile.embedding_mb = kMegabytesPerWeight * static_cast<double>(model_.vocabulary) * h;
    profile.encoder_layer_mb = kMegabytesPerWeight * (4 * h * h + 2 * h * f);
    profile.decoder_layer_mb = encdec_ ? kMegabytesPerWeight * (8 * h * h + 2 * h * f) : 0;
    return profile;
  }

 private:
  /// Costs of stage `number` for full sequences, by Recompute.
  std::array<StageCost, 3> costs(std::int64_t number, std::int64_t samples, std::int32_t input,
                                 std::int32_t target) {
    // A target of t padded tokens is one of t - 1 tokens and a begin token.
    const std::vector<SampleLength> lengths(static_cast<std::size_t>(samples),
                                            {input, encdec_ ? target - 1 : 0});
    const LanguageData data = synthetic_language(lengths, model_.vocabulary, 1);
    TransformerPipelineStage stage(ctx_, model_, dtype_, number, stages_, 1, data);
    MicroBatch batch;
    for (std::int32_t i = 0; i < samples; ++i) batch.samples.push_back(i);
    batch.shape = {static_cast<std::int32_t>(samples), input, encdec_ ? target : 0};
    const auto filled = [&](std::int64_t length) {
      Tensor tensor(dtype_, {samples, length, model_.layer.width});
      visit_dtype(dtype_, [&]<class T>(T) {
        const auto values = tensor.values<T>();
        for (std::size_t i = 0; i < values.size(); ++i) {
          values[i] = static_cast<T>(static_cast<int>(i * 37 % 101) - 50) / T(30);
        }
      });
      return tensor;
    };
    Activations x = {filled(input)};
    if (encdec_ && number >= model_.encoder_layers) x.push_back(filled(target));
    const bool last = number + 1 == stages_;
    const StageCost plain = measure(ctx_, stage, batch, x, last, Recompute::none, options_.repeats);
    return {plain, plain, measure(ctx_, stage, batch, x, last, Recompute::full, options_.repeats)};
  }

  void measure_shape(ModelProfile& profile, std::int64_t b, std::int64_t e) {
    const std::int64_t samples = options_.mbs_grid[static_cast<std::size_t>(b)];
    const std::int32_t input = options_.seq_grid[static_cast<std::size_t>(e)];
    const auto layer = costs(1, samples, input, input);
    const auto last = costs(stages_ - 1, samples, input, input);
    const auto before = encdec_ ? costs(stages_ - 2, samples, input, input) : layer;
    for (std::size_t mode = 0; mode < 3; ++mode) {
      auto& table = profile.encoder[mode];
      table(0, b, e) = layer[mode].fw_ms;
      table(1, b, e) = layer[mode].bw_ms;
      // The end of the model is what the last stage takes beyond its layer.
      table(2, b, e) = std::max(0.0, last[mode].fw_ms - before[mode].fw_ms);
      table(3, b, e) = std::max(0.0, last[mode].bw_ms - before[mode].bw_ms);
      table(4, b, e) = layer[mode].stored_mb;
      table(5, b, e) = layer[mode].peak_mb;
    }
    if (!encdec_) return;
    for (std::int64_t d = 0; d < static_cast<std::int64_t>(options_.seq_grid.size()); ++d) {
      const auto both =
          costs(stages_ - 2, samples, input, options_.seq_grid[static_cast<std::size_t>(d)]);
      for (std::size_t mode = 0; mode < 3; ++mode) {
        auto& table = profile.decoder[mode];
        table(0, b, e, d) = both[mode].fw_ms;
        table(1, b, e, d) = both[mode].bw_ms;
        table(2, b, e, d) = both[mode].stored_mb;
        table(3, b, e, d) = both[mode].peak_mb;
      }
    }
  }

  const Context& ctx_;
  TransformerModel model_;
  DType dtype_;
  const MeasureOptions& options_;
  bool encdec_ = false;
  std::int64_t stages_ = 0;
};

void check_grid(std::string_view name, const std::vector<std::int32_t>& grid) {
  const bool ascends =
      std::adjacent_find(grid.begin(), grid.end(), std::greater_equal<>()) == grid.end();
  // A target is a begin token and at least one more.
  if (grid.empty() || grid.front() < (name == "seq_grid" ? 2 : 1) || !ascends) {
    throw Error("dynapipe.measure_profile", name, "an ascending list of lengths",
                fmt::format("{} numbers from {}", grid.size(), grid.empty() ? 0 : grid.front()));
  }
}

}  // namespace

ModelProfile measure_profile(const Context& ctx, const TransformerModel& model, DType dtype,
                             const MeasureOptions& options) {
  check_grid("mbs_grid", options.mbs_grid);
  check_grid("seq_grid", options.seq_grid);
  if (options.repeats < 1) {
    throw Error("dynapipe.measure_profile", "repeats", "at least 1",
                fmt::format("{}", options.repeats));
  }
  return Measuring(ctx, model, dtype, options).run();
}

}  // namespace researchkit::dynapipe
