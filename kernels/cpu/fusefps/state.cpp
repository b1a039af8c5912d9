#include "kernels/cpu/fusefps/state.hpp"

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <algorithm>
#include <cmath>
#include <cstring>
#include <new>
#include <utility>

namespace researchkit::fusefps::detail {
namespace {

constexpr std::size_t kAlignment = 64;
constexpr std::size_t kHugePage = std::size_t{1} << 21;
constexpr double kQuantisationSteps = 1048576.0;  // 2^20, Eq. (9)

std::size_t rounded_up(std::size_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

// A sample touches a few hundred bytes of every column at random: with pages of 4 KB each column
// costs an address translation as well, so that big blocks ask for huge pages.
std::align_val_t alignment(std::size_t bytes) {
  return std::align_val_t{bytes >= kHugePage ? kHugePage : kAlignment};
}

std::byte* allocate_bytes(std::size_t bytes) {
  auto* data = static_cast<std::byte*>(::operator new(bytes, alignment(bytes)));
#if defined(__linux__)
  if (bytes >= kHugePage) madvise(data, bytes, MADV_HUGEPAGE);
#endif
  return data;
}

void free_bytes(std::byte* data, std::size_t bytes) { ::operator delete(data, alignment(bytes)); }

}  // namespace

Block::~Block() {
  free_bytes(data_, capacity_);
  count_->held -= capacity_;
}

void Block::reserve(std::size_t bytes, std::size_t keep) {
  if (bytes <= capacity_) return;
  if (keep == 0) {
    free_bytes(data_, capacity_);
    data_ = nullptr;
    count_->held -= std::exchange(capacity_, 0);
  }
  std::byte* const grown = allocate_bytes(bytes);
  count_->held += bytes;
  count_->peak = std::max(count_->peak, count_->held);
  ++count_->allocations;
  if (keep > 0) {
    std::memcpy(grown, data_, keep);
    free_bytes(data_, capacity_);
    count_->held -= capacity_;
  }
  data_ = grown;
  capacity_ = bytes;
}

template <class Real>
void State<Real>::allocate(std::int64_t points, int dims) {
  const bool tree = options.algorithm != Algorithm::vanilla;
  n = points;
  m = dims;
  const auto step = static_cast<std::int64_t>(kAlignment / sizeof(std::int32_t));
  pitch = (n + step - 1) / step * step;
  // Columns of a power of two apart would share cache sets: the padding is odd in cache lines.
  row = (tree ? 2 : 1) * pitch + kPadding + step;
  const auto elements = static_cast<std::size_t>(row);
  const std::size_t reals = rounded_up(elements * sizeof(Real));
  const std::size_t ints = rounded_up(elements * sizeof(std::int32_t));
  const std::size_t box = rounded_up(static_cast<std::size_t>(m) * sizeof(Real));
  const std::size_t scales = rounded_up(static_cast<std::size_t>(m) * sizeof(double));
  columns.reserve(reals * (static_cast<std::size_t>(m) + 1) + ints * 2 + 2 * box + scales -
                  (options.track_assignment ? 0 : ints));
  auto* at = columns.as<std::byte>();
  const auto next = [&at](std::size_t bytes) { return std::exchange(at, at + bytes); };
  coords = reinterpret_cast<Real*>(next(reals * static_cast<std::size_t>(m)));
  distance = reinterpret_cast<Real*>(next(reals));
  index = reinterpret_cast<std::int32_t*>(next(ints));
  box_lo = reinterpret_cast<Real*>(next(box));
  box_hi = reinterpret_cast<Real*>(next(box));
  scale = reinterpret_cast<double*>(next(scales));
  assignment = options.track_assignment ? reinterpret_cast<std::int32_t*>(next(ints)) : nullptr;
}

template <class Real>
void State<Real>::reserve_samples(std::int64_t total) {
  const auto each = static_cast<std::size_t>(m) * sizeof(Real);
  sample_pool.reserve(static_cast<std::size_t>(total) * each,
                      static_cast<std::size_t>(chosen) * each);
  samples = sample_pool.as<Real>();
}

template <class Real>
void State<Real>::clear_tree() {
  nodes = buckets = 0;
  waiting_used = 0;
  waiting_free = -1;
  waiting = waiting_pool.as<Waiting>();
  node_bytes = Node<Real, 0>::bytes(m);
  // Full nodes at the bottom, a smaller root: fewer nodes lie near a sample.
  const int levels = std::max(1, (height + kSlotBits - 1) / kSlotBits);
  const int root_bits = std::min(height - (levels - 1) * kSlotBits, kSlotBits);
  std::fill(std::begin(level_capacity), std::end(level_capacity), kSlots);
  level_capacity[0] = std::max(2, 1 << root_bits);
}

template <class Real>
std::int32_t State<Real>::new_node(std::int32_t level) {
  const auto used = static_cast<std::size_t>(nodes) * node_bytes;
  if (used + node_bytes > node_pool.capacity()) {
    node_pool.reserve(std::max(used + used / 2, 16 * node_bytes) + node_bytes, used);
  }
  const Node<Real, 0> node{node_pool.as<std::byte>() + used, m};
  std::memset(node.base, 0, node_bytes);
  std::fill_n(node.far_distance(), kSlots, static_cast<Real>(kUnusedDistance));
  std::fill_n(node.link(), kSlots, -1);
  node.level() = level;
  return static_cast<std::int32_t>(nodes++);
}

template <class Real>
std::int32_t State<Real>::grow_waiting() {
  const auto used = static_cast<std::size_t>(waiting_used) * sizeof(Waiting);
  if (used + sizeof(Waiting) > waiting_pool.capacity()) {
    waiting_pool.reserve(std::max<std::size_t>(used + used / 2, 4096) + sizeof(Waiting), used);
    waiting = waiting_pool.as<Waiting>();
  }
  return waiting_used++;
}

template <class Real>
void State<Real>::set_scale() {
  for (int a = 0; a < m; ++a) {
    const double extent =
        0.5 * static_cast<double>(box_hi[a]) - 0.5 * static_cast<double>(box_lo[a]);
    const double steps = extent > 0.0 ? kQuantisationSteps / extent : 0.0;
    scale[a] = std::isfinite(steps) ? steps : 0.0;
  }
}

template <class Real>
bool State<Real>::widest_axis(const Real* lo, const Real* hi, std::int64_t stride,
                              int* axis) const {
  double widest = -1.0;
  for (int a = 0; a < m; ++a) {
    const double extent =
        0.5 * static_cast<double>(hi[a * stride]) - 0.5 * static_cast<double>(lo[a * stride]);
    if (extent > widest) {
      widest = extent;
      *axis = a;
    }
  }
  return lo[*axis * stride] < hi[*axis * stride];
}

template <class Real>
Real State<Real>::split_value(int axis, Real lo, Real hi, double quantised_sum,
                              std::int64_t count) const {
  double value = 0.5 * static_cast<double>(lo) + 0.5 * static_cast<double>(hi);
  if (options.split_rule == SplitRule::mean && scale[axis] != 0.0) {
    value = 2.0 * (0.5 * static_cast<double>(box_lo[axis]) +
                   (quantised_sum / static_cast<double>(count)) / scale[axis]);
  }
  Real plane = static_cast<Real>(value);
  if (plane > hi) plane = hi;
  return plane > lo ? plane : hi;
}

template struct State<float>;
template struct State<double>;

template <>
const Kernels<float>& kernels<float>(int dims, Arithmetic arithmetic, bool track_assignment) {
  return arithmetic == Arithmetic::fma ? kernels_f32_fma(dims, track_assignment)
                                       : kernels_f32_strict(dims, track_assignment);
}

template <>
const Kernels<double>& kernels<double>(int dims, Arithmetic arithmetic, bool track_assignment) {
  return arithmetic == Arithmetic::fma ? kernels_f64_fma(dims, track_assignment)
                                       : kernels_f64_strict(dims, track_assignment);
}

}  // namespace researchkit::fusefps::detail
