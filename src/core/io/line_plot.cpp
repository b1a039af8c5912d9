#include "researchkit/core/io/line_plot.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

namespace researchkit {
namespace {

constexpr std::array<const char*, 5> kColours = {"#0072b2", "#e69f00", "#009e73", "#d55e00",
                                                 "#cc79a7"};

}  // namespace

std::string line_plot(const std::string& title, const std::string& axis, double from, double to,
                      const std::vector<PlotLine>& lines) {
  constexpr double kLeft = 70, kTop = 40, kWidth = 520, kHeight = 260;
  double low = HUGE_VAL, high = -HUGE_VAL;
  for (const PlotLine& line : lines) {
    for (const double value : line.values) {
      if (!std::isfinite(value)) continue;
      low = std::min(low, value);
      high = std::max(high, value);
    }
  }
  if (!(high > low)) high = low + 1;
  const auto y_of = [&](double value) { return kTop + kHeight * (high - value) / (high - low); };
  std::string svg = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"760\" height=\"360\" "
      "font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" "
      "fill=\"white\"/>\n<text x=\"{}\" y=\"20\" font-size=\"15\">{}</text>\n"
      "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" fill=\"none\" stroke=\"#888\"/>\n",
      kLeft, title, kLeft, kTop, kWidth, kHeight);
  for (int tick = 0; tick <= 4; ++tick) {
    const double part = tick / 4.0, value = low + part * (high - low);
    svg += fmt::format("<text x=\"{}\" y=\"{:.1f}\" text-anchor=\"end\">{:.3g}</text>\n", kLeft - 6,
                       y_of(value) + 4, value);
    svg += fmt::format("<text x=\"{:.1f}\" y=\"{}\" text-anchor=\"middle\">{:.3g}</text>\n",
                       kLeft + part * kWidth, kTop + kHeight + 18, from + part * (to - from));
  }
  svg += fmt::format("<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>\n",
                     kLeft + kWidth / 2, kTop + kHeight + 38, axis);
  for (std::size_t l = 0; l < lines.size(); ++l) {
    const auto& values = lines[l].values;
    std::string points;
    for (std::size_t i = 0; i < values.size(); ++i) {
      if (!std::isfinite(values[i])) continue;
      const double part =
          values.size() < 2 ? 0 : static_cast<double>(i) / static_cast<double>(values.size() - 1);
      points += fmt::format("{:.1f},{:.1f} ", kLeft + part * kWidth, y_of(values[i]));
    }
    const char* colour = kColours[l % kColours.size()];
    svg +=
        fmt::format("<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"1.6\"/>\n",
                    points, colour);
    svg += fmt::format("<text x=\"{}\" y=\"{}\" fill=\"{}\">{}</text>\n", kLeft + kWidth + 10,
                       kTop + 14 + 18 * static_cast<double>(l), colour, lines[l].name);
  }
  return svg + "</svg>\n";
}

}  // namespace researchkit
