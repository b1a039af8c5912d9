#include "researchkit/dynapipe/lengths.hpp"

#include <algorithm>
#include <array>
#include <cmath>

namespace researchkit::dynapipe {
namespace {

/// A family of tasks: weight in the mixture, number of tasks, median and log-sigma of its lengths.
struct Family {
  int weight, tasks;
  double input, input_sigma, target, target_sigma;
};
constexpr std::array<Family, 16> kFamilies = {{
    {120, 160, 105, 0.55, 3, 0.30},  // natural language inference
    {70, 90, 170, 0.90, 3, 0.30},    // sentiment
    {90, 190, 95, 0.55, 6, 0.70},    // multiple choice
    {80, 110, 55, 0.45, 6, 0.60},    // closed-book question answering
    {70, 110, 95, 0.45, 3, 0.30},    // paraphrase
    {50, 140, 75, 0.40, 4, 0.50},    // coreference, word sense
    {60, 100, 90, 0.60, 28, 0.50},   // structure to text
    {100, 260, 65, 0.70, 45, 0.70},  // translation
    {90, 220, 230, 0.50, 6, 0.80},   // reading, short
    {60, 90, 560, 0.60, 8, 0.90},    // reading, long
    {50, 100, 420, 0.80, 18, 0.70},  // dialogue
    {50, 80, 60, 0.50, 14, 0.35},    // headlines
    {60, 60, 870, 0.55, 66, 0.40},   // news summaries
    {5, 12, 1700, 0.75, 300, 0.40},  // summaries of several documents
    {2, 14, 2600, 0.80, 60, 0.90},   // long documents
    {25, 100, 120, 0.60, 55, 0.80},  // programs, mathematics
}};
constexpr int kTotalWeight = [] {
  int sum = 0;
  for (const Family& family : kFamilies) sum += family.weight;
  return sum;
}();

/// SplitMix64 as a counter: the i-th number of the stream that `seed` begins.
std::uint64_t split_mix(std::uint64_t seed, std::uint64_t i) {
  std::uint64_t z = seed + (i + 1) * 0x9E3779B97F4A7C15U;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9U;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBU;
  return z ^ (z >> 31);
}

/// Twelve uniform numbers less 6: normal enough, and the same on every platform.
double normal(std::uint64_t seed, std::uint64_t i) {
  double sum = 0;
  for (std::uint64_t k = 0; k < 12; ++k) {
    sum += static_cast<double>(split_mix(seed, 12 * i + k) >> 11) * 0x1p-53;
  }
  return sum - 6;
}

constexpr std::uint64_t kTaskSeed = 0x5EED0001;
constexpr std::uint64_t kLengthSeed = 0xA5A5A5A5;
constexpr double kTaskSigma = 0.25;
constexpr double kLongest = 40960;

}  // namespace

std::vector<SampleLength> samples_of(In<std::int32_t, 2> lengths) {
  std::vector<SampleLength> samples(static_cast<std::size_t>(lengths.extent(0)));
  for (std::size_t i = 0; i < samples.size(); ++i) {
    samples[i] = {lengths(i, 0), lengths(i, 1)};
  }
  return samples;
}

SampleLength flan_length(std::uint64_t seed, std::int64_t index, ModelKind kind,
                         std::int64_t max_seqlen) {
  const auto i = static_cast<std::uint64_t>(index);
  auto draw = static_cast<int>(split_mix(seed, 4 * i) % kTotalWeight);
  std::size_t f = 0;
  while (draw >= kFamilies[f].weight) draw -= kFamilies[f++].weight;
  const Family& family = kFamilies[f];
  const std::uint64_t task = split_mix(seed, 4 * i + 1) % static_cast<std::uint64_t>(family.tasks);
  const double jitter =
      std::exp(kTaskSigma * normal(kTaskSeed, (static_cast<std::uint64_t>(f) << 20) | task));
  const auto tokens = [](double length) {
    return static_cast<std::int64_t>(std::clamp(std::floor(length + 0.5), 1.0, kLongest));
  };
  const std::uint64_t lengths = seed ^ kLengthSeed;
  const std::int64_t input =
      tokens(family.input * jitter * std::exp(family.input_sigma * normal(lengths, 2 * i)));
  std::int64_t target = tokens(family.target * std::sqrt(jitter) *
                               std::exp(family.target_sigma * normal(lengths, 2 * i + 1)));
  const bool broken = (target > 2000 && input < 1000) || (target > 4 * input && target > 200);
  if (broken) target = std::min(target, input);
  if (kind == ModelKind::decoder) {
    return {static_cast<std::int32_t>(std::min(input + target, max_seqlen)), 0};
  }
  return {static_cast<std::int32_t>(std::min(input, max_seqlen)),
          static_cast<std::int32_t>(std::min(target, max_seqlen))};
}

std::vector<SampleLength> flan_lengths(std::uint64_t seed, std::int64_t count, ModelKind kind,
                                       std::int64_t max_seqlen) {
  std::vector<SampleLength> samples(static_cast<std::size_t>(count));
  for (std::int64_t i = 0; i < count; ++i) {
    samples[static_cast<std::size_t>(i)] = flan_length(seed, i, kind, max_seqlen);
  }
  return samples;
}

std::vector<std::int64_t> mini_batch_offsets(std::span<const SampleLength> samples,
                                             std::int64_t tokens) {
  std::vector<std::int64_t> offsets = {0};
  std::int64_t sum = 0;
  for (std::size_t i = 0; i < samples.size(); ++i) {
    const std::int64_t more = std::int64_t{samples[i].input} + samples[i].target;
    const auto at = static_cast<std::int64_t>(i);
    if (at > offsets.back() && sum + more > tokens) {
      offsets.push_back(at);
      sum = 0;
    }
    sum += more;
  }
  if (!samples.empty()) offsets.push_back(static_cast<std::int64_t>(samples.size()));
  return offsets;
}

}  // namespace researchkit::dynapipe
