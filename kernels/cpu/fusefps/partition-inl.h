// Splitting a range of points: the mean of a coordinate and the stable partition.
//
// Memory: the sum and the count read one column each; the partition reads and writes d + 2 columns
// once. Limit: the stores, which cross cache lines, and the third-level cache for big buckets.

#if defined(RESEARCHKIT_FUSEFPS_PARTITION_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef RESEARCHKIT_FUSEFPS_PARTITION_INL_H_
#undef RESEARCHKIT_FUSEFPS_PARTITION_INL_H_
#else
#define RESEARCHKIT_FUSEFPS_PARTITION_INL_H_
#endif

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "kernels/cpu/fusefps/sweeps-inl.h"

HWY_BEFORE_NAMESPACE();
namespace researchkit::fusefps::detail {
namespace HWY_NAMESPACE {

template <class T, int kDims, bool kFma, bool kAssign>
class Partition : public Sweeps<T, kDims, kFma, kAssign> {
  using Base = Sweeps<T, kDims, kFma, kAssign>;

 public:
  using Base::kLanes;
  using typename Base::D;
  using typename Base::V;

  explicit Partition(State<T>& state) : Base(state) {}

 protected:
  using Base::dims;
  using Base::s_;

  /// Sum of the fixed-point coordinates (9). Every partial sum is an integer below 2^53: exact in
  /// any order.
  double quantised_sum(int axis, std::int64_t begin, std::int64_t count) const {
    const hn::ScalableTag<double> dd;
    constexpr std::int64_t kWide = hn::MaxLanes(hn::ScalableTag<double>());
    const hn::Rebind<T, decltype(dd)> dx;
    const T* HWY_RESTRICT x = s_.column(axis) + begin;
    const auto quantise = Quantiser(s_.box_lo[axis], s_.scale[axis]);
    auto sum0 = hn::Zero(dd), sum1 = hn::Zero(dd);
    std::int64_t i = 0;
    for (; i + 2 * kWide <= count; i += 2 * kWide) {
      sum0 = hn::Add(sum0, quantise(load_double(dd, dx, x + i)));
      sum1 = hn::Add(sum1, quantise(load_double(dd, dx, x + i + kWide)));
    }
    for (; i < count; i += kWide) {
      const auto valid = hn::FirstN(dd, static_cast<std::size_t>(std::min(count - i, kWide)));
      sum0 = hn::Add(sum0, hn::IfThenElseZero(valid, quantise(load_double(dd, dx, x + i))));
    }
    return hn::GetLane(hn::SumOfLanes(dd, hn::Add(sum0, sum1)));
  }

  std::int64_t count_less(int axis, std::int64_t begin, std::int64_t count, T plane) const {
    const D d;
    const T* HWY_RESTRICT x = s_.column(axis) + begin;
    const V cut = hn::Set(d, plane);
    std::size_t less = 0;
    std::int64_t i = 0;
    for (; i + kLanes <= count; i += kLanes) {
      less += hn::CountTrue(d, hn::Lt(hn::LoadU(d, x + i), cut));
    }
    if (i < count) {
      const auto valid = hn::FirstN(d, static_cast<std::size_t>(count - i));
      less += hn::CountTrue(d, hn::And(valid, hn::Lt(hn::LoadU(d, x + i), cut)));
    }
    return static_cast<std::int64_t>(less);
  }

  /// Moves the range to the other half: its lower half by (coordinate, position) first. Returns how
  /// many that are.
  std::int64_t partition_median(int axis, std::int64_t begin, std::int64_t count) {
    const std::int64_t to = s_.other_half(begin), lefts = count / 2;
    const T* x = s_.column(axis) + begin;
    T* sorted = s_.distance + to;  // free until D moves there below
    std::copy_n(x, count, sorted);
    std::nth_element(sorted, sorted + lefts, sorted + count);
    const T middle = sorted[lefts];
    std::int64_t equal_lefts = lefts - count_less(axis, begin, count, middle);
    std::int64_t left = to, right = to + lefts;
    for (std::int64_t from = begin; from < begin + count; ++from) {
      const T value = s_.column(axis)[from];
      const bool goes_left = value < middle || (value == middle && equal_lefts-- > 0);
      const std::int64_t at = goes_left ? left++ : right++;
      for (int a = 0; a < dims(); ++a) s_.column(a)[at] = s_.column(a)[from];
      s_.distance[at] = s_.distance[from];
      s_.index[at] = s_.index[from];
      if constexpr (kAssign) s_.assignment[at] = s_.assignment[from];
    }
    return lefts;
  }

  /// Moves the range to the other half: coordinates below `plane` first, both sides in order.
  void partition(int axis, std::int64_t begin, std::int64_t count, T plane, std::int64_t lefts) {
    const D d;
    const T* x = s_.column(axis);
    const std::int64_t to = s_.other_half(begin), left_end = to + lefts, right_end = to + count;
    const V cut = hn::Set(d, plane);
    std::int64_t left = to, right = left_end, i = begin;
    // While there is room for a whole vector on both sides: what it spills over is written later.
    for (const std::int64_t end = begin + count - kLanes;
         i <= end && left + kLanes <= left_end && right + kLanes <= right_end; i += kLanes) {
      const auto below = hn::Lt(hn::LoadU(d, x + i), cut);
      const Sides sides(below, hn::Not(below));
      move_all<false>(sides, i, left, right, 0, 0);
      const auto lefts_here = static_cast<std::int64_t>(hn::CountTrue(d, below));
      left += lefts_here;
      right += kLanes - lefts_here;
    }
    for (const std::int64_t end = begin + count; i < end; i += kLanes) {
      const std::int64_t rest = std::min(end - i, kLanes);
      const auto valid = hn::FirstN(d, static_cast<std::size_t>(rest));
      const auto below = hn::Lt(hn::LoadU(d, x + i), cut);
      const auto to_left = hn::And(valid, below);
      const auto lefts_here = static_cast<std::int64_t>(hn::CountTrue(d, to_left));
      const Sides sides(to_left, hn::AndNot(below, valid));
      move_all<true>(sides, i, left, right, lefts_here, rest - lefts_here);
      left += lefts_here;
      right += rest - lefts_here;
    }
  }

 private:
  // How one vector's lanes are compressed to either side. With 512-bit registers one compression of
  // lane numbers serves all columns as a permutation, which costs half of a compression.
  struct Sides {
    using DU = hn::RebindToUnsigned<D>;
#if HWY_TARGET <= HWY_AVX3
    hn::Vec<DU> left, right;
    template <class Mask>
    HWY_INLINE Sides(Mask to_left, Mask to_right)
        : left(hn::Compress(hn::Iota(DU(), 0), hn::RebindMask(DU(), to_left))),
          right(hn::Compress(hn::Iota(DU(), 0), hn::RebindMask(DU(), to_right))) {}
    template <class Tag, class Vector>
    HWY_INLINE Vector lefts(Tag tag, Vector v) const {
      return hn::TableLookupLanes(v, hn::IndicesFromVec(tag, left));
    }
    template <class Tag, class Vector>
    HWY_INLINE Vector rights(Tag tag, Vector v) const {
      return hn::TableLookupLanes(v, hn::IndicesFromVec(tag, right));
    }
#else
    hn::Mask<D> left, right;
    HWY_INLINE Sides(hn::Mask<D> to_left, hn::Mask<D> to_right) : left(to_left), right(to_right) {}
    template <class Tag, class Vector>
    HWY_INLINE Vector lefts(Tag tag, Vector v) const {
      return hn::Compress(v, hn::RebindMask(tag, left));
    }
    template <class Tag, class Vector>
    HWY_INLINE Vector rights(Tag tag, Vector v) const {
      return hn::Compress(v, hn::RebindMask(tag, right));
    }
#endif
  };

  // Of floats everything but the rounding of the difference is exact in double, so that the halves
  // of (9), which keep the extent of doubles finite, can be folded into the scale.
  struct Quantiser {
    using DD = hn::ScalableTag<double>;
    hn::Vec<DD> origin, scale;
    HWY_INLINE Quantiser(T lo, double steps)
        : origin(hn::Set(DD(), std::is_same_v<T, float> ? static_cast<double>(lo)
                                                        : 0.5 * static_cast<double>(lo))),
          scale(hn::Set(DD(), std::is_same_v<T, float> ? 0.5 * steps : steps)) {}
    HWY_INLINE hn::Vec<DD> operator()(hn::Vec<DD> x) const {
      if constexpr (!std::is_same_v<T, float>) x = hn::Mul(x, hn::Set(DD(), 0.5));
      return hn::Trunc(hn::Mul(hn::Sub(x, origin), scale));
    }
  };

  template <class DD, class DX>
  static HWY_INLINE hn::Vec<DD> load_double(DD dd, DX dx, const T* from) {
    if constexpr (std::is_same_v<T, float>) {
      return hn::PromoteTo(dd, hn::LoadU(dx, from));
    } else {
      return hn::LoadU(dd, from);
    }
  }

  template <bool kPartial, class Tag, class Vector, class Element>
  static HWY_INLINE void store_first(Tag d, Vector v, Element* to, std::int64_t count) {
    if constexpr (kPartial) {
      hn::BlendedStore(v, hn::FirstN(d, static_cast<std::size_t>(count)), d, to);
    } else {
      hn::StoreU(v, d, to);
    }
  }

  template <bool kPartial>
  HWY_INLINE void move_all(const Sides& sides, std::int64_t from, std::int64_t left,
                           std::int64_t right, std::int64_t lefts, std::int64_t rights) {
    const D d;
    for (int a = 0; a <= dims(); ++a) {
      T* const column = a < dims() ? s_.column(a) : s_.distance;
      const V v = hn::LoadU(d, column + from);
      store_first<kPartial>(d, sides.lefts(d, v), column + left, lefts);
      store_first<kPartial>(d, sides.rights(d, v), column + right, rights);
    }
    move_ints<kPartial>(sides, s_.index, from, left, right, lefts, rights);
    if constexpr (kAssign) {
      move_ints<kPartial>(sides, s_.assignment, from, left, right, lefts, rights);
    }
  }

  template <bool kPartial>
  static HWY_INLINE void move_ints(const Sides& sides, std::int32_t* column, std::int64_t from,
                                   std::int64_t left, std::int64_t right, std::int64_t lefts,
                                   std::int64_t rights) {
    const hn::RebindToUnsigned<D> du;
    const hn::Rebind<std::uint32_t, D> words;
    auto* const at = reinterpret_cast<std::uint32_t*>(column);
    if constexpr (sizeof(T) == sizeof(std::uint32_t)) {
      const auto v = hn::LoadU(du, at + from);
      store_first<kPartial>(du, sides.lefts(du, v), at + left, lefts);
      store_first<kPartial>(du, sides.rights(du, v), at + right, rights);
    } else {
      const auto v = hn::PromoteTo(du, hn::LoadU(words, at + from));
      store_first<kPartial>(words, hn::TruncateTo(words, sides.lefts(du, v)), at + left, lefts);
      store_first<kPartial>(words, hn::TruncateTo(words, sides.rights(du, v)), at + right, rights);
    }
  }
};

}  // namespace HWY_NAMESPACE
}  // namespace researchkit::fusefps::detail
HWY_AFTER_NAMESPACE();

#endif  // include guard per target
