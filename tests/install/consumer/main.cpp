#include <fmt/format.h>
#include <researchkit/fusefps/fusefps.hpp>
using namespace researchkit;

int main() {
  const Context ctx;
  const auto scan = fusefps::lidar_scan(ctx, {.n = 120000});
  const In<float, 3> cloud(scan.points.data_handle(), {1, 120000, 4});
  const auto sample =
      fusefps::fused_farthest_point_sample(ctx, {.points = cloud, .k = 16384, .distance_dims = 3});
  fmt::print("{} points, the second is {}\n", sample.indices.size(), sample.indices(0, 1));
}
