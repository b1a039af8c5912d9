#include "pictures.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <fstream>
#include <iterator>
#include <stdexcept>

namespace {

// Text and lines follow the page's colour scheme; the data colours are chosen to work on both.
constexpr std::string_view kStyle = R"(<style>
  svg { font: 13px system-ui, "Segoe UI", Roboto, Helvetica, Arial, sans-serif; }
  .paper { fill: #ffffff; } .text { fill: #1f2933; } .soft { fill: #67727e; }
  .frame { fill: none; stroke: #d5dae0; } .grid { stroke: #e6e9ed; }
  .cloud { stroke: #9aa5b1; } .ink { fill: none; stroke: #1f2933; }
  @media (prefers-color-scheme: dark) {
    .paper { fill: #14181d; } .text { fill: #e4e8ec; } .soft { fill: #98a3ae; }
    .frame { stroke: #39424c; } .grid { stroke: #262d35; }
    .cloud { stroke: #66727f; } .ink { stroke: #e4e8ec; }
  }
</style>
)";

class Svg {
 public:
  Svg(double width, double height) {
    add(R"(<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {0} {1}" width="{0}" height="{1}">)",
        width, height);
    text_ += "\n";
    text_ += kStyle;
    add(R"(<rect class="paper" width="{}" height="{}"/>)", width, height);
  }
  template <class... T>
  void add(fmt::format_string<T...> format, T&&... values) {
    fmt::format_to(std::back_inserter(text_), format, std::forward<T>(values)...);
    text_ += '\n';
  }
  void text(double x, double y, std::string_view anchor, std::string_view style,
            std::string_view content) {
    add(R"(<text class="{}" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>)", style, x, y, anchor,
        content);
  }
  void save(const std::filesystem::path& file) {
    std::ofstream out(file);
    out << text_ << "</svg>\n";
    if (!out.flush()) throw std::runtime_error(file.string() + ": cannot be written");
  }

 private:
  std::string text_;
};

/// 1, 2 or 5 times a power of ten, at most `limit`.
double round_number_below(double limit) {
  const double power = std::pow(10.0, std::floor(std::log10(limit)));
  for (const double digit : {5.0, 2.0}) {
    if (digit * power <= limit) return digit * power;
  }
  return power;
}

/// The square that holds nearly all points: outliers must not shrink the rest to a dot.
struct Window {
  double x = 0, y = 0, half = 1;
};
Window window_of(const std::vector<std::pair<double, double>>& points) {
  const auto quantile = [](std::vector<double> values, double q) {
    const auto at = static_cast<std::ptrdiff_t>(q * static_cast<double>(values.size() - 1));
    std::nth_element(values.begin(), values.begin() + at, values.end());
    return values[static_cast<std::size_t>(at)];
  };
  if (points.empty()) return {};
  std::vector<double> xs, ys;
  for (const auto& [x, y] : points) {
    xs.push_back(x);
    ys.push_back(y);
  }
  const double left = quantile(xs, 0.01), right = quantile(xs, 0.99);
  const double bottom = quantile(ys, 0.01), top = quantile(ys, 0.99);
  const double half = 0.53 * std::max(right - left, top - bottom);
  return {(left + right) / 2, (bottom + top) / 2, half > 0 ? half : 1};
}

struct Layer {
  std::size_t end;  // one past the last sample of the layer
  double radius;    // pixels
  std::string_view colour;
};
constexpr std::array<Layer, 5> kLayers = {{{16, 4.6, "#c2255c"},
                                           {128, 3.2, "#e8590c"},
                                           {1024, 2.0, "#d99a06"},
                                           {4096, 1.3, "#2b9a77"},
                                           {SIZE_MAX, 0.9, "#4c7fc0"}}};

constexpr double kPanel = 440, kGap = 24, kMargin = 20, kHead = 58, kFoot = 52;
constexpr int kCellsPerPixel = 2;

/// Draws points as the dots of one path on a fine grid, each cell once: a file of a few hundred kB.
template <class Range>
void add_dots(Svg& svg, const std::vector<std::pair<double, double>>& points, const Range& which,
              const Window& window, double radius, std::string_view attributes) {
  constexpr double kCells = kPanel * kCellsPerPixel;
  std::vector<std::pair<long, long>> cells;
  for (const auto i : which) {
    const auto& [x, y] = points[static_cast<std::size_t>(i)];
    const double u = (x - window.x) / window.half, v = (window.y - y) / window.half;
    if (std::abs(u) > 1 || std::abs(v) > 1) continue;
    cells.emplace_back(std::lround((v + 1) / 2 * kCells), std::lround((u + 1) / 2 * kCells));
  }
  std::sort(cells.begin(), cells.end());
  cells.erase(std::unique(cells.begin(), cells.end()), cells.end());
  std::string path;
  std::pair<long, long> at{0, 0};
  for (const auto& cell : cells) {
    fmt::format_to(std::back_inserter(path), "m{} {}h0", cell.second - at.second,
                   cell.first - at.first);
    at = cell;
  }
  if (path.empty()) return;
  path[0] = 'M';
  svg.add(
      R"-(<path {} transform="scale({:.3g})" stroke-linecap="round" stroke-width="{:.3g}" d="{}"/>)-",
      attributes, 1.0 / kCellsPerPixel, 2 * radius * kCellsPerPixel, path);
}

void add_legend(Svg& svg, double x, double y, std::size_t samples) {
  svg.text(x, y + 4, "start", "soft", "order of choice:");
  x += 112;
  std::size_t begin = 1;
  for (const Layer& layer : kLayers) {
    if (begin > samples) break;
    const std::size_t end = std::min(layer.end, samples);
    const std::string label = fmt::format("{}–{}", begin, end);
    svg.add(R"(<circle cx="{:.1f}" cy="{:.1f}" r="{}" fill="{}"/>)", x, y,
            std::max(layer.radius, 2.0), layer.colour);
    svg.text(x + 9, y + 4, "start", "text", label);
    x += 26 + 7.2 * static_cast<double>(label.size());
    begin = end + 1;
  }
}

}  // namespace

void write_top_view(const std::filesystem::path& file,
                    const std::vector<std::pair<double, double>>& points,
                    const std::vector<Panel>& panels) {
  const auto count = static_cast<double>(panels.size());
  const double width = 2 * kMargin + count * kPanel + (count - 1) * kGap;
  Svg svg(width, kHead + kPanel + kFoot);
  const Window window = window_of(points);
  std::size_t samples = 0;
  for (std::size_t p = 0; p < panels.size(); ++p) {
    const Panel& panel = panels[p];
    const double left = kMargin + static_cast<double>(p) * (kPanel + kGap);
    svg.add(R"(<text class="text" x="{}" y="26" font-size="15" font-weight="600">{}</text>)", left,
            panel.title);
    svg.text(left, 46, "start", "soft", panel.note);
    svg.add(R"-(<g transform="translate({} {})">)-", left, kHead);
    if (panel.shown.empty()) {
      std::vector<std::size_t> all(points.size());
      for (std::size_t i = 0; i < all.size(); ++i) all[i] = i;
      add_dots(svg, points, all, window, 0.45, R"(class="cloud" fill="none")");
    }
    // Late samples first, so that the early ones lie on top.
    for (std::size_t l = kLayers.size(); l-- > 0;) {
      const std::size_t begin = l == 0 ? 0 : kLayers[l - 1].end;
      const std::size_t end = std::min(kLayers[l].end, panel.shown.size());
      if (begin >= end) continue;
      const std::vector<std::int32_t> layer(
          panel.shown.begin() + static_cast<std::ptrdiff_t>(begin),
          panel.shown.begin() + static_cast<std::ptrdiff_t>(end));
      add_dots(svg, points, layer, window, kLayers[l].radius,
               fmt::format(R"(stroke="{}" fill="none")", kLayers[l].colour));
    }
    svg.add(R"(<rect class="frame" width="{0}" height="{0}"/></g>)", kPanel);
    samples = std::max(samples, panel.shown.size());
  }
  const double bar = round_number_below(window.half / 2);
  const double pixels = bar / (2 * window.half) * kPanel, y = kHead + kPanel + 28;
  svg.add(R"(<path class="ink" stroke-width="2" d="M{} {}v-4v8v-4h{:.1f}v-4v8"/>)", kMargin, y,
          pixels);
  svg.text(kMargin + pixels + 10, y + 4, "start", "text", fmt::format("{:g} m", bar));
  if (samples > 0) add_legend(svg, kMargin + kPanel + kGap, y, samples);
  svg.save(file);
}

void write_radius_curves(const std::filesystem::path& file, std::vector<Curve> curves) {
  for (Curve& curve : curves) {  // what has no logarithm is not drawn
    std::erase_if(curve.points, [](const auto& point) { return !(point.second > 0); });
  }
  constexpr double kWidth = 620, kHeight = 400, kLeft = 62, kRight = 170, kTop = 52, kBottom = 52;
  constexpr std::array<std::string_view, 3> kColours = {"#4c7fc0", "#e8590c", "#2b9a77"};
  double x0 = INFINITY, x1 = -INFINITY, y0 = INFINITY, y1 = -INFINITY;
  for (const Curve& curve : curves) {
    for (const auto& [x, y] : curve.points) {
      x0 = std::min(x0, std::log10(x));
      x1 = std::max(x1, std::log10(x));
      y0 = std::min(y0, std::log10(y));
      y1 = std::max(y1, std::log10(y));
    }
  }
  if (!(x0 < x1) || !(y0 < y1)) return;  // nothing that could be drawn
  y0 -= 0.03 * (y1 - y0);
  y1 += 0.03 * (y1 - y0);
  const auto px = [&](double x) {
    return kLeft + (x - x0) / (x1 - x0) * (kWidth - kLeft - kRight);
  };
  const auto py = [&](double y) {
    return kHeight - kBottom - (y - y0) / (y1 - y0) * (kHeight - kTop - kBottom);
  };

  Svg svg(kWidth, kHeight);
  svg.add(R"(<text class="text" x="{}" y="26" font-size="15" font-weight="600">{}</text>)", 16,
          "Covering radius: the farthest that any point is from its nearest sample");
  for (int decade = -9; decade <= 9; ++decade) {
    for (const double digit : {1.0, 2.0, 5.0}) {
      const double value = digit * std::pow(10.0, decade), at = std::log10(value);
      if (at >= y0 && at <= y1) {
        svg.add(R"(<path class="grid" d="M{} {:.1f}H{}"/>)", kLeft, py(at), kWidth - kRight);
        svg.text(kLeft - 8, py(at) + 4, "end", "soft", fmt::format("{:g}", value));
      }
      if (digit == 1.0 && at >= x0 && at <= x1) {
        svg.add(R"(<path class="grid" d="M{:.1f} {}V{}"/>)", px(at), kTop, kHeight - kBottom);
        svg.text(px(at), kHeight - kBottom + 18, "middle", "soft", fmt::format("{:g}", value));
      }
    }
  }
  svg.add(R"(<path class="frame" d="M{} {}V{}H{}"/>)", kLeft, kTop, kHeight - kBottom,
          kWidth - kRight);
  svg.text((kLeft + kWidth - kRight) / 2, kHeight - 12, "middle", "text", "number of samples");
  svg.text(kLeft, kTop - 8, "middle", "text", "metres");
  for (std::size_t c = 0; c < curves.size(); ++c) {
    const auto& points = curves[c].points;
    if (points.empty()) continue;
    std::string path;
    for (const auto& [x, y] : points) {
      fmt::format_to(std::back_inserter(path), "{}{:.1f} {:.1f}", path.empty() ? "M" : "L",
                     px(std::log10(x)), py(std::log10(y)));
    }
    const std::string_view colour = kColours[c % kColours.size()];
    svg.add(R"(<path fill="none" stroke="{}" stroke-width="2.2" stroke-linejoin="round" d="{}"/>)",
            colour, path);
    const double x = px(std::log10(points.back().first)), y = py(std::log10(points.back().second));
    svg.add(R"(<circle cx="{:.1f}" cy="{:.1f}" r="3.2" fill="{}"/>)", x, y, colour);
    svg.text(x + 10, y - 2, "start", "text", curves[c].name);
    svg.text(x + 10, y + 14, "start", "soft", fmt::format("{:.3g} m", points.back().second));
  }
  svg.save(file);
}

void write_time_bars(const std::filesystem::path& file,
                     const std::vector<std::pair<std::string, double>>& bars, double budget_s,
                     const std::string& budget_name) {
  constexpr double kWidth = 620, kLeft = 150, kRight = 90, kTop = 62, kRow = 34, kBar = 18;
  const double height = kTop + kRow * static_cast<double>(bars.size()) + 40;
  double low = std::log10(budget_s), high = low;
  for (const auto& [name, seconds] : bars) {
    low = std::min(low, std::log10(seconds));
    high = std::max(high, std::log10(seconds));
  }
  low = std::floor(low - 0.3);
  high = std::max(high, low + 1) + 0.05;
  const auto px = [&](double seconds) {
    return kLeft + (std::log10(seconds) - low) / (high - low) * (kWidth - kLeft - kRight);
  };
  const auto show = [](double s) {
    return s < 1 ? fmt::format("{:.3g} ms", 1e3 * s) : fmt::format("{:.3g} s", s);
  };
  const double bottom = kTop + kRow * static_cast<double>(bars.size());
  Svg svg(kWidth, height);
  svg.add(R"(<text class="text" x="{}" y="26" font-size="15" font-weight="600">{}</text>)", 16,
          "Time for one scan (logarithmic)");
  for (int decade = static_cast<int>(low); decade <= static_cast<int>(high); ++decade) {
    const double seconds = std::pow(10.0, decade);
    svg.add(R"(<path class="grid" d="M{0:.1f} {1}V{2}"/>)", px(seconds), kTop - 6, bottom);
    svg.text(px(seconds), bottom + 18, "middle", "soft", show(seconds));
  }
  for (std::size_t i = 0; i < bars.size(); ++i) {
    const double y = kTop + kRow * static_cast<double>(i) + (kRow - kBar) / 2;
    const double end = px(bars[i].second);
    svg.text(kLeft - 12, y + kBar - 5, "end", "text", bars[i].first);
    svg.add(R"(<rect x="{}" y="{}" width="{:.1f}" height="{}" rx="2" fill="{}"/>)", kLeft, y,
            std::max(end - kLeft, 1.0), kBar, bars[i].second <= budget_s ? "#2b9a77" : "#4c7fc0");
    svg.text(end + 8, y + kBar - 5, "start", "text", show(bars[i].second));
  }
  const double budget = px(budget_s);
  svg.add(R"(<path class="ink" stroke-dasharray="5 4" d="M{0:.1f} {1}V{2}"/>)", budget, kTop - 6,
          bottom);
  svg.text(budget, kTop - 12, "middle", "text", budget_name);
  svg.save(file);
}
