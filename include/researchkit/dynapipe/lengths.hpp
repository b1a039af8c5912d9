#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "researchkit/core/view.hpp"
#include "researchkit/dynapipe/attributes.hpp"

namespace researchkit::dynapipe {

/// Lengths of a sample in tokens. `target` is 0 for decoder-only models, whose sequence is `input`.
struct SampleLength {
  std::int32_t input = 0;
  std::int32_t target = 0;
  friend bool operator==(const SampleLength&, const SampleLength&) = default;
};

/// The longest length that is accepted anywhere.
inline constexpr std::int32_t kMaxLength = 1 << 28;

/// How padded lengths are rounded.
struct Rounding {
  std::int64_t multiple = 8;   ///< padded lengths are multiples of this
  std::int64_t dec_extra = 2;  ///< begin and end tokens of a target
  std::int64_t offset = 0;     ///< 1 where the input is one token shorter than the sample

  /// ceil((length + extra - offset) / multiple) multiple, 0 for an absent sequence.
  std::int64_t round(std::int64_t length, std::int64_t extra) const {
    if (length == 0) return 0;
    const std::int64_t above = length + extra - offset + multiple - 1;
    const std::int64_t remainder = above % multiple;
    return above - (remainder < 0 ? remainder + multiple : remainder);
  }
  std::int64_t input(std::int64_t length) const { return round(length, 0); }
  std::int64_t target(std::int64_t length) const { return round(length, dec_extra); }
};

/// The rows of a tensor of lengths [n, 2] as samples.
std::vector<SampleLength> samples_of(In<std::int32_t, 2> lengths);

/// Sample `index` of a seeded mixture of tasks whose lengths are like those of FLANv2: 16 families
/// of 1836 tasks, log-normal lengths with a median per task. Decoder samples join both sequences.
/// The distribution is reconstructed from what is published about the mixture.
SampleLength flan_length(std::uint64_t seed, std::int64_t index, ModelKind kind,
                         std::int64_t max_seqlen);

/// Samples 0 .. count-1 of flan_length.
std::vector<SampleLength> flan_lengths(std::uint64_t seed, std::int64_t count, ModelKind kind,
                                       std::int64_t max_seqlen);

/// Consecutive samples make a mini-batch until the next one would exceed the budget of unpadded
/// tokens: first sample of each mini-batch, and the number of samples at the end.
std::vector<std::int64_t> mini_batch_offsets(std::span<const SampleLength> samples,
                                             std::int64_t tokens);

}  // namespace researchkit::dynapipe
