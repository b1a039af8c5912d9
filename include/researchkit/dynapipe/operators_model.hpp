#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>

#include "researchkit/core/arbitrary.hpp"
#include "researchkit/core/operator.hpp"
#include "researchkit/core/parallel.hpp"
#include "researchkit/dynapipe/stage_math.hpp"
#include "researchkit/dynapipe/transformer_cost.hpp"
#include "researchkit/nn/operators_activation.hpp"

namespace researchkit::dynapipe {

/// Time and memory of a transformer layer by a roofline model; see transformer_cost.hpp.
struct TransformerCost {
  static constexpr std::string_view name = "dynapipe.transformer_cost";
  static constexpr std::string_view summary =
      "Time and memory of a transformer layer by a roofline "
      "model.";

  In<std::int32_t, 2> query = {};  // [N, 3]
  Out<double, 2> cost_table = {};  // [4, N]
  std::int64_t hidden = 0;
  std::int64_t heads = 0;
  std::int64_t kv_channels = 0;
  std::int64_t ffn = 0;
  std::int64_t tp = 1;
  Recompute recompute = Recompute::none;
  bool decoder = false;
  DeviceModel device = {};

  void describe(Description& io) {
    constexpr std::string_view kSize = "[1, 1048576]", kPositive = "(0, inf)";
    io.input(query, "query", "N 3", "samples, padded input and target length",
             {.in = "[0, 268435456]"});
    io.output(cost_table, "cost", "4 N", "forward ms, backward ms, stored MB, peak MB");
    io.attribute(hidden, "hidden", "width, must be given", {.in = kSize});
    io.attribute(heads, "heads", "attention heads, must be given", {.in = kSize});
    io.attribute(kv_channels, "kv_channels", "channels of a head, must be given", {.in = kSize});
    io.attribute(ffn, "ffn", "width of the feed-forward part, must be given", {.in = kSize});
    io.attribute(tp, "tp", "tensor-parallel ranks, a divisor of heads and ffn", {.in = kSize});
    io.attribute(recompute, "recompute", "what the backward computes again");
    io.attribute(decoder, "decoder", "a layer with cross-attention");
    io.attribute(device.peak_tflops, "peak_tflops", "of the device", {.in = kPositive});
    io.attribute(device.efficiency, "efficiency", "share of the peak that is reached",
                 {.in = "(0, 1]"});
    io.attribute(device.mem_gbs, "mem_gbs", "memory bandwidth, GB/s", {.in = kPositive});
    io.attribute(device.launch_ms, "launch_ms", "of a layer", {.in = "[0, inf)"});
    io.attribute(device.link_gbs, "link_gbs", "of an all-reduce, GB/s", {.in = kPositive});
    io.attribute(device.score_bytes, "score_bytes", "moved per attention score",
                 {.in = "[0, inf)"});
    io.attribute(device.elem_bytes, "elem_bytes", "moved per hidden element", {.in = "[0, inf)"});
    io.attribute(device.wide_bytes, "wide_bytes", "moved per element of the wide tensors",
                 {.in = "[0, inf)"});
  }
  void validate(const Check& check) const {
    if (heads % tp != 0) {
      check.refuse("tp", "a divisor of heads = " + std::to_string(heads), std::to_string(tp));
    }
    if (ffn % tp != 0) {
      check.refuse("tp", "a divisor of ffn = " + std::to_string(ffn), std::to_string(tp));
    }
  }
  Cost cost() const {
    const auto n = static_cast<double>(query.extent(0));
    return {80 * n, 44 * n, true};
  }
  void run(const Context& ctx) const {
    parallel_for(ctx, query.extent(0), 1024,
                 [&](std::int64_t begin, std::int64_t end) { price(begin, end); });
  }
  void reference() const { price(0, query.extent(0)); }
  static void arbitrary(Arbitrary& random) {
    const std::int64_t tp = random.integer(1, 4);
    random.call.attributes["tp"] = tp;
    random.call.attributes["heads"] = tp * random.integer(1, 4);
    random.call.attributes["ffn"] = tp * random.integer(1, 64);
  }

 private:
  void price(std::int64_t begin, std::int64_t end) const {
    const LayerShape layer{hidden, heads, kv_channels, ffn, tp, decoder};
    for (std::int64_t i = begin; i < end; ++i) {
      const LayerCost price =
          transformer_cost(query(i, 0), query(i, 1), query(i, 2), layer, recompute, device);
      cost_table(0, i) = price.fw_ms;
      cost_table(1, i) = price.bw_ms;
      cost_table(2, i) = price.stored_mb;
      cost_table(3, i) = price.peak_mb;
    }
  }
};
static_assert(OperatorStruct<TransformerCost>);
inline auto transformer_cost(const Context& ctx, TransformerCost op) { return run(ctx, op); }

namespace detail {

/// A [b, t, h] tensor as rows.
template <class T>
TensorView<T, 2> rows_of(const TensorView<T, 3>& view) {
  return {view.data_handle(), {view.extent(0) * view.extent(1), view.extent(2)}};
}

}  // namespace detail

/// The residual MLP that stands for a pipeline stage; see mlp_stage in stage_math.hpp.
template <class Real>
struct MlpStage {
  static constexpr std::string_view name = "dynapipe.mlp_stage";
  static constexpr std::string_view summary = "x + gelu(x w1 + b1) w2 + b2, a stage to test with.";
  static constexpr Tolerance tolerance = {.rtol = 1e-4, .atol = 1e-4};

  In<Real, 3> x = {};   // [B, T, H]
  In<Real, 2> w1 = {};  // [H, F]
  In<Real, 1> b1 = {};  // [F]
  In<Real, 2> w2 = {};  // [F, H]
  In<Real, 1> b2 = {};  // [H]
  Out<Real, 3> y = {};  // [B, T, H]

  void describe(Description& io) {
    io.input(x, "x", "B T H", "activations", {.contiguous = true});
    io.input(w1, "w1", "H F", "weights in", {.contiguous = true});
    io.input(b1, "b1", "F", "bias in");
    io.input(w2, "w2", "F H", "weights out", {.contiguous = true});
    io.input(b2, "b2", "H", "bias out");
    io.output(y, "y", "B T H", "activations", {.contiguous = true});
  }
  Cost cost() const {
    const auto rows = static_cast<double>(x.extent(0) * x.extent(1));
    const auto h = static_cast<double>(x.extent(2)), f = static_cast<double>(b1.extent(0));
    return {rows * (4 * h * f + 9 * f + h), sizeof(Real) * (2 * rows * h + 2 * h * f + f + h)};
  }
  void run(const Context& ctx) const {
    mlp_stage(ctx, detail::rows_of(x), MlpWeights<Real>{w1, b1, w2, b2}, detail::rows_of(y));
  }
  void reference() const {
    const auto in = detail::rows_of(x);
    const auto out = detail::rows_of(y);
    for (std::int64_t r = 0; r < in.extent(0); ++r) {
      for (std::int64_t h = 0; h < in.extent(1); ++h) out(r, h) = in(r, h) + b2(h);
      for (std::int64_t f = 0; f < b1.extent(0); ++f) {
        Real z = b1(f);
        for (std::int64_t h = 0; h < in.extent(1); ++h) z += in(r, h) * w1(h, f);
        const Real a = nn::gelu(z);
        for (std::int64_t h = 0; h < in.extent(1); ++h) out(r, h) += a * w2(f, h);
      }
    }
  }
};
static_assert(OperatorStruct<MlpStage<float>>);

/// Gradients of mlp_stage.
template <class Real>
struct MlpStageBackward {
  static constexpr std::string_view name = "dynapipe.mlp_stage_backward";
  static constexpr std::string_view summary = "Gradients of mlp_stage.";
  static constexpr Tolerance tolerance = {.rtol = 1e-4, .atol = 1e-4};

  In<Real, 3> x = {};      // [B, T, H]
  In<Real, 2> w1 = {};     // [H, F]
  In<Real, 1> b1 = {};     // [F]
  In<Real, 2> w2 = {};     // [F, H]
  In<Real, 3> d_y = {};    // [B, T, H]
  Out<Real, 3> d_x = {};   // [B, T, H]
  Out<Real, 2> d_w1 = {};  // [H, F]
  Out<Real, 1> d_b1 = {};  // [F]
  Out<Real, 2> d_w2 = {};  // [F, H]
  Out<Real, 1> d_b2 = {};  // [H]

  void describe(Description& io) {
    io.input(x, "x", "B T H", "activations", {.contiguous = true});
    io.input(w1, "w1", "H F", "weights in", {.contiguous = true});
    io.input(b1, "b1", "F", "bias in");
    io.input(w2, "w2", "F H", "weights out", {.contiguous = true});
    io.input(d_y, "d_y", "B T H", "gradient of y", {.contiguous = true});
    io.output(d_x, "d_x", "B T H", "gradient of x", {.contiguous = true});
    io.output(d_w1, "d_w1", "H F", "gradient of w1", {.contiguous = true});
    io.output(d_b1, "d_b1", "F", "gradient of b1");
    io.output(d_w2, "d_w2", "F H", "gradient of w2", {.contiguous = true});
    io.output(d_b2, "d_b2", "H", "gradient of b2");
  }
  Cost cost() const {
    const auto rows = static_cast<double>(x.extent(0) * x.extent(1));
    const auto h = static_cast<double>(x.extent(2)), f = static_cast<double>(b1.extent(0));
    return {rows * (10 * h * f + 29 * f + h),
            sizeof(Real) * (3 * rows * h + 4 * h * f + 2 * f + h)};
  }
  void run(const Context& ctx) const {
    mlp_stage_backward(ctx, detail::rows_of(x), MlpWeights<Real>{w1, b1, w2, {}},
                       detail::rows_of(d_y), detail::rows_of(d_x),
                       MlpGradients<Real>{d_w1, d_b1, d_w2, d_b2});
  }
  void reference() const {
    const auto in = detail::rows_of(x);
    const auto upstream = detail::rows_of(d_y);
    const auto out = detail::rows_of(d_x);
    const std::int64_t rows = in.extent(0), width = in.extent(1);
    for (std::int64_t h = 0; h < width; ++h) {
      d_b2(h) = 0;
      for (std::int64_t r = 0; r < rows; ++r) {
        d_b2(h) += upstream(r, h);
        out(r, h) = upstream(r, h);
      }
    }
    for (std::int64_t f = 0; f < b1.extent(0); ++f) {
      d_b1(f) = 0;
      for (std::int64_t h = 0; h < width; ++h) d_w1(h, f) = d_w2(f, h) = 0;
      for (std::int64_t r = 0; r < rows; ++r) {
        Real z = b1(f), d_a = 0;
        for (std::int64_t h = 0; h < width; ++h) {
          z += in(r, h) * w1(h, f);
          d_a += upstream(r, h) * w2(f, h);
        }
        const Real a = nn::gelu(z), d_z = d_a * nn::gelu_slope(z);
        d_b1(f) += d_z;
        for (std::int64_t h = 0; h < width; ++h) {
          out(r, h) += d_z * w1(h, f);
          d_w1(h, f) += in(r, h) * d_z;
          d_w2(f, h) += a * upstream(r, h);
        }
      }
    }
  }
};
static_assert(OperatorStruct<MlpStageBackward<float>>);

/// Half the squared error of the valid tokens over `norm`: divided by the valid tokens of the whole
/// mini-batch, gradients do not depend on how it is cut. Padding is never read.
template <class Real>
struct MaskedLoss {
  static constexpr std::string_view name = "dynapipe.masked_loss";
  static constexpr std::string_view summary = "Half the squared error of the valid tokens.";

  In<Real, 3> y = {};                // [B, T, H]
  In<Real, 3> target = {};           // [B, T, H]
  In<std::int32_t, 1> lengths = {};  // [B]
  Out<double, 1> loss = {};          // [1]
  double norm = 0;

  void describe(Description& io) {
    io.input(y, "y", "B T H", "predictions");
    io.input(target, "target", "B T H", "what they should be");
    io.input(lengths, "lengths", "B", "valid tokens", {.in = "[0, T]"});
    io.output(loss, "loss", "1", "sum over valid tokens of (y - target)^2 / (2 norm)");
    io.attribute(norm, "norm", "valid tokens of the mini-batch, must be given", {.in = "(0, inf)"});
  }
  double valid() const {
    double tokens = 0;
    for (std::int64_t b = 0; b < lengths.extent(0); ++b) tokens += lengths(b);
    return tokens * static_cast<double>(y.extent(2));
  }
  /// A difference, a square and a sum of each entry, a sum of each sample, and the scaling.
  Cost cost() const {
    return {3 * valid() + static_cast<double>(y.extent(0)) + 2,
            sizeof(Real) * 2 * valid() + 4 * static_cast<double>(y.extent(0)) + 8};
  }
  void run(const Context& ctx) const {
    finish(parallel_reduce(
        ctx, y.extent(0), 1, Sum(0), [&](std::int64_t b, std::int64_t) { return sample(b); },
        [](Sum a, Sum b) { return a + b; }));
  }
  void reference() const {
    Sum sum = 0;
    for (std::int64_t b = 0; b < y.extent(0); ++b) sum += sample(b);
    finish(sum);
  }

 private:
  using Sum = std::conditional_t<std::is_same_v<Real, float>, double, Real>;
  Sum sample(std::int64_t b) const {
    Sum sum = 0;
    for (std::int64_t t = 0; t < lengths(b); ++t) {
      for (std::int64_t h = 0; h < y.extent(2); ++h) {
        const Sum error = Sum(y(b, t, h)) - Sum(target(b, t, h));
        sum += error * error;
      }
    }
    return sum;
  }
  void finish(Sum sum) const { loss(0) = static_cast<double>(Sum(0.5) * sum / Sum(norm)); }
};
static_assert(OperatorStruct<MaskedLoss<float>>);

/// d_loss (y - target) / norm on valid tokens, exactly 0 elsewhere.
template <class Real>
struct MaskedLossBackward {
  static constexpr std::string_view name = "dynapipe.masked_loss_backward";
  static constexpr std::string_view summary = "Gradient of masked_loss.";

  In<Real, 3> y = {};                // [B, T, H]
  In<Real, 3> target = {};           // [B, T, H]
  In<std::int32_t, 1> lengths = {};  // [B]
  In<double, 1> d_loss = {};         // [1]
  Out<Real, 3> d_y = {};             // [B, T, H]
  double norm = 0;

  void describe(Description& io) {
    io.input(y, "y", "B T H", "predictions");
    io.input(target, "target", "B T H", "what they should be");
    io.input(lengths, "lengths", "B", "valid tokens", {.in = "[0, T]"});
    io.input(d_loss, "d_loss", "1", "gradient of the loss");
    io.output(d_y, "d_y", "B T H", "gradient of the predictions");
    io.attribute(norm, "norm", "valid tokens of the mini-batch, must be given", {.in = "(0, inf)"});
  }
  /// A difference, a quotient and a product of each valid entry.
  Cost cost() const {
    double tokens = 0;
    for (std::int64_t b = 0; b < lengths.extent(0); ++b) tokens += lengths(b);
    const double entries = tokens * static_cast<double>(y.extent(2));
    return {3 * entries, sizeof(Real) * (2 * entries + static_cast<double>(y.size()))};
  }
  void run(const Context& ctx) const {
    parallel_for(ctx, y.extent(0), 1,
                 [&](std::int64_t begin, std::int64_t end) { samples(begin, end); });
  }
  void reference() const { samples(0, y.extent(0)); }

 private:
  using Wide = std::conditional_t<std::is_same_v<Real, float>, double, Real>;
  void samples(std::int64_t begin, std::int64_t end) const {
    for (std::int64_t b = begin; b < end; ++b) {
      for (std::int64_t t = 0; t < y.extent(1); ++t) {
        for (std::int64_t h = 0; h < y.extent(2); ++h) {
          d_y(b, t, h) = t < lengths(b)
                             ? Real(Wide(d_loss(0)) *
                                    ((Wide(y(b, t, h)) - Wide(target(b, t, h))) / Wide(norm)))
                             : Real(0);
        }
      }
    }
  }
};
static_assert(OperatorStruct<MaskedLossBackward<float>>);

inline constexpr Function<MlpStage> mlp_stage_op;
inline constexpr Function<MlpStageBackward> mlp_stage_backward_op;
inline constexpr Function<MaskedLoss> masked_loss;
inline constexpr Function<MaskedLossBackward> masked_loss_backward;

}  // namespace researchkit::dynapipe
