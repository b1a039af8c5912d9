#include "output.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "researchkit/core/io/file.hpp"

namespace rk = researchkit;

namespace {

constexpr std::array<const char*, 5> kColours = {"#0072b2", "#e69f00", "#009e73", "#d55e00",
                                                 "#cc79a7"};

struct Line {
  std::string name;
  std::vector<double> values;
};

/// Lines over a common axis from `from` to `to`, as SVG.
std::string plot(const std::string& title, const std::string& axis, double from, double to,
                 const std::vector<Line>& lines) {
  constexpr double kLeft = 70, kTop = 40, kWidth = 520, kHeight = 260;
  double low = HUGE_VAL, high = -HUGE_VAL;
  for (const Line& line : lines) {
    for (const double value : line.values) {
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

/// sum over k of eta_k T_k(lambda - 1).
double response(const std::vector<double>& eta, double lambda) {
  const double x = lambda - 1;
  double before = 1, now = x, sum = eta[0];
  for (std::size_t k = 1; k < eta.size(); ++k) {
    sum += eta[k] * now;
    before = std::exchange(now, 2 * x * now - before);
  }
  return sum;
}

}  // namespace

void write_csv(const std::filesystem::path& file, const std::vector<SplitResult>& results) {
  std::string text =
      "split,epochs,best_epoch,validation_accuracy,test_accuracy,majority,ms_per_epoch\n";
  for (const SplitResult& result : results) {
    const auto& t = result.training;
    text += fmt::format("{},{},{},{:.6f},{:.6f},{:.6f},{:.4f}\n", result.split, t.epochs,
                        t.best_epoch, t.validation_accuracy, t.test_accuracy, result.majority,
                        1e3 * t.seconds / static_cast<double>(t.epochs));
  }
  rk::write_file(file, text);
}

void write_curves(const std::filesystem::path& file, const std::string& title,
                  const rk::nfgnn::TrainingResult& training) {
  const auto doubles = [](const auto& values) {
    return std::vector<double>(values.begin(), values.end());
  };
  rk::write_file(file, plot(title, "epoch", 0, static_cast<double>(training.epochs),
                            {{"training loss", doubles(training.losses)},
                             {"validation loss", doubles(training.validation_losses)},
                             {"validation accuracy", training.validation_accuracies},
                             {"test accuracy", training.test_accuracies}}));
}

void write_responses(const std::filesystem::path& file, const rk::graph::NodeDataset& data,
                     const rk::nfgnn::TrainingResult& training) {
  const std::vector<double> homophily = rk::graph::local_homophily(data);
  std::vector<std::size_t> order;
  for (std::size_t i = 0; i < homophily.size(); ++i) {
    if (homophily[i] >= 0) order.push_back(i);
  }
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return homophily[a] < homophily[b]; });
  const auto eta = training.coefficients.view<float, 2>();
  std::vector<Line> lines;
  for (std::size_t fifth = 0; fifth < 5; ++fifth) {
    const std::size_t begin = order.size() * fifth / 5, end = order.size() * (fifth + 1) / 5;
    if (begin == end) continue;
    std::vector<double> mean(static_cast<std::size_t>(eta.extent(1)));
    double shared = 0;
    for (std::size_t at = begin; at < end; ++at) {
      shared += homophily[order[at]] / static_cast<double>(end - begin);
      for (std::size_t k = 0; k < mean.size(); ++k) {
        mean[k] += static_cast<double>(
                       eta(static_cast<std::int64_t>(order[at]), static_cast<std::int64_t>(k))) /
                   static_cast<double>(end - begin);
      }
    }
    Line& line = lines.emplace_back();
    line.name = fmt::format("homophily {:.2f}", shared);
    for (int i = 0; i <= 100; ++i) line.values.push_back(response(mean, i / 50.0));
  }
  rk::write_file(file,
                 plot(data.name + ": filter responses by local homophily", "lambda", 0, 2, lines));
}
