#pragma once

#include <cstdint>

#include "researchkit/core/context.hpp"
#include "researchkit/core/view.hpp"

namespace researchkit::fusefps::kernels {

// Gradients are sums over terms that are first grouped by the row they go to, in ascending order:
// any number of threads then sums whole rows, without atomics and always to the same bits. All
// tensors here are row-major.

/// gathered [b, k, c] = features [b, n, c] at indices [b, k], rows of zeros at -1.
template <class Real>
void gather_points(const Context& ctx, In<Real, 3> features, In<std::int32_t, 2> indices,
                   Out<Real, 3> gathered);

/// d_features[b, i] = sum of d_gathered[b, j] over the j with indices[b, j] = i, in double, j
/// ascending. Workspace: (n + k + 2) int32 for each cloud. O(b (n + k) c).
template <class Real>
void gather_points_backward(const Context& ctx, In<std::int32_t, 2> indices, In<Real, 3> d_gathered,
                            Out<Real, 3> d_features);

/// d_points of min_dist [b, n] (equation 14): with g = d_min_dist and q the sample that point i is
/// assigned to, 2 g_i (x_i - x_q) is added to row i and taken from row q, over the m leading
/// columns, in double, i ascending. Workspace: (3 n + 2) int32 for each cloud. O(b n d).
template <class Real>
void coverage_loss_backward(const Context& ctx, In<Real, 3> points, In<std::int32_t, 2> indices,
                            In<std::int32_t, 2> assignment, In<Real, 2> d_min_dist, std::int64_t m,
                            Out<Real, 3> d_points);

}  // namespace researchkit::fusefps::kernels
