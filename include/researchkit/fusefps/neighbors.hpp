#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "researchkit/core/view.hpp"
#include "researchkit/fusefps/sampler.hpp"

namespace researchkit::fusefps {

/// What fills the row of a ball query behind its last hit.
enum class BallFill : std::uint8_t {
  minus1,
  first,  ///< the first hit again, as PointNet++ does; -1 if there is none
};

constexpr std::array<std::string_view, 2> names_of(BallFill) { return {"minus1", "first"}; }

/// How well samples cover their cloud; all four are distances.
struct Coverage {
  double radius = 0;  ///< largest distance of a point to its nearest sample
  double mean = 0;    ///< mean of that distance
  double rms = 0;     ///< root mean square of that distance
  double gap = 0;     ///< smallest distance between two samples, infinity for one sample
};

/// A spatial index of one cloud for exact queries: leaves of 32 points that are near one another,
/// each with its box, 16 leaves to a group with a box of its own.
///
///     NeighborIndex<float> index(cloud, n, 3);
///     index.knn_query(queries, Arithmetic::strict, nearest, distances);
///
/// Every result is that of a scan over all points: a box is passed over only if its bound, computed
/// with the same operations as the distances, rules out all of its points. Coordinates must be
/// finite. Building takes O(n d) time and about (d + 1) n elements; a query tests n / 512 group
/// boxes and then what they let through. Immutable, so threads may share it.
template <class Real>
class NeighborIndex {
 public:
  static constexpr std::int64_t kLeaf = 32;   ///< points of a leaf
  static constexpr std::int64_t kGroup = 16;  ///< boxes that are tested together

  /// Indexes the first n rows and d columns of `points`.
  NeighborIndex(In<Real, 2> points, std::int64_t n, std::int64_t d);

  /// The first hits, in ascending index order, of every query: points nearer than `radius`.
  /// queries: rows of d coordinates without gaps; indices [q, width], counts [q].
  void ball_query(std::span<const Real> queries, double radius, BallFill fill,
                  Arithmetic arithmetic, Out<std::int32_t, 2> indices,
                  Out<std::int32_t, 1> counts) const;

  /// The indices.extent(1) nearest points of every query by (squared distance, index); -1 and
  /// infinity where there are fewer.
  void knn_query(std::span<const Real> queries, Arithmetic arithmetic, Out<std::int32_t, 2> indices,
                 Out<Real, 2> distances) const;

  /// The squared distance of every query to the nearest point. With `first_own_index` >= 0 query q
  /// is point number first_own_index + q, which does not count as its own neighbour.
  void nearest(std::span<const Real> queries, std::int64_t first_own_index,
               std::span<Real> distances) const;

  std::int64_t size() const { return n_; }
  std::int64_t dims() const { return d_; }

  // What the kernels read. Boxes come in groups of kGroup as [axis][slot], lower corners first;
  // unused slots are empty boxes (+inf, -inf).
  std::int64_t leaf_count() const { return leaves_; }
  std::int64_t group_count() const { return (leaves_ + kGroup - 1) / kGroup; }
  std::int64_t points_in_leaf(std::int64_t leaf) const {
    return leaf + 1 < leaves_ ? kLeaf : n_ - leaf * kLeaf;
  }
  const Real* leaf_points(std::int64_t leaf) const { return x_.data() + leaf * d_ * kLeaf; }
  const std::int32_t* leaf_indices(std::int64_t leaf) const { return index_.data() + leaf * kLeaf; }
  std::int32_t lowest_index(std::int64_t leaf) const {
    return lowest_index_[static_cast<std::size_t>(leaf)];
  }
  /// Boxes of the leaves of a group.
  const Real* leaf_boxes(std::int64_t group) const {
    return leaf_boxes_.data() + group * 2 * d_ * kGroup;
  }
  /// Boxes of the groups block * kGroup ... block * kGroup + kGroup - 1.
  const Real* group_boxes(std::int64_t block) const {
    return group_boxes_.data() + block * 2 * d_ * kGroup;
  }

 private:
  std::int64_t n_, d_, leaves_;
  std::vector<Real> x_;              // [leaf][axis][kLeaf]
  std::vector<std::int32_t> index_;  // [leaf][kLeaf], original numbers
  std::vector<std::int32_t> lowest_index_;
  std::vector<Real> leaf_boxes_, group_boxes_;
};

extern template class NeighborIndex<float>;
extern template class NeighborIndex<double>;

}  // namespace researchkit::fusefps
