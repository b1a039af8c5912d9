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
  /// Throws Error unless the data has these samples and they fit into the micro-batch's shape.
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
