#include "researchkit/dynapipe/window_cost.hpp"

#include <algorithm>
#include <limits>

namespace researchkit::dynapipe {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr WindowCost kNotCovered = {kInfinity, kInfinity, kInfinity};

std::size_t hash_of(std::int64_t input, std::int64_t target) {
  const auto key = (static_cast<std::uint64_t>(input) << 32) ^ static_cast<std::uint64_t>(target);
  return static_cast<std::size_t>((key * 0x9E3779B97F4A7C15U) >> 32);
}

}  // namespace

ShapeCosts::ShapeCosts(const LayerTables& tables, StageShape stage)
    : tables_(tables),
      stage_(stage),
      largest_batch_(tables.mbs_grid.empty() ? 0 : tables.mbs_grid.back()),
      slots_(64, -1) {}

WindowCost ShapeCosts::cost(std::int64_t samples, std::int64_t input, std::int64_t target) const {
  const auto batch = locate(tables_.mbs_grid, samples, tables_.below);
  const auto in = locate(tables_.seq_grid, input, tables_.below);
  if (!batch || !in) return kNotCovered;
  const bool has_target = target > 0;
  const auto out = has_target ? locate(tables_.seq_grid, target, tables_.below) : in;
  if (!out) return kNotCovered;
  const auto encoder = [&](int quantity) {
    return interpolate(tables_.encoder[quantity], {*batch, *in});
  };
  const auto post = [&](int quantity) {
    return interpolate(tables_.encoder[quantity], {*batch, *out});
  };
  const auto decoder = [&](int quantity) {
    return interpolate(tables_.decoder[quantity], {*batch, *in, *out});
  };
  const auto layers = static_cast<double>(stage_.layers);
  const auto chunks = static_cast<double>(stage_.chunks);
  double encoder_time = (encoder(0) + encoder(1)) * layers;
  double decoder_time = 0, decoder_stored = 0, decoder_peak = 0;
  if (has_target) {
    decoder_time = (decoder(0) + decoder(1)) * layers + (post(2) + post(3));
    decoder_stored = decoder(2);
    decoder_peak = decoder(3);
  } else {
    encoder_time = encoder_time + (post(2) + post(3));
  }
  const double encoder_stored = encoder(4);
  const bool one_kind = stage_.chunks == 1;
  const double time = one_kind
                          ? std::max(encoder_time, decoder_time)
                          : (encoder_time + decoder_time) * static_cast<double>(stage_.chunks / 2);
  const double layer_stored = one_kind ? std::max(encoder_stored, decoder_stored)
                                       : (encoder_stored + decoder_stored) * chunks / 2;
  const double layer_peak = std::max(encoder(5), decoder_peak);
  // One layer keeps nothing of others: 0 layers times +inf is no number.
  const double others = stage_.layers > 1 ? layer_stored * (layers - 1) : 0;
  return {time, layer_stored * layers, layer_peak + others};
}

ShapeCosts::Entry& ShapeCosts::entry_of(std::int64_t input, std::int64_t target) {
  const auto find = [&] {
    std::size_t slot = hash_of(input, target) & (slots_.size() - 1);
    while (slots_[slot] >= 0) {
      const Entry& entry = entries_[static_cast<std::size_t>(slots_[slot])];
      if (entry.input == input && entry.target == target) break;
      slot = (slot + 1) & (slots_.size() - 1);
    }
    return slot;
  };
  std::size_t slot = find();
  if (slots_[slot] >= 0) return entries_[static_cast<std::size_t>(slots_[slot])];
  if (2 * (entries_.size() + 1) > slots_.size()) {
    slots_.assign(2 * slots_.size(), -1);
    for (std::size_t e = 0; e < entries_.size(); ++e) {
      std::size_t free = hash_of(entries_[e].input, entries_[e].target) & (slots_.size() - 1);
      while (slots_[free] >= 0) free = (free + 1) & (slots_.size() - 1);
      slots_[free] = static_cast<std::int32_t>(e);
    }
    slot = find();
  }
  slots_[slot] = static_cast<std::int32_t>(entries_.size());
  return entries_.emplace_back(Entry{input, target, {}});
}

std::span<const WindowCost> ShapeCosts::batches(std::int64_t input, std::int64_t target,
                                                std::int64_t samples) {
  Entry& entry = entry_of(input, target);
  for (auto b = static_cast<std::int64_t>(entry.costs.size()) + 1; b <= samples; ++b) {
    entry.costs.push_back(cost(b, input, target));
  }
  return std::span(entry.costs).first(static_cast<std::size_t>(samples));
}

void window_costs(std::span<const SampleLength> ordered, const LayerTables& tables,
                  StageShape stage, const Rounding& rounding, Out<double, 2> time,
                  Out<double, 2> stored, Out<double, 2> peak) {
  ShapeCosts costs(tables, stage);
  const auto n = static_cast<std::int64_t>(ordered.size());
  const std::int64_t width = time.extent(1);
  for (std::int64_t i = 0; i < n; ++i) {
    SampleLength longest, priced;
    std::span<const WindowCost> row;
    const std::int64_t inside = std::min(width, n - i);
    for (std::int64_t k = 0; k < width; ++k) {
      WindowCost cost = kNotCovered;
      if (k < inside) {
        const SampleLength& sample = ordered[static_cast<std::size_t>(i + k)];
        longest = {std::max(longest.input, sample.input), std::max(longest.target, sample.target)};
        if (k == 0 || longest != priced) {
          row = costs.batches(rounding.input(longest.input), rounding.target(longest.target),
                              std::min(inside, costs.largest_batch()));
          priced = longest;
        }
        if (k < static_cast<std::int64_t>(row.size())) cost = row[static_cast<std::size_t>(k)];
      }
      time(i, k) = cost.time;
      stored(i, k) = cost.stored;
      peak(i, k) = cost.peak;
    }
  }
}

}  // namespace researchkit::dynapipe
