#include "researchkit/nn/metrics.hpp"

#include <cmath>

#include "researchkit/core/tensor.hpp"
#include "support/catch.hpp"

namespace {

using namespace researchkit;

TEST_CASE("the lowest class wins ties") {
  Array<float, 2> logits({2, 3});
  logits(0, 1) = logits(0, 2) = 1;
  CHECK(nn::predictions(logits) == std::vector<std::int32_t>{1, 0});
}

TEST_CASE("accuracy, confusion and macro F1 count masked rows alone") {
  const std::vector<std::int32_t> predicted = {0, 1, 1, 2, 0}, labels = {0, 1, 0, 2, 2};
  const std::vector<std::uint8_t> mask = {1, 1, 1, 1, 0};
  CHECK(nn::accuracy(predicted, labels, mask) == 0.75);
  const auto counts = nn::confusion(predicted, labels, mask, 3);
  CHECK(counts[0] == std::vector<std::int64_t>{1, 1, 0});
  CHECK(counts[2] == std::vector<std::int64_t>{0, 0, 1});
  CHECK(std::fabs(nn::macro_f1(counts) - (2. / 3 + 2. / 3 + 1) / 3) < 1e-15);
  CHECK(nn::accuracy(predicted, labels, std::vector<std::uint8_t>(5)) == 0);
}

TEST_CASE("the area under the curve is the chance that a positive scores higher, ties one half") {
  const std::vector<double> scores = {0.1, 0.4, 0.4, 0.8};
  CHECK(nn::roc_auc(scores, std::vector<std::uint8_t>{0, 0, 1, 1}) == 0.875);
  CHECK(nn::roc_auc(scores, std::vector<std::uint8_t>{1, 1, 0, 0}) == 0.125);
  CHECK(nn::roc_auc(scores, std::vector<std::uint8_t>{1, 1, 1, 1}) == 0.5);
}

TEST_CASE("summaries: population deviation, an interval that shrinks with the spread") {
  const std::vector<double> values = {1, 2, 3, 4};
  const auto summary = nn::summarize(values);
  CHECK(summary.mean == 2.5);
  CHECK(std::fabs(summary.deviation - std::sqrt(1.25)) < 1e-15);
  CHECK(summary.low < 2);
  CHECK(summary.high > 3);
  const auto same = nn::summarize(std::vector<double>(5, 7));
  CHECK(same.low == 7);
  CHECK(same.high == 7);
}

}  // namespace
