#pragma once

#include "researchkit/core/arbitrary.hpp"
#include "researchkit/core/operator.hpp"
#include "researchkit/core/parallel.hpp"
#include "researchkit/fusefps/accelerator_model.hpp"
#include "researchkit/fusefps/cloud_task.hpp"
#include "researchkit/fusefps/operators_grouping.hpp"

namespace researchkit::fusefps {

/// How well samples cover their clouds: covering radius, mean and root mean square distance of a
/// point to its nearest sample, smallest distance between two samples.
///
///     auto quality = coverage_metrics(ctx, {.points = clouds, .indices = sample.indices});
///     double radius = quality.metrics(0, 0);
///
/// Distances are computed in double; nearest samples are found through NeighborIndex.
template <class Real>
struct CoverageMetrics {
  static constexpr std::string_view name = "fusefps.coverage_metrics";
  static constexpr std::string_view summary = "How well samples cover their clouds.";

  In<Real, 3> points = {};           // [b, n, d]
  In<std::int32_t, 2> indices = {};  // [b, k]
  Out<double, 2> metrics = {};       // [b, 4]
  std::int64_t distance_dims = 0;

  void describe(Description& io) {
    io.dimension("d", "[1, 4096]", "columns of a point");
    io.input(points, "points", "b n d", "coordinates, finite where they enter the distance");
    io.input(indices, "indices", "b k", "samples, at least one of each cloud; -1: none",
             {.in = "[-1, n)", .host = true});
    io.output(metrics, "metrics", "b 4", "radius, mean, rms, gap (infinity for one sample)");
    io.attribute(distance_dims, "distance_dims", "leading columns that enter the distance; 0: all",
                 {.in = "[0, d]"});
  }
  void validate(const Check& check) const {
    for (std::int64_t b = 0; b < points.extent(0); ++b) {
      bool any = false;
      for (std::int64_t j = 0; j < indices.extent(1); ++j) any = any || indices(b, j) >= 0;
      if (!any) {
        check.refuse("indices", "at least one sample of each cloud",
                     "none of cloud " + std::to_string(b));
      }
      detail::require_finite<Real>(check, points, b, points.extent(1), m());
    }
  }
  /// An upper bound: what a scan would do, in double.
  Cost cost() const {
    const auto clouds = static_cast<double>(points.extent(0));
    const auto n = static_cast<double>(points.extent(1)),
               k = static_cast<double>(indices.extent(1));
    const auto pairs = clouds * (n * k + k * k / 2);
    return {pairs * (3.0 * static_cast<double>(m()) - 1) + clouds * (3 * n + 6),
            static_cast<double>(points.size()) * sizeof(Real) +
                4.0 * static_cast<double>(indices.size()),
            true};
  }
  void run(const Context& ctx) const {
    for (std::int64_t b = 0; b < points.extent(0); ++b) {
      std::vector<double> samples;
      for (std::int64_t j = 0; j < indices.extent(1); ++j) {
        const std::int64_t i = indices(b, j);
        for (std::int64_t c = 0; i >= 0 && c < m(); ++c) {
          samples.push_back(static_cast<double>(points(b, i, c)));
        }
      }
      store(b, measure(ctx, points[b], samples));
    }
  }
  void reference() const {
    for (std::int64_t b = 0; b < points.extent(0); ++b) {
      store(b, reference::coverage_metrics<Real>(points[b], indices[b], m()));
    }
  }
  static void arbitrary(Arbitrary& random) {
    if (random.size("n") == 0) return;
    for (std::int32_t& i : random.call.inputs.find("indices")->template values<std::int32_t>()) {
      i = std::max(i, 0);
    }
  }

  std::int64_t m() const { return distance_dims > 0 ? distance_dims : points.extent(2); }

 private:
  struct Sums {
    double largest = 0, sum = 0, sum_of_roots = 0;
  };

  Coverage measure(const Context& ctx, In<Real, 2> cloud,
                   const std::vector<double>& samples) const {
    constexpr std::int64_t kBlock = 512;
    const std::int64_t n = cloud.extent(0);
    const auto count = static_cast<std::int64_t>(samples.size()) / m();
    const NeighborIndex<double> index(In<double, 2>(samples.data(), {count, m()}), count, m());
    const Sums sums = parallel_reduce(
        ctx, n, kBlock, Sums{},
        [&](std::int64_t begin, std::int64_t end) {
          const auto rows = detail::packed_rows<double>(cloud, begin, end, m());
          std::vector<double> nearest(static_cast<std::size_t>(end - begin));
          index.nearest(rows, -1, nearest);
          Sums part;
          for (const double d : nearest) {
            part.largest = std::max(part.largest, d);
            part.sum += d;
            part.sum_of_roots += std::sqrt(d);
          }
          return part;
        },
        [](Sums a, const Sums& b) {
          return Sums{std::max(a.largest, b.largest), a.sum + b.sum,
                      a.sum_of_roots + b.sum_of_roots};
        });
    const double gap = parallel_reduce(
        ctx, count, kBlock, std::numeric_limits<double>::infinity(),
        [&](std::int64_t begin, std::int64_t end) {
          std::vector<double> nearest(static_cast<std::size_t>(end - begin));
          index.nearest(std::span(samples).subspan(static_cast<std::size_t>(begin * m()),
                                                   static_cast<std::size_t>((end - begin) * m())),
                        begin, nearest);
          return *std::min_element(nearest.begin(), nearest.end());
        },
        [](double a, double b) { return std::min(a, b); });
    return {std::sqrt(sums.largest), sums.sum_of_roots / static_cast<double>(n),
            std::sqrt(sums.sum / static_cast<double>(n)), std::sqrt(gap)};
  }

  void store(std::int64_t b, const Coverage& values) const {
    metrics(b, 0) = values.radius;
    metrics(b, 1) = values.mean;
    metrics(b, 2) = values.rms;
    metrics(b, 3) = values.gap;
  }
};

static_assert(OperatorStruct<CoverageMetrics<float>>);
inline constexpr Function<CoverageMetrics> coverage_metrics;

/// Cycles, memory traffic and energy that an accelerator would need for samplings with these
/// statistics: AcceleratorModel, one row for each cloud.
struct FpsAcceleratorModel {
  static constexpr std::string_view name = "fusefps.fps_accelerator_model";
  static constexpr std::string_view summary =
      "Cycles, memory traffic and energy of an accelerator for samplings with these statistics.";

  In<std::int64_t, 2> stats = {};  // [b, 16]
  Out<double, 2> report = {};      // [b, 10]
  AcceleratorDesign design = AcceleratorDesign::fusefps;
  std::int64_t dims = 3;
  std::int64_t coord_bytes = 4;
  std::int64_t dist_bytes = 4;
  std::int64_t index_bytes = 4;
  double freq_ghz = 1;
  double lanes = 16;
  double build_lanes = 1;
  double build_read_passes = 2;
  double dram_gbps = 12.8;
  double dram_pj_per_byte = 60;
  double sram_pj_per_byte = 1;
  double distance_pj = 12;
  double compare_pj = 1;
  double static_mw = 10;
  double tests_per_cycle = 1;
  double pass_overhead_cycles = 8;

  void describe(Description& io) {
    constexpr std::string_view kPositive = "(0, inf)", kFromZero = "[0, inf)";
    io.input(stats, "stats", "b 16", "counters of a farthest point sampling");
    io.output(report, "report", "b 10",
              "build_cycles, sample_cycles, total_cycles, build_dram_bytes, sample_dram_bytes, "
              "total_dram_bytes, time_us, energy_uj, avg_power_mw, points_per_us");
    io.attribute(design, "design", "which machine");
    io.attribute(dims, "dims", "coordinates of a point", {.in = "[1, 4096]"});
    io.attribute(coord_bytes, "coord_bytes", "bytes of a coordinate", {.in = "[1, 64]"});
    io.attribute(dist_bytes, "dist_bytes", "bytes of a squared distance", {.in = "[1, 64]"});
    io.attribute(index_bytes, "index_bytes", "bytes of an index", {.in = "[1, 64]"});
    io.attribute(freq_ghz, "freq_ghz", "clock", {.in = kPositive});
    io.attribute(lanes, "lanes", "distance units", {.in = kPositive});
    io.attribute(build_lanes, "build_lanes", "partition units of a separate build",
                 {.in = kPositive});
    io.attribute(build_read_passes, "build_read_passes", "reads of a level of a separate build",
                 {.in = kPositive});
    io.attribute(dram_gbps, "dram_gbps", "memory bandwidth in GB/s", {.in = kPositive});
    io.attribute(dram_pj_per_byte, "dram_pj_per_byte", "energy of memory", {.in = kPositive});
    io.attribute(sram_pj_per_byte, "sram_pj_per_byte", "energy of on-chip memory",
                 {.in = kPositive});
    io.attribute(distance_pj, "distance_pj", "energy of a distance", {.in = kPositive});
    io.attribute(compare_pj, "compare_pj", "energy of a comparison", {.in = kPositive});
    io.attribute(static_mw, "static_mw", "static power", {.in = kFromZero});
    io.attribute(tests_per_cycle, "tests_per_cycle", "bucket tests", {.in = kPositive});
    io.attribute(pass_overhead_cycles, "pass_overhead_cycles", "cycles to start a pass",
                 {.in = kFromZero});
  }
  Cost cost() const {
    return {60.0 * static_cast<double>(stats.extent(0)),
            8.0 * static_cast<double>(stats.size() + report.size()), true};
  }
  void run(const Context&) const { reference(); }
  void reference() const {
    const AcceleratorModel model{design,
                                 dims,
                                 coord_bytes,
                                 dist_bytes,
                                 index_bytes,
                                 freq_ghz,
                                 lanes,
                                 build_lanes,
                                 build_read_passes,
                                 dram_gbps,
                                 dram_pj_per_byte,
                                 sram_pj_per_byte,
                                 distance_pj,
                                 compare_pj,
                                 static_mw,
                                 tests_per_cycle,
                                 pass_overhead_cycles};
    for (std::int64_t b = 0; b < stats.extent(0); ++b) {
      std::array<std::int64_t, 16> row{};
      for (std::size_t i = 0; i < row.size(); ++i) row[i] = stats(b, static_cast<std::int64_t>(i));
      const auto columns = predict(model, row).columns();
      for (std::size_t i = 0; i < columns.size(); ++i) {
        report(b, static_cast<std::int64_t>(i)) = columns[i];
      }
    }
  }
};

static_assert(OperatorStruct<FpsAcceleratorModel>);
inline auto fps_accelerator_model(const Context& ctx, FpsAcceleratorModel op) {
  return run(ctx, op);
}

}  // namespace researchkit::fusefps
