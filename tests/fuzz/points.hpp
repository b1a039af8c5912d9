#pragma once

#include <string>

#include "fuzz/fuzz.hpp"
#include "researchkit/fusefps/point_cloud_io.hpp"

namespace researchkit::fuzz {

/// Parses points. Those without NaN, whose bits text does not keep, must survive a write
/// and a read.
inline int feed_points(const std::uint8_t* data, std::size_t size, fusefps::PointFormat format,
                       const std::string& written_as) {
  return feed(data, size, [&](std::span<const std::byte> bytes) {
    const Tensor points = fusefps::parse_points(bytes, format, "fuzz");
    for (const float value : points.values<float>()) {
      if (value != value) return;
    }
    must_succeed([&] {
      const auto path = scratch() / ("a" + written_as);
      fusefps::write_points(path, points);
      require(same(points, fusefps::read_points(path)));
    });
  });
}

}  // namespace researchkit::fuzz
