// Search kernels of NeighborIndex, compiled once per instruction set.
//
// Box tests and distances are evaluated for kGroup = 16 boxes and kLeaf = 32 points at a time, with
// the operations of the scalar chain in the same order, so a bound that rules a box out rules out
// the computed distances of all its points. A query reads n / 512 group boxes and then, for most
// clouds, a few leaves: it is bound by compute, not by memory. No contraction (-ffp-contract=off):
// g++ would fuse even the vector intrinsics.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/fusefps/neighbors.cpp"
#include <hwy/foreach_target.h>
// After foreach_target, as Highway asks for.
#include <hwy/highway.h>

#include <algorithm>
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

HWY_BEFORE_NAMESPACE();
namespace researchkit::fusefps::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

/// s + t * t: rounded twice, or once where kFma.
template <bool kFma, class D, class V = hn::Vec<D>>
HWY_INLINE V AddSquare(D d, V t, V s) {
  if constexpr (!kFma) {
    return hn::Add(s, hn::Mul(t, t));
  } else {
#if HWY_NATIVE_FMA
    (void)d;
    return hn::MulAdd(t, t, s);
#else
    using Real = hn::TFromD<D>;
    HWY_ALIGN Real ts[HWY_MAX_BYTES / sizeof(Real)], sums[HWY_MAX_BYTES / sizeof(Real)];
    hn::Store(t, d, ts);
    hn::Store(s, d, sums);
    for (size_t lane = 0; lane < hn::Lanes(d); ++lane) {
      sums[lane] = std::fma(ts[lane], ts[lane], sums[lane]);
    }
    return hn::Load(d, sums);
#endif
  }
}

/// The first lanes of a mask as bits.
template <class D, class M>
HWY_INLINE std::uint32_t Bits(D d, M mask) {
  std::uint8_t bytes[8] = {};
  hn::StoreMaskBits(d, mask, bytes);
  std::uint32_t bits;
  std::memcpy(&bits, bytes, sizeof bits);
  return bits;
}

/// Searches one index for one query at a time. kDims is the number of axes, 0 if only known at run
/// time; kFma is the arithmetic.
template <class Real, int kDims, bool kFma>
class Searcher {
 public:
  static constexpr std::int64_t kLeaf = NeighborIndex<Real>::kLeaf;
  static constexpr std::int64_t kGroup = NeighborIndex<Real>::kGroup;
  static constexpr Real kInfinity = std::numeric_limits<Real>::infinity();

  explicit Searcher(const NeighborIndex<Real>& index)
      : index_(index), blocks_((index.group_count() + kGroup - 1) / kGroup) {}

  /// Visits every leaf whose box has a bound below `limit`: visit(leaf).
  template <class Visit>
  HWY_INLINE void LeavesBelow(const Real* query, Real limit, Visit&& visit) const {
    for (std::int64_t block = 0; block < blocks_; ++block) {
      std::uint32_t groups = BoxesBelow(index_.group_boxes(block), query, limit);
      for (; groups != 0; groups &= groups - 1) {
        const std::int64_t group = block * kGroup + hwy::Num0BitsBelowLS1Bit_Nonzero32(groups);
        std::uint32_t leaves = BoxesBelow(index_.leaf_boxes(group), query, limit);
        for (; leaves != 0; leaves &= leaves - 1) {
          visit(group * kGroup +
                static_cast<std::int64_t>(hwy::Num0BitsBelowLS1Bit_Nonzero32(leaves)));
        }
      }
    }
  }

  /// Visits leaves, near ones first, until no leaf is left whose bound is at most `limit()`, which
  /// may shrink meanwhile. Every leaf with a bound up to the final limit is visited.
  template <class Limit, class Visit>
  HWY_INLINE void LeavesNearestFirst(const Real* query, Limit&& limit, Visit&& visit) {
    const std::int64_t groups = index_.group_count();
    if (groups == 0) return;
    bounds_.resize(static_cast<std::size_t>(blocks_ * kGroup));
    for (std::int64_t block = 0; block < blocks_; ++block) {
      BoxBounds(index_.group_boxes(block), query, bounds_.data() + block * kGroup);
    }
    const auto nearest = std::min_element(bounds_.begin(), bounds_.begin() + groups);
    const std::int64_t first = nearest - bounds_.begin();
    VisitGroup(query, first, limit, visit);
    for (std::int64_t group = 0; group < groups; ++group) {
      if (group != first && !(bounds_[static_cast<std::size_t>(group)] > limit())) {
        VisitGroup(query, group, limit, visit);
      }
    }
  }

  /// Squared distances of the query to the kLeaf points of a leaf.
  HWY_INLINE void LeafDistances(std::int64_t leaf, const Real* query, Real* distances) const {
    const Real* x = index_.leaf_points(leaf);
    const hn::CappedTag<Real, static_cast<size_t>(kLeaf)> d;
    for (std::int64_t i = 0; i < kLeaf; i += static_cast<std::int64_t>(hn::Lanes(d))) {
      auto t = hn::Sub(hn::LoadU(d, x + i), hn::Set(d, query[0]));
      auto sum = hn::Mul(t, t);
      for (std::int64_t a = 1; a < dims(); ++a) {
        t = hn::Sub(hn::LoadU(d, x + a * kLeaf + i), hn::Set(d, query[a]));
        sum = AddSquare<kFma>(d, t, sum);
      }
      hn::StoreU(sum, d, distances + i);
    }
  }

  /// Which of kLeaf distances are below `limit`.
  HWY_INLINE std::uint32_t Below(const Real* distances, Real limit, std::int64_t points) const {
    return Compare(distances, points,
                   [limit](auto d, auto x) HWY_ATTR { return hn::Lt(x, hn::Set(d, limit)); });
  }
  /// The smallest of kLeaf distances; lanes behind the last point repeat it and do not matter.
  HWY_INLINE Real Lowest(const Real* distances) const {
    const hn::CappedTag<Real, static_cast<size_t>(kLeaf)> d;
    auto lowest = hn::LoadU(d, distances);
    const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
    for (std::int64_t i = lanes; i < kLeaf; i += lanes) {
      lowest = hn::Min(lowest, hn::LoadU(d, distances + i));
    }
    return hn::GetLane(hn::MinOfLanes(d, lowest));
  }
  HWY_INLINE std::uint32_t AtMost(const Real* distances, Real limit, std::int64_t points) const {
    return Compare(distances, points,
                   [limit](auto d, auto x) HWY_ATTR { return hn::Le(x, hn::Set(d, limit)); });
  }

 private:
  HWY_INLINE std::int64_t dims() const {
    if constexpr (kDims > 0) {
      return kDims;
    } else {
      return index_.dims();
    }
  }

  template <class D>
  HWY_INLINE hn::Vec<D> Bound(D d, const Real* boxes, std::int64_t slot, const Real* query) const {
    const auto zero = hn::Zero(d);
    const Real* lo = boxes + slot;
    const Real* hi = boxes + dims() * kGroup + slot;
    const auto gap = [&](std::int64_t a) HWY_ATTR {
      const auto q = hn::Set(d, query[a]);
      return hn::Max(hn::Max(hn::Sub(hn::LoadU(d, lo + a * kGroup), q),
                             hn::Sub(q, hn::LoadU(d, hi + a * kGroup))),
                     zero);
    };
    auto t = gap(0);
    auto sum = hn::Mul(t, t);
    for (std::int64_t a = 1; a < dims(); ++a) {
      t = gap(a);
      sum = AddSquare<kFma>(d, t, sum);
    }
    return sum;
  }

  HWY_INLINE void BoxBounds(const Real* boxes, const Real* query, Real* bounds) const {
    const hn::CappedTag<Real, static_cast<size_t>(kGroup)> d;
    for (std::int64_t i = 0; i < kGroup; i += static_cast<std::int64_t>(hn::Lanes(d))) {
      hn::StoreU(Bound(d, boxes, i, query), d, bounds + i);
    }
  }

  HWY_INLINE std::uint32_t BoxesBelow(const Real* boxes, const Real* query, Real limit) const {
    const hn::CappedTag<Real, static_cast<size_t>(kGroup)> d;
    std::uint32_t bits = 0;
    for (std::int64_t i = 0; i < kGroup; i += static_cast<std::int64_t>(hn::Lanes(d))) {
      bits |= Bits(d, hn::Lt(Bound(d, boxes, i, query), hn::Set(d, limit))) << i;
    }
    return bits;
  }

  template <class Test>
  HWY_INLINE std::uint32_t Compare(const Real* distances, std::int64_t points, Test&& test) const {
    const hn::CappedTag<Real, static_cast<size_t>(kLeaf)> d;
    std::uint32_t bits = 0;
    for (std::int64_t i = 0; i < kLeaf; i += static_cast<std::int64_t>(hn::Lanes(d))) {
      bits |= Bits(d, test(d, hn::LoadU(d, distances + i))) << i;
    }
    return points == kLeaf ? bits : bits & ((1U << points) - 1U);
  }

  template <class Limit, class Visit>
  HWY_INLINE void VisitGroup(const Real* query, std::int64_t group, Limit&& limit, Visit&& visit) {
    Real bounds[kGroup];
    BoxBounds(index_.leaf_boxes(group), query, bounds);
    const std::int64_t leaves = std::min(kGroup, index_.leaf_count() - group * kGroup);
    std::uint32_t left = leaves == kGroup ? 0xFFFFU : (1U << leaves) - 1U;
    while (left != 0) {
      std::int64_t best = -1;
      for (std::uint32_t rest = left; rest != 0; rest &= rest - 1) {
        const auto leaf = static_cast<std::int64_t>(hwy::Num0BitsBelowLS1Bit_Nonzero32(rest));
        if (best < 0 || bounds[leaf] < bounds[best]) best = leaf;
      }
      if (bounds[best] > limit()) return;
      left &= ~(1U << best);
      visit(group * kGroup + best);
    }
  }

  const NeighborIndex<Real>& index_;
  std::int64_t blocks_;
  std::vector<Real> bounds_;
};

template <class Real, int kDims, bool kFma>
void BallQuery(const BallQueryCall<Real>& call) {
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
    search.LeavesBelow(query, call.squared_radius, [&](std::int64_t leaf) HWY_ATTR {
      if (call.index.lowest_index(leaf) >= highest) return;
      search.LeafDistances(leaf, query, distances);
      std::uint32_t in =
          search.Below(distances, call.squared_radius, call.index.points_in_leaf(leaf));
      for (; in != 0; in &= in - 1) {
        const std::int32_t i = call.index.leaf_indices(leaf)[hwy::Num0BitsBelowLS1Bit_Nonzero32(in)];
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

template <class Real, int kDims, bool kFma>
void KnnQuery(const KnnQueryCall<Real>& call) {
  Searcher<Real, kDims, kFma> search(call.index);
  constexpr std::int64_t kLeaf = NeighborIndex<Real>::kLeaf;
  const std::int64_t d = call.index.dims(), k = call.indices.extent(1);
  using Candidate = std::pair<Real, std::int32_t>;
  std::vector<Candidate> nearest;  // a heap with the worst candidate on top
  nearest.reserve(static_cast<std::size_t>(std::min(k, call.index.size())) + 1);
  alignas(64) Real distances[kLeaf];
  for (std::int64_t q = 0; q < call.indices.extent(0); ++q) {
    const Real* query = call.queries + q * d;
    nearest.clear();
    const auto limit = [&] {
      return static_cast<std::int64_t>(nearest.size()) < k ? search.kInfinity
                                                            : nearest.front().first;
    };
    search.LeavesNearestFirst(query, limit, [&](std::int64_t leaf) HWY_ATTR {
      search.LeafDistances(leaf, query, distances);
      std::uint32_t in = search.AtMost(distances, limit(), call.index.points_in_leaf(leaf));
      for (; in != 0; in &= in - 1) {
        const auto lane = hwy::Num0BitsBelowLS1Bit_Nonzero32(in);
        const Candidate candidate{distances[lane], call.index.leaf_indices(leaf)[lane]};
        if (static_cast<std::int64_t>(nearest.size()) < k) {
          nearest.push_back(candidate);
          std::push_heap(nearest.begin(), nearest.end());
        } else if (candidate < nearest.front()) {
          std::pop_heap(nearest.begin(), nearest.end());
          nearest.back() = candidate;
          std::push_heap(nearest.begin(), nearest.end());
        }
      }
    });
    std::sort_heap(nearest.begin(), nearest.end());
    for (std::int64_t j = 0; j < k; ++j) {
      const bool found = j < static_cast<std::int64_t>(nearest.size());
      call.indices(q, j) = found ? nearest[static_cast<std::size_t>(j)].second : -1;
      call.distances(q, j) = found ? nearest[static_cast<std::size_t>(j)].first : search.kInfinity;
    }
  }
}

template <class Real, int kDims, bool kFma>
void Nearest(const NearestCall<Real>& call) {
  Searcher<Real, kDims, kFma> search(call.index);
  constexpr std::int64_t kLeaf = NeighborIndex<Real>::kLeaf;
  const std::int64_t d = call.index.dims();
  alignas(64) Real distances[kLeaf];
  for (std::size_t q = 0; q < call.distances.size(); ++q) {
    const Real* query = call.queries + static_cast<std::int64_t>(q) * d;
    const std::int64_t own =
        call.first_own_index < 0 ? -1 : call.first_own_index + static_cast<std::int64_t>(q);
    Real nearest = search.kInfinity;
    search.LeavesNearestFirst(query, [&] { return nearest; }, [&](std::int64_t leaf) HWY_ATTR {
      search.LeafDistances(leaf, query, distances);
      if (own < 0) {
        nearest = std::min(nearest, search.Lowest(distances));
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
void WithConstants(std::int64_t dims, Arithmetic arithmetic, F&& f) {
  const auto with_dims = [&](auto fma) {
    switch (dims) {
      case 2: return f(std::integral_constant<int, 2>(), fma);
      case 3: return f(std::integral_constant<int, 3>(), fma);
      case 4: return f(std::integral_constant<int, 4>(), fma);
      default: return f(std::integral_constant<int, 0>(), fma);
    }
  };
  arithmetic == Arithmetic::fma ? with_dims(std::true_type()) : with_dims(std::false_type());
}

template <class Real>
void RunBallQuery(const BallQueryCall<Real>& call, Arithmetic arithmetic) {
  WithConstants(call.index.dims(), arithmetic, [&](auto dims, auto fma) {
    BallQuery<Real, dims.value, fma.value>(call);
  });
}
template <class Real>
void RunKnnQuery(const KnnQueryCall<Real>& call, Arithmetic arithmetic) {
  WithConstants(call.index.dims(), arithmetic, [&](auto dims, auto fma) {
    KnnQuery<Real, dims.value, fma.value>(call);
  });
}
template <class Real>
void RunNearest(const NearestCall<Real>& call) {
  WithConstants(call.index.dims(), Arithmetic::strict, [&](auto dims, auto fma) {
    Nearest<Real, dims.value, fma.value>(call);
  });
}

void BallQueryF32(const BallQueryCall<float>& c, Arithmetic a) { RunBallQuery(c, a); }
void BallQueryF64(const BallQueryCall<double>& c, Arithmetic a) { RunBallQuery(c, a); }
void KnnQueryF32(const KnnQueryCall<float>& c, Arithmetic a) { RunKnnQuery(c, a); }
void KnnQueryF64(const KnnQueryCall<double>& c, Arithmetic a) { RunKnnQuery(c, a); }
void NearestF32(const NearestCall<float>& c) { RunNearest(c); }
void NearestF64(const NearestCall<double>& c) { RunNearest(c); }

}  // namespace researchkit::fusefps::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace researchkit::fusefps {

HWY_EXPORT(BallQueryF32);
HWY_EXPORT(BallQueryF64);
HWY_EXPORT(KnnQueryF32);
HWY_EXPORT(KnnQueryF64);
HWY_EXPORT(NearestF32);
HWY_EXPORT(NearestF64);

template <class Real>
void NeighborIndex<Real>::ball_query(std::span<const Real> queries, double radius, BallFill fill,
                                     Arithmetic arithmetic, Out<std::int32_t, 2> indices,
                                     Out<std::int32_t, 1> counts) const {
  initialize_simd();
  const Real r = static_cast<Real>(radius);
  const BallQueryCall<Real> call{*this,   queries.data(), r * r, fill == BallFill::first,
                                 indices, counts};
  if constexpr (std::is_same_v<Real, float>) {
    HWY_DYNAMIC_DISPATCH(BallQueryF32)(call, arithmetic);
  } else {
    HWY_DYNAMIC_DISPATCH(BallQueryF64)(call, arithmetic);
  }
}

template <class Real>
void NeighborIndex<Real>::knn_query(std::span<const Real> queries, Arithmetic arithmetic,
                                    Out<std::int32_t, 2> indices, Out<Real, 2> distances) const {
  initialize_simd();
  const KnnQueryCall<Real> call{*this, queries.data(), indices, distances};
  if constexpr (std::is_same_v<Real, float>) {
    HWY_DYNAMIC_DISPATCH(KnnQueryF32)(call, arithmetic);
  } else {
    HWY_DYNAMIC_DISPATCH(KnnQueryF64)(call, arithmetic);
  }
}

template <class Real>
void NeighborIndex<Real>::nearest(std::span<const Real> queries, std::int64_t first_own_index,
                                  std::span<Real> distances) const {
  initialize_simd();
  const NearestCall<Real> call{*this, queries.data(), first_own_index, distances};
  if constexpr (std::is_same_v<Real, float>) {
    HWY_DYNAMIC_DISPATCH(NearestF32)(call);
  } else {
    HWY_DYNAMIC_DISPATCH(NearestF64)(call);
  }
}

template class NeighborIndex<float>;
template class NeighborIndex<double>;

}  // namespace researchkit::fusefps
#endif  // HWY_ONCE
