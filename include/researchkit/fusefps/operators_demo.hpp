#pragma once

#include "researchkit/core/arbitrary.hpp"
#include "researchkit/core/operator.hpp"
#include "researchkit/core/parallel.hpp"
#include "researchkit/fusefps/demo_clouds.hpp"

namespace researchkit::fusefps {

/// A seeded LiDAR scan of a street; see generate_lidar_scan.
///
///     auto scan = lidar_scan(ctx, {.n = 120000, .seed = 7});
struct LidarScan {
  static constexpr std::string_view name = "fusefps.lidar_scan";
  static constexpr std::string_view summary = "A seeded LiDAR scan of a street.";

  Out<float, 2> points = {};  // [n, 4]
  std::int64_t n = 0;
  std::uint64_t seed = 0;
  std::int64_t beams = 64;
  double max_range = 80;
  double min_range = 2.5;
  double dropout = 0.05;
  double noise = 0.02;

  void describe(Description& io) {
    io.output(points, "points", "n 4", "x, y, z in metres and reflectance, in scan order");
    io.attribute(n, "n", "points, must be given", {.in = "[1, 1073741824]"});
    io.attribute(seed, "seed", "of the scene and the noise");
    io.attribute(beams, "beams", "lasers above one another", {.in = "[1, 256]"});
    io.attribute(max_range, "max_range", "in metres", {.in = "(0, 1000]"});
    io.attribute(min_range, "min_range", "in metres, below max_range", {.in = "[0, 1000]"});
    io.attribute(dropout, "dropout", "fraction of lost returns", {.in = "[0, 0.9]"});
    io.attribute(noise, "noise", "half width of the range error in metres", {.in = "[0, 1]"});
  }
  void validate(const Check& check) const {
    if (!(min_range < max_range)) {
      check.refuse("min_range", "less than max_range = " + std::to_string(max_range),
                   std::to_string(min_range));
    }
  }
  /// What is written; the arithmetic depends on the scene.
  Cost cost() const { return {0, 16.0 * static_cast<double>(n), false}; }
  void run(const Context&) const { generate_lidar_scan(settings(), points); }
  void reference() const { generate_lidar_scan_plainly(settings(), points); }
  static void arbitrary(Arbitrary& random) {
    // A scan that keeps hardly any return needs billions of rays: the range stays a usual one.
    random.call.attributes["n"] = random.integer(1, 300);
    random.call.attributes["min_range"] = static_cast<double>(random.integer(0, 6));
    random.call.attributes["max_range"] = static_cast<double>(random.integer(40, 120));
  }

 private:
  LidarScanSettings settings() const { return {seed, beams, max_range, min_range, dropout, noise}; }
};

static_assert(OperatorStruct<LidarScan>);
inline auto lidar_scan(const Context& ctx, LidarScan op) { return run(ctx, op); }

/// Surface samples of an object or a room; see generate_primitives_cloud.
struct PrimitivesCloud {
  static constexpr std::string_view name = "fusefps.primitives_cloud";
  static constexpr std::string_view summary = "Surface samples of an object or a room.";

  Out<float, 2> points = {};  // [n, 3]
  std::int64_t n = 0;
  PrimitivesKind kind = PrimitivesKind::object;
  std::uint64_t seed = 0;

  void describe(Description& io) {
    io.output(points, "points", "n 3", "coordinates in metres");
    io.attribute(n, "n", "points, must be given", {.in = "[1, 1073741824]"});
    io.attribute(kind, "kind", "what is sampled");
    io.attribute(seed, "seed", "of the points");
  }
  /// What is written; the arithmetic depends on the surfaces that are hit.
  Cost cost() const { return {0, 12.0 * static_cast<double>(n), false}; }
  void run(const Context& ctx) const {
    parallel_for(ctx, n, std::int64_t{1} << 14,
                 [&](std::int64_t begin, std::int64_t end) { generate(begin, end); });
  }
  void reference() const { generate(0, n); }

 private:
  void generate(std::int64_t begin, std::int64_t end) const {
    generate_primitives_cloud(
        kind, seed, begin,
        {points.data_handle() + begin * points.stride(0), {end - begin, 3}, points.strides()});
  }
};

static_assert(OperatorStruct<PrimitivesCloud>);
inline auto primitives_cloud(const Context& ctx, PrimitivesCloud op) { return run(ctx, op); }

}  // namespace researchkit::fusefps
