#pragma once

#include <string>
#include <vector>

namespace researchkit {

/// One line of a plot: values at equal distances along the axis.
struct PlotLine {
  std::string name;
  std::vector<double> values;
};

/// Lines over a common axis from `from` to `to`, as SVG. Not finite values are left out.
///
///     write_file("loss.svg", line_plot("training", "epoch", 0, 200, {{"loss", losses}}));
std::string line_plot(const std::string& title, const std::string& axis, double from, double to,
                      const std::vector<PlotLine>& lines);

}  // namespace researchkit
