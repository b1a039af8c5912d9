#pragma once

#include "researchkit/core/arbitrary.hpp"
#include "researchkit/core/operator.hpp"
#include "researchkit/fusefps/cloud_task.hpp"

namespace researchkit::fusefps {

/// Farthest point sampling of clouds of different sizes that lie behind one another.
///
///     auto sample = ragged_farthest_point_sample(ctx, {.points = p, .offsets = o, .ratio = 0.25});
///     // the samples of cloud b: sample.indices(sample.sample_offsets(b)) ...
///
/// Cloud b has the points offsets[b] ... offsets[b + 1] - 1 and may be empty if nothing is wanted of
/// it. Otherwise as farthest_point_sample. The offsets are the form of PyTorch Geometric's `batch`
/// vector after counting.
template <class Real>
struct RaggedFarthestPointSample {
  static constexpr std::string_view name = "fusefps.ragged_farthest_point_sample";
  static constexpr std::string_view summary =
      "Farthest point sampling of clouds of different sizes behind one another.";

  In<Real, 2> points = {};                         // [p, d]
  In<std::int64_t, 1> offsets = {};                // [b + 1]
  Optional<In<std::int32_t, 1>> num_samples = {};  // [b]
  Optional<In<std::int64_t, 1>> start_index = {};  // [b]
  Out<std::int64_t, 1> indices = {};               // [total]
  Out<Real, 1> distances = {};                     // [total]
  Out<std::int64_t, 1> sample_offsets = {};        // [b + 1]
  Out<std::int64_t, 2> stats = {};                 // [b, 16]
  Extent total = {};
  Algorithm algorithm = Algorithm::fused;
  IndexBase index_base = IndexBase::global;
  std::int64_t k = -1;
  double ratio = 0;
  Start start = Start::first;
  std::uint64_t seed = 0;
  Arithmetic arithmetic = Arithmetic::strict;
  bool distinct = true;
  std::int64_t distance_dims = 0;
  double min_spacing = 0;
  OnShort on_short = OnShort::error;
  std::int64_t height = -1;
  std::int64_t leaf_size = -1;
  std::int64_t ref_buffer = 0;
  SplitRule split_rule = SplitRule::mean;

  void describe(Description& io) {
    io.dimension("d", "[1, 4096]", "columns of a point");
    io.input(points, "points", "p d", "coordinates, finite");
    io.input(offsets, "offsets", "b+1", "where clouds begin: ascending from 0 to p",
             {.host = true});
    io.input(num_samples, "num_samples", "b", "points to choose from each cloud",
             {.in = "[0, inf)", .host = true});
    io.input(start_index, "start_index", "b", "first choice of each cloud; -1 where none is wanted",
             {.in = "[-1, p)", .host = true});
    io.extent(total, "total", "wanted", "samples of all clouds");
    io.output(indices, "indices", "total", "chosen points, cloud by cloud", {.contiguous = true});
    io.output(distances, "distances", "total",
              "squared distance to the earlier choices when chosen", {.contiguous = true});
    io.output(sample_offsets, "sample_offsets", "b+1", "where the samples of each cloud begin");
    io.output(stats, "stats", "b 16", "counters of the work done", {.host = true});
    io.attribute(algorithm, "algorithm", "how the points are found");
    io.attribute(index_base, "index_base", "what indices and start_index count from");
    io.attribute(k, "k", "points to choose from each cloud; -1: not given", {.in = "[-1, inf)"});
    io.attribute(ratio, "ratio", "points to choose as a fraction, rounded up; 0: not given",
                 {.in = "[0, 1]"});
    io.attribute(start, "start", "first or random: what is chosen first without start_index");
    io.attribute(seed, "seed", "of the random start");
    io.attribute(arithmetic, "arithmetic", "rounding of the squared distance");
    io.attribute(distinct, "distinct", "never choose a point twice");
    io.attribute(distance_dims, "distance_dims", "leading columns that enter the distance; 0: all",
                 {.in = "[0, d]"});
    io.attribute(min_spacing, "min_spacing", "stop before a sample nearer than this",
                 {.in = "[0, inf)"});
    io.attribute(on_short, "on_short", "only error: there is nothing to pad");
    io.attribute(height, "height", "levels of the tree; -1: by n", {.in = "[-1, 16]"});
    io.attribute(leaf_size, "leaf_size",
                 "buckets of at most so many points are not split; -1: 32 (fused), 1 (bucket)",
                 {.in = "[-1, inf)"});
    io.attribute(ref_buffer, "ref_buffer", "samples that may wait for a bucket; 0: any number",
                 {.in = "[0, inf)"});
    io.attribute(split_rule, "split_rule", "where a bucket is cut; median only with bucket");
  }

  void infer(Extents& extents) const {
    std::int64_t sum = 0;
    for (std::int64_t b = 0; b < clouds(); ++b) sum += wanted(b);
    extents.set("wanted", sum);
  }

  void validate(const Check& check) const {
    const int given = (k >= 0) + (ratio != 0) + num_samples.has_value();
    if (given == 0) check.refuse("k", "one of k, ratio and num_samples", "none of them");
    if (given > 1) {
      check.refuse(ratio != 0 ? "ratio" : "num_samples", "only one of k, ratio and num_samples",
                   std::to_string(given) + " of them");
    }
    if (on_short == OnShort::pad) check.refuse("on_short", "error", "pad");
    if (start == Start::initial) check.refuse("start", "first or random", "initial");
    if (start_index && start != Start::first) {
      check.refuse("start_index", "no start_index where start is 'random'", "one");
    }
    validate_tree(check);
    validate_offsets(check);
    for (std::int64_t b = 0; b < clouds(); ++b) {
      if (wanted(b) > points_of(b)) {
        check.refuse(
            num_samples ? "num_samples" : "k",
            "at most the " + std::to_string(points_of(b)) + " points of cloud " + std::to_string(b),
            std::to_string(wanted(b)));
      }
      const detail::CloudTask<Real> cloud = task(b);
      if (const auto bad = detail::find_non_finite(cloud.cloud, m())) {
        check.refuse("points", "finite coordinates",
                     "another number at " + to_string(Shape{offsets(b) + bad->row, bad->column}));
      }
      if (!start_index) continue;
      const std::string why = detail::refused_start(cloud);
      if (!why.empty()) {
        check.refuse("start_index", "a point of each cloud that is sampled",
                     why + " (cloud " + std::to_string(b) + ")");
      }
    }
  }

  Cost cost() const {
    Cost sum;
    const detail::SamplingCost each{static_cast<double>(m()), sizeof(Real)};
    for (std::int64_t b = 0; b < clouds(); ++b) {
      const std::int64_t n = points_of(b), k = wanted(b);
      const auto starts = static_cast<std::int64_t>(task(b).start.size());
      const Cost cost = algorithm == Algorithm::vanilla
                            ? each.plain(n, k, starts, false)
                            : each.bound(n, k, starts, false, detail::most_buckets(n, height));
      sum.flops += cost.flops;
      sum.bytes += cost.bytes;
    }
    sum.upper_bound = algorithm != Algorithm::vanilla || min_spacing > 0;
    return sum;
  }

  Cost measured_cost() const {
    Cost sum;
    const detail::SamplingCost each{static_cast<double>(m()), sizeof(Real)};
    for (std::int64_t b = 0; b < clouds(); ++b) {
      std::array<std::int64_t, SamplerStats::kCount> row{};
      for (std::size_t i = 0; i < row.size(); ++i) row[i] = stats(b, static_cast<std::int64_t>(i));
      const Cost cost = each.measured(row);
      sum.flops += cost.flops;
      sum.bytes += cost.bytes;
    }
    return sum;
  }

  void run(const Context& ctx) const {
    const SamplerOptions options = sampler_options();
    Results results(*this);
    const auto task_of = [&](std::int64_t b) { return task(b); };
    const auto store = [&](std::int64_t b, FarthestPointSampler<Real>& sampler,
                           const detail::CloudTask<Real>& cloud) {
      detail::sample(sampler, cloud, options, results[b],
                     [&](std::int64_t) { ctx.check_cancelled(); });
    };
    detail::for_clouds<Real>(ctx, clouds(), task_of, store);
    results.store();
  }

  void reference() const {
    const SamplerOptions options = sampler_options();
    Results results(*this);
    for (std::int64_t b = 0; b < clouds(); ++b) {
      detail::sample_by_reference(task(b), options, results[b]);
    }
    results.store();
  }

  static void arbitrary(Arbitrary& random) {
    AttributeMap& attributes = random.call.attributes;
    TensorMap& inputs = random.call.inputs;
    const std::int64_t p = random.size("p"), clouds = random.size("b");
    Tensor* offsets = inputs.find("offsets");
    auto ends = offsets->values<std::int64_t>();
    for (std::int64_t& end : ends) end = random.integer(0, p);
    std::sort(ends.begin(), ends.end());
    if (!ends.empty()) ends.back() = p;
    if (!ends.empty()) ends.front() = 0;
    attributes.erase("on_short");
    attributes.erase("k");
    attributes.erase("ratio");
    if (Tensor* wanted = inputs.find("num_samples")) {
      const auto counts = wanted->values<std::int32_t>();
      for (std::size_t b = 0; b < counts.size(); ++b) {
        counts[b] = static_cast<std::int32_t>(random.integer(0, ends[b + 1] - ends[b]));
      }
    } else {
      attributes["ratio"] = static_cast<double>(random.integer(1, 16)) / 16;
    }
    inputs.erase("start_index");
    if (clouds > 0 && random.chance(0.5)) {
      attributes["start"] = std::string("random");
    } else {
      attributes.erase("start");
    }
    attributes.erase("split_rule");
    const auto algorithm = attributes.find("algorithm");
    if (algorithm != attributes.end() &&
        algorithm->second == AttributeValue(std::string("vanilla"))) {
      for (const char* of_tree : {"height", "leaf_size", "ref_buffer"}) attributes.erase(of_tree);
    }
    const auto leaf_size = attributes.find("leaf_size");
    if (leaf_size != attributes.end() && leaf_size->second == AttributeValue(std::int64_t{0})) {
      attributes.erase(leaf_size);
    }
  }

  // ---- what every path of the operator reads

  std::int64_t clouds() const { return offsets.extent(0) - 1; }
  std::int64_t m() const { return distance_dims > 0 ? distance_dims : points.extent(1); }
  std::int64_t points_of(std::int64_t b) const { return offsets(b + 1) - offsets(b); }
  std::int64_t base(std::int64_t b) const {
    return index_base == IndexBase::global ? offsets(b) : 0;
  }
  std::int64_t wanted(std::int64_t b) const {
    if (num_samples) return (*num_samples)(b);
    return ratio != 0
               ? static_cast<std::int64_t>(std::ceil(ratio * static_cast<double>(points_of(b))))
               : k;
  }

  SamplerOptions sampler_options() const {
    SamplerOptions options;
    options.algorithm = algorithm;
    options.arithmetic = arithmetic;
    options.distinct = distinct;
    options.min_spacing = min_spacing;
    options.height = static_cast<int>(height);
    options.leaf_size = leaf_size;
    options.ref_buffer = ref_buffer;
    options.split_rule = split_rule;
    return options;
  }

  detail::CloudTask<Real> task(std::int64_t b) const {
    detail::CloudTask<Real> task;
    const In<Real, 2> rows(points.data_handle() + offsets(b) * points.stride(0),
                           {points_of(b), points.extent(1)}, points.strides());
    detail::set_points(task, rows, m());
    task.k = wanted(b);
    if (start_index) {
      const std::int64_t i = (*start_index)(b);
      // An index that does not fit its type is out of range, whatever becomes of it.
      if (i != -1) {
        task.start.push_back(static_cast<std::int32_t>(
            std::clamp<std::int64_t>(i - base(b), -1, detail::kMaxPoints)));
      }
    } else if (task.k > 0) {
      task.start.push_back(static_cast<std::int32_t>(
          start == Start::random ? random_start(seed, static_cast<std::uint64_t>(b), points_of(b))
                                 : 0));
    }
    return task;
  }

 private:
  /// Results of all clouds, before it is known where in the outputs they go.
  class Results {
   public:
    explicit Results(const RaggedFarthestPointSample& op) : op_(op) {
      std::int64_t sum = 0;
      for (std::int64_t b = 0; b < op.clouds(); ++b) sum += op.wanted(b);
      indices_.resize(static_cast<std::size_t>(sum));
      distances_.resize(indices_.size());
      std::size_t at = 0;
      for (std::int64_t b = 0; b < op.clouds(); ++b) {
        const auto wanted = static_cast<std::size_t>(op.wanted(b));
        detail::CloudResult<Real> result;
        result.indices = std::span(indices_).subspan(at, wanted);
        result.distances = std::span(distances_).subspan(at, wanted);
        each_.push_back(result);
        at += wanted;
      }
    }
    detail::CloudResult<Real>& operator[](std::int64_t b) {
      return each_[static_cast<std::size_t>(b)];
    }
    void store() const {
      std::int64_t at = 0;
      op_.sample_offsets(0) = 0;
      for (std::int64_t b = 0; b < op_.clouds(); ++b) {
        const detail::CloudResult<Real>& result = each_[static_cast<std::size_t>(b)];
        for (std::size_t j = 0; j < static_cast<std::size_t>(result.count); ++j) {
          op_.indices(at) = result.indices[j] + op_.base(b);
          op_.distances(at) = result.distances[j];
          ++at;
        }
        op_.sample_offsets(b + 1) = at;
        for (std::size_t i = 0; i < result.stats.size(); ++i) {
          op_.stats(b, static_cast<std::int64_t>(i)) = result.stats[i];
        }
      }
      op_.total.set(at);
    }

   private:
    const RaggedFarthestPointSample& op_;
    std::vector<std::int32_t> indices_;
    std::vector<Real> distances_;
    std::vector<detail::CloudResult<Real>> each_;
  };

  void validate_offsets(const Check& check) const {
    const auto refuse = [&](std::int64_t b) {
      check.refuse("offsets",
                   "numbers that ascend from 0 to p = " + std::to_string(points.extent(0)),
                   std::to_string(offsets(b)) + " at [" + std::to_string(b) + "]");
    };
    if (offsets(0) != 0) refuse(0);
    for (std::int64_t b = 0; b < clouds(); ++b) {
      if (offsets(b + 1) < offsets(b)) refuse(b + 1);
    }
    if (offsets(clouds()) != points.extent(0)) refuse(clouds());
    for (std::int64_t b = 0; b < clouds(); ++b) {
      if (points_of(b) > detail::kMaxPoints) {
        check.refuse("offsets", "at most 2^30 points a cloud", std::to_string(points_of(b)));
      }
    }
  }

  void validate_tree(const Check& check) const {
    if (leaf_size == 0) check.refuse("leaf_size", "-1 or at least 1", "0");
    if (algorithm != Algorithm::bucket && split_rule == SplitRule::median) {
      check.refuse("split_rule", "mean or midpoint: a median needs algorithm 'bucket'", "median");
    }
    if (algorithm != Algorithm::vanilla) return;
    const auto refuse = [&](std::string_view argument) {
      check.refuse(argument, "nothing: algorithm 'vanilla' has no tree", "a value");
    };
    if (height != -1) refuse("height");
    if (leaf_size != -1) refuse("leaf_size");
    if (ref_buffer != 0) refuse("ref_buffer");
    if (split_rule != SplitRule::mean) refuse("split_rule");
  }
};

static_assert(OperatorStruct<RaggedFarthestPointSample<float>>);
inline constexpr Function<RaggedFarthestPointSample> ragged_farthest_point_sample;

}  // namespace researchkit::fusefps
