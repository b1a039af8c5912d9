// Search kernels of NeighborIndex, compiled once per instruction set.
//
// The search itself is in neighbor_search-inl.h; here are what it is searched for and the dispatch.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/fusefps/neighbors.cpp"
#include <hwy/foreach_target.h>
// After foreach_target, as Highway asks for.
#include <hwy/highway.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>
#include <utility>
#include <vector>

#include "researchkit/core/simd.hpp"
#include "researchkit/fusefps/neighbors.hpp"

#ifndef RESEARCHKIT_FUSEFPS_NEIGHBOR_CALLS
#define RESEARCHKIT_FUSEFPS_NEIGHBOR_CALLS
namespace researchkit::fusefps {
// What the kernels of all instruction sets are called with.
template <class Real>
struct BallQueryCall {
  const NeighborIndex<Real>& index;
  const Real* queries;
  Real squared_radius;
  bool repeat_first;
  Out<std::int32_t, 2> indices;
  Out<std::int32_t, 1> counts;
};
template <class Real>
struct KnnQueryCall {
  const NeighborIndex<Real>& index;
  const Real* queries;
  Out<std::int32_t, 2> indices;
  Out<Real, 2> distances;
};
template <class Real>
struct NearestCall {
  const NeighborIndex<Real>& index;
  const Real* queries;
  std::int64_t first_own_index;
  std::span<Real> distances;
};
}  // namespace researchkit::fusefps
#endif

#include "kernels/cpu/fusefps/neighbor_search-inl.h"

HWY_BEFORE_NAMESPACE();
namespace researchkit::fusefps::HWY_NAMESPACE {

template <class Real, int kDims, bool kFma>
void ball_query(const BallQueryCall<Real>& call) {
  Searcher<Real, kDims, kFma> search(call.index);
  constexpr std::int64_t kLeaf = NeighborIndex<Real>::kLeaf;
  const std::int64_t d = call.index.dims(), width = call.indices.extent(1);
  std::vector<std::int32_t> hits;
  alignas(64) Real distances[kLeaf];
  for (std::int64_t q = 0; q < call.indices.extent(0); ++q) {
    const Real* query = call.queries + q * d;
    hits.clear();
    // Once the row is full, points from `highest` on can no longer enter it.
    std::int32_t highest = std::numeric_limits<std::int32_t>::max();
    const auto keep_lowest = [&] {
      if (static_cast<std::int64_t>(hits.size()) < width) return;
      std::nth_element(hits.begin(), hits.begin() + (width - 1), hits.end());
      hits.resize(static_cast<std::size_t>(width));
      highest = hits.back();
    };
    search.leaves_below(query, call.squared_radius, [&](std::int64_t leaf) HWY_ATTR {
      if (call.index.lowest_index(leaf) >= highest) return;
      search.leaf_distances(leaf, query, distances);
      std::uint32_t in =
          search.below(distances, call.squared_radius, call.index.points_in_leaf(leaf));
      for (; in != 0; in &= in - 1) {
        const std::int32_t i =
            call.index.leaf_indices(leaf)[hwy::Num0BitsBelowLS1Bit_Nonzero32(in)];
        if (i < highest) hits.push_back(i);
      }
      if (static_cast<std::int64_t>(hits.size()) >= 2 * width + kLeaf) keep_lowest();
    });
    keep_lowest();
    std::sort(hits.begin(), hits.end());
    const auto found = static_cast<std::int64_t>(hits.size());
    for (std::int64_t j = 0; j < found; ++j) call.indices(q, j) = hits[static_cast<std::size_t>(j)];
    const std::int32_t rest = call.repeat_first && found > 0 ? hits.front() : -1;
    for (std::int64_t j = found; j < width; ++j) call.indices(q, j) = rest;
    call.counts(q) = static_cast<std::int32_t>(found);
  }
}

/// A candidate of a nearest-neighbour query, ordered by (distance, index). A float distance of at
/// least 0 and an index are one integer, whose order is that of the pair.
template <class Real>
struct Candidate {
  Real distance;
  std::int32_t index;
  bool operator<(const Candidate& other) const {
    return distance < other.distance || (distance == other.distance && index < other.index);
  }
};
template <>
struct Candidate<float> {
  std::uint64_t key;
  Candidate(float distance, std::int32_t index)
      : key(std::uint64_t{std::bit_cast<std::uint32_t>(distance)} << 32 |
            static_cast<std::uint32_t>(index)) {}
  bool operator<(const Candidate& other) const { return key < other.key; }
};
inline float distance_of(Candidate<float> c) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(c.key >> 32));
}
inline std::int32_t index_of(Candidate<float> c) { return static_cast<std::int32_t>(c.key); }
inline double distance_of(const Candidate<double>& c) { return c.distance; }
inline std::int32_t index_of(const Candidate<double>& c) { return c.index; }

/// The k nearest candidates so far. Few are kept sorted, so that the limit is exact at any time;
/// many pile up unsorted and are cut to the best k now and then, which costs each of them little.
template <class Real>
class NearestList {
 public:
  explicit NearestList(std::int64_t k, std::int64_t points) : k_(static_cast<std::size_t>(k)) {
    const std::int64_t most = std::min(2 * k, points) + 1;
    list_.reserve(static_cast<std::size_t>(most));
  }
  void clear() {
    list_.clear();
    limit_ = std::numeric_limits<Real>::infinity();
  }
  /// Farther candidates do not matter.
  Real limit() const { return limit_; }
  void add(Candidate<Real> candidate) {
    if (k_ > kSorted) {
      list_.push_back(candidate);
      if (list_.size() >= 2 * k_) cut();
      return;
    }
    if (list_.size() == k_) {
      if (!(candidate < list_.back())) return;
      list_.pop_back();
    }
    auto at = list_.size();
    list_.push_back(candidate);
    for (; at > 0 && candidate < list_[at - 1]; --at) list_[at] = list_[at - 1];
    list_[at] = candidate;
    if (list_.size() == k_) limit_ = distance_of(list_.back());
  }
  /// The best k, sorted; fewer if there were fewer.
  const std::vector<Candidate<Real>>& finish() {
    if (k_ > kSorted) {
      if (list_.size() > k_) cut();
      std::sort(list_.begin(), list_.end());
    }
    return list_;
  }

 private:
  static constexpr std::size_t kSorted = 64;
  void cut() {
    const auto last = list_.begin() + static_cast<std::ptrdiff_t>(k_) - 1;
    std::nth_element(list_.begin(), last, list_.end());
    list_.erase(last + 1, list_.end());
    limit_ = distance_of(list_.back());
  }

  std::size_t k_;
  std::vector<Candidate<Real>> list_;
  Real limit_ = std::numeric_limits<Real>::infinity();
};

template <class Real, int kDims, bool kFma>
void knn_query(const KnnQueryCall<Real>& call) {
  Searcher<Real, kDims, kFma> search(call.index);
  constexpr std::int64_t kLeaf = NeighborIndex<Real>::kLeaf;
  const std::int64_t d = call.index.dims(), k = call.indices.extent(1);
  NearestList<Real> nearest(k, call.index.size());
  alignas(64) Real distances[kLeaf];
  for (std::int64_t q = 0; q < call.indices.extent(0); ++q) {
    const Real* query = call.queries + q * d;
    nearest.clear();
    search.leaves_nearest_first(
        query, [&] { return nearest.limit(); },
        [&](std::int64_t leaf) HWY_ATTR {
          search.leaf_distances(leaf, query, distances);
          std::uint32_t in =
              search.at_most(distances, nearest.limit(), call.index.points_in_leaf(leaf));
          for (; in != 0; in &= in - 1) {
            const auto lane = hwy::Num0BitsBelowLS1Bit_Nonzero32(in);
            nearest.add({distances[lane], call.index.leaf_indices(leaf)[lane]});
          }
        });
    const auto& found = nearest.finish();
    for (std::int64_t j = 0; j < k; ++j) {
      const bool exists = j < static_cast<std::int64_t>(found.size());
      call.indices(q, j) = exists ? index_of(found[static_cast<std::size_t>(j)]) : -1;
      call.distances(q, j) =
          exists ? distance_of(found[static_cast<std::size_t>(j)]) : search.kInfinity;
    }
  }
}

template <class Real, int kDims, bool kFma>
void nearest(const NearestCall<Real>& call) {
  Searcher<Real, kDims, kFma> search(call.index);
  constexpr std::int64_t kLeaf = NeighborIndex<Real>::kLeaf;
  const std::int64_t d = call.index.dims();
  alignas(64) Real distances[kLeaf];
  for (std::size_t q = 0; q < call.distances.size(); ++q) {
    const Real* query = call.queries + static_cast<std::int64_t>(q) * d;
    const std::int64_t own =
        call.first_own_index < 0 ? -1 : call.first_own_index + static_cast<std::int64_t>(q);
    Real nearest = search.kInfinity;
    search.leaves_nearest_first(
        query, [&] { return nearest; },
        [&](std::int64_t leaf) HWY_ATTR {
          search.leaf_distances(leaf, query, distances);
          if (own < 0) {
            nearest = std::min(nearest, search.lowest(distances));
            return;
          }
          const std::int32_t* index = call.index.leaf_indices(leaf);
          for (std::int64_t i = 0; i < kLeaf; ++i) {  // lanes that repeat a point repeat its index
            if (distances[i] < nearest && index[i] != own) nearest = distances[i];
          }
        });
    call.distances[q] = nearest;
  }
}

/// Calls f(number of axes, uses fma) with both known at compile time; 0 axes: not known.
template <class F>
void with_constants(std::int64_t dims, Arithmetic arithmetic, F&& f) {
  const auto with_dims = [&](auto fma) {
    switch (dims) {
      case 2:
        return f(std::integral_constant<int, 2>(), fma);
      case 3:
        return f(std::integral_constant<int, 3>(), fma);
      case 4:
        return f(std::integral_constant<int, 4>(), fma);
      default:
        return f(std::integral_constant<int, 0>(), fma);
    }
  };
  arithmetic == Arithmetic::fma ? with_dims(std::true_type()) : with_dims(std::false_type());
}

template <class Real>
void run_ball_query(const BallQueryCall<Real>& call, Arithmetic arithmetic) {
  with_constants(call.index.dims(), arithmetic,
                 [&](auto dims, auto fma) { ball_query<Real, dims.value, fma.value>(call); });
}
template <class Real>
void run_knn_query(const KnnQueryCall<Real>& call, Arithmetic arithmetic) {
  with_constants(call.index.dims(), arithmetic,
                 [&](auto dims, auto fma) { knn_query<Real, dims.value, fma.value>(call); });
}
template <class Real>
void run_nearest(const NearestCall<Real>& call) {
  with_constants(call.index.dims(), Arithmetic::strict,
                 [&](auto dims, auto fma) { nearest<Real, dims.value, fma.value>(call); });
}

void ball_query_f32(const BallQueryCall<float>& c, Arithmetic a) { run_ball_query(c, a); }
void ball_query_f64(const BallQueryCall<double>& c, Arithmetic a) { run_ball_query(c, a); }
void knn_query_f32(const KnnQueryCall<float>& c, Arithmetic a) { run_knn_query(c, a); }
void knn_query_f64(const KnnQueryCall<double>& c, Arithmetic a) { run_knn_query(c, a); }
void nearest_f32(const NearestCall<float>& c) { run_nearest(c); }
void nearest_f64(const NearestCall<double>& c) { run_nearest(c); }

}  // namespace researchkit::fusefps::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace researchkit::fusefps {

HWY_EXPORT(ball_query_f32);
HWY_EXPORT(ball_query_f64);
HWY_EXPORT(knn_query_f32);
HWY_EXPORT(knn_query_f64);
HWY_EXPORT(nearest_f32);
HWY_EXPORT(nearest_f64);

template <class Real>
void NeighborIndex<Real>::ball_query(std::span<const Real> queries, double radius, BallFill fill,
                                     Arithmetic arithmetic, Out<std::int32_t, 2> indices,
                                     Out<std::int32_t, 1> counts) const {
  initialize_simd();
  const Real r = static_cast<Real>(radius);
  const BallQueryCall<Real> call{*this,   queries.data(), r * r, fill == BallFill::first,
                                 indices, counts};
  if constexpr (std::is_same_v<Real, float>) {
    HWY_DYNAMIC_DISPATCH(ball_query_f32)(call, arithmetic);
  } else {
    HWY_DYNAMIC_DISPATCH(ball_query_f64)(call, arithmetic);
  }
}

template <class Real>
void NeighborIndex<Real>::knn_query(std::span<const Real> queries, Arithmetic arithmetic,
                                    Out<std::int32_t, 2> indices, Out<Real, 2> distances) const {
  initialize_simd();
  const KnnQueryCall<Real> call{*this, queries.data(), indices, distances};
  if constexpr (std::is_same_v<Real, float>) {
    HWY_DYNAMIC_DISPATCH(knn_query_f32)(call, arithmetic);
  } else {
    HWY_DYNAMIC_DISPATCH(knn_query_f64)(call, arithmetic);
  }
}

template <class Real>
void NeighborIndex<Real>::nearest(std::span<const Real> queries, std::int64_t first_own_index,
                                  std::span<Real> distances) const {
  initialize_simd();
  const NearestCall<Real> call{*this, queries.data(), first_own_index, distances};
  if constexpr (std::is_same_v<Real, float>) {
    HWY_DYNAMIC_DISPATCH(nearest_f32)(call);
  } else {
    HWY_DYNAMIC_DISPATCH(nearest_f64)(call);
  }
}

template class NeighborIndex<float>;
template class NeighborIndex<double>;

}  // namespace researchkit::fusefps
#endif  // HWY_ONCE
