// Points are sorted along a space-filling (Morton) curve of their three widest axes; consecutive
// runs of 32 become leaves. No result depends on the order, so the keys may round as they like.
#include <algorithm>
#include <array>
#include <limits>
#include <numeric>

#include "researchkit/fusefps/neighbors.hpp"

namespace researchkit::fusefps {
namespace {

constexpr int kKeyBits = 30;
constexpr std::int64_t kMaxKeyAxes = 3;

/// Bits of v, from bit 0 on, `axes` places apart.
std::uint32_t spread(std::uint32_t v, std::int64_t axes, int bits) {
  if (axes == 1) return v;
  std::uint32_t out = 0;
  for (int bit = 0; bit < bits; ++bit) out |= ((v >> bit) & 1U) << (bit * axes);
  return out;
}

struct Keyed {
  std::uint32_t key;
  std::int32_t index;
};

/// Sorts by key, equal keys keep their order: three passes over 10 bits.
void sort_by_key(std::vector<Keyed>& items) {
  std::vector<Keyed> other(items.size());
  for (int shift = 0; shift < kKeyBits; shift += 10) {
    std::array<std::uint32_t, 1025> start{};
    for (const Keyed& item : items) ++start[((item.key >> shift) & 1023U) + 1];
    std::partial_sum(start.begin(), start.end(), start.begin());
    for (const Keyed& item : items) other[start[(item.key >> shift) & 1023U]++] = item;
    items.swap(other);
  }
}

template <class Real>
std::vector<Keyed> curve_order(In<Real, 2> points, std::int64_t n, std::int64_t d) {
  std::vector<double> lo(static_cast<std::size_t>(d)), half(static_cast<std::size_t>(d));
  for (std::int64_t a = 0; a < d; ++a) {
    Real low = points(0, a), high = low;
    for (std::int64_t i = 1; i < n; ++i) {
      low = std::min(low, points(i, a));
      high = std::max(high, points(i, a));
    }
    lo[static_cast<std::size_t>(a)] = static_cast<double>(low);
    half[static_cast<std::size_t>(a)] =
        0.5 * static_cast<double>(high) - 0.5 * static_cast<double>(low);
  }
  std::vector<std::int64_t> axes(static_cast<std::size_t>(d));
  std::iota(axes.begin(), axes.end(), 0);
  std::stable_sort(axes.begin(), axes.end(), [&](std::int64_t a, std::int64_t b) {
    return half[static_cast<std::size_t>(a)] > half[static_cast<std::size_t>(b)];
  });
  const std::int64_t used = std::min(d, kMaxKeyAxes);
  const int bits = kKeyBits / static_cast<int>(used);
  const auto top = static_cast<double>((std::uint32_t{1} << bits) - 1);
  std::array<std::uint32_t, 1024> spread_table{};
  for (std::uint32_t v = 0; v < 1024; ++v) spread_table[v] = spread(v, used, std::min(bits, 10));
  std::vector<Keyed> items(static_cast<std::size_t>(n));
  for (std::int64_t i = 0; i < n; ++i) {
    std::uint32_t key = 0;
    for (std::int64_t u = 0; u < used; ++u) {
      const std::int64_t a = axes[static_cast<std::size_t>(u)];
      const double extent = half[static_cast<std::size_t>(a)];
      if (!(extent > 0)) continue;
      const double half_x = 0.5 * static_cast<double>(points(i, a));
      const double fraction = (half_x - 0.5 * lo[static_cast<std::size_t>(a)]) / extent;
      const auto step = static_cast<std::uint32_t>(std::clamp(fraction, 0.0, 1.0) * top);
      std::uint32_t spread_step = spread_table[step & 1023U];
      for (int done = 10; done < bits; done += 10) {
        spread_step |= spread_table[(step >> done) & 1023U] << (done * used);
      }
      key |= spread_step << u;
    }
    items[static_cast<std::size_t>(i)] = {key, static_cast<std::int32_t>(i)};
  }
  sort_by_key(items);
  return items;
}

/// Widens slot `slot` of a group of boxes by one coordinate.
template <class Real>
void widen(Real* boxes, std::int64_t d, std::int64_t group, std::int64_t slot, std::int64_t axis,
           Real lo, Real hi) {
  Real& low = boxes[axis * group + slot];
  Real& high = boxes[(d + axis) * group + slot];
  low = std::min(low, lo);
  high = std::max(high, hi);
}

template <class Real>
std::vector<Real> empty_boxes(std::int64_t groups, std::int64_t d, std::int64_t group) {
  constexpr Real kInfinity = std::numeric_limits<Real>::infinity();
  std::vector<Real> boxes(static_cast<std::size_t>(groups * 2 * d * group));
  for (std::int64_t g = 0; g < groups; ++g) {
    const auto lower = boxes.begin() + g * 2 * d * group;
    std::fill(lower, lower + d * group, kInfinity);
    std::fill(lower + d * group, lower + 2 * d * group, -kInfinity);
  }
  return boxes;
}

}  // namespace

template <class Real>
NeighborIndex<Real>::NeighborIndex(In<Real, 2> points, std::int64_t n, std::int64_t d)
    : n_(n), d_(d), leaves_((n + kLeaf - 1) / kLeaf) {
  if (n == 0) return;
  const auto padded = static_cast<std::size_t>(leaves_ * kLeaf);
  x_.resize(padded * static_cast<std::size_t>(d));
  index_.resize(padded);
  lowest_index_.resize(static_cast<std::size_t>(leaves_));
  leaf_boxes_ = empty_boxes<Real>(group_count(), d, kGroup);
  const std::int64_t blocks = (group_count() + kGroup - 1) / kGroup;
  group_boxes_ = empty_boxes<Real>(blocks, d, kGroup);

  const std::vector<Keyed> order = curve_order(points, n, d);
  for (std::int64_t leaf = 0; leaf < leaves_; ++leaf) {
    std::int32_t lowest = std::numeric_limits<std::int32_t>::max();
    const std::int64_t group = leaf / kGroup;
    Real* boxes = leaf_boxes_.data() + group * 2 * d * kGroup;
    Real* outer = group_boxes_.data() + group / kGroup * 2 * d * kGroup;
    for (std::int64_t lane = 0; lane < kLeaf; ++lane) {
      // A last leaf that is not full repeats its last point; the kernels mask the copies off.
      const std::int64_t at = std::min(leaf * kLeaf + lane, n - 1);
      const std::int32_t i = order[static_cast<std::size_t>(at)].index;
      index_[static_cast<std::size_t>(leaf * kLeaf + lane)] = i;
      lowest = std::min(lowest, i);
      Real* lanes = x_.data() + leaf * d * kLeaf + lane;
      for (std::int64_t a = 0; a < d; ++a) lanes[a * kLeaf] = points(i, a);
    }
    lowest_index_[static_cast<std::size_t>(leaf)] = lowest;
    for (std::int64_t a = 0; a < d; ++a) {
      const Real* lanes = leaf_points(leaf) + a * kLeaf;
      const auto [low, high] = std::minmax_element(lanes, lanes + kLeaf);
      widen(boxes, d, kGroup, leaf % kGroup, a, *low, *high);
      widen(outer, d, kGroup, group % kGroup, a, *low, *high);
    }
  }
}

template NeighborIndex<float>::NeighborIndex(In<float, 2>, std::int64_t, std::int64_t);
template NeighborIndex<double>::NeighborIndex(In<double, 2>, std::int64_t, std::int64_t);

}  // namespace researchkit::fusefps
