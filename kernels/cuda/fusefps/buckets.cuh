#pragma once

// The buckets of a cloud on the device and how they are split. Points are columns of two halves; a
// split writes a bucket's children to its range of the other half, in order, by whoever splits it: a
// warp or a whole block (teams.cuh). Memory traffic of a split: every point's columns, distance and
// index once there and back, and its coordinate along the axis once or twice more.

#include "kernels/cuda/fusefps/clouds.cuh"
#include "kernels/cuda/fusefps/teams.cuh"

namespace researchkit::fusefps::RESEARCHKIT_DEVICE {

/// The buckets of a cloud; Memory is Shared or Global.
template <class Real, template <class> class Memory>
struct BucketTable {
  Memory<Real> reals;         // [lo: m, hi: m, far_distance][bucket]
  Memory<std::int32_t> ints;  // [field][bucket]
  int m = 0, capacity = 0;

  enum Field { kFarIndex, kFarPosition, kBegin, kCount, kDepth, kFirstWaiting, kWaiting, kWork };
  static constexpr int kFields = 8;
  static std::size_t bytes(int m, int capacity) {
    return static_cast<std::size_t>(capacity) *
           (static_cast<std::size_t>(2 * m + 1) * sizeof(Real) + kFields * sizeof(std::int32_t));
  }

  RESEARCHKIT_DEVICE_FUNCTION decltype(auto) lo(int axis, int b) const {
    return reals[axis * capacity + b];
  }
  RESEARCHKIT_DEVICE_FUNCTION decltype(auto) hi(int axis, int b) const {
    return reals[(m + axis) * capacity + b];
  }
  RESEARCHKIT_DEVICE_FUNCTION decltype(auto) far_distance(int b) const {
    return reals[2 * m * capacity + b];
  }
  RESEARCHKIT_DEVICE_FUNCTION decltype(auto) field(Field f, int b) const {
    return ints[f * capacity + b];
  }
};

struct Add {
  template <class T>
  RESEARCHKIT_DEVICE_FUNCTION T operator()(T a, T b) const {
    return a + b;
  }
};
struct Least {
  template <class T>
  RESEARCHKIT_DEVICE_FUNCTION T operator()(T a, T b) const {
    return b < a ? b : a;
  }
};
struct Largest {
  template <class T>
  RESEARCHKIT_DEVICE_FUNCTION T operator()(T a, T b) const {
    return b > a ? b : a;
  }
};

template <class Real, template <class> class Memory>
class BucketSplitter {
  using Table = BucketTable<Real, Memory>;

 public:
  /// `bucket_count` is one word of the block, which make_root() sets.
  RESEARCHKIT_DEVICE_FUNCTION BucketSplitter(const CloudView<Real>& view, const Table& table,
                                             Shared<std::int32_t> bucket_count)
      : view_(view), call_(view.call), table_(table), bucket_count_(bucket_count) {}

  RESEARCHKIT_DEVICE_FUNCTION int buckets() const {
    return static_cast<std::int32_t>(bucket_count_[0]);
  }

  /// The bucket of all points; by the whole block.
  RESEARCHKIT_DEVICE_FUNCTION void make_root(BlockTeam<Real>& block) {
    for (int axis = 0; axis < call_.m; ++axis) {
      Real lo = view_.x(axis, 0), hi = lo;
      for (std::int64_t p = thread_index(); p < view_.cloud.n; p += block_threads()) {
        lo = Least()(lo, view_.x(axis, p));
        hi = Largest()(hi, view_.x(axis, p));
      }
      lo = block.reduce(lo, Least());
      hi = block.reduce(hi, Largest());
      if (thread_index() != 0) continue;
      table_.lo(axis, 0) = lo;
      table_.hi(axis, 0) = hi;
      axis_lo(axis) = static_cast<double>(lo);
      axis_scale(axis) = fixed_point_scale(static_cast<double>(lo), static_cast<double>(hi));
    }
    if (thread_index() == 0) {
      table_.field(Table::kBegin, 0) = 0;
      table_.field(Table::kCount, 0) = static_cast<std::int32_t>(view_.cloud.n);
      table_.field(Table::kDepth, 0) = 0;
      table_.field(Table::kWaiting, 0) = 0;
      table_.field(Table::kFirstWaiting, 0) = 0;
      table_.far_distance(0) = Real(0);
      bucket_count_[0] = 1;
    }
    block_barrier();
  }
  /// The widest axis of a bucket that may be split, or -1.
  RESEARCHKIT_DEVICE_FUNCTION int split_axis(int b) const {
    const std::int32_t points = table_.field(Table::kCount, b);
    const std::int32_t depth = table_.field(Table::kDepth, b);
    if (depth >= view_.cloud.height || points <= call_.leaf_size) return -1;
    int widest_axis = 0;
    double widest = -1;
    for (int axis = 0; axis < call_.m; ++axis) {
      const Real lo = table_.lo(axis, b), hi = table_.hi(axis, b);
      const double extent = half_extent(static_cast<double>(lo), static_cast<double>(hi));
      if (extent > widest) {
        widest = extent;
        widest_axis = axis;
      }
    }
    const Real lo = table_.lo(widest_axis, b), hi = table_.hi(widest_axis, b);
    return lo < hi ? widest_axis : -1;
  }

  /// Splits bucket b along `axis`; returns the number of the right half, the left one stays b.
  template <class Team>
  RESEARCHKIT_DEVICE_FUNCTION int split(Team& team, int b, int axis) {
    const std::int64_t begin = static_cast<std::int32_t>(table_.field(Table::kBegin, b));
    const std::int64_t points = static_cast<std::int32_t>(table_.field(Table::kCount, b));
    const std::int32_t depth = table_.field(Table::kDepth, b);
    const Cut cut = call_.split_rule == SplitRule::median ? median_cut(team, axis, begin, points)
                                                          : mean_cut(team, b, axis, begin, points);
    const std::int64_t pitch = view_.cloud.pitch;
    const std::int64_t to = begin < pitch ? begin + pitch : begin - pitch;
    std::int64_t left_end = to, right_end = to + cut.left, ties = 0;
    for (std::int64_t base = 0; base < points; base += team.size()) {
      const std::int64_t p = begin + base + team.rank();
      const bool exists = base + team.rank() < points;
      bool left = false;
      if (exists) left = view_.x(axis, p) < cut.value;
      if (cut.ties > 0) {
        int at_value = 0;
        const bool is_tie = exists && view_.x(axis, p) == cut.value;
        const int rank = team.position(is_tie, at_value);
        left = left || (is_tie && ties + rank < cut.ties);
        ties += at_value;
      }
      int lefts = 0, rights = 0;
      const int left_rank = team.position(exists && left, lefts);
      const int right_rank = team.position(exists && !left, rights);
      if (exists) move(p, left ? left_end + left_rank : right_end + right_rank);
      left_end += lefts;
      right_end += rights;
    }
    team.barrier();
    std::int32_t other = -1;
    if (team.rank() == 0) other = atomic_add(bucket_count_[0], 1);
    other = team.reduce(other, Largest());
    if (team.rank() == 0) {
      table_.field(Table::kBegin, b) = static_cast<std::int32_t>(to);
      table_.field(Table::kCount, b) = static_cast<std::int32_t>(cut.left);
      table_.field(Table::kBegin, other) = static_cast<std::int32_t>(to + cut.left);
      table_.field(Table::kCount, other) = static_cast<std::int32_t>(points - cut.left);
      for (const int half : {static_cast<int>(b), static_cast<int>(other)}) {
        table_.field(Table::kDepth, half) = depth + 1;
        table_.field(Table::kWaiting, half) = 0;
        table_.field(Table::kFirstWaiting, half) = 0;
        table_.far_distance(half) = Real(0);
      }
    }
    measure(team, b, to, cut.left);
    measure(team, other, to + cut.left, points - cut.left);
    team.barrier();
    return other;
  }

 private:
  /// Where a bucket is cut: points below `value` go left, and of those at it the first `ties`.
  struct Cut {
    Real value;
    std::int64_t ties = 0, left = 0;
  };

  template <class Team, class Counts>
  RESEARCHKIT_DEVICE_FUNCTION std::int64_t count_points(Team& team, int axis, std::int64_t begin,
                                                        std::int64_t points, Counts counts) {
    std::int64_t count = 0;
    for (std::int64_t i = team.rank(); i < points; i += team.size()) {
      count += counts(view_.x(axis, begin + i)) ? 1 : 0;
    }
    return team.reduce(count, Add());
  }

  template <class Team>
  RESEARCHKIT_DEVICE_FUNCTION Cut mean_cut(Team& team, int b, int axis, std::int64_t begin,
                                           std::int64_t points) {
    const Real lo = table_.lo(axis, b), hi = table_.hi(axis, b);
    const double scale = axis_scale(axis), from = axis_lo(axis);
    double value;
    if (call_.split_rule == SplitRule::midpoint || scale == 0.0) {
      value = midpoint_of(static_cast<double>(lo), static_cast<double>(hi));
    } else {
      std::int64_t sum = 0;
      for (std::int64_t i = team.rank(); i < points; i += team.size()) {
        sum += quantise(static_cast<double>(view_.x(axis, begin + i)), from, scale);
      }
      value = fixed_point_mean(team.reduce(sum, Add()), points, from, scale);
    }
    auto v = static_cast<Real>(value);
    if (v > hi) v = hi;
    if (!(v > lo)) v = hi;
    return {v, 0, count_points(team, axis, begin, points, [&](Real x) { return x < v; })};
  }

  /// The points below the median go left, and of those at it as many as make half: found bit by
  /// bit, from the highest.
  template <class Team>
  RESEARCHKIT_DEVICE_FUNCTION Cut median_cut(Team& team, int axis, std::int64_t begin,
                                             std::int64_t points) {
    const std::int64_t wanted = points / 2;
    std::uint64_t key = 0;
    for (std::uint64_t bit = std::uint64_t{1} << 63; bit != 0; bit >>= 1) {
      const std::uint64_t candidate = key | bit;
      const std::int64_t below = count_points(team, axis, begin, points, [&](Real x) {
        return ordered_key(static_cast<double>(x)) < candidate;
      });
      if (below < wanted) key = candidate;
    }
    Real value = 0;
    bool mine = false;
    for (std::int64_t i = team.rank(); i < points; i += team.size()) {
      const Real x = view_.x(axis, begin + i);
      if (ordered_key(static_cast<double>(x)) != key) continue;
      value = x;
      mine = true;
    }
    // One of those that saw it tells; a zero of either sign is the same to every comparison.
    Candidate<Real> teller;
    if (mine) teller = {Real(0), team.rank(), team.rank()};
    const std::int32_t from = team.farthest(teller).what;
    value = team.reduce(team.rank() == from ? value : Real(0), Add());
    const std::int64_t below =
        count_points(team, axis, begin, points, [&](Real x) { return x < value; });
    return {value, wanted - below, wanted};
  }

  RESEARCHKIT_DEVICE_FUNCTION void move(std::int64_t from, std::int64_t to) const {
    for (int axis = 0; axis < call_.m; ++axis) view_.x(axis, to) = view_.x(axis, from);
    view_.distance[to] = view_.distance[from];
    view_.index[to] = view_.index[from];
    if (call_.tracks) view_.nearest[to] = view_.nearest[from];
  }
  /// The box of a bucket.
  template <class Team>
  RESEARCHKIT_DEVICE_FUNCTION void measure(Team& team, int b, std::int64_t begin,
                                           std::int64_t points) {
    for (int axis = 0; axis < call_.m; ++axis) {
      Real lo = view_.x(axis, begin), hi = lo;
      for (std::int64_t i = team.rank(); i < points; i += team.size()) {
        lo = Least()(lo, view_.x(axis, begin + i));
        hi = Largest()(hi, view_.x(axis, begin + i));
      }
      lo = team.reduce(lo, Least());
      hi = team.reduce(hi, Largest());
      if (team.rank() != 0) continue;
      table_.lo(axis, b) = lo;
      table_.hi(axis, b) = hi;
    }
  }

  RESEARCHKIT_DEVICE_FUNCTION double& axis_lo(int axis) const {
    return call_.axes[(view_.cloud.number * call_.m + axis) * 2];
  }
  RESEARCHKIT_DEVICE_FUNCTION double& axis_scale(int axis) const {
    return call_.axes[(view_.cloud.number * call_.m + axis) * 2 + 1];
  }

  const CloudView<Real>& view_;
  const SamplingCall<Real>& call_;
  const Table table_;
  Shared<std::int32_t> bucket_count_;
};

}  // namespace researchkit::fusefps::RESEARCHKIT_DEVICE
