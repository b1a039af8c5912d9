#include "researchkit/nn/metrics.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "researchkit/core/random.hpp"

namespace researchkit::nn {

std::vector<std::int32_t> predictions(In<float, 2> logits) {
  std::vector<std::int32_t> classes;
  for (std::int64_t i = 0; i < logits.extent(0); ++i) {
    std::int32_t best = 0;
    for (std::int32_t c = 1; c < logits.extent(1); ++c) {
      if (logits(i, c) > logits(i, best)) best = c;
    }
    classes.push_back(best);
  }
  return classes;
}

double accuracy(std::span<const std::int32_t> predicted, std::span<const std::int32_t> labels,
                std::span<const std::uint8_t> mask) {
  std::int64_t asked = 0, right = 0;
  for (std::size_t i = 0; i < mask.size(); ++i) {
    if (mask[i] == 0) continue;
    ++asked;
    right += predicted[i] == labels[i] ? 1 : 0;
  }
  return asked == 0 ? 0 : static_cast<double>(right) / static_cast<double>(asked);
}

std::vector<std::vector<std::int64_t>> confusion(std::span<const std::int32_t> predicted,
                                                 std::span<const std::int32_t> labels,
                                                 std::span<const std::uint8_t> mask,
                                                 std::int64_t classes) {
  const auto size = static_cast<std::size_t>(classes);
  std::vector<std::vector<std::int64_t>> counts(size, std::vector<std::int64_t>(size));
  for (std::size_t i = 0; i < mask.size(); ++i) {
    if (mask[i] == 0) continue;
    ++counts[static_cast<std::size_t>(labels[i])][static_cast<std::size_t>(predicted[i])];
  }
  return counts;
}

double macro_f1(const std::vector<std::vector<std::int64_t>>& confusion) {
  double sum = 0;
  for (std::size_t c = 0; c < confusion.size(); ++c) {
    std::int64_t of_class = 0, answered = 0;
    for (std::size_t other = 0; other < confusion.size(); ++other) {
      of_class += confusion[c][other];
      answered += confusion[other][c];
    }
    if (of_class + answered == 0) continue;
    sum += 2 * static_cast<double>(confusion[c][c]) / static_cast<double>(of_class + answered);
  }
  return confusion.empty() ? 0 : sum / static_cast<double>(confusion.size());
}

double roc_auc(std::span<const double> scores, std::span<const std::uint8_t> positive) {
  std::vector<std::size_t> order(scores.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(),
            [&](std::size_t a, std::size_t b) { return scores[a] < scores[b]; });
  double rank_sum = 0, positives = 0;
  for (std::size_t begin = 0; begin < order.size();) {
    std::size_t end = begin;
    double in_tie = 0;
    while (end < order.size() && scores[order[end]] == scores[order[begin]]) {
      in_tie += positive[order[end++]] != 0 ? 1 : 0;
    }
    rank_sum += in_tie * (static_cast<double>(begin + 1 + end) / 2);  // mean rank, from 1
    positives += in_tie;
    begin = end;
  }
  const double negatives = static_cast<double>(scores.size()) - positives;
  if (positives == 0 || negatives == 0) return 0.5;
  return (rank_sum - positives * (positives + 1) / 2) / (positives * negatives);
}

Summary summarize(std::span<const double> values, std::uint64_t seed, std::int64_t resamples) {
  Summary summary;
  if (values.empty()) return summary;
  const auto n = static_cast<double>(values.size());
  summary.mean = std::accumulate(values.begin(), values.end(), 0.0) / n;
  double squares = 0;
  for (const double value : values) squares += (value - summary.mean) * (value - summary.mean);
  summary.deviation = std::sqrt(squares / n);
  const Philox random(seed);
  std::vector<double> means;
  std::uint64_t draw = 0;
  for (std::int64_t r = 0; r < resamples; ++r) {
    double sum = 0;
    for (std::size_t i = 0; i < values.size(); ++i)
      sum += values[random.below(draw++, values.size())];
    means.push_back(sum / n);
  }
  std::sort(means.begin(), means.end());
  const auto at = [&](double fraction) {
    return means[static_cast<std::size_t>(fraction * static_cast<double>(means.size() - 1))];
  };
  summary.low = means.empty() ? summary.mean : at(0.025);
  summary.high = means.empty() ? summary.mean : at(0.975);
  return summary;
}

}  // namespace researchkit::nn
