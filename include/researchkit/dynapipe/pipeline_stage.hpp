#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "researchkit/core/tensor.hpp"
#include "researchkit/core/tensor_map.hpp"
#include "researchkit/dynapipe/planner.hpp"

namespace researchkit::dynapipe {

/// What travels between stages with a micro-batch, or its gradient: [samples, length, hidden] of the
/// encoder (or of the whole model), and past the first decoder stage also that of the decoder.
using Activations = std::vector<Tensor>;

/// Where a sample stands in the tensors of its micro-batch.
struct SamplePlace {
  std::int64_t sequence = 0, begin = 0, length = 0;
};

/// The places of a micro-batch's samples; `length_of` gives the tokens of a sample. Packed samples
/// stand directly behind one another.
template <class LengthOf>
std::vector<SamplePlace> places_of(const MicroBatch& batch, LengthOf&& length_of) {
  std::vector<std::int64_t> ends(
      static_cast<std::size_t>(batch.packed() ? batch.shape.samples : 0));
  std::vector<SamplePlace> places;
  for (std::size_t b = 0; b < batch.samples.size(); ++b) {
    SamplePlace& place = places.emplace_back();
    place = {static_cast<std::int64_t>(b), 0, length_of(batch.samples[b])};
    if (!batch.packed()) continue;
    place.sequence = batch.sequence_of[b];
    std::int64_t& end = ends[static_cast<std::size_t>(place.sequence)];
    place.begin = end;
    end += place.length;
  }
  return places;
}

/// The part of a model that one rank computes: its weights, and its arithmetic on micro-batches.
/// Micro-batches have a number `m`; several may be between their forward and their backward.
class PipelineStage {
 public:
  /// What a backward gives.
  struct Gradients {
    Activations d_x;      ///< of what the forward was given
    TensorMap d_weights;  ///< of this micro-batch, named and shaped like the weights
    double loss = 0;      ///< of this micro-batch, on the last stage
  };

  virtual ~PipelineStage() = default;
  virtual DType dtype() const = 0;
  virtual std::int64_t hidden() const = 0;
  virtual const TensorMap& weights() const = 0;
  /// Throws Error unless the data has these samples and they fit into the micro-batch's shape. Their
  /// sequences exist.
  virtual void check(const MicroBatch& batch) const = 0;
  /// The input of a micro-batch: the encoder's (or the model's), or the decoder's.
  virtual Tensor load(const MicroBatch& batch, bool decoder) = 0;
  /// The stage's results, as many tensors as `x` has. Keeps what backward(m) will need, which `recompute`
  /// makes less.
  virtual Activations forward(std::int32_t m, const MicroBatch& batch, Activations x,
                              Recompute recompute) = 0;
  /// `d_y` is empty on the last stage: there the loss begins.
  virtual Gradients backward(std::int32_t m, const MicroBatch& batch, Activations d_y) = 0;
  /// Bytes kept between forwards and backwards.
  virtual std::size_t kept_bytes() const = 0;
};

}  // namespace researchkit::dynapipe
