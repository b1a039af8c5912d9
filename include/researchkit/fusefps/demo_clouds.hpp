#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "researchkit/core/tensor.hpp"

namespace researchkit::fusefps {

/// A spinning LiDAR on a street: ground, parked vehicles, poles and building fronts.
///
/// The sensor stands at the origin, 1.73 m above the ground.
struct LidarScanSettings {
  std::uint64_t seed = 0;
  std::int64_t beams = 64;  ///< 1..256, from +2 to -25 degrees
  double max_range = 80.0;  ///< metres, up to 1000
  double min_range = 2.5;   ///< metres, 0 <= min_range < max_range
  double dropout = 0.05;    ///< fraction of lost returns, 0..0.9
  double noise = 0.02;      ///< half width of the uniform range error in metres, 0..1
};

/// Writes exactly n points [n, 4] (x, y, z in metres, reflectance) in scan order, beam by beam.
///
///     Array<float, 2> scan({120000, 4});
///     generate_lidar_scan({.seed = 7}, scan);
///
/// The scene is a function of the seed alone and evaluated in IEEE double without trigonometry, so
/// that every machine and language gets the same bits. Throws Error naming `fusefps.lidar_scan` and
/// the setting that is out of its range, and if no number of columns up to 2^24 returns n points.
/// About 0.02 us a point.
void generate_lidar_scan(const LidarScanSettings& settings, Out<float, 2> points);

/// The same by looking at every object for every ray: the oracle.
void generate_lidar_scan_plainly(const LidarScanSettings& settings, Out<float, 2> points);

/// What `generate_primitives_cloud` samples.
enum class PrimitivesKind : std::uint8_t {
  object,  ///< a table with a sphere and a torus on it, about 1 m across
  room,    ///< a furnished room of 8 m x 6 m x 3 m
};

constexpr std::array<std::string_view, 2> names_of(PrimitivesKind) { return {"object", "room"}; }

/// Writes points number first, first + 1, ... [n, 3] of the surfaces of a few boxes, cylinders,
/// spheres and tori, each surface in proportion to its area.
///
///     Array<float, 2> room({16384, 3});
///     generate_primitives_cloud(PrimitivesKind::room, 7, 0, room);
///
/// Bitwise the same everywhere; a point depends on the seed and its number alone.
void generate_primitives_cloud(PrimitivesKind kind, std::uint64_t seed, std::int64_t first,
                               Out<float, 2> points);

}  // namespace researchkit::fusefps
