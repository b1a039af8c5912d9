#pragma once

#include "researchkit/core/arbitrary.hpp"
#include "researchkit/core/operator.hpp"
#include "researchkit/fusefps/cloud_task.hpp"

namespace researchkit::fusefps {

/// Farthest point sampling of a batch of clouds: again and again the point that is farthest from
/// all points chosen so far. The three algorithms return the same bits and differ in `stats`.
///
///     auto sample = fused_farthest_point_sample(ctx, {.points = clouds, .k = 1024});
///     sample.indices(0, 17);
///
/// Exactly one of `k`, `ratio` and `num_samples` says how many points are wanted. Clouds run in
/// parallel; results do not depend on the number of threads. Time and memory: FarthestPointSampler.
/// Source: FuseFPS (arXiv 2309.05017), QuickFPS (arXiv 2208.08795).
template <class Real, Algorithm kAlgorithm>
struct FarthestPointSampling {
  static constexpr bool kHasTree = kAlgorithm != Algorithm::vanilla;
  static constexpr std::string_view name =
      kAlgorithm == Algorithm::vanilla  ? "fusefps.farthest_point_sample"
      : kAlgorithm == Algorithm::bucket ? "fusefps.bucket_farthest_point_sample"
                                        : "fusefps.fused_farthest_point_sample";
  static constexpr std::string_view summary =
      kAlgorithm == Algorithm::vanilla ? "Farthest point sampling that reads every point for every "
                                         "sample."
      : kAlgorithm == Algorithm::bucket
          ? "Farthest point sampling on a KD-tree that is built first (QuickFPS)."
          : "Farthest point sampling that grows its KD-tree while it samples (FuseFPS).";

  In<Real, 3> points = {};                         // [b, n, d]
  Optional<In<std::int32_t, 1>> lengths = {};      // [b]
  Optional<In<std::uint8_t, 2>> mask = {};         // [b, n]
  Optional<In<std::int32_t, 1>> num_samples = {};  // [b]
  Optional<In<std::int32_t, 2>> start_index = {};  // [b, s]
  Optional<In<Real, 2>> initial_distance = {};     // [b, n]
  Out<std::int32_t, 2> indices = {};               // [b, samples]
  Out<Real, 2> distances = {};                     // [b, samples]
  Out<std::int32_t, 1> counts = {};                // [b]
  Out<std::int64_t, 2> stats = {};                 // [b, 16]
  Optional<Out<Real, 2>> min_dist = {};            // [b, n]
  Optional<Out<std::int32_t, 2>> assignment = {};  // [b, n]
  std::int64_t k = -1;
  double ratio = 0;
  Start start = Start::first;
  std::uint64_t seed = 0;
  Arithmetic arithmetic = Arithmetic::strict;
  bool distinct = true;
  std::int64_t distance_dims = 0;
  double min_spacing = 0;
  OnShort on_short = OnShort::error;
  bool return_min_dist = false;
  bool return_assignment = false;
  std::int64_t height = -1;
  std::int64_t leaf_size = -1;
  std::int64_t ref_buffer = 0;
  SplitRule split_rule = SplitRule::mean;

  void describe(Description& io) {
    io.dimension("n", "[0, 1073741824]", "points of a cloud");
    io.dimension("d", "[1, 4096]", "columns of a point");
    io.input(points, "points", "b n d", "coordinates; those of valid points are finite");
    io.input(lengths, "lengths", "b", "points used of each cloud, all when absent",
             {.in = "[0, n]", .host = true});
    io.input(mask, "mask", "b n", "nonzero: the point is valid; not together with lengths",
             {.contiguous = true, .host = true});
    io.input(num_samples, "num_samples", "b", "points to choose from each cloud",
             {.in = "[0, inf)", .host = true});
    io.input(start_index, "start_index", "b s", "chosen first, in this order; -1: unused entry",
             {.in = "[-1, n)", .host = true});
    io.input(initial_distance, "initial_distance", "b n",
             "squared distance to earlier samples, at least 0, may be infinite",
             {.contiguous = true, .host = true});
    io.output(indices, "indices", "b samples", "chosen points in order, then -1",
              {.contiguous = true});
    io.output(distances, "distances", "b samples",
              "squared distance to the earlier choices when chosen, then 0", {.contiguous = true});
    io.output(counts, "counts", "b", "points chosen");
    io.output(stats, "stats", "b 16", "counters of the work done",
              {.contiguous = true, .host = true});
    io.output(min_dist, "min_dist", "b n", "squared distance to the nearest choice",
              {.when = "return_min_dist", .contiguous = true});
    io.output(assignment, "assignment", "b n", "ordinal of the nearest choice, -1: none",
              {.when = "return_assignment", .contiguous = true});
    io.attribute(k, "k", "points to choose from each cloud; -1: not given", {.in = "[-1, inf)"});
    io.attribute(ratio, "ratio",
                 "points to choose as a fraction of the valid ones, rounded up; 0: "
                 "not given",
                 {.in = "[0, 1]"});
    io.attribute(start, "start", "what is chosen first without start_index");
    io.attribute(seed, "seed", "of the random start");
    io.attribute(arithmetic, "arithmetic", "rounding of the squared distance");
    io.attribute(distinct, "distinct", "never choose a point twice");
    io.attribute(distance_dims, "distance_dims", "leading columns that enter the distance; 0: all",
                 {.in = "[0, d]"});
    io.attribute(min_spacing, "min_spacing", "stop before a sample nearer than this",
                 {.in = "[0, inf)"});
    io.attribute(on_short, "on_short", "what if fewer points are valid than wanted");
    io.attribute(return_min_dist, "return_min_dist", "also give min_dist");
    io.attribute(return_assignment, "return_assignment", "also give assignment");
    if constexpr (kHasTree) {
      io.attribute(height, "height", "levels of the tree; -1: by n", {.in = "[-1, 16]"});
      io.attribute(leaf_size, "leaf_size",
                   "buckets of at most so many points are not split; -1: " +
                       std::string(kAlgorithm == Algorithm::fused ? "32" : "1"),
                   {.in = "[-1, inf)"});
      io.attribute(ref_buffer, "ref_buffer", "samples that may wait for a bucket; 0: any number",
                   {.in = "[0, inf)"});
      io.attribute(split_rule, "split_rule",
                   kAlgorithm == Algorithm::fused ? "where a bucket is cut: mean or midpoint"
                                                  : "where a bucket is cut");
    }
  }

  void infer(Extents& extents) const {
    std::int64_t width = 0;
    for (std::int64_t b = 0; b < clouds(); ++b) width = std::max(width, wanted(b));
    extents.set("samples", width);
  }

  void validate(const Check& check) const {
    const int given = (k >= 0) + (ratio != 0) + num_samples.has_value();
    if (given == 0) check.refuse("k", "one of k, ratio and num_samples", "none of them");
    if (given > 1) {
      check.refuse(ratio != 0 ? "ratio" : "num_samples", "only one of k, ratio and num_samples",
                   std::to_string(given) + " of them");
    }
    if (lengths && mask) check.refuse("mask", "lengths or mask", "both");
    if (start_index && start != Start::first) {
      check.refuse("start_index",
                   "no start_index where start is '" + std::string(name_of(start)) + "'", "one");
    }
    if (start == Start::initial && !initial_distance) {
      check.refuse("initial_distance", "a tensor, because start is 'initial'", "none");
    }
    validate_tree(check);
    validate_clouds(check);
  }

  Cost cost() const {
    Cost total;
    const detail::SamplingCost each{static_cast<double>(m()), sizeof(Real)};
    const bool coverage = return_min_dist || return_assignment;
    for (std::int64_t b = 0; b < clouds(); ++b) {
      const detail::CloudTask<Real> cloud = task(b);
      const auto starts = static_cast<std::int64_t>(cloud.start.size());
      const std::int64_t n = valid(b);
      const Cost cost =
          kHasTree ? each.bound(n, cloud.k, starts, coverage, detail::most_buckets(n, height))
                   : each.plain(n, cloud.k, starts, coverage);
      total.flops += cost.flops;
      total.bytes += cost.bytes;
    }
    total.upper_bound = kHasTree || min_spacing > 0;
    return total;
  }

  Cost measured_cost() const {
    Cost total;
    const detail::SamplingCost each{static_cast<double>(m()), sizeof(Real)};
    for (std::int64_t b = 0; b < clouds(); ++b) {
      const Cost cost = each.measured(
          std::span<const std::int64_t, SamplerStats::kCount>(&stats(b, 0), SamplerStats::kCount));
      total.flops += cost.flops;
      total.bytes += cost.bytes;
    }
    return total;
  }

  void run(const Context& ctx) const {
    const SamplerOptions options = sampler_options();
    const auto task_of = [&](std::int64_t b) { return task(b); };
    const auto store = [&](std::int64_t b, FarthestPointSampler<Real>& sampler,
                           const detail::CloudTask<Real>& cloud) {
      detail::CloudResult<Real> result = result_of(b);
      detail::sample(sampler, cloud, options, result, [&](std::int64_t samples) {
        ctx.check_cancelled();
        if (clouds() > 1) return;
        ctx.report_progress(static_cast<double>(samples) / static_cast<double>(cloud.k),
                            "sampling");
      });
      finish(b, result);
    };
    detail::for_clouds<Real>(ctx, clouds(), task_of, store);
  }

  void reference() const {
    const SamplerOptions options = sampler_options();
    for (std::int64_t b = 0; b < clouds(); ++b) {
      detail::CloudResult<Real> result = result_of(b);
      detail::sample_by_reference(task(b), options, result);
      finish(b, result);
    }
  }

  static void arbitrary(Arbitrary& random) {
    AttributeMap& attributes = random.call.attributes;
    TensorMap& inputs = random.call.inputs;
    const std::int64_t n = random.size("n");
    if (random.chance(0.5)) inputs.erase("mask");
    if (inputs.contains("mask")) inputs.erase("lengths");
    attributes.erase("ratio");
    attributes["k"] = random.integer(0, n);
    if (inputs.contains("num_samples")) attributes.erase("k");
    if (random.chance(0.2) && !inputs.contains("num_samples")) {
      attributes.erase("k");
      attributes["ratio"] = static_cast<double>(random.integer(1, 16)) / 16;
    }
    if (inputs.contains("lengths") || inputs.contains("mask") || inputs.contains("num_samples")) {
      attributes["on_short"] = std::string("pad");
    }
    if (inputs.contains("start_index") && random.chance(0.7)) inputs.erase("start_index");
    if (inputs.contains("start_index") || !inputs.contains("initial_distance")) {
      attributes.erase("start");
    }
    if (Tensor* initial = inputs.find("initial_distance")) {
      const auto square = [](auto values) {
        for (auto& value : values) value *= value;
      };
      initial->dtype() == DType::f32 ? square(initial->values<float>())
                                     : square(initial->values<double>());
    }
    if (random.chance(0.7)) attributes.erase("min_spacing");
    if (attributes.contains("leaf_size") &&
        attributes["leaf_size"] == AttributeValue(std::int64_t{0})) {
      attributes.erase("leaf_size");
    }
    if (kAlgorithm == Algorithm::fused) attributes.erase("split_rule");
  }

  // ---- what every path of the operator reads

  std::int64_t clouds() const { return points.extent(0); }
  std::int64_t m() const { return distance_dims > 0 ? distance_dims : points.extent(2); }

  std::int64_t valid(std::int64_t b) const {
    if (lengths) return (*lengths)(b);
    if (!mask) return points.extent(1);
    std::int64_t count = 0;
    for (std::int64_t i = 0; i < points.extent(1); ++i) count += (*mask)(b, i) != 0;
    return count;
  }

  std::int64_t wanted(std::int64_t b) const {
    if (num_samples) return (*num_samples)(b);
    return ratio != 0 ? static_cast<std::int64_t>(std::ceil(ratio * static_cast<double>(valid(b))))
                      : k;
  }

  SamplerOptions sampler_options() const {
    SamplerOptions options;
    options.algorithm = kAlgorithm;
    options.arithmetic = arithmetic;
    options.distinct = distinct;
    options.min_spacing = min_spacing;
    options.height = static_cast<int>(height);
    options.leaf_size = leaf_size;
    options.ref_buffer = ref_buffer;
    options.split_rule = split_rule;
    options.track_assignment = return_assignment;
    return options;
  }

  /// Points, mask and start set of a cloud. Before the run mask and initial_distance may be strided
  /// and are left to the caller.
  detail::CloudTask<Real> task(std::int64_t b) const {
    detail::CloudTask<Real> task;
    detail::set_points(task, points[b], m());
    if (lengths) task.cloud.rows = (*lengths)(b);
    if (mask) task.cloud.mask = &mask->data_handle()[b * mask->stride(0)];
    if (initial_distance) {
      task.cloud.initial_distance =
          &initial_distance->data_handle()[b * initial_distance->stride(0)];
    }
    const std::int64_t n = valid(b);
    task.k = std::min(wanted(b), n);
    if (start_index) {
      for (std::int64_t j = 0; j < start_index->extent(1); ++j) {
        if (const std::int32_t i = (*start_index)(b, j); i != -1) task.start.push_back(i);
      }
    } else if (task.k > 0 && start != Start::initial) {
      const std::int64_t position =
          start == Start::random ? random_start(seed, static_cast<std::uint64_t>(b), n) : 0;
      task.start.push_back(detail::valid_point(task.cloud, position));
    }
    return task;
  }

 private:
  detail::CloudResult<Real> result_of(std::int64_t b) const {
    const auto row = [&](const auto& view) {
      using Element = typename std::remove_reference_t<decltype(view)>::element_type;
      const auto width = static_cast<std::size_t>(view.extent(1));
      return std::span<Element>(view.data_handle() + b * view.extent(1), width);
    };
    detail::CloudResult<Real> result;
    result.indices = row(indices);
    result.distances = row(distances);
    if (min_dist) result.min_dist = row(*min_dist);
    if (assignment) result.assignment = row(*assignment);
    if (lengths) {  // the samplers know of no points behind the last valid one
      const auto rows = static_cast<std::size_t>((*lengths)(b));
      for (Real& d : result.min_dist.subspan(min_dist ? rows : 0)) d = Real(0);
      for (std::int32_t& a : result.assignment.subspan(assignment ? rows : 0)) a = -1;
      if (min_dist) result.min_dist = result.min_dist.first(rows);
      if (assignment) result.assignment = result.assignment.first(rows);
    }
    return result;
  }

  void finish(std::int64_t b, const detail::CloudResult<Real>& result) const {
    counts(b) = static_cast<std::int32_t>(result.count);
    for (std::size_t i = 0; i < result.stats.size(); ++i) {
      stats(b, static_cast<std::int64_t>(i)) = result.stats[i];
    }
  }

  void validate_tree(const Check& check) const {
    if constexpr (kHasTree) {
      if (leaf_size == 0) check.refuse("leaf_size", "-1 or at least 1", "0");
      if (kAlgorithm == Algorithm::fused && split_rule == SplitRule::median) {
        check.refuse("split_rule",
                     "mean or midpoint: a median needs the separate build of "
                     "bucket_farthest_point_sample",
                     "median");
      }
    } else {
      const auto refuse = [&](std::string_view argument) {
        check.refuse(argument, "nothing: farthest_point_sample has no tree", "a value");
      };
      if (height != -1) refuse("height");
      if (leaf_size != -1) refuse("leaf_size");
      if (ref_buffer != 0) refuse("ref_buffer");
      if (split_rule != SplitRule::mean) refuse("split_rule");
    }
  }

  void validate_clouds(const Check& check) const {
    const std::int64_t n = points.extent(1);
    const bool strided_mask = mask && !mask->is_contiguous();
    std::vector<std::uint8_t> mask_row;
    for (std::int64_t b = 0; b < clouds(); ++b) {
      const std::int64_t valid_here = valid(b), wanted_here = wanted(b);
      if (wanted_here > valid_here && on_short == OnShort::error) {
        check.refuse(num_samples ? "num_samples" : "k",
                     "at most the " + std::to_string(valid_here) + " valid points of cloud " +
                         std::to_string(b),
                     std::to_string(wanted_here));
      }
      const detail::CloudTask<Real> cloud = checked_task(b, strided_mask, mask_row);
      if (const auto bad = detail::find_non_finite(cloud.cloud, m())) {
        check.refuse("points", "finite coordinates of valid points",
                     "another number at " + to_string(Shape{b, bad->row, bad->column}));
      }
      if (start_index) {
        const std::string why = detail::refused_start(cloud);
        if (!why.empty()) {
          check.refuse("start_index",
                       "distinct valid points, at least one and at most as many as "
                       "samples",
                       why + " (cloud " + std::to_string(b) + ")");
        }
      }
      if (!initial_distance) continue;
      for (std::int64_t i = 0; i < n; ++i) {
        const bool used = lengths ? i < (*lengths)(b) : !mask || (*mask)(b, i) != 0;
        if (used && !((*initial_distance)(b, i) >= Real(0))) {
          check.refuse("initial_distance", "numbers >= 0 or infinity",
                       "another at " + to_string(Shape{b, i}));
        }
      }
    }
  }

  /// The task with a row-major mask even before the arguments have been made row-major.
  detail::CloudTask<Real> checked_task(std::int64_t b, bool strided_mask,
                                       std::vector<std::uint8_t>& mask_row) const {
    if (!strided_mask) return task(b);
    mask_row.clear();
    for (std::int64_t i = 0; i < points.extent(1); ++i) mask_row.push_back((*mask)(b, i));
    FarthestPointSampling row_major = *this;
    row_major.mask.emplace(mask_row.data(), std::array<std::int64_t, 2>{1, points.extent(1)},
                           std::array<std::int64_t, 2>{0, 1});
    return row_major.task(b);
  }
};

template <class Real>
using FarthestPointSample = FarthestPointSampling<Real, Algorithm::vanilla>;
template <class Real>
using BucketFarthestPointSample = FarthestPointSampling<Real, Algorithm::bucket>;
template <class Real>
using FusedFarthestPointSample = FarthestPointSampling<Real, Algorithm::fused>;

static_assert(OperatorStruct<FarthestPointSample<float>>);
static_assert(OperatorStruct<BucketFarthestPointSample<float>>);
static_assert(OperatorStruct<FusedFarthestPointSample<float>>);

inline constexpr Function<FarthestPointSample> farthest_point_sample;
inline constexpr Function<BucketFarthestPointSample> bucket_farthest_point_sample;
inline constexpr Function<FusedFarthestPointSample> fused_farthest_point_sample;

}  // namespace researchkit::fusefps
