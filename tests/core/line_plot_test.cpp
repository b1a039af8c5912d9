#include "researchkit/core/io/line_plot.hpp"

#include <cmath>

#include "support/catch.hpp"
#include "support/contains.hpp"

namespace {

using namespace researchkit;
using test::contains;

TEST_CASE("a plot has a line of points for each of its lines, the lowest value at the bottom") {
  const std::string svg =
      line_plot("title", "epoch", 0, 2, {{"rising", {0, 1, 2}}, {"flat", {2, 2, 2}}});
  CHECK_THAT(svg, contains("points=\"70.0,300.0 330.0,170.0 590.0,40.0 \""));
  CHECK_THAT(svg, contains("points=\"70.0,40.0 330.0,40.0 590.0,40.0 \""));
  CHECK_THAT(svg, contains(">rising</text>"));
  CHECK(svg.starts_with("<svg"));
}

TEST_CASE("values that are not finite are left out of a plot") {
  const std::string svg = line_plot("", "", 0, 1, {{"a", {0, NAN, 1, INFINITY}}});
  CHECK_THAT(svg, contains("points=\"70.0,300.0 416.7,40.0 \""));
  CHECK(svg.find("nan") == std::string::npos);
  CHECK(svg.find("inf") == std::string::npos);
}

}  // namespace
