#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "researchkit/core/view.hpp"

namespace researchkit::nn {

/// The class of the largest logit of each row; the lowest class wins ties.
std::vector<std::int32_t> predictions(In<float, 2> logits);

/// The fraction of masked rows whose prediction is their label; 0 without any.
double accuracy(std::span<const std::int32_t> predicted, std::span<const std::int32_t> labels,
                std::span<const std::uint8_t> mask);

/// Counts [label][predicted] of the masked rows.
std::vector<std::vector<std::int64_t>> confusion(std::span<const std::int32_t> predicted,
                                                 std::span<const std::int32_t> labels,
                                                 std::span<const std::uint8_t> mask,
                                                 std::int64_t classes);

/// The mean over classes of F1 = 2 TP / (2 TP + FP + FN), 0 for a class that neither occurs nor is
/// predicted.
double macro_f1(const std::vector<std::vector<std::int64_t>>& confusion);

/// Area under the ROC curve of scores of a binary task; ties count one half. 0.5 if one class is
/// missing.
double roc_auc(std::span<const double> scores, std::span<const std::uint8_t> positive);

/// Mean, population standard deviation, and the 95 % interval of the mean by `resamples` bootstraps.
struct Summary {
  double mean = 0, deviation = 0, low = 0, high = 0;
};
Summary summarize(std::span<const double> values, std::uint64_t seed = 0,
                  std::int64_t resamples = 1000);

}  // namespace researchkit::nn
