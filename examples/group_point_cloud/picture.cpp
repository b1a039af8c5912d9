#include "picture.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <iterator>
#include <stdexcept>

namespace {

constexpr double kPanel = 300, kGap = 14, kMargin = 16, kHead = 56;

/// A view from above at an angle: (right, down) and how far behind.
std::array<double, 3> project(const std::array<float, 3>& p) {
  constexpr double kTurn = 0.6, kTilt = 0.55;
  const double x = p[0] * std::cos(kTurn) - p[1] * std::sin(kTurn);
  const double y = p[0] * std::sin(kTurn) + p[1] * std::cos(kTurn);
  return {x, -p[2] * std::cos(kTilt) - y * std::sin(kTilt), y};
}

/// From blue over green to amber as `t` goes from 0 to 1.
std::string height_colour(double t) {
  constexpr double kStops[3][3] = {{76, 114, 196}, {43, 154, 119}, {217, 154, 6}};
  const double at = std::clamp(t, 0.0, 1.0) * 2;
  const int low = at < 1 ? 0 : 1;
  const auto channel = [&](int c) {
    return static_cast<int>(
        std::lround(kStops[low][c] + (at - low) * (kStops[low + 1][c] - kStops[low][c])));
  };
  return fmt::format("#{:02x}{:02x}{:02x}", channel(0), channel(1), channel(2));
}

}  // namespace

void write_levels(const std::filesystem::path& file, const std::vector<LevelPicture>& levels) {
  double left = INFINITY, right = -INFINITY, top = INFINITY, bottom = -INFINITY;
  float low = INFINITY, high = -INFINITY;
  for (const auto& point : levels.front().points) {
    const auto [u, v, depth] = project(point);
    left = std::min(left, u);
    right = std::max(right, u);
    top = std::min(top, v);
    bottom = std::max(bottom, v);
    low = std::min(low, point[2]);
    high = std::max(high, point[2]);
  }
  const double scale = 0.92 * kPanel / std::max(right - left, bottom - top);
  const auto place = [&](const std::array<float, 3>& point) {
    const auto [u, v, depth] = project(point);
    return std::pair{kPanel / 2 + scale * (u - (left + right) / 2),
                     kPanel / 2 + scale * (v - (top + bottom) / 2)};
  };

  std::string svg;
  const auto out = std::back_inserter(svg);
  const double width = 2 * kMargin + static_cast<double>(levels.size()) * (kPanel + kGap) - kGap;
  fmt::format_to(out,
                 R"(<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {0} {1}" width="{0}" )"
                 R"(height="{1}"><style>
svg {{ font: 13px system-ui, "Segoe UI", Roboto, Helvetica, Arial, sans-serif; }}
.paper {{ fill: #ffffff; }} .text {{ fill: #1f2933; }} .soft {{ fill: #67727e; }}
.frame {{ fill: none; stroke: #d5dae0; }}
@media (prefers-color-scheme: dark) {{
  .paper {{ fill: #14181d; }} .text {{ fill: #e4e8ec; }} .soft {{ fill: #98a3ae; }}
  .frame {{ stroke: #39424c; }}
}}</style><rect class="paper" width="{0}" height="{1}"/>
)",
                 width, kHead + kPanel + kMargin);
  for (std::size_t l = 0; l < levels.size(); ++l) {
    const LevelPicture& level = levels[l];
    const double x = kMargin + static_cast<double>(l) * (kPanel + kGap);
    fmt::format_to(out,
                   R"-(<text class="text" x="{0}" y="24" font-size="15" font-weight="600">{1}</text>
<text class="soft" x="{0}" y="44">{2}</text><g transform="translate({0} {3})">
)-",
                   x, level.title, level.note, kHead);
    // A dot has about the room that its level leaves it.
    const double radius =
        std::clamp(52 / std::sqrt(static_cast<double>(level.points.size())), 0.7, 2.6);
    std::vector<std::array<float, 3>> points = level.points;
    std::sort(points.begin(), points.end(),
              [](const auto& a, const auto& b) { return project(a)[2] > project(b)[2]; });
    for (const auto& point : points) {
      const auto [u, v] = place(point);
      fmt::format_to(out, R"(<circle cx="{:.1f}" cy="{:.1f}" r="{:.1f}" fill="{}"/>)", u, v, radius,
                     height_colour((point[2] - low) / (high - low)));
    }
    for (const auto& point : level.neighbours) {
      const auto [u, v] = place(point);
      fmt::format_to(out, R"(<circle cx="{:.1f}" cy="{:.1f}" r="{:.1f}" fill="#e8590c"/>)", u, v,
                     std::max(radius, 1.6));
    }
    if (!level.neighbours.empty()) {
      const auto [u, v] = place(level.centre);
      fmt::format_to(out, R"(<circle cx="{:.1f}" cy="{:.1f}" r="4.2" fill="#c2255c"/>)", u, v);
    }
    fmt::format_to(out, "<rect class=\"frame\" width=\"{0}\" height=\"{0}\"/></g>\n", kPanel);
  }
  std::ofstream stream(file);
  stream << svg << "</svg>\n";
  if (!stream.flush()) throw std::runtime_error(file.string() + ": cannot be written");
}
