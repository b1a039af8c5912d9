#include "researchkit/fusefps/sampler.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "kernels/cpu/fusefps/state.hpp"
#include "researchkit/core/error.hpp"

namespace researchkit::fusefps {
namespace {

constexpr std::string_view kOperator = "fusefps.FarthestPointSampler";
constexpr std::int64_t kMaxPoints = std::int64_t{1} << 30;
constexpr int kMaxHeight = 16;
constexpr std::int64_t kFusedLeafSize = 32;

void require(bool legal, std::string_view argument, std::string_view wanted, auto got) {
  if (!legal) throw Error(kOperator, argument, wanted, std::to_string(got));
}

void check(const SamplerOptions& o) {
  require(o.min_spacing >= 0.0 && std::isfinite(o.min_spacing), "min_spacing",
          "a finite value >= 0", o.min_spacing);
  require(o.height >= -1 && o.height <= kMaxHeight, "height", "-1..16", o.height);
  require(o.leaf_size == -1 || o.leaf_size >= 1, "leaf_size", "-1 or >= 1", o.leaf_size);
  require(o.ref_buffer >= 0, "ref_buffer", ">= 0", o.ref_buffer);
  if (o.algorithm == Algorithm::fused && o.split_rule == SplitRule::median) {
    throw Error(kOperator, "split_rule", "mean or midpoint with the fused algorithm", "median");
  }
}

}  // namespace

int automatic_height(std::int64_t n) {
  if (n < 256) return 0;
  const auto levels = static_cast<int>(std::bit_width(static_cast<std::uint64_t>(n / 64))) - 1;
  return std::clamp(levels, 1, 12);
}

const std::array<std::string_view, SamplerStats::kCount>& SamplerStats::names() {
  static constexpr std::array<std::string_view, kCount> kNames = {"n_points",
                                                                  "n_samples",
                                                                  "bucket_tests",
                                                                  "skipped",
                                                                  "deferred",
                                                                  "passes",
                                                                  "refs_applied",
                                                                  "points_read",
                                                                  "dist_written",
                                                                  "points_moved",
                                                                  "distance_computations",
                                                                  "build_points_read",
                                                                  "build_points_written",
                                                                  "splits",
                                                                  "max_depth",
                                                                  "final_buckets"};
  return kNames;
}

std::array<std::int64_t, SamplerStats::kCount> SamplerStats::values() const {
  return {n_points,
          n_samples,
          bucket_tests,
          skipped,
          deferred,
          passes,
          refs_applied,
          points_read,
          dist_written,
          points_moved,
          distance_computations,
          build_points_read,
          build_points_written,
          splits,
          max_depth,
          final_buckets};
}

template <class Real>
struct FarthestPointSampler<Real>::Impl {
  detail::State<Real> state;
  const detail::Kernels<Real>* kernels = nullptr;
  std::int64_t rows = 0;
  // Start points: where they lie, and D when chosen.
  std::vector<std::int64_t> start_position;
  std::vector<Real> start_distance;

  void reset(const Cloud<Real>& cloud, std::span<const std::int32_t> start);
  void find_starts(std::span<const std::int32_t> start);
  Sample<Real> choose_start();
  Real squared_distance(std::int64_t i, std::int64_t j) const;
};

template <class Real>
Real FarthestPointSampler<Real>::Impl::squared_distance(std::int64_t i, std::int64_t j) const {
  Real sum = 0;
  for (int a = 0; a < state.m; ++a) {
    const Real t = state.column(a)[i] - state.column(a)[j];
    if (a == 0) {
      sum = t * t;
    } else {
      sum = state.options.arithmetic == Arithmetic::fma ? std::fma(t, t, sum) : sum + t * t;
    }
  }
  return sum;
}

template <class Real>
void FarthestPointSampler<Real>::Impl::reset(const Cloud<Real>& cloud,
                                             std::span<const std::int32_t> start) {
  const SamplerOptions& options = state.options;
  check(options);
  require(cloud.rows >= 0 && cloud.rows <= kMaxPoints, "points", "at most 2^30 rows", cloud.rows);
  require(cloud.distance_dims >= 1 && cloud.distance_dims <= 4096, "distance_dims", "1..4096",
          cloud.distance_dims);
  std::int64_t n = cloud.rows;
  if (cloud.mask != nullptr) {
    n = std::count_if(cloud.mask, cloud.mask + cloud.rows, [](auto valid) { return valid != 0; });
  }
  rows = cloud.rows;
  state.allocate(n, static_cast<int>(cloud.distance_dims));
  state.height = options.height < 0 ? automatic_height(n) : options.height;
  state.leaf_size = options.leaf_size;
  if (options.leaf_size < 0) {
    state.leaf_size = options.algorithm == Algorithm::fused ? kFusedLeafSize : 1;
  }
  const Real spacing = static_cast<Real>(options.min_spacing);
  state.spacing_squared = spacing * spacing;
  state.chosen = state.unapplied = state.nodes = state.buckets = state.forced_passes = 0;
  state.tree_exists = state.finished = false;
  state.counts = {};
  kernels = &detail::kernels<Real>(state.m, options.arithmetic, options.track_assignment);
  kernels->load(state, cloud);
  find_starts(start);
}

template <class Real>
void FarthestPointSampler<Real>::Impl::find_starts(std::span<const std::int32_t> start) {
  start_position.clear();
  start_distance.clear();
  const std::int32_t* const index = state.index;
  for (const std::int32_t row : start) {
    const auto* const at = std::lower_bound(index, index + state.n, row);
    require(at != index + state.n && *at == row, "start_index", "valid points of the cloud", row);
    const std::int64_t position = at - index;
    Real nearest = state.distance[position];
    for (const std::int64_t earlier : start_position) {
      require(earlier != position, "start_index", "different points", row);
      nearest = std::min(nearest, squared_distance(position, earlier));
    }
    start_position.push_back(position);
    start_distance.push_back(nearest);
  }
  state.starts = static_cast<std::int64_t>(start.size());
  state.reserve_samples(state.starts);
}

// The start points come first, before any point has seen a sample: the positions are those of load.
template <class Real>
Sample<Real> FarthestPointSampler<Real>::Impl::choose_start() {
  const auto ordinal = static_cast<std::size_t>(state.chosen);
  const std::int64_t position = start_position[ordinal];
  const Real distance = start_distance[ordinal];
  for (int a = 0; a < state.m; ++a) {
    state.samples[state.chosen * state.m + a] = state.column(a)[position];
  }
  if (state.options.distinct) state.distance[position] = -1;
  if (state.assignment != nullptr && (distance > 0 || state.assignment[position] < 0)) {
    state.assignment[position] = static_cast<std::int32_t>(state.chosen);
  }
  ++state.chosen;
  ++state.unapplied;
  return {state.index[position], distance};
}

template <class Real>
FarthestPointSampler<Real>::FarthestPointSampler() : impl_(std::make_unique<Impl>()) {}

template <class Real>
FarthestPointSampler<Real>::FarthestPointSampler(const SamplerOptions& options)
    : FarthestPointSampler() {
  check(options);
  impl_->state.options = options;
}

template <class Real>
FarthestPointSampler<Real>::~FarthestPointSampler() = default;
template <class Real>
FarthestPointSampler<Real>::FarthestPointSampler(FarthestPointSampler&&) noexcept = default;
template <class Real>
FarthestPointSampler<Real>& FarthestPointSampler<Real>::operator=(FarthestPointSampler&&) noexcept =
    default;

template <class Real>
void FarthestPointSampler<Real>::reset(const Cloud<Real>& cloud,
                                       std::span<const std::int32_t> start) {
  impl_->reset(cloud, start);
}

template <class Real>
void FarthestPointSampler<Real>::reset(const Cloud<Real>& cloud,
                                       std::span<const std::int32_t> start,
                                       const SamplerOptions& options) {
  impl_->state.options = options;
  impl_->reset(cloud, start);
}

template <class Real>
std::optional<Sample<Real>> FarthestPointSampler<Real>::next() {
  std::int32_t index = 0;
  Real distance = 0;
  if (take({&index, 1}, {&distance, 1}) == 0) return std::nullopt;
  return Sample<Real>{index, distance};
}

template <class Real>
std::int64_t FarthestPointSampler<Real>::take(std::span<std::int32_t> indices,
                                              std::span<Real> distances) {
  auto& state = impl_->state;
  require(distances.empty() || distances.size() == indices.size(), "distances",
          "as many elements as indices", distances.size());
  auto wanted = static_cast<std::int64_t>(indices.size());
  if (state.n == 0) wanted = 0;
  if (state.options.distinct) wanted = std::min(wanted, state.n - state.chosen);
  if (wanted > 0) state.reserve_samples(state.chosen + wanted);
  std::int64_t taken = 0;
  for (; taken < wanted && state.chosen < state.starts; ++taken) {
    const auto sample = impl_->choose_start();
    const auto at = static_cast<std::size_t>(taken);
    indices[at] = static_cast<std::int32_t>(sample.index);
    if (!distances.empty()) distances[at] = sample.distance;
  }
  if (taken == wanted) return taken;
  return taken + impl_->kernels->take(state, wanted - taken, indices.data() + taken,
                                      distances.empty() ? nullptr : distances.data() + taken);
}

template <class Real>
void FarthestPointSampler<Real>::coverage(std::span<Real> min_dist,
                                          std::span<std::int32_t> assignment) const {
  auto& state = impl_->state;
  const auto rows = static_cast<std::size_t>(impl_->rows);
  require(min_dist.empty() || min_dist.size() == rows, "min_dist", "one element per row",
          min_dist.size());
  require(assignment.empty() || assignment.size() == rows, "assignment", "one element per row",
          assignment.size());
  std::fill(min_dist.begin(), min_dist.end(), Real(0));
  std::fill(assignment.begin(), assignment.end(), -1);
  if (state.n == 0) return;
  impl_->kernels->coverage(state, min_dist.empty() ? nullptr : min_dist.data(),
                           assignment.empty() ? nullptr : assignment.data());
}

template <class Real>
SamplerStats FarthestPointSampler<Real>::stats() const {
  const auto& state = impl_->state;
  SamplerStats stats = state.counts;
  stats.n_points = state.n;
  stats.n_samples = state.chosen;
  stats.skipped = stats.bucket_tests - stats.deferred - (stats.passes - state.forced_passes);
  if (state.options.algorithm == Algorithm::vanilla) stats.skipped = 0;
  const bool begun = state.chosen > 0 || stats.passes > 0;
  stats.final_buckets = begun ? std::max<std::int64_t>(state.buckets, 1) : 0;
  return stats;
}

template <class Real>
std::int64_t FarthestPointSampler<Real>::size() const {
  return impl_->state.n;
}

template <class Real>
std::int64_t FarthestPointSampler<Real>::count() const {
  return impl_->state.chosen;
}

template <class Real>
const SamplerOptions& FarthestPointSampler<Real>::options() const {
  return impl_->state.options;
}

template <class Real>
std::size_t FarthestPointSampler<Real>::peak_bytes() const {
  return impl_->state.memory.peak;
}

template <class Real>
std::int64_t FarthestPointSampler<Real>::allocations() const {
  return impl_->state.memory.allocations;
}

template class FarthestPointSampler<float>;
template class FarthestPointSampler<double>;

}  // namespace researchkit::fusefps
