// Gradients that add up in rows: the host lists the terms of each row in ascending order, and one
// thread for each entry of the result sums them in double: no atomics on numbers, always the same
// bits. Memory traffic: every term once, one double addition each; bound by memory bandwidth.
#include <algorithm>
#include <utility>
#include <vector>

#include "kernels/cuda/fusefps/exact.cuh"
#include "kernels/cuda/fusefps/fusefps.hpp"
#include "researchkit/core/cuda/launch.cuh"
#include "researchkit/fusefps/operators_grouping.hpp"
#include "researchkit/fusefps/operators_sampling_backward.hpp"

namespace researchkit::fusefps::RESEARCHKIT_DEVICE {
namespace {

/// For each row the numbers of its terms, in the order in which they were added.
class TermLists {
 public:
  explicit TermLists(std::int64_t rows) : first_(static_cast<std::size_t>(rows) + 1) {}
  /// Calls add(row, term) for all terms; twice: once to count them.
  template <class Terms>
  void fill(const Terms& terms) {
    terms([&](std::int64_t row, std::int64_t) { ++first_[static_cast<std::size_t>(row) + 1]; });
    for (std::size_t row = 1; row < first_.size(); ++row) first_[row] += first_[row - 1];
    terms_.resize(static_cast<std::size_t>(first_.back()));
    std::vector<std::int64_t> next(first_.begin(), first_.end() - 1);
    terms([&](std::int64_t row, std::int64_t term) {
      terms_[static_cast<std::size_t>(next[static_cast<std::size_t>(row)]++)] = term;
    });
  }
  const std::vector<std::int64_t>& first() const { return first_; }
  const std::vector<std::int64_t>& terms() const { return terms_; }

 private:
  std::vector<std::int64_t> first_, terms_;
};

/// d_features[row, c] = sum of d_gathered[term, c].
template <class Real>
RESEARCHKIT_KERNEL(256)
void sum_rows(Global<const std::int64_t> first, Global<const std::int64_t> terms,
              Global<const Real> d_gathered, std::int64_t columns, Global<Real> d_features) {
  const std::int64_t stride = block_count() * block_threads();
  for (std::int64_t e = block_index() * block_threads() + thread_index(); e < d_features.size;
       e += stride) {
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
  const std::int64_t stride = block_count() * block_threads();
  for (std::int64_t e = block_index() * block_threads() + thread_index(); e < d_points.size;
       e += stride) {
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

Launch for_entries(std::int64_t entries) {
  return {.blocks = std::clamp<std::int64_t>((entries + 255) / 256, 1, 4096),
          .block_threads = entries <= 64 ? 64 : 256};
}

template <class Real>
void run_gather_backward(const Context& ctx, const GatherPointsBackward<Real>& op) {
  const std::int64_t clouds = op.features.extent(0), n = op.features.extent(1);
  const std::int64_t k = op.indices.extent(1), columns = op.features.extent(2);
  if (op.d_features.size() == 0) return;
  TermLists lists(clouds * n);
  lists.fill([&](const auto& add) {
    for (std::int64_t b = 0; b < clouds; ++b) {
      for (std::int64_t j = 0; j < k; ++j) {
        if (const std::int64_t i = op.indices(b, j); i >= 0) add(b * n + i, b * k + j);
      }
    }
  });
  const Device device = op.d_features.device();
  const DeviceArray<std::int64_t> first(ctx, device, lists.first()),
      terms(ctx, device, lists.terms());
  launch(ctx, device, "gather_points_backward", sum_rows<Real>, for_entries(op.d_features.size()),
         first.global(), terms.global(), global(op.d_gathered), columns, global(op.d_features));
}

template <class Real, Algorithm kAlgorithm>
void run_sampling_backward(const Context& ctx,
                           const FarthestPointSamplingBackward<Real, kAlgorithm>& op) {
  const std::int64_t clouds = op.points.extent(0), n = op.points.extent(1);
  if (op.d_points.size() == 0) return;
  std::vector<std::int64_t> sample_of(static_cast<std::size_t>(clouds * n), -1);
  TermLists lists(clouds * n);
  lists.fill([&](const auto& add) {
    for (std::int64_t b = 0; b < clouds; ++b) {
      for (std::int64_t i = 0; i < n; ++i) {
        const std::int64_t ordinal = op.assignment(b, i);
        if (ordinal < 0) continue;
        const std::int64_t point = b * n + i, sample = b * n + op.indices(b, ordinal);
        sample_of[static_cast<std::size_t>(point)] = sample;
        add(point, 2 * point);
        add(sample, 2 * point + 1);
      }
    }
  });
  const Device device = op.d_points.device();
  const DeviceArray<std::int64_t> first(ctx, device, lists.first()),
      terms(ctx, device, lists.terms());
  const DeviceArray<std::int64_t> samples(ctx, device, sample_of);
  launch(ctx, device, "coverage_loss_backward", sum_coverage_terms<Real>,
         for_entries(op.d_points.size()), first.global(), terms.global(), samples.global(),
         global(op.points), global(op.d_min_dist), op.points.extent(2), op.m(),
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
