#pragma once

// Farthest point sampling on a tree of buckets: built first, or grown by the passes of the sampling.
// One persistent block for each cloud. For a sample, every thread tests buckets against the two
// inequalities (7); those that must be read go to a list, and each is passed over by a warp, or by
// the whole block if it is large; passes of the fused sampler split their buckets (buckets.cuh).
//
// Samples that wait for a bucket are not listed: box and largest distance of a bucket stay as they
// are until its next pass, so the pass finds them again by repeating the test for the samples since
// the first one that waited.
//
// Memory traffic per sample: the boxes of all buckets, (2 m + 1) words each, from shared memory where
// they fit, and the points of 1 to 2 buckets from L2. Limit: the latency of five block barriers and
// one pass (docs/performance/fusefps.md).

#include "kernels/cuda/fusefps/buckets.cuh"

namespace researchkit::fusefps::RESEARCHKIT_DEVICE {

/// What a thread counted for `stats`.
struct Work {
  std::int64_t deferred = 0, passes = 0, applied = 0, read = 0, written = 0, moved = 0, pairs = 0,
               built = 0, splits = 0;
};

template <class Real, template <class> class Memory>
class TreeSampling {
  using Table = BucketTable<Real, Memory>;

 public:
  RESEARCHKIT_DEVICE_FUNCTION TreeSampling(const CloudView<Real>& view, const Table& table,
                                           SharedMemory& memory)
      : view_(view),
        call_(view.call),
        table_(table),
        block_(memory),
        list_size_(memory.take<std::int32_t>(2)),
        splitter_(view, table_, memory.take<std::int32_t>(1)) {}
  static constexpr std::size_t shared_bytes() { return BlockTeam<Real>::bytes() + 16; }

  RESEARCHKIT_DEVICE_FUNCTION void run() {
    const CloudOnDevice& cloud = view_.cloud;
    choose_starts(view_);
    block_barrier();
    std::int64_t count = cloud.starts;
    const bool has_tree = count < cloud.k;
    if (has_tree) {
      splitter_.make_root(block_);
      if (call_.builds_first) build();
      count = sample(count);
    }
    cover(count, has_tree);
    write_stats(count, has_tree);
  }

 private:
  static constexpr int kSmall = 0, kLarge = 1;  // of list_size_

  /// Runs `body(team, b)` for the listed buckets: large ones by the block, the others by a warp each.
  template <class Body>
  RESEARCHKIT_DEVICE_FUNCTION void for_listed(Body body) {
    const std::int32_t small = list_size_[kSmall], large = list_size_[kLarge];
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
    const std::int32_t at = atomic_add(list_size_[is_large ? kLarge : kSmall], 1);
    table_.field(Table::kWork, is_large ? table_.capacity - 1 - at : at) = b;
  }
  RESEARCHKIT_DEVICE_FUNCTION void clear_list() {
    if (thread_index() == 0) list_size_[kSmall] = list_size_[kLarge] = 0;
    block_barrier();
  }

  RESEARCHKIT_DEVICE_FUNCTION void build() {
    for (int depth = 0; depth < view_.cloud.height; ++depth) {
      clear_list();
      const int alive = splitter_.buckets();
      for (int b = thread_index(); b < alive; b += block_threads()) {
        const std::int32_t at = table_.field(Table::kDepth, b);
        if (at == depth && splitter_.split_axis(b) >= 0) list(b);
      }
      block_barrier();
      for_listed([&](auto& team, int b) {
        const std::int32_t points = table_.field(Table::kCount, b);
        const int axis = splitter_.split_axis(b);
        team.barrier();
        splitter_.split(team, b, axis);
        if (team.rank() != 0) return;
        work_.built += points;
        ++work_.splits;
      });
      if (splitter_.buckets() == alive) break;
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
    const int axis = call_.builds_first ? -1 : splitter_.split_axis(b);
    team.barrier();
    int other = -1;
    if (axis >= 0) {
      other = splitter_.split(team, b, axis);
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
    work_.splits += axis >= 0 ? 1 : 0;
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
    forced_ = splitter_.buckets();
    for (int b = thread_index(); b < forced_; b += block_threads()) list(b);
    block_barrier();
    for_listed([&](auto& team, int b) { pass(team, b, 0, count - 1, true); });
    for (;;) {
      const int alive = splitter_.buckets();
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
    const int alive = splitter_.buckets();
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
      const int alive = splitter_.buckets();
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
                                     has_tree  ? splitter_.buckets()
                                     : samples ? 1
                                               : 0};
    if (thread_index() != 0) return;
    const Global<std::int64_t> stats = call_.stats.part(16 * view_.cloud.number, 16);
    for (int i = 0; i < 16; ++i) stats[i] = values[i];
    call_.counts[view_.cloud.number] = static_cast<std::int32_t>(count);
  }

  const CloudView<Real>& view_;
  const SamplingCall<Real>& call_;
  const Table table_;
  BlockTeam<Real> block_;
  Shared<std::int32_t> list_size_;
  BucketSplitter<Real, Memory> splitter_;
  Work work_;
  std::int64_t tests_ = 0, forced_ = 0;
};

template <class Real>
RESEARCHKIT_KERNEL(256)
void tree_sampling_in_shared(RESEARCHKIT_SHARED_ARGUMENT SamplingCall<Real> call) {
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
void tree_sampling_in_global(RESEARCHKIT_SHARED_ARGUMENT SamplingCall<Real> call) {
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
