#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>

#include "researchkit/core/arbitrary.hpp"
#include "researchkit/core/operator.hpp"
#include "researchkit/fusefps/gradients.hpp"
#include "researchkit/fusefps/reference_neighbors.hpp"

namespace researchkit::fusefps {

/// The gradient of the samplers' `min_dist` with respect to the points: the loss of a cloud that
/// should be covered. Which points were chosen, and their distances, count as constant.
///
/// 2 g_i (x_i - x_q) for point i and its nearest sample q goes to point i and, with the other sign,
/// to q; columns that do not enter the distance get 0. `indices` and `assignment` are the
/// sampler's outputs. O(b n d) time.
template <class Real, Algorithm kAlgorithm>
struct FarthestPointSamplingBackward {
  static constexpr std::string_view name =
      kAlgorithm == Algorithm::vanilla  ? "fusefps.farthest_point_sample_backward"
      : kAlgorithm == Algorithm::bucket ? "fusefps.bucket_farthest_point_sample_backward"
                                        : "fusefps.fused_farthest_point_sample_backward";
  static constexpr std::string_view summary =
      "Gradient of min_dist with respect to the points of a farthest point sampling.";

  In<Real, 3> points = {};              // [b, n, d]
  In<std::int32_t, 2> indices = {};     // [b, samples]
  In<std::int32_t, 2> assignment = {};  // [b, n]
  In<Real, 2> d_min_dist = {};          // [b, n]
  Out<Real, 3> d_points = {};           // [b, n, d]
  std::int64_t distance_dims = 0;

  void describe(Description& io) {
    io.dimension("d", "[1, 4096]", "columns of a point");
    io.input(points, "points", "b n d", "coordinates", {.contiguous = true});
    io.input(indices, "indices", "b samples", "chosen points",
             {.in = "[-1, n)", .contiguous = true});
    io.input(assignment, "assignment", "b n", "ordinal of the nearest choice, -1: none",
             {.in = "[-1, samples)", .contiguous = true});
    io.input(d_min_dist, "d_min_dist", "b n", "gradient of min_dist", {.contiguous = true});
    io.output(d_points, "d_points", "b n d", "gradient of the points", {.contiguous = true});
    io.attribute(distance_dims, "distance_dims", "leading columns that enter the distance; 0: all",
                 {.in = "[0, d]"});
  }
  /// On a device the kernel looks for itself.
  void validate(const Check&) const {
    if (!assignment.device().is_host()) return;
    for (std::int64_t b = 0; b < points.extent(0); ++b) {
      for (std::int64_t i = 0; i < points.extent(1); ++i) {
        const std::int32_t a = assignment(b, i);
        if (a >= 0 && indices(b, a) < 0) refuse_assignment(b, i);
      }
    }
  }
  /// Throws the Error of a point whose nearest sample was not chosen.
  [[noreturn]] static void refuse_assignment(std::int64_t b, std::int64_t i) {
    throw Error(name, "assignment", "ordinals of samples that were chosen",
                "one that was not at " + to_string(Shape{b, i}));
  }
  /// Five flops for each coordinate that enters a distance: 2 g, a difference, a product, two sums.
  Cost cost() const {
    const auto terms = static_cast<double>(points.extent(0) * points.extent(1) * m());
    const auto entries = static_cast<double>(points.size());
    return {5 * terms, (2 * entries + terms) * sizeof(Real), true};
  }
  void run(const Context& ctx) const {
    kernels::coverage_loss_backward<Real>(ctx, points, indices, assignment, d_min_dist, m(),
                                          d_points);
  }
  void reference() const {
    for (std::int64_t b = 0; b < points.extent(0); ++b) {
      reference::coverage_loss_backward<Real>(points[b], indices[b], assignment[b], d_min_dist[b],
                                              m(), d_points[b]);
    }
  }
  static void arbitrary(Arbitrary& random) {
    // Every sample is a point, so that an assignment can name any of them.
    if (random.size("n") == 0) return;
    for (std::int32_t& i : random.call.inputs.find("indices")->template values<std::int32_t>()) {
      i = std::max(i, 0);
    }
  }

  std::int64_t m() const { return distance_dims > 0 ? distance_dims : points.extent(2); }
};

template <class Real>
using FarthestPointSampleBackward = FarthestPointSamplingBackward<Real, Algorithm::vanilla>;
template <class Real>
using BucketFarthestPointSampleBackward = FarthestPointSamplingBackward<Real, Algorithm::bucket>;
template <class Real>
using FusedFarthestPointSampleBackward = FarthestPointSamplingBackward<Real, Algorithm::fused>;

inline constexpr Function<FarthestPointSampleBackward> farthest_point_sample_backward;
inline constexpr Function<BucketFarthestPointSampleBackward> bucket_farthest_point_sample_backward;
inline constexpr Function<FusedFarthestPointSampleBackward> fused_farthest_point_sample_backward;

}  // namespace researchkit::fusefps
