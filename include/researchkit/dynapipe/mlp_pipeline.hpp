#pragma once

#include <map>
#include <vector>

#include "researchkit/core/context.hpp"
#include "researchkit/dynapipe/pipeline_stage.hpp"
#include "researchkit/dynapipe/stage_math.hpp"

namespace researchkit::dynapipe {

/// What an MLP pipeline is trained on: sequences of vectors. Every rank has all of it.
template <class Real>
struct PipelineData {
  In<Real, 3> inputs;           ///< [n, T, H]
  In<Real, 3> targets;          ///< [n, T, H]
  In<std::int32_t, 1> lengths;  ///< [n]: valid tokens
  /// Valid tokens of the whole mini-batch, over all replicas: gradients then do not depend on how
  /// it is cut.
  double norm = 1;
};

/// A stage that is a residual MLP (mlp_stage), with half the squared error of the valid tokens at the
/// end of the last: the smallest model to test pipelines with. Decoder-only. Keeps its inputs.
template <class Real>
class MlpPipelineStage final : public PipelineStage {
 public:
  /// `weights`: w1 [H, F], b1 [F], w2 [F, H], b2 [H]. The data outlives the stage.
  MlpPipelineStage(const Context& ctx, TensorMap weights, const PipelineData<Real>& data,
                   bool last);

  /// The data of the next mini-batch.
  void use(const PipelineData<Real>& data) { data_ = data; }

  DType dtype() const override { return dtype_of<Real>; }
  std::int64_t hidden() const override { return weights_.at("w1").extent(0); }
  const TensorMap& weights() const override { return weights_; }
  void check(const MicroBatch& batch) const override;
  Tensor load(const MicroBatch& batch, bool decoder) override;
  Activations forward(std::int32_t m, const MicroBatch& batch, Activations x,
                      Recompute recompute) override;
  Gradients backward(std::int32_t m, const MicroBatch& batch, Activations d_y) override;
  std::size_t kept_bytes() const override;

 private:
  struct Kept {
    Tensor x, y;  // y on the last stage alone
  };
  MlpWeights<Real> views() const;
  template <class Body>
  void for_valid(const MicroBatch& batch, Body&& body) const;

  Context ctx_;
  TensorMap weights_;
  PipelineData<Real> data_;
  bool last_;
  std::map<std::int32_t, Kept> kept_;
};
extern template class MlpPipelineStage<float>;
extern template class MlpPipelineStage<double>;

}  // namespace researchkit::dynapipe
