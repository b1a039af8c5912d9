// The samplers on the columns: the plain loop, and the loop over samples with the tree.

#if defined(RESEARCHKIT_FUSEFPS_ENGINE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef RESEARCHKIT_FUSEFPS_ENGINE_INL_H_
#undef RESEARCHKIT_FUSEFPS_ENGINE_INL_H_
#else
#define RESEARCHKIT_FUSEFPS_ENGINE_INL_H_
#endif

#include <algorithm>
#include <bit>
#include <cstdint>
#include <limits>
#include <utility>

#include <hwy/cache_control.h>

#include "kernels/cpu/fusefps/tree-inl.h"

HWY_BEFORE_NAMESPACE();
namespace researchkit::fusefps::detail {
namespace HWY_NAMESPACE {

template <class T, int kDims, bool kFma, bool kAssign>
class Engine : public Tree<T, kDims, kFma, kAssign> {
  using Base = Tree<T, kDims, kFma, kAssign>;
  using Base::apply_newest;
  using Base::apply_range;
  using Base::count_pass;
  using Base::grow_tree;
  using Base::mark_chosen;
  using Base::node;
  using Base::resolve_index;
  using Base::s_;
  using Base::top_bucket;
  using Base::unresolved_;
  using Base::unresolved_position_;
  using typename Base::Bucket;

 public:
  explicit Engine(State<T>& state) : Base(state) {}

  void load(const Cloud<T>& cloud) {
    copy_points(cloud);
    if (s_.n == 0) return;
    if (kAssign) std::fill_n(s_.assignment, s_.n, -1);
    this->box(0, s_.n, s_.box_lo, s_.box_hi, 1);
    s_.set_scale();
  }

  std::int64_t take(std::int64_t wanted, std::int32_t* indices, T* distances) {
    if (s_.options.algorithm == Algorithm::vanilla) return take_plain(wanted, indices, distances);
    std::int64_t taken = 0;
    for (; taken < wanted; ++taken) {
      if (!s_.tree_exists) {
        grow_tree();
      } else if (s_.unapplied > 0) {
        apply_newest();
      }
      s_.unapplied = 0;
      resolve_index();
      const T distance = node(0).top_distance();
      s_.finished = s_.finished || distance < s_.spacing_squared;
      if (s_.finished) break;
      const Bucket owner = top_bucket(0);
      const std::int64_t position = owner.at.position()[owner.slot];
      prefetch(owner);
      T* const coordinates = s_.samples + s_.chosen * this->dims();
      for (int a = 0; a < this->dims(); ++a) coordinates[a] = owner.at.far(a)[owner.slot];
      mark_chosen(position, distance);
      unresolved_ = indices + taken;
      unresolved_position_ = position;
      if (distances != nullptr) distances[taken] = distance;
    }
    resolve_index();
    return taken;
  }

  void coverage(T* min_dist, std::int32_t* nearest) {
    if (!s_.tree_exists) {
      cover_range(0, s_.n, -1, min_dist, nearest);
      return;
    }
    for (std::int32_t number = 0; number < s_.nodes; ++number) {
      const auto at = node(number);
      for (int slot = 0; slot < at.used(); ++slot) {
        if ((at.inner() >> slot & 1) != 0) continue;
        cover_range(at.begin()[slot], at.count()[slot], at.link()[slot], min_dist, nearest);
      }
    }
  }

 private:
  void copy_points(const Cloud<T>& cloud) {
    const int dims = this->dims();
    std::int64_t at = 0;
    for (std::int64_t i = 0; i < cloud.rows; ++i) {
      if (cloud.mask != nullptr && cloud.mask[i] == 0) continue;
      for (int a = 0; a < dims; ++a) s_.column(a)[at] = cloud.points[i * cloud.row_stride + a];
      s_.distance[at] = cloud.initial_distance == nullptr ? std::numeric_limits<T>::infinity()
                                                          : cloud.initial_distance[i];
      s_.index[at++] = static_cast<std::int32_t>(i);
    }
  }

  static constexpr std::int64_t kPrefetchLines = 8;

  // Asks for the columns of a bucket that will be read: it was rarely read lately. Always the same
  // number of lines, enough for most buckets: the end of a loop would be mispredicted.
  HWY_INLINE void prefetch(const Bucket& bucket) const {
    constexpr std::int64_t kLine = 64 / sizeof(T);
    const std::int64_t begin = bucket.at.begin()[bucket.slot];
    hwy::Prefetch(s_.index + bucket.at.position()[bucket.slot]);
    for (std::int64_t i = 0; i < kPrefetchLines; ++i) {
      hwy::Prefetch(s_.distance + begin + i * kLine);
      for (int a = 0; a < kDims; ++a) hwy::Prefetch(s_.column(a) + begin + i * kLine);
    }
  }

  std::int64_t take_plain(std::int64_t wanted, std::int32_t* indices, T* distances) {
    std::int64_t taken = 0;
    while (taken < wanted && !s_.finished) {
      const auto far = apply_range(0, s_.n, s_.chosen - s_.unapplied, s_.chosen);
      count_pass(s_.unapplied, s_.n, false);
      s_.unapplied = 0;
      if (far.distance < s_.spacing_squared) {
        s_.finished = true;
        break;
      }
      T* const coordinates = s_.samples + s_.chosen * this->dims();
      for (int a = 0; a < this->dims(); ++a) coordinates[a] = s_.column(a)[far.position];
      indices[taken] = s_.index[far.position];
      mark_chosen(far.position, far.distance);
      if (distances != nullptr) distances[taken] = far.distance;
      ++taken;
    }
    return taken;
  }

  // D and assignment of a range with the ring of `newest` and the unapplied samples, to the
  // original rows. The state stays as it is.
  void cover_range(std::int64_t begin, std::int64_t count, std::int32_t newest, T* min_dist,
                   std::int32_t* nearest) const {
    alignas(64) T sums[Base::kTile], distance[Base::kTile];
    std::int32_t assigned[Base::kTile];
    for (std::int64_t tile = 0; tile < count; tile += Base::kTile) {
      const std::int64_t size = std::min(Base::kTile, count - tile), at = begin + tile;
      std::copy_n(s_.distance + at, size, distance);
      if constexpr (kAssign) std::copy_n(s_.assignment + at, size, assigned);
      const auto see = [&](std::int32_t ordinal) HWY_ATTR {
        this->tile_distances(at, size, this->sample(ordinal), sums);
        this->keep_nearest(size, sums, ordinal, distance, kAssign ? assigned : nullptr);
      };
      if (newest >= 0) {
        std::int32_t element = newest;
        do {
          element = s_.waiting[element].next;
          see(s_.waiting[element].sample);
        } while (element != newest);
      }
      for (auto ordinal = s_.chosen - s_.unapplied; ordinal < s_.chosen; ++ordinal) {
        see(static_cast<std::int32_t>(ordinal));
      }
      for (std::int64_t i = 0; i < size; ++i) {
        const std::int32_t to = s_.index[at + i];
        if (min_dist != nullptr) min_dist[to] = std::max(distance[i], T(0));
        if (nearest != nullptr) nearest[to] = kAssign ? assigned[i] : -1;
      }
    }
  }
};

/// Entry points of one combination of template arguments.
template <class T, int kDims, bool kFma, bool kAssign>
struct Entry {
  using E = Engine<T, kDims, kFma, kAssign>;
  static void load(State<T>& state, const Cloud<T>& cloud) { E(state).load(cloud); }
  static std::int64_t take(State<T>& state, std::int64_t wanted, std::int32_t* indices,
                           T* distances) {
    return E(state).take(wanted, indices, distances);
  }
  static void coverage(State<T>& state, T* min_dist, std::int32_t* assignment) {
    E(state).coverage(min_dist, assignment);
  }
  static constexpr Kernels<T> kTable{&load, &take, &coverage};
};

template <class T, bool kFma, bool kAssign>
const Kernels<T>* find_kernels(int dims) {
  // The assignment is rarely asked for: only the most frequent number of dimensions is special
  // then.
  if constexpr (!kAssign) {
    if (dims == 2) return &Entry<T, 2, kFma, kAssign>::kTable;
    if (dims == 4) return &Entry<T, 4, kFma, kAssign>::kTable;
  }
  if (dims == 3) return &Entry<T, 3, kFma, kAssign>::kTable;
  return &Entry<T, 0, kFma, kAssign>::kTable;
}

template <class T, bool kFma>
const Kernels<T>* find_kernels(int dims, bool track_assignment) {
  return track_assignment ? find_kernels<T, kFma, true>(dims) : find_kernels<T, kFma, false>(dims);
}

}  // namespace HWY_NAMESPACE
}  // namespace researchkit::fusefps::detail
HWY_AFTER_NAMESPACE();

#endif  // include guard per target
