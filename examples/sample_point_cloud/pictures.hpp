#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

// Pictures as SVG, readable on a light and on a dark page.

/// One panel of the top view: points as (x, y), and the ones to show, in order.
struct Panel {
  std::string title, note;
  std::vector<std::int32_t> shown;  // all points, in grey, if empty
};

/// The cloud seen from above, a panel beside the other. Samples are coloured by their order: the
/// first ones are large and warm.
void write_top_view(const std::filesystem::path& file,
                    const std::vector<std::pair<double, double>>& points,
                    const std::vector<Panel>& panels);

/// A curve of (number of samples, covering radius).
struct Curve {
  std::string name;
  std::vector<std::pair<double, double>> points;
};

/// Covering radius against the number of samples, both on logarithmic axes.
void write_radius_curves(const std::filesystem::path& file, std::vector<Curve> curves);

/// A bar for each (name, seconds), and a line at `budget_s`.
void write_time_bars(const std::filesystem::path& file,
                     const std::vector<std::pair<std::string, double>>& bars, double budget_s,
                     const std::string& budget_name);
