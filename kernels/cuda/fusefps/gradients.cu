// Gradients that add up in rows: the terms of a row are grouped by a stable counting sort, and one
// thread for each entry of the result sums them in ascending order, in double: no atomics on
// numbers, always the same bits. Memory traffic: every term once, one double addition each, and the
// sort (kernels/cuda/core/group_by_row.cu); bound by memory bandwidth.
#include <limits>
#include <span>

#include "kernels/cuda/core/group_by_row.hpp"
#include "kernels/cuda/fusefps/exact.cuh"
#include "kernels/cuda/fusefps/fusefps.hpp"
#include "researchkit/core/cuda/launch.cuh"
#include "researchkit/fusefps/operators_grouping.hpp"
#include "researchkit/fusefps/operators_sampling_backward.hpp"

namespace researchkit::fusefps::RESEARCHKIT_DEVICE {
namespace {

constexpr std::int64_t kNone = std::numeric_limits<std::int64_t>::max();

/// The row of all clouds that each of the k indices of a cloud of n names, or -1.
RESEARCHKIT_KERNEL(256)
void find_rows(Global<const std::int32_t> indices, std::int64_t k, std::int64_t n,
               Global<std::int64_t> row_of) {
  for (std::int64_t e = grid_thread(); e < row_of.size; e += grid_threads()) {
    row_of[e] = indices[e] < 0 ? -1 : e / k * n + indices[e];
  }
}

/// Point i sends a gain to itself, entry 2 i, and a loss to its nearest sample, entry 2 i + 1.
/// `sample_of` gets that sample's row; `first_bad` the first point whose sample was not chosen.
RESEARCHKIT_KERNEL(256)
void find_coverage_rows(Global<const std::int32_t> assignment, Global<const std::int32_t> indices,
                        std::int64_t samples, std::int64_t n, Global<std::int64_t> sample_of,
                        Global<std::int64_t> row_of, Global<std::int64_t> first_bad) {
  for (std::int64_t i = grid_thread(); i < sample_of.size; i += grid_threads()) {
    const std::int64_t ordinal = assignment[i], cloud = i / n;
    const std::int64_t index = ordinal < 0 ? -1 : indices[cloud * samples + ordinal];
    if (ordinal >= 0 && index < 0) atomic_min(first_bad[0], i);
    sample_of[i] = index < 0 ? -1 : cloud * n + index;
    row_of[2 * i] = index < 0 ? -1 : i;
    row_of[2 * i + 1] = sample_of[i];
  }
}

/// d_features[row, c] = sum of d_gathered[term, c].
template <class Real>
RESEARCHKIT_KERNEL(256)
void sum_rows(Global<const std::int64_t> first, Global<const std::int64_t> terms,
              Global<const Real> d_gathered, std::int64_t columns, Global<Real> d_features) {
  for (std::int64_t e = grid_thread(); e < d_features.size; e += grid_threads()) {
    const std::int64_t row = e / columns, column = e % columns;
    double sum = 0;
    for (std::int64_t t = first[row]; t < first[row + 1]; ++t) {
      sum = add_rn(sum, static_cast<double>(d_gathered[terms[t] * columns + column]));
    }
    d_features[e] = static_cast<Real>(sum);
  }
}

/// Equation 14: a term is 2 i for the gain of point i, 2 i + 1 for what its sample loses.
template <class Real>
RESEARCHKIT_KERNEL(256)
void sum_coverage_terms(Global<const std::int64_t> first, Global<const std::int64_t> terms,
                        Global<const std::int64_t> sample_of, Global<const Real> points,
                        Global<const Real> d_min_dist, std::int64_t d, std::int64_t m,
                        Global<Real> d_points) {
  for (std::int64_t e = grid_thread(); e < d_points.size; e += grid_threads()) {
    const std::int64_t row = e / d, column = e % d;
    double sum = 0;
    for (std::int64_t t = first[row]; column < m && t < first[row + 1]; ++t) {
      const std::int64_t i = terms[t] / 2;
      const double g = mul_rn(2.0, static_cast<double>(d_min_dist[i]));
      const double difference = sub_rn(static_cast<double>(points[i * d + column]),
                                       static_cast<double>(points[sample_of[i] * d + column]));
      const double term = mul_rn(g, difference);
      sum = terms[t] % 2 == 0 ? add_rn(sum, term) : sub_rn(sum, term);
    }
    d_points[e] = static_cast<Real>(sum);
  }
}

template <class Real>
void run_gather_backward(const Context& ctx, const GatherPointsBackward<Real>& op) {
  const Device device = op.d_features.device();
  const std::int64_t rows = op.features.extent(0) * op.features.extent(1);
  if (op.d_features.size() == 0) return;
  const DeviceArray<std::int64_t> row_of(ctx, device, op.indices.size());
  launch(ctx, device, "find_rows", find_rows, for_entries(op.indices.size()), global(op.indices),
         op.indices.extent(1), op.features.extent(1), row_of.global());
  const auto terms =
      researchkit::RESEARCHKIT_DEVICE::group_by_row(ctx, device, row_of.global(), rows);
  launch(ctx, device, "gather_points_backward", sum_rows<Real>, for_entries(op.d_features.size()),
         terms.first.global(), terms.entries.global(), global(op.d_gathered), op.features.extent(2),
         global(op.d_features));
}

template <class Real, Algorithm kAlgorithm>
void run_sampling_backward(const Context& ctx,
                           const FarthestPointSamplingBackward<Real, kAlgorithm>& op) {
  const Device device = op.d_points.device();
  const std::int64_t n = op.points.extent(1), points = op.points.extent(0) * n;
  if (op.d_points.size() == 0) return;
  const DeviceArray<std::int64_t> sample_of(ctx, device, points), row_of(ctx, device, 2 * points);
  const DeviceArray<std::int64_t> first_bad(ctx, device, std::span(&kNone, 1));
  launch(ctx, device, "find_coverage_rows", find_coverage_rows, for_entries(points),
         global(op.assignment), global(op.indices), op.indices.extent(1), n, sample_of.global(),
         row_of.global(), first_bad.global());
  if (const std::int64_t bad = first_bad.read()[0]; bad != kNone) {
    op.refuse_assignment(bad / n, bad % n);
  }
  const auto terms =
      researchkit::RESEARCHKIT_DEVICE::group_by_row(ctx, device, row_of.global(), points);
  launch(ctx, device, "coverage_loss_backward", sum_coverage_terms<Real>,
         for_entries(op.d_points.size()), terms.first.global(), terms.entries.global(),
         sample_of.global(), global(op.points), global(op.d_min_dist), op.points.extent(2), op.m(),
         global(op.d_points));
}

template <class Real>
void add_for(DeviceKernels& kernels) {
  kernels.add<GatherPointsBackward<Real>>(run_gather_backward<Real>);
  kernels.add<FarthestPointSampleBackward<Real>>(run_sampling_backward<Real, Algorithm::vanilla>);
  kernels.add<BucketFarthestPointSampleBackward<Real>>(
      run_sampling_backward<Real, Algorithm::bucket>);
  kernels.add<FusedFarthestPointSampleBackward<Real>>(
      run_sampling_backward<Real, Algorithm::fused>);
}

}  // namespace

void register_gradients(DeviceKernels& kernels) {
  add_for<float>(kernels);
  add_for<double>(kernels);
}

}  // namespace researchkit::fusefps::RESEARCHKIT_DEVICE
