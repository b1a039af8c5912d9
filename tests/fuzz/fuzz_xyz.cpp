#include "fuzz/points.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return researchkit::fuzz::feed_points(data, size, researchkit::fusefps::PointFormat::text,
                                        ".csv");
}
