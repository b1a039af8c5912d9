#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "researchkit/core/view.hpp"
#include "researchkit/dynapipe/interpolation.hpp"
#include "researchkit/dynapipe/lengths.hpp"

namespace researchkit::dynapipe {

/// Measured costs of one layer for one degree of tensor parallelism and one way to recompute.
/// Missing points are NaN; tables are row-major without gaps.
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

/// Costs of micro-batches by shape.
///
/// Interpolates once per distinct pair of lengths and grid point of samples; a micro-batch then
/// costs six linear interpolations. Not thread safe; cheap to copy before use.
/// Source: DynaPipe (arXiv 2311.10418), its cost model of a layer times the layers of a stage.
class ShapeCosts {
 public:
  /// Costs of one pair of padded lengths at the points of the axis of samples.
  struct Shape {
    std::int64_t input, target;
    std::vector<std::array<double, 6>> points;
    std::int64_t most_samples;  ///< larger micro-batches cost +inf or exceed the limits
  };

  /// For micro-batches of up to `most_samples` samples. Larger ones than Shape::most_samples need
  /// more than the limits (MB) and need not be asked for.
  ShapeCosts(const LayerTables& tables, StageShape stage, std::int64_t most_samples,
             double stored_limit = std::numeric_limits<double>::infinity(),
             double peak_limit = std::numeric_limits<double>::infinity());

  /// Samples of the largest micro-batch that can be asked for and that the profile covers.
  std::int64_t largest_batch() const { return static_cast<std::int64_t>(places_.size()); }

  /// Of padded lengths (input, target); a target of 0 is none. Valid until the next call.
  const Shape& shape(std::int64_t input, std::int64_t target);

  /// Cost of a micro-batch of 1 .. largest_batch() samples; +inf where the profile says nothing.
  WindowCost cost(const Shape& shape, std::int64_t samples) const;

 private:
  std::vector<std::array<double, 6>> points_of(std::int64_t input, std::int64_t target) const;
  std::int64_t most_samples_of(const Shape& shape) const;

  LayerTables tables_;
  StageShape stage_;
  double stored_limit_, peak_limit_;
  std::vector<GridPlace> places_;  // of 1, 2, ... samples
  std::vector<Shape> shapes_;
  std::vector<std::int32_t> slots_;  // open addressing: index into shapes_, -1 free
};

/// The same by the definition, anew for each call.
WindowCost window_cost(const LayerTables& tables, StageShape stage, std::int64_t samples,
                       std::int64_t input, std::int64_t target);

/// Time, stored and peak of every window [i, i + k + 1) of ordered samples, k < width. Windows that
/// reach behind the last sample, and those the profile does not cover, cost +inf.
/// O(n width) and one interpolation per distinct shape.
void window_costs(std::span<const SampleLength> ordered, const LayerTables& tables,
                  StageShape stage, const Rounding& rounding, Out<double, 2> time,
                  Out<double, 2> stored, Out<double, 2> peak);

}  // namespace researchkit::dynapipe
