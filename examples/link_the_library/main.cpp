#include <cstdio>

#include "researchkit/fusefps/fusefps.hpp"

int main() {
  using namespace researchkit;
  const Context ctx;
  const auto scan = fusefps::lidar_scan(ctx, {.n = 10000});
  const In<float, 3> cloud(scan.points.data_handle(), {1, 10000, 4});
  const auto sample =
      fusefps::fused_farthest_point_sample(ctx, {.points = cloud, .k = 8, .distance_dims = 3});
  for (int i = 0; i < 8; ++i) std::printf("point %d\n", sample.indices(0, i));
}
