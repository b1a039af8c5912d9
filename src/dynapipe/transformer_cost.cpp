#include "researchkit/dynapipe/transformer_cost.hpp"

#include <array>

namespace researchkit::dynapipe {

LayerCost transformer_cost(std::int64_t samples, std::int64_t input, std::int64_t target,
                           const LayerShape& layer, Recompute recompute,
                           const DeviceModel& device) {
  const auto h = static_cast<double>(layer.hidden), a = static_cast<double>(layer.heads);
  const auto p = static_cast<double>(layer.heads * layer.kv_channels);
  const auto f = static_cast<double>(layer.ffn), t = static_cast<double>(layer.tp);
  const auto b = static_cast<double>(samples), s = static_cast<double>(input);
  const auto d = static_cast<double>(target);
  const double tokens = b * (layer.decoder ? d : s);

  double flops = 0, core = 0, scores = 0, wide = tokens * (4 * p + f) / t;
  if (layer.decoder) {
    core = 4 * b * d * d * p + 4 * b * d * s * p;
    flops = (2 * b * d * (4 * h * p + 2 * h * p + 2 * h * f) + 2 * b * s * 2 * h * p + core) / t;
    scores = a * b * (d * d + d * s) / t;
    wide += (2 * b * s * p + 2 * b * d * p) / t;
  } else {
    core = 4 * b * s * s * p;
    flops = (2 * b * s * (4 * h * p + 2 * h * f) + core) / t;
    scores = a * b * s * s / t;
  }
  core /= t;

  const double flops_per_ms = device.efficiency * device.peak_tflops * 1e9;
  const double bytes_per_ms = device.mem_gbs * 1e6;
  const double bytes =
      device.score_bytes * scores + device.elem_bytes * tokens * h + device.wide_bytes * wide;
  const double compute = flops / flops_per_ms + bytes / bytes_per_ms;
  const double all_reduces = layer.decoder ? 3 : 2;
  const double all_reduce =
      all_reduces * 2 * (t - 1) / t * (2 * tokens * h) / (device.link_gbs * 1e6);
  const double fw = device.launch_ms + compute + all_reduce;
  double again = 0;
  if (recompute == Recompute::full) again = fw;
  if (recompute == Recompute::selective) {
    again = core / flops_per_ms + device.score_bytes * scores / bytes_per_ms;
  }
  const double bw = device.launch_ms + 2 * compute + all_reduce + again;

  double linear = 10 * tokens * h + (8 * tokens * p + 4 * tokens * f) / t;
  if (layer.decoder) {
    linear += 5 * b * d * h + 2 * b * s * h + (4 * b * d * p + 4 * b * s * p) / t;
  }
  double stored = linear + 5 * scores;
  std::array<double, 3> working = {2.1, 19.65, 10.44};
  if (recompute == Recompute::selective) {
    stored = linear;
    working = {3.1, 18.73, 8.85};
  } else if (recompute == Recompute::full) {
    stored = (layer.decoder ? 2.0 : 3.0) * tokens * h;
    working = {3.06, 8.61, 7.99};
  }
  const double peak = stored + working[0] * scores + working[1] * tokens * h +
                      working[2] * tokens * (4 * p + f) / t;
  return {fw, bw, stored / 1e6, peak / 1e6};
}

}  // namespace researchkit::dynapipe
