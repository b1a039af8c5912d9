#pragma once

#include <cstdint>

#include "researchkit/dynapipe/attributes.hpp"

namespace researchkit::dynapipe {

/// A transformer layer on one tensor-parallel rank.
struct LayerShape {
  std::int64_t hidden = 4096;
  std::int64_t heads = 32;
  std::int64_t kv_channels = 128;
  std::int64_t ffn = 16384;
  std::int64_t tp = 1;
  bool decoder = false;  ///< with cross-attention
};

/// The machine that runs it; the defaults are an A100 with fp16.
struct DeviceModel {
  double peak_tflops = 312;
  double efficiency = 0.81;
  double mem_gbs = 1400;
  double launch_ms = 0.71;
  double link_gbs = 157;
  double score_bytes = 11;
  double elem_bytes = 17;
  double wide_bytes = 11;
};

/// What a layer costs for one micro-batch.
struct LayerCost {
  double fw_ms = 0, bw_ms = 0, stored_mb = 0, peak_mb = 0;
};

/// A roofline model of one layer: flops over peak plus bytes over bandwidth plus all-reduces, fitted
/// to measured A100 profiles (median error 5 to 10 % in time, 1 to 5 % in stored memory). `target`
/// counts for decoders alone.
/// Source: activation memory after Korthikanti et al. (arXiv 2205.05198), sbh(10 + 24/t + 5as/(ht)).
LayerCost transformer_cost(std::int64_t samples, std::int64_t input, std::int64_t target,
                           const LayerShape& layer, Recompute recompute, const DeviceModel& device);

}  // namespace researchkit::dynapipe
