#pragma once

// Threads that work on one thing together, a warp or a whole block, behind one interface: sums,
// the farthest candidate, positions of flagged threads. All functions are collective.

#include "kernels/cuda/fusefps/exact.cuh"

namespace researchkit::fusefps::RESEARCHKIT_DEVICE {

/// A squared distance, what decides among equal ones (the lowest wins), and what it stands for.
template <class Real>
struct Candidate {
  Real distance = Real(-3);  // below that of taken points, -1
  std::int32_t tie = 0x7fffffff;
  std::int32_t what = -1;

  RESEARCHKIT_DEVICE_FUNCTION void consider(Real d, std::int32_t t, std::int32_t w) {
    if (d < distance || (d == distance && t >= tie)) return;
    distance = d;
    tie = t;
    what = w;
  }
};

/// The largest of a warp's numbers, 32 bits at a time: that many the hardware compares at once.
RESEARCHKIT_DEVICE_FUNCTION std::uint64_t warp_largest(std::uint32_t key) { return warp_max(key); }
RESEARCHKIT_DEVICE_FUNCTION std::uint64_t warp_largest(std::uint64_t key) {
  const auto high = static_cast<std::uint32_t>(key >> 32);
  const std::uint32_t top = warp_max(high);
  const std::uint32_t low = warp_max(high == top ? static_cast<std::uint32_t>(key) : 0U);
  return (static_cast<std::uint64_t>(top) << 32) | low;
}

/// The bits of non-negative numbers ascend with them; the two marks below 0 get the two lowest keys.
template <class Real>
RESEARCHKIT_DEVICE_FUNCTION auto distance_key(Real distance) {
  using Key = decltype(bits_of(distance));
  if (distance < Real(0)) return static_cast<Key>(distance == Real(-1) ? 1 : 0);
  return static_cast<Key>(bits_of(distance) + 2);
}

template <class Real>
RESEARCHKIT_DEVICE_FUNCTION Candidate<Real> warp_farthest(const Candidate<Real>& own) {
  const auto key = distance_key(own.distance);
  const bool is_top = key == warp_largest(key);
  const auto inverse = ~static_cast<std::uint32_t>(own.tie);
  const std::uint32_t first = warp_max(is_top ? inverse : 0U);
  const std::uint32_t winners = ballot(is_top && inverse == first);
  const int from = population_count((winners & (~winners + 1)) - 1);
  Candidate<Real> best;
  best.distance = shuffle(own.distance, from);
  best.tie = shuffle(own.tie, from);
  best.what = shuffle(own.what, from);
  return best;
}

struct WarpTeam {
  RESEARCHKIT_DEVICE_FUNCTION int rank() const { return lane(); }
  RESEARCHKIT_DEVICE_FUNCTION int size() const { return kWarp; }
  RESEARCHKIT_DEVICE_FUNCTION void barrier() const { warp_barrier(); }

  template <class T, class Operation>
  RESEARCHKIT_DEVICE_FUNCTION T reduce(T value, Operation operation) {
    return warp_reduce(value, operation);
  }
  template <class Real>
  RESEARCHKIT_DEVICE_FUNCTION Candidate<Real> farthest(const Candidate<Real>& own) {
    return warp_farthest(own);
  }
  /// How many threads of a lower rank have the flag; `total` counts all.
  RESEARCHKIT_DEVICE_FUNCTION int position(bool flag, int& total) {
    const std::uint32_t flags = ballot(flag);
    total = population_count(flags);
    return population_count(flags & ((1U << lane()) - 1));
  }
};

/// The whole block. Results go through two sets of words in shared memory, used in turns: so one
/// barrier is enough, because whoever writes a set again has passed the barrier of the other.
template <class Real>
class BlockTeam {
 public:
  RESEARCHKIT_DEVICE_FUNCTION explicit BlockTeam(SharedMemory& memory)
      : words_(memory.take<std::int64_t>(2 * kWarp)),
        distances_(memory.take<Real>(2 * kWarp)),
        ties_(memory.take<std::int32_t>(2 * kWarp)),
        what_(memory.take<std::int32_t>(2 * kWarp)) {}
  /// Bytes of shared memory that a BlockTeam takes.
  static constexpr std::size_t bytes() { return 2 * kWarp * (8 + sizeof(Real) + 8); }

  RESEARCHKIT_DEVICE_FUNCTION int rank() const { return thread_index(); }
  RESEARCHKIT_DEVICE_FUNCTION int size() const { return block_threads(); }
  RESEARCHKIT_DEVICE_FUNCTION void barrier() const { block_barrier(); }

  template <class T, class Operation>
  RESEARCHKIT_DEVICE_FUNCTION T reduce(T value, Operation operation) {
    static_assert(sizeof(T) <= sizeof(std::int64_t));
    const T of_warp = warp_reduce(value, operation);
    const int set = next_set();
    if (lane() == 0) {
      std::int64_t word = 0;
      memcpy(&word, &of_warp, sizeof of_warp);
      words_[set + warp_index()] = word;
    }
    block_barrier();
    T result = of_warp;
    for (int w = 0; w < block_threads() / kWarp; ++w) {
      const std::int64_t word = words_[set + w];
      T other;
      memcpy(&other, &word, sizeof other);
      result = w == 0 ? other : operation(result, other);
    }
    return result;
  }

  RESEARCHKIT_DEVICE_FUNCTION Candidate<Real> farthest(const Candidate<Real>& own) {
    const Candidate<Real> of_warp = warp_farthest(own);
    const int set = next_set();
    if (lane() == 0) {
      distances_[set + warp_index()] = of_warp.distance;
      ties_[set + warp_index()] = of_warp.tie;
      what_[set + warp_index()] = of_warp.what;
    }
    block_barrier();
    Candidate<Real> mine;
    if (lane() < block_threads() / kWarp) {
      mine.distance = distances_[set + lane()];
      mine.tie = ties_[set + lane()];
      mine.what = what_[set + lane()];
    }
    return warp_farthest(mine);
  }

  RESEARCHKIT_DEVICE_FUNCTION int position(bool flag, int& total) {
    const std::uint32_t flags = ballot(flag);
    const int set = next_set();
    if (lane() == 0) words_[set + warp_index()] = population_count(flags);
    block_barrier();
    int before = 0;
    total = 0;
    for (int w = 0; w < block_threads() / kWarp; ++w) {
      const auto count = static_cast<int>(static_cast<std::int64_t>(words_[set + w]));
      before += w < warp_index() ? count : 0;
      total += count;
    }
    return before + population_count(flags & ((1U << lane()) - 1));
  }

 private:
  RESEARCHKIT_DEVICE_FUNCTION int next_set() {
    set_ = kWarp - set_;
    return set_;
  }

  Shared<std::int64_t> words_;
  Shared<Real> distances_;
  Shared<std::int32_t> ties_, what_;
  int set_ = 0;
};

}  // namespace researchkit::fusefps::RESEARCHKIT_DEVICE
