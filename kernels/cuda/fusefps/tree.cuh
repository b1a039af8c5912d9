#pragma once

// Farthest point sampling on a tree of buckets: built first, or grown by the passes of the sampling.
// One persistent block for each cloud. For a sample, every thread tests buckets against the two
// inequalities (7); those that must be read go to a list, and each is passed over by a warp, or by
// the whole block if it is large. Points are columns of two halves; a split writes a bucket's
// children to its range of the other half, in order.
//
// Samples that wait for a bucket are not listed: box and largest distance of a bucket stay as they
// are until its next pass, so the pass finds them again by repeating the test for the samples since
// the first one that waited.
//
// Memory traffic per sample: the boxes of all buckets, (2 m + 1) words each, from shared memory where
// they fit, and the points of 1 to 2 buckets from L2. Limit: the latency of five block barriers and
// one pass (docs/performance/fusefps.md).

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

/// What a thread counted for `stats`.
struct Work {
  std::int64_t deferred = 0, passes = 0, applied = 0, read = 0, written = 0, moved = 0, pairs = 0,
               built = 0, splits = 0;
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
class TreeSampling {
  using Table = BucketTable<Real, Memory>;

 public:
  RESEARCHKIT_DEVICE_FUNCTION TreeSampling(const CloudView<Real>& view, const Table& table,
                                           SharedMemory& memory)
      : view_(view), call_(view.call), table_(table), number_(view.cloud.number), block_(memory) {
    counters_ = memory.take<std::int32_t>(3);
  }
  static constexpr std::size_t shared_bytes() { return BlockTeam<Real>::bytes() + 16; }

  RESEARCHKIT_DEVICE_FUNCTION void run() {
    const CloudOnDevice& cloud = view_.cloud;
    choose_starts(view_);
    block_barrier();
    std::int64_t count = cloud.starts;
    const bool has_tree = count < cloud.k;
    if (has_tree) {
      make_root();
      if (call_.builds_first) build();
      count = sample(count);
    }
    cover(count, has_tree);
    write_stats(count, has_tree);
  }

 private:
  static constexpr int kBuckets = 0, kSmall = 1, kLarge = 2;  // of counters_

  RESEARCHKIT_DEVICE_FUNCTION int buckets() const {
    return static_cast<std::int32_t>(counters_[kBuckets]);
  }

  RESEARCHKIT_DEVICE_FUNCTION void make_root() {
    for (int axis = 0; axis < call_.m; ++axis) {
      Real lo = view_.x(axis, 0), hi = lo;
      for (std::int64_t p = thread_index(); p < view_.cloud.n; p += block_threads()) {
        lo = Least()(lo, view_.x(axis, p));
        hi = Largest()(hi, view_.x(axis, p));
      }
      lo = block_.reduce(lo, Least());
      hi = block_.reduce(hi, Largest());
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
      counters_[kBuckets] = 1;
    }
    block_barrier();
  }
  RESEARCHKIT_DEVICE_FUNCTION double& axis_lo(int axis) const {
    return call_.axes[(number_ * call_.m + axis) * 2];
  }
  RESEARCHKIT_DEVICE_FUNCTION double& axis_scale(int axis) const {
    return call_.axes[(number_ * call_.m + axis) * 2 + 1];
  }

  // ---- splitting

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
    if (team.rank() == 0) other = atomic_add(counters_[kBuckets], 1);
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
      ++work_.splits;
    }
    measure(team, b, to, cut.left);
    measure(team, other, to + cut.left, points - cut.left);
    team.barrier();
    return other;
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

  /// Runs `body(team, b)` for the listed buckets: large ones by the block, the others by a warp each.
  template <class Body>
  RESEARCHKIT_DEVICE_FUNCTION void for_listed(Body body) {
    const std::int32_t small = counters_[kSmall], large = counters_[kLarge];
    for (std::int32_t i = 0; i < large; ++i) {
      const std::int32_t b = table_.field(Table::kWork, table_.capacity - 1 - i);
      body(block_, b);
    }
    WarpTeam warp;
    for (std::int32_t i = warp_index(); i < small; i += block_threads() / kWarp) {
      const std::int32_t b = table_.field(Table::kWork, i);
      body(warp, b);
    }
    block_barrier();
  }
  /// Puts a bucket on the list; afterwards the block meets at a barrier.
  RESEARCHKIT_DEVICE_FUNCTION void list(int b) {
    const std::int32_t points = table_.field(Table::kCount, b);
    const bool is_large = points >= call_.large_bucket;
    const std::int32_t at = atomic_add(counters_[is_large ? kLarge : kSmall], 1);
    table_.field(Table::kWork, is_large ? table_.capacity - 1 - at : at) = b;
  }
  RESEARCHKIT_DEVICE_FUNCTION void clear_list() {
    if (thread_index() == 0) counters_[kSmall] = counters_[kLarge] = 0;
    block_barrier();
  }

  RESEARCHKIT_DEVICE_FUNCTION void build() {
    for (int depth = 0; depth < view_.cloud.height; ++depth) {
      clear_list();
      const int alive = buckets();
      for (int b = thread_index(); b < alive; b += block_threads()) {
        const std::int32_t at = table_.field(Table::kDepth, b);
        if (at == depth && split_axis(b) >= 0) list(b);
      }
      block_barrier();
      for_listed([&](auto& team, int b) {
        const std::int32_t points = table_.field(Table::kCount, b);
        const int axis = split_axis(b);
        team.barrier();
        split(team, b, axis);
        if (team.rank() == 0) work_.built += points;
      });
      if (buckets() == alive) break;
      block_barrier();
    }
  }

  // ---- sampling

  RESEARCHKIT_DEVICE_FUNCTION Real bound(int b, std::int64_t ordinal) const {
    return sum_of_squares<Real>(call_.m, call_.fused_arithmetic, [&](int axis) {
      const Real lo = table_.lo(axis, b), hi = table_.hi(axis, b);
      return outside(lo, hi, view_.sample(ordinal, axis));
    });
  }

  /// Applies the samples first ... last to a bucket, those that the test lets through and the last;
  /// with `all` every one. Returns how many.
  template <class Team>
  RESEARCHKIT_DEVICE_FUNCTION std::int64_t apply(Team& team, int b, std::int64_t first,
                                                 std::int64_t last, bool all) {
    const std::int64_t begin = static_cast<std::int32_t>(table_.field(Table::kBegin, b));
    const std::int64_t points = static_cast<std::int32_t>(table_.field(Table::kCount, b));
    const Real limit = table_.far_distance(b);
    std::int64_t applied = 0;
    for (std::int64_t base = first; base <= last; base += kWarp) {
      const std::int64_t own = base + lane();
      const bool waits = own <= last && (all || own == last || bound(b, own) < limit);
      std::uint32_t waiting = ballot(waits);
      applied += population_count(waiting);
      for (; waiting != 0; waiting &= waiting - 1) {
        const std::int64_t ordinal = base + population_count((waiting & (~waiting + 1)) - 1);
        for (std::int64_t i = team.rank(); i < points; i += team.size()) {
          view_.apply(begin + i, ordinal);
        }
      }
    }
    return applied;
  }

  template <class Team>
  RESEARCHKIT_DEVICE_FUNCTION void find_farthest(Team& team, int b) {
    const std::int64_t begin = static_cast<std::int32_t>(table_.field(Table::kBegin, b));
    const std::int64_t points = static_cast<std::int32_t>(table_.field(Table::kCount, b));
    Candidate<Real> best;
    for (std::int64_t i = team.rank(); i < points; i += team.size()) {
      best.consider(view_.distance[begin + i], view_.index[begin + i],
                    static_cast<std::int32_t>(begin + i));
    }
    best = team.farthest(best);
    if (team.rank() != 0) return;
    table_.far_distance(b) = best.distance;
    table_.field(Table::kFarIndex, b) = best.tie;
    table_.field(Table::kFarPosition, b) = best.what;
  }

  template <class Team>
  RESEARCHKIT_DEVICE_FUNCTION void pass(Team& team, int b, std::int64_t first, std::int64_t last,
                                        bool all) {
    const std::int64_t points = static_cast<std::int32_t>(table_.field(Table::kCount, b));
    const std::int64_t applied = apply(team, b, first, last, all);
    const int axis = call_.builds_first ? -1 : split_axis(b);
    team.barrier();
    int other = -1;
    if (axis >= 0) {
      other = split(team, b, axis);
    } else if (team.rank() == 0) {
      table_.field(Table::kWaiting, b) = 0;
    }
    find_farthest(team, b);
    if (other >= 0) find_farthest(team, other);
    if (team.rank() != 0) return;
    ++work_.passes;
    work_.applied += applied;
    work_.read += points;
    work_.pairs += applied * points;
    (axis >= 0 ? work_.moved : work_.written) += points;
  }

  /// Lists the buckets that sample `ordinal` makes necessary to read, and notes where it waits.
  RESEARCHKIT_DEVICE_FUNCTION void test_buckets(std::int64_t ordinal, int owner, int alive) {
    for (int b = thread_index(); b < alive; b += block_threads()) {
      const Real limit = table_.far_distance(b);
      if (b != owner && !(bound(b, ordinal) < limit)) continue;
      const std::int32_t before = table_.field(Table::kWaiting, b);
      const std::int32_t waiting = before + 1;
      table_.field(Table::kWaiting, b) = waiting;
      if (before == 0) table_.field(Table::kFirstWaiting, b) = static_cast<std::int32_t>(ordinal);
      const bool is_full = call_.ref_buffer > 0 && waiting >= call_.ref_buffer;
      const std::int32_t far = table_.field(Table::kFarPosition, b);
      if (b == owner || is_full || view_.distance_to_sample(far, ordinal) < limit) {
        list(b);
      } else {
        ++work_.deferred;
      }
    }
  }

  RESEARCHKIT_DEVICE_FUNCTION std::int64_t sample(std::int64_t count) {
    const CloudOnDevice& cloud = view_.cloud;
    clear_list();
    forced_ = buckets();
    for (int b = thread_index(); b < forced_; b += block_threads()) list(b);
    block_barrier();
    for_listed([&](auto& team, int b) { pass(team, b, 0, count - 1, true); });
    for (;;) {
      const int alive = buckets();
      Candidate<Real> best;
      for (int b = thread_index(); b < alive; b += block_threads()) {
        best.consider(table_.far_distance(b), table_.field(Table::kFarIndex, b), b);
      }
      best = block_.farthest(best);
      if (call_.spacing_squared > Real(0) && best.distance < call_.spacing_squared) break;
      const std::int32_t position = table_.field(Table::kFarPosition, best.what);
      for (int axis = thread_index(); axis < call_.m; axis += block_threads()) {
        view_.sample(count, axis) = view_.x(axis, position);
      }
      if (thread_index() == 0) view_.choose(position, count, best.distance);
      ++count;
      if (count == cloud.k) break;
      clear_list();
      tests_ += alive;
      test_buckets(count - 1, best.what, alive);
      block_barrier();
      for_listed([&](auto& team, int b) {
        const std::int64_t first = static_cast<std::int32_t>(table_.field(Table::kFirstWaiting, b));
        pass(team, b, first, count - 1, false);
      });
    }
    block_barrier();
    return count;
  }

  // ---- after the last sample

  RESEARCHKIT_DEVICE_FUNCTION void cover(std::int64_t count, bool has_tree) {
    pad_outputs(view_, count);
    block_barrier();
    if (view_.cloud.rows == 0) return;
    if (!has_tree) {
      for (std::int64_t p = thread_index(); p < view_.cloud.n; p += block_threads()) {
        for (std::int64_t r = 0; r < count; ++r) view_.apply(p, r);
        store_coverage(view_, p);
      }
      return;
    }
    WarpTeam warp;
    const int alive = buckets();
    for (int b = warp_index(); b < alive; b += block_threads() / kWarp) {
      const std::int32_t waiting = table_.field(Table::kWaiting, b);
      const std::int32_t first_waiting = table_.field(Table::kFirstWaiting, b);
      if (count > 0) apply(warp, b, waiting > 0 ? first_waiting : count - 1, count - 1, false);
      const std::int64_t begin = static_cast<std::int32_t>(table_.field(Table::kBegin, b));
      const std::int64_t points = static_cast<std::int32_t>(table_.field(Table::kCount, b));
      for (std::int64_t i = lane(); i < points; i += kWarp) store_coverage(view_, begin + i);
    }
  }

  RESEARCHKIT_DEVICE_FUNCTION void write_stats(std::int64_t count, bool has_tree) {
    const std::int64_t n = view_.cloud.n;
    const bool samples = view_.cloud.k > 0;
    std::int64_t deepest = 0;
    if (has_tree) {
      const int alive = buckets();
      for (int b = thread_index(); b < alive; b += block_threads()) {
        const std::int32_t depth = table_.field(Table::kDepth, b);
        deepest = Largest()(deepest, static_cast<std::int64_t>(depth));
      }
    }
    const auto sum = [&](std::int64_t value) { return block_.reduce(value, Add()); };
    const std::int64_t deferred = sum(work_.deferred), passes = sum(work_.passes),
                       built = sum(work_.built);
    const std::int64_t values[16] = {n,
                                     count,
                                     tests_,
                                     tests_ - deferred - (passes - forced_),
                                     deferred,
                                     passes,
                                     sum(work_.applied),
                                     sum(work_.read),
                                     sum(work_.written),
                                     sum(work_.moved),
                                     sum(work_.pairs),
                                     has_tree ? n + built : 0,
                                     built,
                                     sum(work_.splits),
                                     block_.reduce(deepest, Largest()),
                                     has_tree  ? buckets()
                                     : samples ? 1
                                               : 0};
    if (thread_index() != 0) return;
    const Global<std::int64_t> stats = call_.stats.part(16 * number_, 16);
    for (int i = 0; i < 16; ++i) stats[i] = values[i];
    call_.counts[number_] = static_cast<std::int32_t>(count);
  }

  const CloudView<Real>& view_;
  const SamplingCall<Real>& call_;
  const Table table_;
  const std::int64_t number_;
  BlockTeam<Real> block_;
  Shared<std::int32_t> counters_;
  Work work_;
  std::int64_t tests_ = 0, forced_ = 0;
};

template <class Real>
RESEARCHKIT_KERNEL(256)
void tree_sampling_in_shared(SamplingCall<Real> call) {
  const CloudView<Real> view = view_of(call, block_index(), 2);
  SharedMemory memory = dynamic_shared();
  BucketTable<Real, Shared> table;
  table.m = call.m;
  table.capacity = view.cloud.buckets;
  table.reals = memory.take<Real>((2 * call.m + 1) * table.capacity);
  table.ints = memory.take<std::int32_t>(table.kFields * table.capacity);
  TreeSampling<Real, Shared>(view, table, memory).run();
}

template <class Real>
RESEARCHKIT_KERNEL(256)
void tree_sampling_in_global(SamplingCall<Real> call) {
  const CloudView<Real> view = view_of(call, block_index(), 2);
  SharedMemory memory = dynamic_shared();
  BucketTable<Real, Global> table;
  table.m = call.m;
  table.capacity = view.cloud.buckets;
  table.reals = call.table_reals.part(view.cloud.first_bucket * (2 * call.m + 1),
                                      std::int64_t{table.capacity} * (2 * call.m + 1));
  table.ints = call.table_ints.part(view.cloud.first_bucket * table.kFields,
                                    std::int64_t{table.capacity} * table.kFields);
  TreeSampling<Real, Global>(view, table, memory).run();
}

}  // namespace researchkit::fusefps::RESEARCHKIT_DEVICE
