#pragma once

#include <cmath>
#include <cstdint>

#include "researchkit/core/context.hpp"
#include "researchkit/core/view.hpp"

// The residual MLP that stands for a pipeline stage, and the loss at its end.
namespace researchkit::dynapipe {

/// Weights of a stage.
template <class Real>
struct MlpWeights {
  In<Real, 2> w1;  ///< [H, F]
  In<Real, 1> b1;  ///< [F]
  In<Real, 2> w2;  ///< [F, H]
  In<Real, 1> b2;  ///< [H]
};
template <class Real>
struct MlpGradients {
  Out<Real, 2> d_w1;
  Out<Real, 1> d_b1;
  Out<Real, 2> d_w2;
  Out<Real, 1> d_b2;
};

/// y = x + gelu(x w1 + b1) w2 + b2 for rows x [R, H], gelu by its tanh form. Two GEMMs, 4 R H F
/// flops; workspace R F numbers.
void mlp_stage(const Context& ctx, In<float, 2> x, const MlpWeights<float>& weights,
               Out<float, 2> y);
void mlp_stage(const Context& ctx, In<double, 2> x, const MlpWeights<double>& weights,
               Out<double, 2> y);

/// Its gradients from d_y; all outputs are overwritten. Five GEMMs, workspace 3 R F numbers.
void mlp_stage_backward(const Context& ctx, In<float, 2> x, const MlpWeights<float>& weights,
                        In<float, 2> d_y, Out<float, 2> d_x, const MlpGradients<float>& gradients);
void mlp_stage_backward(const Context& ctx, In<double, 2> x, const MlpWeights<double>& weights,
                        In<double, 2> d_y, Out<double, 2> d_x,
                        const MlpGradients<double>& gradients);

}  // namespace researchkit::dynapipe
