#include "output.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "researchkit/core/io/file.hpp"
#include "researchkit/core/io/line_plot.hpp"

namespace rk = researchkit;

namespace {

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
  rk::write_file(file, rk::line_plot(title, "epoch", 0, static_cast<double>(training.epochs),
                                     {{"training loss", doubles(training.losses)},
                                      {"validation loss", doubles(training.validation_losses)},
                                      {"validation accuracy", training.validation_accuracies},
                                      {"test accuracy", training.test_accuracies}}));
}

void write_responses(const std::filesystem::path& file, const rk::graph::NodeDataset& data,
                     const SplitResult& result) {
  std::vector<double> homophily = rk::graph::local_homophily(data);
  for (std::size_t i = 0; i < result.nodes.size(); ++i) {  // ascending, so none is read too late
    homophily[i] = homophily[static_cast<std::size_t>(result.nodes[i])];
  }
  if (!result.nodes.empty()) homophily.resize(result.nodes.size());
  std::vector<std::size_t> order;
  for (std::size_t i = 0; i < homophily.size(); ++i) {
    if (homophily[i] >= 0) order.push_back(i);
  }
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return homophily[a] < homophily[b]; });
  const auto eta = result.training.coefficients.view<float, 2>();
  std::vector<rk::PlotLine> lines;
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
    rk::PlotLine& line = lines.emplace_back();
    line.name = fmt::format("homophily {:.2f}", shared);
    for (int i = 0; i <= 100; ++i) line.values.push_back(response(mean, i / 50.0));
  }
  rk::write_file(file, rk::line_plot(data.name + ": filter responses by local homophily", "lambda",
                                     0, 2, lines));
}
