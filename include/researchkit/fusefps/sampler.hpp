#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>

namespace researchkit::fusefps {

/// How the farthest point is found. All three choose the same points.
enum class Algorithm {
  vanilla,  ///< every point is read for every sample
  bucket,   ///< QuickFPS: a KD-tree first, then only buckets that can change are read
  fused     ///< FuseFPS: the KD-tree is grown by the reads that sampling needs anyway
};

/// How a squared distance is rounded: every operation (1), or with fused multiply-add (2).
enum class Arithmetic { strict, fma };

/// Where a bucket is cut along its widest axis. `median` needs the separate build of `bucket`.
enum class SplitRule { mean, midpoint, median };

/// How FarthestPointSampler works. `arithmetic`, `distinct` and `min_spacing` change the samples,
/// the rest only how they are found.
struct SamplerOptions {
  Algorithm algorithm = Algorithm::fused;
  Arithmetic arithmetic = Arithmetic::strict;
  /// No point is chosen twice, not even when only zero distances are left.
  bool distinct = true;
  /// Stop before a sample that is nearer than this to the earlier ones; >= 0.
  double min_spacing = 0.0;
  /// Binary levels of the tree, 0..16; -1 chooses by the number of points.
  int height = -1;
  /// A bucket of at most this many points is not split; -1 is 32 (fused) or 1 (bucket).
  std::int64_t leaf_size = -1;
  /// Samples that may wait for a bucket to be read; 0 = any number, 1 = none waits.
  std::int64_t ref_buffer = 0;
  SplitRule split_rule = SplitRule::mean;
  /// Keep for every point which sample is nearest, so that coverage() can tell.
  bool track_assignment = false;
};

/// The counters of one run, in the order of the operators' output `stats`.
///
/// They follow from the algorithm alone: instruction set and number of threads do not matter.
struct SamplerStats {
  std::int64_t n_points = 0;               ///< valid points
  std::int64_t n_samples = 0;              ///< samples chosen
  std::int64_t bucket_tests = 0;           ///< buckets alive, summed over the steps
  std::int64_t skipped = 0;                ///< tests: nothing in the bucket can change
  std::int64_t deferred = 0;               ///< tests: the farthest point stays, the sample waits
  std::int64_t passes = 0;                 ///< passes over a bucket
  std::int64_t refs_applied = 0;           ///< samples applied, summed over the passes
  std::int64_t points_read = 0;            ///< points of the bucket, summed over the passes
  std::int64_t dist_written = 0;           ///< the same, passes without a split
  std::int64_t points_moved = 0;           ///< the same, passes with a split
  std::int64_t distance_computations = 0;  ///< pairs of a point and a sample in the passes
  std::int64_t build_points_read = 0;      ///< first box and separate build
  std::int64_t build_points_written = 0;   ///< separate build
  std::int64_t splits = 0;                 ///< splits
  std::int64_t max_depth = 0;              ///< depth of the deepest bucket
  std::int64_t final_buckets = 0;          ///< buckets now

  static constexpr std::size_t kCount = 16;
  static const std::array<std::string_view, kCount>& names();
  std::array<std::int64_t, kCount> values() const;
  friend bool operator==(const SamplerStats&, const SamplerStats&) = default;
};

/// Where the points of one cloud are: a description that owns nothing.
template <class Real>
struct Cloud {
  /// Coordinate c of point i is points[i * row_stride + c].
  const Real* points = nullptr;
  /// Points, valid or not; at most 2^30.
  std::int64_t rows = 0;
  std::int64_t row_stride = 0;
  /// Leading columns that enter the distance, >= 1; those of valid points must be finite.
  std::int64_t distance_dims = 0;
  /// [rows], nonzero = valid; null: all are. Coordinates of invalid points are never used.
  const std::uint8_t* mask = nullptr;
  /// [rows], >= 0, squared distances to earlier samples; null: +inf.
  const Real* initial_distance = nullptr;
};

/// One chosen point: its index in the cloud and its squared distance to all earlier choices.
template <class Real>
struct Sample {
  std::int64_t index = 0;
  Real distance = 0;
};

/// Farthest point sampling of one cloud, sample by sample or in pieces.
///
///     FarthestPointSampler<float> sampler;
///     const std::int32_t start[] = {0};
///     sampler.reset({.points = p, .rows = n, .row_stride = 3, .distance_dims = 3}, start);
///     sampler.take(indices, distances);  // as many as fit
///     sampler.take(more);                // goes on where the last call stopped
///
/// The sequence is that of plain farthest point sampling, bit for bit, however it is cut into
/// calls: the point with the largest squared distance to all samples so far, the lowest index among
/// equals. An object that has sampled once allocates nothing for a cloud and a number of samples
/// that are not larger. The points are copied by reset: the cloud need not live on.
///
/// Memory for n points in d = `distance_dims`: (2 (d + 1) sizeof(Real) + 8) n bytes and the
/// samples' coordinates, plus 8 n with track_assignment, plus the tree; for float in 3-D at most
/// 56 n + 4 MB.
/// Time: O(n k d) for vanilla; for the others about O(n H + k log n) on point clouds of surfaces.
///
/// Source: FuseFPS (arXiv 2309.05017), QuickFPS (arXiv 2208.08795); the exactness argument is in
/// docs/performance/fusefps.md.
template <class Real>
class FarthestPointSampler {
 public:
  FarthestPointSampler();
  explicit FarthestPointSampler(const SamplerOptions& options);
  ~FarthestPointSampler();
  FarthestPointSampler(FarthestPointSampler&&) noexcept;
  FarthestPointSampler& operator=(FarthestPointSampler&&) noexcept;

  /// Starts over with `cloud`. `start` are the first samples, in order, as indices into the cloud;
  /// without any, the first sample is the point with the largest initial distance.
  /// Throws Error for a start that is out of range, masked or repeated, and for bad options.
  void reset(const Cloud<Real>& cloud, std::span<const std::int32_t> start);
  /// The same with other options.
  void reset(const Cloud<Real>& cloud, std::span<const std::int32_t> start,
             const SamplerOptions& options);

  /// The next sample; nothing if all points are taken or `min_spacing` ended the sampling.
  std::optional<Sample<Real>> next();

  /// Writes the next samples, as many as fit, and returns how many there were: fewer if all points
  /// are taken or `min_spacing` ended the sampling. `distances` is empty or as long as `indices`.
  std::int64_t take(std::span<std::int32_t> indices, std::span<Real> distances = {});

  /// Squared distance of every point to its nearest sample (without samples the initial one), and,
  /// with track_assignment, the ordinal of that sample: the lowest among equals, -1 for points that
  /// keep their initial distance. Masked points get 0 and -1. Each span is empty or [rows].
  /// Sampling can go on afterwards and `stats` does not count this.
  void coverage(std::span<Real> min_dist, std::span<std::int32_t> assignment = {}) const;

  /// Counters since reset.
  SamplerStats stats() const;
  /// Valid points.
  std::int64_t size() const;
  /// Samples chosen since reset.
  std::int64_t count() const;
  const SamplerOptions& options() const;
  /// The largest number of bytes held at any time since construction.
  std::size_t peak_bytes() const;
  /// Allocations since construction.
  std::int64_t allocations() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

extern template class FarthestPointSampler<float>;
extern template class FarthestPointSampler<double>;

/// Whether the first `columns` of every row are finite; with `mask` only rows where it is nonzero
/// count. points [rows, row_stride]. One pass at memory speed when rows are densely packed.
template <class Real>
bool all_finite(const Real* points, std::int64_t rows, std::int64_t row_stride,
                std::int64_t columns, const std::uint8_t* mask = nullptr);

template <>
bool all_finite<float>(const float* points, std::int64_t rows, std::int64_t row_stride,
                       std::int64_t columns, const std::uint8_t* mask);
template <>
bool all_finite<double>(const double* points, std::int64_t rows, std::int64_t row_stride,
                        std::int64_t columns, const std::uint8_t* mask);

/// The height that `height = -1` stands for: 0 below 256 points, else floor(log2(n / 64)) in 1..12.
int automatic_height(std::int64_t n);

}  // namespace researchkit::fusefps
