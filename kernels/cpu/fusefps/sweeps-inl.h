// Sweeps over a range of points: distances, farthest point, box.
//
// Memory: an update reads (d + 1) columns and writes D. Limit: three sub, three mul, two add and a
// min per point, sample and 3-D float vector, so a bucket of a hundred points is bound by the
// latency of its loads.

#if defined(RESEARCHKIT_FUSEFPS_SWEEPS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef RESEARCHKIT_FUSEFPS_SWEEPS_INL_H_
#undef RESEARCHKIT_FUSEFPS_SWEEPS_INL_H_
#else
#define RESEARCHKIT_FUSEFPS_SWEEPS_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>

#include "kernels/cpu/fusefps/state.hpp"

HWY_BEFORE_NAMESPACE();
namespace researchkit::fusefps::detail {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

template <class D, class Mask>
HWY_INLINE std::uint64_t mask_bits(D d, Mask mask) {
  alignas(8) std::uint8_t bytes[8] = {};
  hn::StoreMaskBits(d, mask, bytes);
  std::uint64_t bits;
  std::memcpy(&bits, bytes, sizeof(bits));
  return bits;
}

/// sum + t * t, rounded twice (1) or once (2). Targets without fused instructions call std::fma.
template <bool kFma, class D, class V>
HWY_INLINE V add_square(D d, V t, V sum) {
  if constexpr (!kFma) {
    return hn::Add(sum, hn::Mul(t, t));
  } else {
#if HWY_NATIVE_FMA
    (void)d;
    return hn::MulAdd(t, t, sum);
#else
    using T = hn::TFromD<D>;
    alignas(64) T ts[hn::MaxLanes(D())], sums[hn::MaxLanes(D())];
    hn::Store(t, d, ts);
    hn::Store(sum, d, sums);
    for (std::size_t i = 0; i < hn::MaxLanes(D()); ++i) sums[i] = std::fma(ts[i], ts[i], sums[i]);
    return hn::Load(d, sums);
#endif
  }
}

/// The largest D of a range and its first position.
template <class T>
struct Farthest {
  T distance;
  std::int64_t position;
};

/// Lane-wise running maximum that remembers the block where each lane was set.
template <class T>
struct FarthestTracker {
  using D = hn::ScalableTag<T>;
  using DI = hn::RebindToSigned<D>;
  using TI = hn::TFromD<DI>;

  hn::Vec<D> best;
  hn::Vec<DI> block;

  // Taken points have D = -1.
  HWY_INLINE FarthestTracker() : best(hn::Set(D(), T(-2))), block(hn::Zero(DI())) {}

  HWY_INLINE void see(hn::Vec<D> distance, std::int64_t at) {
    const auto larger = hn::Gt(distance, best);
    best = hn::Max(distance, best);
    block = hn::IfThenElse(hn::RebindMask(DI(), larger), hn::Set(DI(), static_cast<TI>(at)), block);
  }

  HWY_INLINE Farthest<T> resolve() const {
    const auto largest = hn::MaxOfLanes(D(), best);
    std::uint64_t lanes = mask_bits(D(), hn::Eq(best, largest));
    alignas(64) TI blocks[hn::MaxLanes(D())];
    hn::Store(block, DI(), blocks);
    std::int64_t first = std::numeric_limits<std::int64_t>::max();
    do {
      const int lane = std::countr_zero(lanes);
      first = std::min(first, static_cast<std::int64_t>(blocks[lane]) + lane);
      lanes &= lanes - 1;
    } while (lanes != 0);
    return {hn::GetLane(largest), first};
  }
};

template <class T, int kDims, bool kFma, bool kAssign>
class Sweeps {
 public:
  using D = hn::ScalableTag<T>;
  using V = hn::Vec<D>;
  static constexpr std::int64_t kLanes = hn::MaxLanes(D());
  static constexpr int kMaxGroup = 4;
  static constexpr std::int64_t kTile = 256;

  explicit Sweeps(State<T>& state) : s_(state) {}

 protected:
  State<T>& s_;

  HWY_INLINE int dims() const { return kDims > 0 ? kDims : s_.m; }
  HWY_INLINE const T* sample(std::int64_t ordinal) const { return s_.samples + ordinal * dims(); }

  /// D of range [begin, begin + count) with `refs` samples applied, and where its maximum lies.
  HWY_INLINE Farthest<T> update_and_find(std::int64_t begin, std::int64_t count,
                                         const std::int32_t* ordinals, int refs) {
    if constexpr (kDims > 0 && !kAssign) {
      switch (refs) {
        case 0:
          return find(begin, count);
        case 1:
          return sweep_group<1, true>(begin, count, ordinals);
        case 2:
          return sweep_group<2, true>(begin, count, ordinals);
        case 3:
          return sweep_group<3, true>(begin, count, ordinals);
        default:
          return sweep_group<4, true>(begin, count, ordinals);
      }
    } else {
      update(begin, count, ordinals, refs);
      return find(begin, count);
    }
  }

  /// The same without looking for the maximum.
  HWY_INLINE void update(std::int64_t begin, std::int64_t count, const std::int32_t* ordinals,
                         int refs) {
    if constexpr (kDims > 0 && !kAssign) {
      switch (refs) {
        case 0:
          return;
        case 1:
          sweep_group<1, false>(begin, count, ordinals);
          return;
        case 2:
          sweep_group<2, false>(begin, count, ordinals);
          return;
        case 3:
          sweep_group<3, false>(begin, count, ordinals);
          return;
        default:
          sweep_group<4, false>(begin, count, ordinals);
          return;
      }
    } else {
      for (int r = 0; r < refs; ++r) update_one(begin, count, ordinals[r]);
    }
  }

  /// Largest D of the range.
  Farthest<T> find(std::int64_t begin, std::int64_t count) const {
    const D d;
    const T* HWY_RESTRICT distance = s_.distance + begin;
    FarthestTracker<T> tracker;
    std::int64_t i = 0;
    for (; i + kLanes <= count; i += kLanes) tracker.see(hn::LoadU(d, distance + i), i);
    if (i < count) {
      const auto valid = hn::FirstN(d, static_cast<std::size_t>(count - i));
      tracker.see(hn::IfThenElse(valid, hn::LoadU(d, distance + i), hn::Set(d, T(-2))), i);
    }
    const auto far = tracker.resolve();
    return {far.distance, begin + far.position};
  }

  /// Box of the range, to lo[axis * stride] and hi[axis * stride].
  void box(std::int64_t begin, std::int64_t count, T* lo, T* hi, std::int64_t stride) const {
    const D d;
    for (int a = 0; a < dims(); ++a) {
      const T* HWY_RESTRICT x = s_.column(a) + begin;
      V smallest = hn::Set(d, x[0]), largest = smallest;
      std::int64_t i = 0;
      for (; i + kLanes <= count; i += kLanes) {
        const V v = hn::LoadU(d, x + i);
        smallest = hn::Min(smallest, v);
        largest = hn::Max(largest, v);
      }
      if (i < count) {
        const auto valid = hn::FirstN(d, static_cast<std::size_t>(count - i));
        const V v = hn::IfThenElse(valid, hn::LoadU(d, x + i), smallest);
        smallest = hn::Min(smallest, v);
        largest = hn::Max(largest, hn::IfThenElse(valid, v, largest));
      }
      lo[a * stride] = hn::GetLane(hn::MinOfLanes(d, smallest));
      hi[a * stride] = hn::GetLane(hn::MaxOfLanes(d, largest));
    }
  }

  /// Squared distances of at most kTile points to one sample. The columns of many dimensions lie
  /// far apart, so they are read in tiles, whose sums stay in the first cache.
  void tile_distances(std::int64_t at, std::int64_t size, const T* HWY_RESTRICT ref,
                      T* HWY_RESTRICT sums) const {
    const D d;
    for (int a = 0; a < dims(); ++a) {
      const T* HWY_RESTRICT x = s_.column(a) + at;
      const V r = hn::Set(d, ref[a]);
      for (std::int64_t i = 0; i < size; i += kLanes) {
        const V t = hn::Sub(hn::LoadU(d, x + i), r);
        hn::Store(a == 0 ? hn::Mul(t, t) : add_square<kFma>(d, t, hn::Load(d, sums + i)), d,
                  sums + i);
      }
    }
  }

  /// distance = min(distance, sums), and `ordinal` where it got smaller.
  static void keep_nearest(std::int64_t size, const T* HWY_RESTRICT sums, std::int32_t ordinal,
                           T* HWY_RESTRICT distance, std::int32_t* HWY_RESTRICT nearest) {
    const D d;
    if (nearest != nullptr) {
      for (std::int64_t i = 0; i < size; ++i) {
        nearest[i] = sums[i] < distance[i] ? ordinal : nearest[i];
      }
    }
    for (std::int64_t i = 0; i < size; i += kLanes) {
      const auto valid = hn::FirstN(d, static_cast<std::size_t>(std::min(size - i, kLanes)));
      const V best = hn::Min(hn::LoadU(d, distance + i), hn::Load(d, sums + i));
      hn::BlendedStore(best, valid, d, distance + i);
    }
  }

 private:
  // Not inlined: each of the eight combinations is called from several places, and a call is little
  // beside a sweep.
  template <int kRefs, bool kFind>
  HWY_NOINLINE Farthest<T> sweep_group(std::int64_t begin, std::int64_t count,
                                       const std::int32_t* ordinals) {
    const D d;
    V ref[kRefs][kDims > 0 ? kDims : 1];
    for (int r = 0; r < kRefs; ++r) {
      for (int a = 0; a < kDims; ++a) ref[r][a] = hn::Set(d, sample(ordinals[r])[a]);
    }
    const T* HWY_RESTRICT x[kDims > 0 ? kDims : 1];
    for (int a = 0; a < kDims; ++a) x[a] = s_.column(a) + begin;
    T* HWY_RESTRICT distance = s_.distance + begin;
    const auto nearest = [&](std::int64_t i) HWY_ATTR {
      V best = hn::LoadU(d, distance + i);
      V p[kDims > 0 ? kDims : 1];
      for (int a = 0; a < kDims; ++a) p[a] = hn::LoadU(d, x[a] + i);
      for (int r = 0; r < kRefs; ++r) {
        V t = hn::Sub(p[0], ref[r][0]);
        V sum = hn::Mul(t, t);
        for (int a = 1; a < kDims; ++a) {
          t = hn::Sub(p[a], ref[r][a]);
          sum = add_square<kFma>(d, t, sum);
        }
        best = hn::Min(best, sum);
      }
      return best;
    };
    FarthestTracker<T> tracker;
    std::int64_t i = 0;
    for (; i + kLanes <= count; i += kLanes) {
      const V best = nearest(i);
      hn::StoreU(best, d, distance + i);
      if constexpr (kFind) tracker.see(best, i);
    }
    if (i < count) {
      const auto valid = hn::FirstN(d, static_cast<std::size_t>(count - i));
      const V best = nearest(i);
      hn::BlendedStore(best, valid, d, distance + i);
      if constexpr (kFind) tracker.see(hn::IfThenElse(valid, best, hn::Set(d, T(-2))), i);
    }
    if constexpr (!kFind) return {T(0), begin};
    const auto far = tracker.resolve();
    return {far.distance, begin + far.position};
  }

  // One sample, any number of dimensions, with the assignment if it is kept.
  void update_one(std::int64_t begin, std::int64_t count, std::int32_t ordinal) {
    alignas(64) T sums[kTile];
    for (std::int64_t tile = 0; tile < count; tile += kTile) {
      const std::int64_t size = std::min(kTile, count - tile);
      const std::int64_t at = begin + tile;
      tile_distances(at, size, sample(ordinal), sums);
      keep_nearest(size, sums, ordinal, s_.distance + at, kAssign ? s_.assignment + at : nullptr);
    }
  }
};

}  // namespace HWY_NAMESPACE
}  // namespace researchkit::fusefps::detail
HWY_AFTER_NAMESPACE();

#endif  // include guard per target
