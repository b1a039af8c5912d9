#include "researchkit/dynapipe/stage_math.hpp"

#include "researchkit/core/blas.hpp"
#include "researchkit/core/parallel.hpp"
#include "researchkit/core/tensor.hpp"
#include "researchkit/nn/operators_activation.hpp"

namespace researchkit::dynapipe {
namespace {

constexpr std::int64_t kGrain = 16;  // rows of an elementwise pass

template <class Real>
Array<Real, 2> hidden_before_gelu(const Context& ctx, In<Real, 2> x,
                                  const MlpWeights<Real>& weights) {
  Array<Real, 2> z({x.extent(0), weights.w1.extent(1)});
  for (std::int64_t r = 0; r < z.extent(0); ++r) {
    for (std::int64_t f = 0; f < z.extent(1); ++f) z(r, f) = weights.b1(f);
  }
  gemm(ctx, Real(1), x, weights.w1, Real(1), Out<Real, 2>(z));
  return z;
}

template <class Real, class Function>
void map_entries(const Context& ctx, Out<Real, 2> table, Function&& function) {
  parallel_for(ctx, table.extent(0), kGrain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r) {
      for (std::int64_t f = 0; f < table.extent(1); ++f) function(r, f);
    }
  });
}

/// Sums over rows, in ascending order.
template <class Real>
void add_rows(In<Real, 2> table, Out<Real, 1> sums) {
  for (std::int64_t f = 0; f < table.extent(1); ++f) sums(f) = 0;
  for (std::int64_t r = 0; r < table.extent(0); ++r) {
    for (std::int64_t f = 0; f < table.extent(1); ++f) sums(f) += table(r, f);
  }
}

template <class Real>
void forward(const Context& ctx, In<Real, 2> x, const MlpWeights<Real>& weights, Out<Real, 2> y) {
  const Array<Real, 2> a = hidden_before_gelu(ctx, x, weights);
  const Out<Real, 2> active = a;
  map_entries(ctx, active, [&](auto r, auto f) { active(r, f) = nn::gelu(active(r, f)); });
  map_entries(ctx, y, [&](auto r, auto h) { y(r, h) = x(r, h) + weights.b2(h); });
  gemm(ctx, Real(1), In<Real, 2>(active), weights.w2, Real(1), y);
}

template <class Real>
void backward(const Context& ctx, In<Real, 2> x, const MlpWeights<Real>& weights, In<Real, 2> d_y,
              Out<Real, 2> d_x, const MlpGradients<Real>& gradients) {
  const Array<Real, 2> z = hidden_before_gelu(ctx, x, weights);
  const Array<Real, 2> a({z.extent(0), z.extent(1)}), d_z({z.extent(0), z.extent(1)});
  const Out<Real, 2> active = a, d_before = d_z;
  map_entries(ctx, active, [&](auto r, auto f) { active(r, f) = nn::gelu(z(r, f)); });
  gemm(ctx, Real(1), d_y, transposed(weights.w2), Real(0), d_before);
  map_entries(ctx, d_before, [&](auto r, auto f) { d_before(r, f) *= nn::gelu_slope(z(r, f)); });
  map_entries(ctx, d_x, [&](auto r, auto h) { d_x(r, h) = d_y(r, h); });
  gemm(ctx, Real(1), In<Real, 2>(d_before), transposed(weights.w1), Real(1), d_x);
  gemm(ctx, Real(1), transposed(x), In<Real, 2>(d_before), Real(0), gradients.d_w1);
  gemm(ctx, Real(1), transposed(In<Real, 2>(active)), d_y, Real(0), gradients.d_w2);
  add_rows(In<Real, 2>(d_before), gradients.d_b1);
  add_rows(d_y, gradients.d_b2);
}

}  // namespace

void mlp_stage(const Context& ctx, In<float, 2> x, const MlpWeights<float>& weights,
               Out<float, 2> y) {
  forward(ctx, x, weights, y);
}
void mlp_stage(const Context& ctx, In<double, 2> x, const MlpWeights<double>& weights,
               Out<double, 2> y) {
  forward(ctx, x, weights, y);
}
void mlp_stage_backward(const Context& ctx, In<float, 2> x, const MlpWeights<float>& weights,
                        In<float, 2> d_y, Out<float, 2> d_x, const MlpGradients<float>& gradients) {
  backward(ctx, x, weights, d_y, d_x, gradients);
}
void mlp_stage_backward(const Context& ctx, In<double, 2> x, const MlpWeights<double>& weights,
                        In<double, 2> d_y, Out<double, 2> d_x,
                        const MlpGradients<double>& gradients) {
  backward(ctx, x, weights, d_y, d_x, gradients);
}

}  // namespace researchkit::dynapipe
