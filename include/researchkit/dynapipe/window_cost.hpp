#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "researchkit/core/view.hpp"
#include "researchkit/dynapipe/interpolation.hpp"
#include "researchkit/dynapipe/lengths.hpp"

namespace researchkit::dynapipe {

/// Measured costs of one layer for one degree of tensor parallelism and one way to recompute.
/// Missing points are NaN.
struct LayerTables {
  std::span<const std::int32_t> mbs_grid;  ///< samples of a micro-batch, ascending
  std::span<const std::int32_t> seq_grid;  ///< padded lengths, ascending
  In<double, 3> encoder;  ///< [6, mbs, seq]: forward, backward, forward and backward of logits and
                          ///< loss (by target length where there is one) in ms, stored, peak in MB
  In<double, 4>
      decoder;  ///< [4, mbs, seq, seq]: forward, backward in ms, stored, peak in MB; empty
                ///< for decoder-only models
  Below below = Below::clamp;
};

/// What the stages of a pipeline hold.
struct StageShape {
  std::int64_t layers = 1;  ///< encoder or decoder layers of a stage (of each of its chunks)
  std::int64_t chunks = 1;  ///< 1: a stage is encoder or decoder; even: half its chunks are each
};

/// Cost of one micro-batch: (b samples of padded lengths e, d) on the slowest kind of stage.
struct WindowCost {
  double time = 0;    ///< forward and backward, ms
  double stored = 0;  ///< activations kept until the backward, MB
  double peak = 0;    ///< largest memory while the forward runs, MB
};

/// Costs of micro-batches by shape, each computed once.
///
/// Source: DynaPipe (arXiv 2311.10418), its cost model of a layer times the layers of a stage.
class ShapeCosts {
 public:
  ShapeCosts(const LayerTables& tables, StageShape stage);

  /// Samples of the largest micro-batch that the profile covers.
  std::int64_t largest_batch() const { return largest_batch_; }

  /// Costs of micro-batches of 1 .. samples samples, all of padded lengths (input, target); a
  /// target of 0 is none. What the profile does not cover costs +inf. The span is valid until the
  /// next call for the same lengths with more samples.
  std::span<const WindowCost> batches(std::int64_t input, std::int64_t target,
                                      std::int64_t samples);

  /// One of them, computed anew.
  WindowCost cost(std::int64_t samples, std::int64_t input, std::int64_t target) const;

 private:
  struct Entry {
    std::int64_t input, target;
    std::vector<WindowCost> costs;
  };
  Entry& entry_of(std::int64_t input, std::int64_t target);

  LayerTables tables_;
  StageShape stage_;
  std::int64_t largest_batch_;
  std::vector<Entry> entries_;
  std::vector<std::int32_t> slots_;  // open addressing: index into entries_, -1 free
};

/// Time, stored and peak of every window [i, i + k + 1) of ordered samples, k < width. Windows that
/// reach behind the last sample, and those the profile does not cover, cost +inf.
/// O(n width) and one interpolation per distinct shape.
void window_costs(std::span<const SampleLength> ordered, const LayerTables& tables,
                  StageShape stage, const Rounding& rounding, Out<double, 2> time,
                  Out<double, 2> stored, Out<double, 2> peak);

}  // namespace researchkit::dynapipe
