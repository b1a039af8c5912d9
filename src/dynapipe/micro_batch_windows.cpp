#include "src/dynapipe/micro_batch_windows.hpp"

#include <algorithm>

namespace researchkit::dynapipe::detail {
namespace {

SampleLength longer(const SampleLength& a, const SampleLength& b) {
  return {std::max(a.input, b.input), std::max(a.target, b.target)};
}

}  // namespace

MicroBatchWindows::MicroBatchWindows(std::span<const SampleLength> ordered,
                                     const LayerTables& tables, StageShape stage,
                                     const PlanOptions& options, bool pack, double stored_limit,
                                     double peak_limit)
    : ordered_(ordered),
      options_(options),
      pack_(pack),
      stored_limit_(stored_limit),
      peak_limit_(peak_limit),
      costs_(tables, stage, static_cast<std::int64_t>(ordered.size()), stored_limit, peak_limit),
      ahead_(ordered.size() + 1) {
  for (std::size_t i = ordered.size(); i-- > 0;) ahead_[i] = longer(ahead_[i + 1], ordered[i]);
}

WindowRows MicroBatchWindows::rows(const Context& ctx) {
  WindowRows rows;
  for (std::int64_t i = 0; i < static_cast<std::int64_t>(ordered_.size()); ++i) {
    if (i % 64 == 0) ctx.check_cancelled();
    add_row(i, rows);
    rows.end_row();
  }
  return rows;
}

void MicroBatchWindows::add_row(std::int64_t begin, WindowRows& rows) {
  const auto n = static_cast<std::int64_t>(ordered_.size());
  const std::int64_t longest_window = options_.longest_window > 0 ? options_.longest_window : n;
  const std::int64_t most_samples = pack_ ? n : costs_.largest_batch();
  const std::int64_t width = std::min({n - begin, most_samples, longest_window});
  SampleLength longest, priced;
  const ShapeCosts::Shape* shape = nullptr;
  packing_.clear();
  for (std::int64_t k = 0; k < width; ++k) {
    const auto at = static_cast<std::size_t>(begin + k);
    longest = longer(longest, ordered_[at]);
    if (shape == nullptr || longest != priced) {
      shape = &shape_of(longest);
      priced = longest;
    }
    const std::int64_t samples = k + 1;
    const std::int64_t sequences =
        pack_ ? packing_.add(ordered_[at], shape->most_samples) : samples;
    if (sequences > shape->most_samples) {
      // Behind the longest samples a window's shape changes no more.
      if (longer(longest, ahead_[at]) == longest) break;
      rows.push(kImpossible);
      continue;
    }
    const Ticks plain = ticks(*shape, samples);
    rows.push(sequences < samples ? std::min(plain, ticks(*shape, sequences)) : plain);
  }
}

MicroBatch MicroBatchWindows::micro_batch(std::int64_t begin, std::int64_t end,
                                          std::span<const std::int32_t> order) {
  MicroBatch batch;
  SampleLength longest;
  packing_.clear();
  for (std::int64_t i = begin; i < end; ++i) {
    const SampleLength& sample = ordered_[static_cast<std::size_t>(i)];
    batch.samples.push_back(order[static_cast<std::size_t>(i)]);
    longest = longer(longest, sample);
    if (pack_) packing_.add(sample);
  }
  const ShapeCosts::Shape& shape = shape_of(longest);
  std::int64_t sequences = end - begin;
  if (pack_ && ticks(shape, packing_.sequences()) < ticks(shape, sequences)) {
    sequences = packing_.sequences();
    batch.sequence_of = packing_.sequence_of();
  }
  batch.shape = {static_cast<std::int32_t>(sequences), static_cast<std::int32_t>(shape.input),
                 static_cast<std::int32_t>(shape.target)};
  return batch;
}

Ticks MicroBatchWindows::ticks(const ShapeCosts::Shape& shape, std::int64_t sequences) const {
  if (sequences > shape.most_samples) return kImpossible;
  const WindowCost cost = costs_.cost(shape, sequences);
  const bool fits = cost.stored <= stored_limit_ && cost.peak <= peak_limit_;
  return fits ? to_ticks(cost.time) : kImpossible;
}

const ShapeCosts::Shape& MicroBatchWindows::shape_of(const SampleLength& longest) {
  return costs_.shape(options_.rounding.input(longest.input),
                      options_.rounding.target(longest.target));
}

}  // namespace researchkit::dynapipe::detail
