// How a NeighborIndex is searched, for one instruction set at a time: see neighbors.cpp.
//
// Box tests and distances are evaluated for kGroup = 16 boxes and kLeaf = 32 points at a time, with
// the operations of the scalar chain in the same order, so a bound that rules a box out rules out
// the computed distances of all its points. A query reads n / 512 group boxes and then, for most
// clouds, a few leaves: it is bound by compute, not by memory. No contraction (-ffp-contract=off):
// g++ would fuse even the vector intrinsics.
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#include "researchkit/fusefps/neighbors.hpp"

#if defined(RESEARCHKIT_FUSEFPS_NEIGHBOR_SEARCH) == defined(HWY_TARGET_TOGGLE)
#ifdef RESEARCHKIT_FUSEFPS_NEIGHBOR_SEARCH
#undef RESEARCHKIT_FUSEFPS_NEIGHBOR_SEARCH
#else
#define RESEARCHKIT_FUSEFPS_NEIGHBOR_SEARCH
#endif

HWY_BEFORE_NAMESPACE();
namespace researchkit::fusefps::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

/// s + t * t: rounded twice, or once where kFma.
template <bool kFma, class D, class V = hn::Vec<D>>
HWY_INLINE V add_square(D d, V t, V s) {
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
HWY_INLINE std::uint32_t mask_bits(D d, M mask) {
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
  HWY_INLINE void leaves_below(const Real* query, Real limit, Visit&& visit) const {
    for (std::int64_t block = 0; block < blocks_; ++block) {
      std::uint32_t groups = boxes_below(index_.group_boxes(block), query, limit);
      for (; groups != 0; groups &= groups - 1) {
        const std::int64_t group = block * kGroup + hwy::Num0BitsBelowLS1Bit_Nonzero32(groups);
        std::uint32_t leaves = boxes_below(index_.leaf_boxes(group), query, limit);
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
  HWY_INLINE void leaves_nearest_first(const Real* query, Limit&& limit, Visit&& visit) {
    const std::int64_t groups = index_.group_count();
    if (groups == 0) return;
    bounds_.resize(static_cast<std::size_t>(blocks_ * kGroup));
    for (std::int64_t block = 0; block < blocks_; ++block) {
      box_bounds(index_.group_boxes(block), query, bounds_.data() + block * kGroup);
    }
    const auto nearest = std::min_element(bounds_.begin(), bounds_.begin() + groups);
    const std::int64_t first = nearest - bounds_.begin();
    visit_nearest_first(query, first, limit, visit);
    // By now the limit is close to the final one and the order matters little.
    for (std::int64_t group = 0; group < groups; ++group) {
      if (group != first && !(bounds_[static_cast<std::size_t>(group)] > limit())) {
        visit_in_order(query, group, limit, visit);
      }
    }
  }

  /// Squared distances of the query to the kLeaf points of a leaf.
  HWY_INLINE void leaf_distances(std::int64_t leaf, const Real* query, Real* distances) const {
    const Real* x = index_.leaf_points(leaf);
    const hn::CappedTag<Real, static_cast<size_t>(kLeaf)> d;
    for (std::int64_t i = 0; i < kLeaf; i += static_cast<std::int64_t>(hn::Lanes(d))) {
      auto t = hn::Sub(hn::LoadU(d, x + i), hn::Set(d, query[0]));
      auto sum = hn::Mul(t, t);
      for (std::int64_t a = 1; a < dims(); ++a) {
        t = hn::Sub(hn::LoadU(d, x + a * kLeaf + i), hn::Set(d, query[a]));
        sum = add_square<kFma>(d, t, sum);
      }
      hn::StoreU(sum, d, distances + i);
    }
  }

  /// Which of kLeaf distances are below `limit`.
  HWY_INLINE std::uint32_t below(const Real* distances, Real limit, std::int64_t points) const {
    return compare(distances, points,
                   [limit](auto d, auto x) HWY_ATTR { return hn::Lt(x, hn::Set(d, limit)); });
  }
  /// The smallest of kLeaf distances; lanes behind the last point repeat it and do not matter.
  HWY_INLINE Real lowest(const Real* distances) const {
    const hn::CappedTag<Real, static_cast<size_t>(kLeaf)> d;
    auto lowest = hn::LoadU(d, distances);
    const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
    for (std::int64_t i = lanes; i < kLeaf; i += lanes) {
      lowest = hn::Min(lowest, hn::LoadU(d, distances + i));
    }
    return hn::GetLane(hn::MinOfLanes(d, lowest));
  }
  HWY_INLINE std::uint32_t at_most(const Real* distances, Real limit, std::int64_t points) const {
    return compare(distances, points,
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
  HWY_INLINE hn::Vec<D> bound(D d, const Real* boxes, std::int64_t slot, const Real* query) const {
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
      sum = add_square<kFma>(d, t, sum);
    }
    return sum;
  }

  HWY_INLINE void box_bounds(const Real* boxes, const Real* query, Real* bounds) const {
    const hn::CappedTag<Real, static_cast<size_t>(kGroup)> d;
    for (std::int64_t i = 0; i < kGroup; i += static_cast<std::int64_t>(hn::Lanes(d))) {
      hn::StoreU(bound(d, boxes, i, query), d, bounds + i);
    }
  }

  HWY_INLINE std::uint32_t boxes_below(const Real* boxes, const Real* query, Real limit) const {
    const hn::CappedTag<Real, static_cast<size_t>(kGroup)> d;
    std::uint32_t bits = 0;
    for (std::int64_t i = 0; i < kGroup; i += static_cast<std::int64_t>(hn::Lanes(d))) {
      bits |= mask_bits(d, hn::Lt(bound(d, boxes, i, query), hn::Set(d, limit))) << i;
    }
    return bits;
  }

  template <class Test>
  HWY_INLINE std::uint32_t compare(const Real* distances, std::int64_t points, Test&& test) const {
    const hn::CappedTag<Real, static_cast<size_t>(kLeaf)> d;
    std::uint32_t bits = 0;
    for (std::int64_t i = 0; i < kLeaf; i += static_cast<std::int64_t>(hn::Lanes(d))) {
      bits |= mask_bits(d, test(d, hn::LoadU(d, distances + i))) << i;
    }
    return points == kLeaf ? bits : bits & ((1U << points) - 1U);
  }

  template <class Limit, class Visit>
  HWY_INLINE void visit_in_order(const Real* query, std::int64_t group, Limit&& limit,
                                 Visit&& visit) {
    alignas(64) Real bounds[kGroup];
    box_bounds(index_.leaf_boxes(group), query, bounds);
    const std::int64_t leaves = std::min(kGroup, index_.leaf_count() - group * kGroup);
    const hn::CappedTag<Real, static_cast<size_t>(kGroup)> d;
    std::uint32_t near = 0;
    for (std::int64_t i = 0; i < kGroup; i += static_cast<std::int64_t>(hn::Lanes(d))) {
      near |= mask_bits(d, hn::Le(hn::Load(d, bounds + i), hn::Set(d, limit()))) << i;
    }
    if (leaves < kGroup) near &= (1U << leaves) - 1U;
    for (; near != 0; near &= near - 1) {
      const auto leaf = static_cast<std::int64_t>(hwy::Num0BitsBelowLS1Bit_Nonzero32(near));
      if (!(bounds[leaf] > limit())) visit(group * kGroup + leaf);
    }
  }

  template <class Limit, class Visit>
  HWY_INLINE void visit_nearest_first(const Real* query, std::int64_t group, Limit&& limit,
                                      Visit&& visit) {
    alignas(64) Real bounds[kGroup];
    box_bounds(index_.leaf_boxes(group), query, bounds);
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

}  // namespace researchkit::fusefps::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
