#pragma once

// What one sampler remembers: plain data, shared by the kernels of all instruction sets.
//
// Points are columns (structure of arrays), 64-byte aligned. For the tree samplers each column has
// two halves of `pitch` elements; a bucket is a range of one half, and a split writes its two
// children to the same range of the other half, so that nothing is copied back. Buckets are the
// slots of wide nodes (kSlots each), whose boxes and farthest points are tested together.

#include <cstddef>
#include <cstdint>
#include <memory>

#include "researchkit/fusefps/sampler.hpp"

namespace researchkit::fusefps::detail {

/// Slots of a node; one bit each in a std::uint64_t.
inline constexpr int kSlots = 32;
/// Binary levels that one full node holds.
inline constexpr int kSlotBits = 5;
/// Elements behind each column that a vector may read.
inline constexpr std::int64_t kPadding = 64;
/// D of a slot that is not in use: below that of taken points, -1.
inline constexpr int kUnusedDistance = -3;

/// Bytes held and allocations made by the blocks of one sampler.
struct MemoryCount {
  std::size_t held = 0, peak = 0;
  std::int64_t allocations = 0;
};

/// A 64-byte aligned buffer that only grows.
class Block {
 public:
  explicit Block(MemoryCount* count) : count_(count) {}
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;
  ~Block();

  /// Makes room for `bytes`; the first `keep` bytes survive.
  void reserve(std::size_t bytes, std::size_t keep = 0);
  std::size_t capacity() const { return capacity_; }
  template <class T>
  T* as() const {
    return reinterpret_cast<T*>(data_);
  }

 private:
  MemoryCount* count_;
  std::byte* data_ = nullptr;
  std::size_t capacity_ = 0;
};

/// A sample waiting for a bucket; the waiting samples of a bucket form a ring, oldest to newest.
struct Waiting {
  std::int32_t sample;
  std::int32_t next;
};

/// Fields of a node of kSlots slots in m dimensions, at `base`; kDims = 0 takes m at run time.
template <class Real, int kDims>
struct Node {
  std::byte* base;
  int m;

  int dims() const { return kDims > 0 ? kDims : m; }
  Real* reals() const { return reinterpret_cast<Real*>(base); }
  /// Box of the points below a slot, and a bucket's farthest point: [axis][slot].
  Real* lo(int axis) const { return reals() + axis * kSlots; }
  Real* hi(int axis) const { return reals() + (dims() + axis) * kSlots; }
  Real* far(int axis) const { return reals() + (2 * dims() + axis) * kSlots; }
  /// Largest D below a slot.
  Real* far_distance() const { return reals() + 3 * dims() * kSlots; }
  std::int32_t* ints() const {
    return reinterpret_cast<std::int32_t*>(reals() + (3 * dims() + 1) * kSlots);
  }
  /// Where the farthest point lies in the columns.
  std::int32_t* position() const { return ints(); }
  std::int32_t* begin() const { return ints() + kSlots; }
  std::int32_t* count() const { return ints() + 2 * kSlots; }
  /// A child's node number, or the newest waiting sample of a bucket (-1: none).
  std::int32_t* link() const { return ints() + 3 * kSlots; }
  /// Slots that are child nodes.
  std::uint64_t& inner() const { return *reinterpret_cast<std::uint64_t*>(ints() + 4 * kSlots); }
  /// Slots in use, and level of this node (0 = root).
  std::int32_t& used() const { return ints()[4 * kSlots + 2]; }
  std::int32_t& level() const { return ints()[4 * kSlots + 3]; }
  std::uint8_t* depth() const { return reinterpret_cast<std::uint8_t*>(ints() + 4 * kSlots + 8); }

  /// The slot with the farthest point below this node, and its D.
  std::int32_t& top_slot() const { return ints()[4 * kSlots + 4]; }
  Real& top_distance() const { return *reinterpret_cast<Real*>(ints() + 4 * kSlots + 6); }

  static std::size_t bytes(int m) {
    const std::size_t raw =
        (3 * static_cast<std::size_t>(m) + 1) * kSlots * sizeof(Real) + 17 * kSlots + 32;
    return (raw + 63) / 64 * 64;
  }
};

template <class Real>
struct Kernels;

template <class Real>
struct State {
  SamplerOptions options;
  int height = 0;
  std::int64_t leaf_size = 1;
  Real spacing_squared = 0;

  std::int64_t n = 0;      // valid points
  std::int64_t pitch = 0;  // elements of one half of a column
  std::int64_t row = 0;    // elements of a column
  int m = 0;               // columns
  Real* coords = nullptr;  // [m][row]
  Real* distance = nullptr;
  std::int32_t* index = nullptr;       // original index of a point
  std::int32_t* assignment = nullptr;  // ordinal of the nearest sample, or null
  // Box of the cloud, and scale of the fixed-point coordinates (9): [m] each.
  Real* box_lo = nullptr;
  Real* box_hi = nullptr;
  double* scale = nullptr;

  std::int64_t starts = 0;     // start samples; their coordinates are at samples[0..starts)
  std::int64_t chosen = 0;     // samples so far
  std::int64_t unapplied = 0;  // the newest samples that no point has seen yet
  Real* samples = nullptr;     // [chosen][m]
  bool tree_exists = false, finished = false;

  std::int64_t nodes = 0, buckets = 0;
  int level_capacity[kSlotBits * 4] = {};  // slots of a node of each level
  std::size_t node_bytes = 0;
  Waiting* waiting = nullptr;
  std::int32_t waiting_used = 0, waiting_free = -1;

  std::int64_t forced_passes = 0;
  SamplerStats counts;

  MemoryCount memory;
  Block columns{&memory}, node_pool{&memory}, waiting_pool{&memory}, sample_pool{&memory};

  std::int64_t other_half(std::int64_t position) const {
    return position < pitch ? position + pitch : position - pitch;
  }
  Real* column(int axis) const { return coords + axis * row; }

  /// Lays out the columns for n points of m coordinates.
  void allocate(std::int64_t points, int dims);
  /// Room for the coordinates of `total` samples.
  void reserve_samples(std::int64_t total);
  /// Number of a node with no slot in use. Nodes move: addresses from before are void.
  std::int32_t new_node(std::int32_t level);
  /// An element of the waiting pool.
  std::int32_t new_waiting() {
    if (waiting_free < 0) return grow_waiting();
    const std::int32_t element = waiting_free;
    waiting_free = waiting[element].next;
    return element;
  }
  std::int32_t grow_waiting();
  /// Chooses the capacities of the levels of nodes and forgets all nodes.
  void clear_tree();
  /// Sets `scale` from the box of the cloud (9).
  void set_scale();
  /// Whether a bucket with this box can be split, and along which axis (8).
  bool widest_axis(const Real* lo, const Real* hi, std::int64_t stride, int* axis) const;
  /// The split plane (10), (11) of a bucket whose coordinate `axis` spans [lo, hi].
  Real split_value(int axis, Real lo, Real hi, double quantised_sum, std::int64_t count) const;
};

/// The kernels of one instruction set, number of dimensions and arithmetic.
template <class Real>
struct Kernels {
  /// Copies the valid points into the columns, sets D, the box and the scale.
  void (*load)(State<Real>&, const Cloud<Real>&);
  /// Chooses up to `wanted` samples after the start samples; returns how many.
  std::int64_t (*take)(State<Real>&, std::int64_t wanted, std::int32_t* indices, Real* distances);
  /// D and assignment with all chosen samples applied, to the original rows.
  void (*coverage)(State<Real>&, Real* min_dist, std::int32_t* assignment);
};

const Kernels<float>& kernels_f32_strict(int dims, bool track_assignment);
const Kernels<float>& kernels_f32_fma(int dims, bool track_assignment);
const Kernels<double>& kernels_f64_strict(int dims, bool track_assignment);
const Kernels<double>& kernels_f64_fma(int dims, bool track_assignment);

template <class Real>
const Kernels<Real>& kernels(int dims, Arithmetic arithmetic, bool track_assignment);
template <>
const Kernels<float>& kernels<float>(int dims, Arithmetic arithmetic, bool track_assignment);
template <>
const Kernels<double>& kernels<double>(int dims, Arithmetic arithmetic, bool track_assignment);

extern template struct State<float>;
extern template struct State<double>;

}  // namespace researchkit::fusefps::detail
