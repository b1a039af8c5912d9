#pragma once

// Launches the sampling kernels: lays out clouds and working memory, chooses kernel and grid. Each
// type has a file of its own, so that they are compiled side by side.

#include <algorithm>
#include <bit>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include "kernels/cuda/fusefps/fusefps.hpp"
#include "kernels/cuda/fusefps/plain.cuh"
#include "kernels/cuda/fusefps/tree.cuh"
#include "researchkit/core/cuda/launch.cuh"
#include "researchkit/fusefps/operators_ragged.hpp"
#include "researchkit/fusefps/operators_sampling.hpp"

namespace researchkit::fusefps::RESEARCHKIT_DEVICE {
inline constexpr std::int64_t kFinite = std::numeric_limits<std::int64_t>::max();
inline constexpr std::size_t kSharedTable = 96U << 10;  // two blocks fit a multiprocessor of 228 kB

/// Where the results of a call go; min_dist and assignment may be empty.
template <class Real>
struct SamplingOutputs {
  Global<std::int32_t> indices;
  Global<Real> distances;
  Global<std::int32_t> counts;
  Global<std::int64_t> stats;
  Global<Real> min_dist = {};
  Global<std::int32_t> assignment = {};
};

/// The clouds of one call on their way to the device.
template <class Real>
class SamplingRun {
 public:
  SamplingRun(const Context& ctx, const SamplerOptions& options, const Tensor& points,
              std::int64_t m)
      : ctx_(ctx), options_(options), points_(points.contiguous()), m_(static_cast<int>(m)) {}

  /// `first_row` is the cloud's first row in the points; its row of outputs has `width` entries,
  /// its row of coverage begins at `first_coverage`.
  void add(const detail::CloudTask<Real>& task, std::int64_t first_row, std::int64_t width,
           std::int64_t first_coverage, std::int64_t coverage_rows) {
    const Cloud<Real>& from = task.cloud;
    CloudOnDevice cloud;
    cloud.number = static_cast<std::int64_t>(clouds_.size());
    cloud.first_element = first_row * columns();
    cloud.k = task.k;
    cloud.n = from.rows;
    if (from.mask != nullptr) {
      cloud.first_valid = static_cast<std::int64_t>(valid_.size());
      for (std::int64_t i = 0; i < from.rows; ++i) {
        if (from.mask[i] != 0) valid_.push_back(static_cast<std::int32_t>(i));
      }
      cloud.n = static_cast<std::int64_t>(valid_.size()) - cloud.first_valid;
    }
    const auto first_valid = valid_.begin() + std::max<std::int64_t>(cloud.first_valid, 0);
    if (from.initial_distance != nullptr) {
      cloud.first_initial = static_cast<std::int64_t>(initial_.size());
      for (std::int64_t p = 0; p < cloud.n; ++p) {
        initial_.push_back(from.initial_distance[from.mask == nullptr ? p : first_valid[p]]);
      }
    }
    cloud.first_start = static_cast<std::int64_t>(starts_.size());
    cloud.starts = static_cast<std::int64_t>(task.start.size());
    for (const std::int32_t row : task.start) {
      const auto at = std::lower_bound(first_valid, valid_.end(), row) - first_valid;
      starts_.push_back(from.mask == nullptr ? row : static_cast<std::int32_t>(at));
    }
    cloud.height = options_.height < 0 ? automatic_height(cloud.n) : options_.height;
    cloud.buckets =
        static_cast<int>(std::clamp<std::int64_t>(cloud.n, 1, std::int64_t{1} << cloud.height));
    cloud.pitch = cloud.n;
    cloud.first_slot = slots_;
    cloud.first_sample = samples_;
    cloud.first_bucket = buckets_;
    cloud.first_output = outputs_;
    cloud.width = width;
    cloud.first_coverage = first_coverage;
    cloud.rows = coverage_rows;
    slots_ += halves() * cloud.n;
    samples_ += cloud.k;
    buckets_ += cloud.buckets;
    outputs_ += width;
    largest_n_ = std::max(largest_n_, cloud.n);
    largest_table_ = std::max(largest_table_, cloud.buckets);
    clouds_.push_back(cloud);
  }

  /// Samples all clouds. Returns the first element of the points that is not finite, with nothing
  /// written, or -1.
  std::int64_t execute(const SamplingOutputs<Real>& outputs) {
    if (clouds_.empty()) return -1;
    std::stable_sort(clouds_.begin(), clouds_.end(), [](const auto& a, const auto& b) {
      return static_cast<double>(a.n) * static_cast<double>(a.k) >
             static_cast<double>(b.n) * static_cast<double>(b.k);
    });
    const DeviceArray<CloudOnDevice> clouds(ctx_, device(), clouds_);
    const DeviceArray<std::int32_t> starts(ctx_, device(), starts_), valid(ctx_, device(), valid_);
    const DeviceArray<Real> initial(ctx_, device(), initial_);
    const DeviceArray<Real> columns_memory(ctx_, device(), m_ * slots_);
    const DeviceArray<Real> distance(ctx_, device(), slots_);
    const DeviceArray<std::int32_t> index(ctx_, device(), slots_);
    const DeviceArray<std::int32_t> nearest(ctx_, device(), options_.track_assignment ? slots_ : 0);
    const DeviceArray<Real> samples(ctx_, device(), samples_ * m_);
    const auto count = static_cast<std::int64_t>(clouds_.size());
    const DeviceArray<double> axes(ctx_, device(), 2 * m_ * count);
    const std::size_t table = BucketTable<Real, Shared>::bytes(m_, largest_table_);
    const bool table_in_shared = table <= kSharedTable;
    const std::int64_t global_buckets = has_tree() && !table_in_shared ? buckets_ : 0;
    const DeviceArray<Real> table_reals(ctx_, device(), global_buckets * (2 * m_ + 1));
    const DeviceArray<std::int32_t> table_ints(ctx_, device(),
                                               global_buckets * BucketTable<Real, Global>::kFields);
    const DeviceArray<std::int64_t> first_bad(ctx_, device(), std::span(&kFinite, 1));

    SamplingCall<Real> call;
    call.clouds = clouds.global();
    call.points = {static_cast<const Real*>(std::as_const(points_).data()), points_.size()};
    call.starts = starts.global();
    call.valid = valid.global();
    call.initial = initial.global();
    call.d = columns();
    call.m = m_;
    call.fused_arithmetic = options_.arithmetic == Arithmetic::fma;
    call.distinct = options_.distinct;
    call.tracks = options_.track_assignment;
    const auto spacing = static_cast<Real>(options_.min_spacing);
    call.spacing_squared = spacing * spacing;
    call.leaf_size = options_.leaf_size >= 0                  ? options_.leaf_size
                     : options_.algorithm == Algorithm::fused ? 32
                                                              : 1;
    call.ref_buffer = options_.ref_buffer;
    call.split_rule = options_.split_rule;
    call.builds_first = options_.algorithm == Algorithm::bucket;
    call.slots = slots_;
    call.columns = columns_memory.global();
    call.distance = distance.global();
    call.index = index.global();
    call.nearest = nearest.global();
    call.samples = samples.global();
    call.axes = axes.global();
    call.table_reals = table_reals.global();
    call.table_ints = table_ints.global();
    call.first_bad = first_bad.global();
    call.indices = outputs.indices;
    call.distances = outputs.distances;
    call.counts = outputs.counts;
    call.stats = outputs.stats;
    call.min_dist = outputs.min_dist;
    call.assignment = outputs.assignment;

    const int blocks_per_cloud =
        static_cast<int>(std::clamp<std::int64_t>(largest_n_ / 1024, 1, 128));
    launch(ctx_, device(), "load_clouds", load_clouds<Real>,
           {.blocks = count * blocks_per_cloud, .block_threads = largest_n_ <= 64 ? 32 : 256}, call,
           blocks_per_cloud);
    const std::int64_t bad = first_bad.read()[0];
    if (bad != kFinite) return bad;
    if (has_tree()) {
      const int threads = static_cast<int>(std::clamp<std::int64_t>(
          std::bit_ceil(static_cast<std::uint64_t>(largest_n_ / 16)), 64, 256));
      call.large_bucket = 4 * threads;
      launch(ctx_, device(), "tree_sampling",
             table_in_shared ? tree_sampling_in_shared<Real> : tree_sampling_in_global<Real>,
             {.blocks = count,
              .block_threads = threads,
              .shared_bytes =
                  TreeSampling<Real, Shared>::shared_bytes() + 64 + (table_in_shared ? table : 0)},
             call);
    } else {
      launch_plain(call, count);
    }
    return -1;
  }

  std::int64_t columns() const { return points_.extent(points_.rank() - 1); }
  Device device() const { return points_.device(); }

 private:
  bool has_tree() const { return options_.algorithm != Algorithm::vanilla; }
  int halves() const { return has_tree() ? 2 : 1; }

  /// 8 points of a thread in registers, or 4 of double, fill the 128 that each of 512 threads has.
  void launch_plain(const SamplingCall<Real>& call, std::int64_t count) {
    constexpr int kMost = sizeof(Real) == 4 ? 8 : 4;
    const int threads =
        static_cast<int>(std::clamp<std::int64_t>((largest_n_ + 255) / 256 * 32, 32, 512));
    int blocks = 1;
    while (blocks < largest_cluster(device()) &&
           largest_n_ > std::int64_t{kMost} * threads * blocks) {
      blocks *= 2;
    }
    const std::int64_t stride = std::int64_t{threads} * blocks;
    const auto each = (largest_n_ + stride - 1) / stride;
    const Launch shape{.blocks = count * blocks,
                       .block_threads = threads,
                       .cluster_blocks = blocks,
                       .shared_bytes = ClusterTeam<Real>::bytes() + 64};
    const auto go = [&](auto kernel) {
      launch(ctx_, device(), "plain_sampling", kernel, shape, call);
    };
    const auto choose = [&]<int kDims>(std::integral_constant<int, kDims>) {
      if (each <= 1) return go(plain_sampling<Real, kDims, 1>);
      if (each <= kMost / 2) return go(plain_sampling<Real, kDims, kMost / 2>);
      if (each <= kMost) return go(plain_sampling<Real, kDims, kMost>);
      go(plain_sampling<Real, 0, 0>);
    };
    if (m_ == 2) return choose(std::integral_constant<int, 2>());
    if (m_ == 3) return choose(std::integral_constant<int, 3>());
    if (m_ == 4) return choose(std::integral_constant<int, 4>());
    go(plain_sampling<Real, 0, 0>);
  }

  const Context& ctx_;
  SamplerOptions options_;
  Tensor points_;
  int m_;
  std::vector<CloudOnDevice> clouds_;
  std::vector<std::int32_t> starts_, valid_;
  std::vector<Real> initial_;
  std::int64_t slots_ = 0, samples_ = 0, buckets_ = 0, outputs_ = 0, largest_n_ = 0;
  int largest_table_ = 1;
};

template <class Real, Algorithm kAlgorithm>
void run_batch(const Context& ctx, const FarthestPointSampling<Real, kAlgorithm>& op) {
  const Tensor points = researchkit::detail::alias_of(op.points);
  SamplingRun<Real> run(ctx, op.sampler_options(), points, op.m());
  const std::int64_t n = op.points.extent(1);
  const bool covers = op.return_min_dist || op.return_assignment;
  for (std::int64_t b = 0; b < op.clouds(); ++b) {
    run.add(op.task(b), b * n, op.indices.extent(1), b * n, covers ? n : 0);
  }
  PackedOutput<std::int32_t, 1> counts(op.counts);
  SamplingOutputs<Real> outputs{global(op.indices), global(op.distances), counts.global(),
                                global(op.stats)};
  if (op.min_dist) outputs.min_dist = global(*op.min_dist);
  if (op.assignment) outputs.assignment = global(*op.assignment);
  const std::int64_t bad = run.execute(outputs);
  if (bad >= 0) {
    const std::int64_t d = run.columns();
    throw Error(op.name, "points", "finite coordinates of valid points",
                "another number at " + to_string(Shape{bad / (n * d), bad / d % n, bad % d}));
  }
  counts.store();
}

/// One block for each cloud: its samples to their final place, as indices of 64 bits.
template <class Real>
RESEARCHKIT_KERNEL(128)
void pack_samples(Global<const std::int64_t> layout,  // [cloud][from, to, base]
                  Global<const std::int32_t> counts, Global<const std::int32_t> indices,
                  Global<const Real> distances, Global<std::int64_t> packed_indices,
                  Global<Real> packed_distances) {
  const std::int64_t b = block_index();
  const std::int64_t from = layout[3 * b], to = layout[3 * b + 1], base = layout[3 * b + 2];
  for (std::int64_t j = thread_index(); j < counts[b]; j += block_threads()) {
    packed_indices[to + j] = indices[from + j] + base;
    packed_distances[to + j] = distances[from + j];
  }
}

template <class Real>
void run_ragged(const Context& ctx, const RaggedFarthestPointSample<Real>& op) {
  const Tensor points = researchkit::detail::alias_of(op.points);
  const Device device = points.device();
  SamplingRun<Real> run(ctx, op.sampler_options(), points, op.m());
  std::vector<std::int64_t> layout;
  std::int64_t total = 0;
  for (std::int64_t b = 0; b < op.clouds(); ++b) {
    run.add(op.task(b), op.offsets(b), op.wanted(b), 0, 0);
    layout.insert(layout.end(), {total, 0, op.base(b)});
    total += op.wanted(b);
  }
  const DeviceArray<std::int32_t> indices(ctx, device, total);
  const DeviceArray<Real> distances(ctx, device, total);
  const DeviceArray<std::int32_t> counts(ctx, device, op.clouds());
  PackedOutput<std::int64_t, 2> stats(op.stats);
  const std::int64_t bad =
      run.execute({indices.global(), distances.global(), counts.global(), stats.global()});
  if (bad >= 0) {
    throw Error(op.name, "points", "finite coordinates",
                "another number at " + to_string(Shape{bad / run.columns(), bad % run.columns()}));
  }
  std::vector<std::int64_t> sample_offsets = {0};
  const std::vector<std::int32_t> found = counts.read();
  for (std::size_t b = 0; b < found.size(); ++b) {
    layout[3 * b + 1] = sample_offsets.back();
    sample_offsets.push_back(sample_offsets.back() + found[b]);
  }
  if (op.clouds() > 0) {
    const DeviceArray<std::int64_t> where(ctx, device, layout);
    launch(ctx, device, "pack_samples", pack_samples<Real>,
           {.blocks = op.clouds(), .block_threads = 128}, where.global(), counts.global(),
           indices.global(), distances.global(), global(op.indices), global(op.distances));
    stats.store();
  }
  Tensor offsets = researchkit::detail::alias_of(op.sample_offsets);
  offsets.copy_from(Tensor::from(std::span<const std::int64_t>(sample_offsets), offsets.shape()));
  op.total.set(sample_offsets.back());
}

/// The samplers of one type.
template <class Real>
void add_sampling(DeviceKernels& kernels) {
  kernels.add<FarthestPointSample<Real>>(run_batch<Real, Algorithm::vanilla>);
  kernels.add<BucketFarthestPointSample<Real>>(run_batch<Real, Algorithm::bucket>);
  kernels.add<FusedFarthestPointSample<Real>>(run_batch<Real, Algorithm::fused>);
  kernels.add<RaggedFarthestPointSample<Real>>(run_ragged<Real>);
}

}  // namespace researchkit::fusefps::RESEARCHKIT_DEVICE
