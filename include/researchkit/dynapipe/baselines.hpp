#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "researchkit/dynapipe/lengths.hpp"

// What training does without dynamic micro-batches: packing, cutting by tokens, fixed sizes.
namespace researchkit::dynapipe {

/// Samples packed into sequences.
struct Packing {
  std::vector<std::int32_t> sequence_of;  ///< of each sample
  std::vector<SampleLength> used;         ///< tokens in each sequence
};

/// Next-fit in data order: samples are truncated to the maximum, and a new sequence begins when
/// either side would overflow. O(n).
inline Packing pack_next_fit(std::span<const SampleLength> samples, std::int64_t max_enc,
                             std::int64_t max_dec, ModelKind kind) {
  Packing packing;
  for (const SampleLength& sample : samples) {
    const std::int64_t input = std::min<std::int64_t>(sample.input, max_enc);
    const std::int64_t target =
        kind == ModelKind::encdec ? std::min<std::int64_t>(sample.target, max_dec) : 0;
    const bool fits = !packing.used.empty() && packing.used.back().input + input <= max_enc &&
                      packing.used.back().target + target <= max_dec;
    if (!fits) packing.used.push_back({});
    packing.sequence_of.push_back(static_cast<std::int32_t>(packing.used.size() - 1));
    packing.used.back().input += static_cast<std::int32_t>(input);
    packing.used.back().target += static_cast<std::int32_t>(target);
  }
  return packing;
}

/// Greedy along ordered samples: a micro-batch ends when another sample would give it more than
/// `tokens` padded tokens; a single sample may have more. O(n).
inline std::vector<std::int32_t> token_microbatches(std::span<const SampleLength> ordered,
                                                    std::int64_t tokens,
                                                    const Rounding& rounding = {}) {
  std::vector<std::int32_t> ids;
  std::int32_t current = 0;
  std::int64_t count = 0;
  SampleLength longest;
  for (const SampleLength& sample : ordered) {
    const SampleLength joint = {std::max(longest.input, sample.input),
                                std::max(longest.target, sample.target)};
    const std::int64_t each = rounding.input(joint.input) + rounding.target(joint.target);
    const bool full = count > 0 && (count + 1) * each > tokens;
    if (full) ++current;
    longest = full ? sample : joint;
    count = full ? 1 : count + 1;
    ids.push_back(current);
  }
  return ids;
}

/// Micro-batches of a fixed number of samples.
inline std::vector<std::int32_t> uniform_microbatches(std::int64_t samples, std::int64_t size) {
  std::vector<std::int32_t> ids(static_cast<std::size_t>(samples));
  for (std::size_t i = 0; i < ids.size(); ++i) {
    ids[i] = static_cast<std::int32_t>(static_cast<std::int64_t>(i) / size);
  }
  return ids;
}

/// Tokens of micro-batches with and without padding.
struct PaddingStats {
  std::int64_t real_inputs = 0, real_targets = 0;
  std::int64_t padded_inputs = 0, padded_targets = 0;

  std::int64_t real() const { return real_inputs + real_targets; }
  std::int64_t padded() const { return padded_inputs + padded_targets; }
  double efficiency() const { return ratio(real(), padded()); }
  double input_efficiency() const { return ratio(real_inputs, padded_inputs); }
  /// 1 where there are no targets.
  double target_efficiency() const {
    return padded_targets > 0 ? ratio(real_targets, padded_targets) : 1;
  }

 private:
  static double ratio(std::int64_t part, std::int64_t whole) {
    return static_cast<double>(part) / static_cast<double>(std::max<std::int64_t>(whole, 1));
  }
};

/// Every sample is padded to the longest of its micro-batch. `ids` are below the number of samples.
inline PaddingStats padding_stats(std::span<const SampleLength> samples,
                                  std::span<const std::int32_t> ids,
                                  const Rounding& rounding = {}) {
  struct Batch {
    std::int64_t count = 0, input = 0, target = 0;
  };
  std::vector<Batch> batches(samples.size());
  PaddingStats stats;
  for (std::size_t i = 0; i < samples.size(); ++i) {
    Batch& batch = batches[static_cast<std::size_t>(ids[i])];
    ++batch.count;
    batch.input = std::max<std::int64_t>(batch.input, samples[i].input);
    batch.target = std::max<std::int64_t>(batch.target, samples[i].target);
    stats.real_inputs += samples[i].input;
    stats.real_targets += samples[i].target;
  }
  for (const Batch& batch : batches) {
    stats.padded_inputs += batch.count * rounding.input(batch.input);
    stats.padded_targets += batch.count * rounding.target(batch.target);
  }
  return stats;
}

}  // namespace researchkit::dynapipe
