#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "researchkit/core/context.hpp"
#include "researchkit/dynapipe/profile.hpp"
#include "researchkit/dynapipe/transformer_pipeline.hpp"

namespace researchkit::dynapipe {

struct MeasureOptions {
  std::vector<std::int32_t> mbs_grid = {1, 2, 4, 8};
  std::vector<std::int32_t> seq_grid = {16, 32, 64, 128, 256};
  int repeats = 5;  ///< of each shape; the fastest counts
  /// Called with the share that is done.
  std::function<void(double)> progress = {};
};

/// Measures a layer of a transformer, and what stands behind the last, on this machine over all shapes
/// (samples, length), for encoder-decoders (samples, length, target length): forward and backward, with
/// the tape kept and with full recomputation (selective is as none: scores are never kept), and the
/// bytes kept. Sequences are full. One stage alone, with the context's threads.
/// Throws Error for grids that do not ascend.
ModelProfile measure_profile(const Context& ctx, const TransformerModel& model, DType dtype,
                             const MeasureOptions& options = {});

}  // namespace researchkit::dynapipe
