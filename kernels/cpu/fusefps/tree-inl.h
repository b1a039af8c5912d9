// The tree of wide nodes: its growth, and what a new sample does to it.
//
// Per sample: test 32 slots of the root, then of the few child nodes that may change, read the one
// or two buckets whose farthest point changes (a hundred points each), and take the maximum on the
// way back. Limit: this dependent chain, not the bytes (see docs/performance/fusefps.md).

#if defined(RESEARCHKIT_FUSEFPS_TREE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef RESEARCHKIT_FUSEFPS_TREE_INL_H_
#undef RESEARCHKIT_FUSEFPS_TREE_INL_H_
#else
#define RESEARCHKIT_FUSEFPS_TREE_INL_H_
#endif

#include <algorithm>
#include <bit>
#include <cstdint>
#include <limits>
#include <utility>

#include "kernels/cpu/fusefps/partition-inl.h"

HWY_BEFORE_NAMESPACE();
namespace researchkit::fusefps::detail {
namespace HWY_NAMESPACE {

template <class T, int kDims, bool kFma, bool kAssign>
class Tree : public Partition<T, kDims, kFma, kAssign> {
  using Base = Partition<T, kDims, kFma, kAssign>;
  using Base::kLanes;
  using Base::kMaxGroup;
  using typename Base::D;
  using typename Base::V;

 public:
  explicit Tree(State<T>& state) : Base(state) {}

 protected:
  using Base::s_;
  using Slots = Node<T, kDims>;

  Slots node(std::int32_t number) const {
    return {s_.node_pool.template as<std::byte>() + static_cast<std::size_t>(number) * node_bytes(),
            s_.m};
  }
  std::size_t node_bytes() const { return kDims > 0 ? Node<T, 0>::bytes(kDims) : s_.node_bytes; }

  struct Bucket {
    Slots at;
    int slot;
  };

  // The bucket with the farthest point below a slot, or below a node.
  HWY_INLINE Bucket top_bucket(Slots at, int slot) const {
    while (at.inner() >> slot & 1) {
      at = node(at.link()[slot]);
      slot = at.top_slot();
    }
    return {at, slot};
  }
  HWY_INLINE Bucket top_bucket(std::int32_t number) const {
    return top_bucket(node(number), node(number).top_slot());
  }

  // Writes the index of the newest sample. It is read late, so that its cache miss is over by then.
  HWY_INLINE void resolve_index() {
    if (unresolved_ == nullptr) return;
    *unresolved_ = s_.index[unresolved_position_];
    unresolved_ = nullptr;
  }

  // Makes the point, whose coordinates are already there, the newest sample.
  HWY_INLINE void mark_chosen(std::int64_t position, T distance) {
    if (s_.options.distinct) s_.distance[position] = T(-1);
    if constexpr (kAssign) {
      if (distance > 0 || s_.assignment[position] < 0) {
        s_.assignment[position] = static_cast<std::int32_t>(s_.chosen);
      }
    }
    ++s_.chosen;
    s_.unapplied = 1;
  }

  // Applies the samples first..last-1 to a range.
  Farthest<T> apply_range(std::int64_t begin, std::int64_t count, std::int64_t first,
                          std::int64_t last) {
    std::int32_t group[kMaxGroup];
    for (;;) {
      const int size = static_cast<int>(std::min<std::int64_t>(last - first, kMaxGroup));
      for (int r = 0; r < size; ++r) group[r] = static_cast<std::int32_t>(first + r);
      first += size;
      if (first >= last) return this->update_and_find(begin, count, group, size);
      this->update(begin, count, group, size);
    }
  }

  void count_pass(std::int64_t refs, std::int64_t count, bool split) {
    auto& c = s_.counts;
    ++c.passes;
    c.refs_applied += refs;
    c.points_read += count;
    c.distance_computations += refs * count;
    (split ? c.points_moved : c.dist_written) += count;
  }

  void grow_tree() {
    s_.tree_exists = true;
    s_.clear_tree();
    s_.counts.build_points_read += s_.n;
    const auto far = apply_range(0, s_.n, 0, s_.chosen);
    const auto root = node(s_.new_node(0));
    root.used() = 1;
    s_.buckets = 1;
    for (int a = 0; a < this->dims(); ++a) {
      root.lo(a)[0] = s_.box_lo[a];
      root.hi(a)[0] = s_.box_hi[a];
    }
    set_bucket(root, 0, 0, s_.n, 0);
    set_farthest(root, 0, far);
    if (s_.options.algorithm == Algorithm::fused) {
      const bool split = split_bucket(0, 0);
      count_pass(s_.chosen, s_.n, split);
      s_.forced_passes = 1;
    } else {
      build();
      s_.forced_passes = s_.buckets;
      s_.counts.passes += s_.buckets;
      s_.counts.refs_applied += s_.buckets * s_.chosen;
      s_.counts.points_read += s_.n;
      s_.counts.dist_written += s_.n;
      s_.counts.distance_computations += s_.n * s_.chosen;
    }
    aggregate_below(0);
  }

  // The separate construction, level by level, so that the wide nodes fill evenly.
  void build() {
    for (int depth = 0; depth < s_.height; ++depth) {
      const auto existing = static_cast<std::int32_t>(s_.nodes);
      for (std::int32_t number = 0; number < existing; ++number) {
        const int used = node(number).used();
        for (int slot = 0; slot < used; ++slot) {
          const auto at = node(number);
          if ((at.inner() >> slot & 1) != 0 || at.depth()[slot] != depth) continue;
          const std::int64_t count = at.count()[slot];
          if (!split_bucket(number, slot)) continue;
          s_.counts.build_points_read += count;
          s_.counts.build_points_written += count;
        }
      }
    }
  }

  void aggregate_below(std::int32_t number) {
    const auto at = node(number);
    for (std::uint64_t rest = at.inner(); rest != 0; rest &= rest - 1) {
      const int slot = std::countr_zero(rest);
      aggregate_below(at.link()[slot]);
      at.far_distance()[slot] = node(at.link()[slot]).top_distance();
    }
    aggregate(at, SlotDistances(at));
  }

  static HWY_INLINE void set_bucket(Slots at, int slot, std::int64_t begin, std::int64_t count,
                                    int depth) {
    at.begin()[slot] = static_cast<std::int32_t>(begin);
    at.count()[slot] = static_cast<std::int32_t>(count);
    at.link()[slot] = -1;
    at.depth()[slot] = static_cast<std::uint8_t>(depth);
  }

  HWY_INLINE void set_farthest(Slots at, int slot, Farthest<T> far) {
    at.far_distance()[slot] = far.distance;
    at.position()[slot] = static_cast<std::int32_t>(far.position);
    for (int a = 0; a < this->dims(); ++a) at.far(a)[slot] = s_.column(a)[far.position];
  }

  // The slots' largest D in registers: a scalar written to memory and read back by a vector load
  // would have to wait until it reaches the cache.
  struct SlotDistances {
    static constexpr int kCount = kSlots / static_cast<int>(kLanes);
    V values[kCount];

    HWY_INLINE explicit SlotDistances(Slots at) {
      for (int i = 0; i < kCount; ++i) {
        values[i] = hn::Load(D(), at.far_distance() + i * static_cast<int>(kLanes));
      }
    }
    HWY_INLINE void store(Slots at) const {
      for (int i = 0; i < kCount; ++i) {
        hn::Store(values[i], D(), at.far_distance() + i * static_cast<int>(kLanes));
      }
    }
    HWY_INLINE void set(int slot, T distance) {
      using DI = hn::RebindToSigned<D>;
      using TI = hn::TFromD<DI>;
      const auto wanted = hn::Set(DI(), static_cast<TI>(slot));
      for (int i = 0; i < kCount; ++i) {
        const auto lanes = hn::Iota(DI(), static_cast<TI>(i) * static_cast<TI>(kLanes));
        values[i] = hn::IfThenElse(hn::RebindMask(D(), hn::Eq(lanes, wanted)),
                                   hn::Set(D(), distance), values[i]);
      }
    }
    /// The largest one, and a bit for each slot that has it.
    HWY_INLINE T largest(std::uint64_t* slots) const {
      V best = values[0];
      for (int i = 1; i < kCount; ++i) best = hn::Max(best, values[i]);
      best = hn::MaxOfLanes(D(), best);
      for (int i = 0; i < kCount; ++i) {
        *slots |= mask_bits(D(), hn::Eq(values[i], best)) << (i * static_cast<int>(kLanes));
      }
      return hn::GetLane(best);
    }
  };

  static constexpr std::uint64_t kAllSlots = ~std::uint64_t{0} >> (64 - kSlots);

  HWY_INLINE std::int32_t top_index(Slots at, int slot) const {
    const Bucket bucket = top_bucket(at, slot);
    return s_.index[bucket.at.position()[bucket.slot]];
  }

  // Finds the slot with the largest D, the lowest original index among equals.
  HWY_INLINE T aggregate(Slots at, const SlotDistances& distances) {
    std::uint64_t equal = 0;
    const T largest = distances.largest(&equal);
    int slot = std::countr_zero(equal);
    if (HWY_UNLIKELY((equal & (equal - 1)) != 0)) {
      for (std::uint64_t rest = equal & (equal - 1); rest != 0; rest &= rest - 1) {
        const int other = std::countr_zero(rest);
        if (top_index(at, other) < top_index(at, slot)) slot = other;
      }
    }
    at.top_slot() = slot;
    at.top_distance() = largest;
    return largest;
  }

  HWY_INLINE void apply_newest() {
    s_.counts.bucket_tests += s_.buckets;
    visit_owner(0, s_.samples + (s_.chosen - 1) * this->dims());
  }

  // Slots that can change (bound (6) below D) and buckets whose farthest point changes (7).
  HWY_INLINE void test(Slots at, const SlotDistances& distances, const T* HWY_RESTRICT sample,
                       std::uint64_t* can_change, std::uint64_t* changes) const {
    const D d;
    std::uint64_t keep = 0, nearer = 0;
    for (int i = 0; i < SlotDistances::kCount; ++i) {
      V bound = hn::Zero(d);
      for (int a = 0; a < this->dims(); ++a) {
        const V s = hn::Set(d, sample[a]);
        const V below = hn::Sub(lanes_of(at.lo(a), i), s);
        const V above = hn::Sub(s, lanes_of(at.hi(a), i));
        const V gap = hn::Max(hn::Max(below, above), hn::Zero(d));
        bound = a == 0 ? hn::Mul(gap, gap) : add_square<kFma>(d, gap, bound);
      }
      keep |= mask_bits(d, hn::Lt(bound, distances.values[i])) << (i * static_cast<int>(kLanes));
    }
    *can_change = keep;
    if (at.inner() != kAllSlots) {
      for (int i = 0; i < SlotDistances::kCount; ++i) {
        V distance = hn::Zero(d);
        for (int a = 0; a < this->dims(); ++a) {
          const V t = hn::Sub(lanes_of(at.far(a), i), hn::Set(d, sample[a]));
          distance = a == 0 ? hn::Mul(t, t) : add_square<kFma>(d, t, distance);
        }
        nearer |= mask_bits(d, hn::Lt(distance, distances.values[i]))
                  << (i * static_cast<int>(kLanes));
      }
    }
    *changes = keep & nearer & ~at.inner();
  }

  static HWY_INLINE V lanes_of(const T* slots, int vector) {
    return hn::Load(D(), slots + vector * static_cast<int>(kLanes));
  }

  // Brings the newest sample to everything below a node that holds it. The way to its bucket, the
  // owner, is known, and the owner is read in any case, even if all its distances are 0 (or the
  // same point would be chosen for ever): so the pass does not wait for the tests on the way,
  // which decide only about the other slots.
  T visit_owner(std::int32_t number, const T* HWY_RESTRICT sample) {
    std::uint64_t can_change, changes;
    const auto at = node(number);
    SlotDistances distances(at);
    test(at, distances, sample, &can_change, &changes);
    const std::uint64_t inner = at.inner();
    const int owner = at.top_slot();
    const std::uint64_t others = ~(std::uint64_t{1} << owner);
    if (inner >> owner & 1) {
      distances.set(owner, visit_owner(at.link()[owner], sample));
    } else {
      pass(number, owner, distances);
    }
    apply(number, sample, can_change & others, changes & others, inner, distances);
    distances.store(node(number));
    return aggregate(node(number), distances);
  }

  // The same for any node; returns the largest D there, or kUnchanged.
  T visit(std::int32_t number, const T* HWY_RESTRICT sample) {
    std::uint64_t can_change, changes;
    const auto at = node(number);
    SlotDistances distances(at);
    test(at, distances, sample, &can_change, &changes);
    if (!apply(number, sample, can_change, changes, at.inner(), distances)) return kUnchanged;
    distances.store(node(number));
    return aggregate(node(number), distances);
  }

  // Does what the test of a node's slots says; true if a slot's largest D may differ.
  HWY_INLINE bool apply(std::int32_t number, const T* HWY_RESTRICT sample, std::uint64_t can_change,
                        std::uint64_t changes, std::uint64_t inner, SlotDistances& distances) {
    std::uint64_t read = changes;
    for (std::uint64_t rest = can_change & ~inner & ~read; rest != 0; rest &= rest - 1) {
      const auto at = node(number);
      const int slot = std::countr_zero(rest);
      if (s_.options.ref_buffer > 0 && waiting_count(at, slot) + 1 >= s_.options.ref_buffer) {
        read |= std::uint64_t{1} << slot;
      } else {
        defer(at, slot);
        ++s_.counts.deferred;
      }
    }
    bool changed = read != 0;
    for (; read != 0; read &= read - 1) pass(number, std::countr_zero(read), distances);
    for (std::uint64_t rest = can_change & inner; rest != 0; rest &= rest - 1) {
      const int slot = std::countr_zero(rest);
      const T largest = visit(node(number).link()[slot], sample);
      if (largest != kUnchanged) {
        distances.set(slot, largest);
        changed = true;
      }
    }
    return changed;
  }

  // Puts the newest sample into a bucket's ring.
  HWY_INLINE void defer(Slots at, int slot) {
    const std::int32_t element = s_.new_waiting();
    const std::int32_t newest = at.link()[slot];
    auto& added = s_.waiting[element];
    added.sample = static_cast<std::int32_t>(s_.chosen - 1);
    added.next = element;
    if (newest >= 0) added.next = std::exchange(s_.waiting[newest].next, element);
    at.link()[slot] = element;
  }

  std::int64_t waiting_count(Slots at, int slot) const {
    const std::int32_t newest = at.link()[slot];
    if (newest < 0) return 0;
    std::int64_t count = 1;
    for (auto i = s_.waiting[newest].next; i != newest; i = s_.waiting[i].next) ++count;
    return count;
  }

  // Applies what waits for a bucket, oldest first, and the newest sample; then splits the bucket or
  // finds its farthest point.
  HWY_INLINE void pass(std::int32_t number, int slot, SlotDistances& distances) {
    const auto at = node(number);
    const std::int64_t begin = at.begin()[slot], count = at.count()[slot];
    std::int32_t group[kMaxGroup];
    std::int64_t refs = 1;
    int size = 0;
    const std::int32_t last = std::exchange(at.link()[slot], -1);
    if (last >= 0) {
      const std::int32_t first = s_.waiting[last].next;
      for (std::int32_t element = first;; element = s_.waiting[element].next) {
        group[size++] = s_.waiting[element].sample;
        ++refs;
        if (size == kMaxGroup) {
          this->update(begin, count, group, size);
          size = 0;
        }
        if (element == last) break;
      }
      s_.waiting[last].next = s_.waiting_free;
      s_.waiting_free = first;
    }
    group[size++] = static_cast<std::int32_t>(s_.chosen - 1);
    bool split = false;
    if (s_.options.algorithm == Algorithm::fused && may_split(at, slot)) {
      this->update(begin, count, group, size);
      distances.store(at);
      resolve_index();
      split = split_bucket(number, slot);
      if (!split) set_farthest(node(number), slot, this->find(begin, count));
      distances = SlotDistances(node(number));
    } else {
      const auto far = this->update_and_find(begin, count, group, size);
      distances.set(slot, far.distance);
      set_farthest(at, slot, far);
    }
    count_pass(refs, count, split);
  }

  HWY_INLINE bool may_split(Slots at, int slot) const {
    return at.depth()[slot] < s_.height && at.count()[slot] > s_.leaf_size;
  }

  // Splits a bucket if the rules allow it: the halves stay in this node, or become a child node
  // when it is full.
  bool split_bucket(std::int32_t number, int slot) {
    auto at = node(number);
    int axis = 0;
    if (!may_split(at, slot) || !s_.widest_axis(at.lo(0) + slot, at.hi(0) + slot, kSlots, &axis)) {
      return false;
    }
    const std::int64_t begin = at.begin()[slot], count = at.count()[slot];
    std::int64_t lefts;
    if (s_.options.split_rule == SplitRule::median) {
      lefts = this->partition_median(axis, begin, count);
    } else {
      const bool mean = s_.options.split_rule == SplitRule::mean;
      const T plane = s_.split_value(axis, at.lo(axis)[slot], at.hi(axis)[slot],
                                     mean ? this->quantised_sum(axis, begin, count) : 0.0, count);
      lefts = this->count_less(axis, begin, count, plane);
      this->partition(axis, begin, count, plane, lefts);
    }
    const int depth = at.depth()[slot] + 1;
    int left = slot, right;
    const bool full = at.used() >= s_.level_capacity[std::min<int>(at.level(), kLevels - 1)];
    if (full) {
      const std::int32_t child = s_.new_node(at.level() + 1);
      at = node(number);
      at.inner() |= std::uint64_t{1} << slot;
      at.link()[slot] = child;
      at = node(child);
      at.used() = 2;
      left = 0;
      right = 1;
    } else {
      right = at.used()++;
    }
    const std::int64_t to = s_.other_half(begin);
    add_child(at, left, to, lefts, depth);
    add_child(at, right, to + lefts, count - lefts, depth);
    if (full) node(number).far_distance()[slot] = aggregate(at, SlotDistances(at));
    ++s_.buckets;
    ++s_.counts.splits;
    s_.counts.max_depth = std::max<std::int64_t>(s_.counts.max_depth, depth);
    return true;
  }

  void add_child(Slots at, int slot, std::int64_t begin, std::int64_t count, int depth) {
    set_bucket(at, slot, begin, count, depth);
    this->box(begin, count, at.lo(0) + slot, at.hi(0) + slot, kSlots);
    set_farthest(at, slot, this->find(begin, count));
  }

  // Where the index of the newest sample goes, and where the sample lies.
  std::int32_t* unresolved_ = nullptr;
  std::int64_t unresolved_position_ = 0;

  static constexpr int kLevels = kSlotBits * 4;
  /// Below every D.
  static constexpr T kUnchanged = T(-4);
};

}  // namespace HWY_NAMESPACE
}  // namespace researchkit::fusefps::detail
HWY_AFTER_NAMESPACE();

#endif  // include guard per target
