#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "researchkit/dynapipe/lengths.hpp"

// Packing inside a micro-batch: short samples share the sequences that long ones open.
namespace researchkit::dynapipe {

/// Packs a window of samples that grows sample by sample, next-fit with look-back: a sample goes into
/// the first sequence that has room for it and one separator, else it opens one. Sequences are as
/// long as the longest input and the longest target of the window.
///
///     WindowPacking packing;
///     for (const SampleLength& sample : window) sequences = packing.add(sample);
///
/// A longer sample than all before it packs the window anew. O(sequences) for each sample else.
/// Source: DynaPipe (arXiv 2311.10418), its planner's option to pack.
class WindowPacking {
 public:
  static constexpr std::int64_t kAnyNumber = std::numeric_limits<std::int64_t>::max();

  /// An empty window.
  void clear() {
    samples_.clear();
    longest_ = {};
    empty_sequences();
  }

  /// Adds a sample; the number of sequences, or more than `most` where it is more than that.
  std::int64_t add(const SampleLength& sample, std::int64_t most = kAnyNumber) {
    samples_.push_back(sample);
    const SampleLength longest = {std::max(longest_.input, sample.input),
                                  std::max(longest_.target, sample.target)};
    if (longest != longest_) {
      longest_ = longest;
      empty_sequences();
    }
    // Among sequences of one length the number only grows: beyond `most` nobody asks for it.
    for (; placed_ < samples_.size() && sequences() <= most; ++placed_) place(samples_[placed_]);
    return sequences();
  }

  /// The sequence of each sample of the window; all of them were placed.
  const std::vector<std::int32_t>& sequence_of() const { return sequence_of_; }
  std::int64_t sequences() const { return static_cast<std::int64_t>(room_.size()); }

 private:
  void empty_sequences() {
    room_.clear();
    sequence_of_.clear();
    placed_ = 0;
  }
  void place(const SampleLength& sample) {
    // A separator stands before the sample, on the side of the targets only where there are any.
    const std::int32_t input = sample.input + 1,
                       target = longest_.target > 0 ? sample.target + 1 : 0;
    const auto found = std::find_if(room_.begin(), room_.end(), [&](const SampleLength& room) {
      return room.input >= input && room.target >= target;
    });
    sequence_of_.push_back(static_cast<std::int32_t>(found - room_.begin()));
    if (found == room_.end()) {
      room_.push_back({longest_.input - sample.input, longest_.target - sample.target});
      return;
    }
    found->input -= input;
    found->target -= target;
  }

  std::vector<SampleLength> samples_, room_;
  SampleLength longest_;
  std::size_t placed_ = 0;
  std::vector<std::int32_t> sequence_of_;
};

namespace reference {

/// The sequence of each sample by the definition: each unpacked sample opens a sequence, and every
/// later one that is still unpacked is added where it fits.
inline std::vector<std::int32_t> pack_window(std::span<const SampleLength> window) {
  SampleLength longest;
  for (const SampleLength& sample : window) {
    longest = {std::max(longest.input, sample.input), std::max(longest.target, sample.target)};
  }
  std::vector<std::int32_t> sequence_of(window.size(), -1);
  std::int32_t sequences = 0;
  for (std::size_t i = 0; i < window.size(); ++i) {
    if (sequence_of[i] >= 0) continue;
    SampleLength used = window[i];
    sequence_of[i] = sequences;
    for (std::size_t j = i + 1; j < window.size(); ++j) {
      const bool fits =
          sequence_of[j] < 0 && used.input + window[j].input + 1 <= longest.input &&
          (longest.target == 0 || used.target + window[j].target + 1 <= longest.target);
      if (!fits) continue;
      sequence_of[j] = sequences;
      used = {used.input + window[j].input + 1, used.target + window[j].target + 1};
    }
    ++sequences;
  }
  return sequence_of;
}

}  // namespace reference
}  // namespace researchkit::dynapipe
