#include <algorithm>
#include <cmath>

#include "researchkit/core/compare.hpp"
#include "researchkit/fusefps/fusefps.hpp"
#include "support/catch.hpp"

using namespace researchkit;
using namespace researchkit::fusefps;

TEST_CASE("the scan that shares work between beams is the one traced ray by ray") {
  const LidarScanSettings settings[] = {
      {},
      {.seed = 9, .beams = 1},
      {.seed = 10, .beams = 3, .max_range = 12, .min_range = 4, .dropout = 0.9, .noise = 1.0},
      {.seed = 11, .beams = 256, .min_range = 0, .dropout = 0.0, .noise = 0.0}};
  for (const LidarScanSettings& each : settings) {
    for (const std::int64_t n : {1, 700, 5001}) {
      CAPTURE(each.seed, n);
      const Array<float, 2> fast({n, 4}), plain({n, 4});
      generate_lidar_scan(each, fast);
      generate_lidar_scan_plainly(each, plain);
      CHECK_FALSE(difference(fast.tensor(), plain.tensor()).has_value());
    }
  }
}

TEST_CASE("a scan keeps its promises about range and height") {
  const auto scan = lidar_scan(Context(), {.n = 20000, .seed = 4});
  for (std::int64_t i = 0; i < 20000; ++i) {
    const double range = std::hypot(scan.points(i, 0), scan.points(i, 1));
    CHECK(range < 80.001);
    CHECK(range > 2.499);
    CHECK(scan.points(i, 2) > -1.76F);
  }
}

TEST_CASE("a point of a primitives cloud depends on its number alone") {
  const auto all = primitives_cloud(Context({.threads = 3}),
                                    {.n = 40000, .kind = PrimitivesKind::room, .seed = 5});
  const Array<float, 2> part({100, 3});
  generate_primitives_cloud(PrimitivesKind::room, 5, 20000, part);
  CHECK(std::equal(part.data_handle(), part.data_handle() + 300, &all.points(20000, 0)));
}

TEST_CASE("the accelerator model favours the fused build, and the more the dearer the build is") {
  const Context ctx;
  const auto cloud = primitives_cloud(ctx, {.n = 4096});
  const In<float, 3> points(cloud.points.data_handle(), {1, 4096, 3});
  const auto bucket =
      bucket_farthest_point_sample(ctx, {.points = points, .k = 1024, .height = 6, .leaf_size = 1});
  const auto fused =
      fused_farthest_point_sample(ctx, {.points = points, .k = 1024, .height = 6, .leaf_size = 1});
  const auto speed_ratio = [&](double build_read_passes) {
    const auto separate = fps_accelerator_model(ctx, {.stats = bucket.stats,
                                                      .design = AcceleratorDesign::quickfps,
                                                      .build_read_passes = build_read_passes});
    const auto grown = fps_accelerator_model(ctx, {.stats = fused.stats});
    return separate.report(0, 6) / grown.report(0, 6);
  };
  CHECK(std::abs(speed_ratio(2) - 1.22) < 0.01);
  CHECK(std::abs(speed_ratio(19) - 3.96) < 0.02);
}
