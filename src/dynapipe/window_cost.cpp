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

/// What a layer's tables say about one micro-batch, times the layers of a stage.
struct Parts {
  double encoder_time, decoder_time, encoder_stored, decoder_stored, encoder_peak, decoder_peak;
};

/// (E3) to (E5): the parts put together.
WindowCost combine(const Parts& parts, const StageShape& stage) {
  const bool one_kind = stage.chunks == 1;
  const auto layers = static_cast<double>(stage.layers);
  const std::int64_t pairs = stage.chunks / 2;  // chunks of both kinds, as chunks is 1 or even
  const double time = one_kind
                          ? std::max(parts.encoder_time, parts.decoder_time)
                          : (parts.encoder_time + parts.decoder_time) * static_cast<double>(pairs);
  const double stored = one_kind ? std::max(parts.encoder_stored, parts.decoder_stored)
                                 : (parts.encoder_stored + parts.decoder_stored) *
                                       static_cast<double>(stage.chunks) / 2;
  // One layer keeps nothing of others: 0 layers times +inf is no number.
  const double others = stage.layers > 1 ? stored * (layers - 1) : 0;
  return {time, stored * layers, std::max(parts.encoder_peak, parts.decoder_peak) + others};
}

/// Adds up what `encoder`, `post` and `decoder` say of each quantity.
template <class Encoder, class Post, class Decoder>
Parts parts_of(const StageShape& stage, bool has_target, Encoder&& encoder, Post&& post,
               Decoder&& decoder) {
  const auto layers = static_cast<double>(stage.layers);
  Parts parts{(encoder(0) + encoder(1)) * layers, 0, encoder(4), 0, encoder(5), 0};
  const double loss = post(2) + post(3);
  if (has_target) {
    parts.decoder_time = (decoder(0) + decoder(1)) * layers + loss;
    parts.decoder_stored = decoder(2);
    parts.decoder_peak = decoder(3);
  } else {
    parts.encoder_time += loss;
  }
  return parts;
}

/// The corners that count of a place in the plane of lengths, as offsets from the first entry at a
/// point of the axis of samples.
class Corners {
 public:
  explicit Corners(const GridPlace& length) {
    add(length.low, 1 - length.weight);
    add(length.low + 1, length.weight);
  }
  Corners(const GridPlace& input, const GridPlace& target, std::int64_t row) {
    for (const int a : {0, 1}) {
      const double weight = a != 0 ? input.weight : 1 - input.weight;
      add((input.low + a) * row + target.low, weight * (1 - target.weight));
      add((input.low + a) * row + target.low + 1, weight * target.weight);
    }
  }
  /// The interpolated entry; +inf where a corner is missing.
  double of(const double* first) const {
    double sum = 0;
    for (std::size_t c = 0; c < count_; ++c) sum += weight_[c] * first[offset_[c]];
    return sum == sum ? sum : kInfinity;
  }

 private:
  void add(std::int64_t offset, double weight) {
    if (weight == 0) return;
    offset_[count_] = offset;
    weight_[count_++] = weight;
  }
  std::array<std::int64_t, 4> offset_{};
  std::array<double, 4> weight_{};
  std::size_t count_ = 0;
};

}  // namespace

WindowCost window_cost(const LayerTables& tables, StageShape stage, std::int64_t samples,
                       std::int64_t input, std::int64_t target) {
  const auto batch = locate(tables.mbs_grid, samples, tables.below);
  const auto in = locate(tables.seq_grid, input, tables.below);
  const auto out = target > 0 ? locate(tables.seq_grid, target, tables.below) : in;
  if (!batch || !in || !out) return kNotCovered;
  const auto encoder = [&](int q) { return interpolate(tables.encoder[q], {*batch, *in}); };
  const auto post = [&](int q) { return interpolate(tables.encoder[q], {*batch, *out}); };
  const auto decoder = [&](int q) { return interpolate(tables.decoder[q], {*batch, *in, *out}); };
  return combine(parts_of(stage, target > 0, encoder, post, decoder), stage);
}

ShapeCosts::ShapeCosts(const LayerTables& tables, StageShape stage, std::int64_t most_samples,
                       double stored_limit, double peak_limit)
    : tables_(tables),
      stage_(stage),
      stored_limit_(stored_limit),
      peak_limit_(peak_limit),
      slots_(64, -1) {
  for (std::int64_t samples = 1; samples <= most_samples; ++samples) {
    const auto place = locate(tables.mbs_grid, samples, tables.below);
    if (!place) break;
    places_.push_back(*place);
  }
}

std::vector<std::array<double, 6>> ShapeCosts::points_of(std::int64_t input,
                                                         std::int64_t target) const {
  const auto in = locate(tables_.seq_grid, input, tables_.below);
  const auto out = target > 0 ? locate(tables_.seq_grid, target, tables_.below) : in;
  if (!in || !out) return {};
  // Points behind the one that the largest micro-batch needs are never read.
  const std::size_t count = places_.empty() ? 0
                                            : static_cast<std::size_t>(places_.back().low) +
                                                  (places_.back().weight != 0 ? 2 : 1);
  std::vector<std::array<double, 6>> points(count);
  const std::int64_t row = tables_.encoder.extent(2);
  const Corners at_input(*in), at_output(*out);
  const Corners at_both = target > 0 ? Corners(*in, *out, row) : at_input;
  for (std::size_t g = 0; g < points.size(); ++g) {
    const auto point = static_cast<std::int64_t>(g);
    const auto encoder = [&](int q) { return at_input.of(&tables_.encoder(q, point, 0)); };
    const auto post = [&](int q) { return at_output.of(&tables_.encoder(q, point, 0)); };
    const auto decoder = [&](int q) { return at_both.of(&tables_.decoder(q, point, 0, 0)); };
    const Parts parts = parts_of(stage_, target > 0, encoder, post, decoder);
    points[g] = {parts.encoder_time,   parts.decoder_time, parts.encoder_stored,
                 parts.decoder_stored, parts.encoder_peak, parts.decoder_peak};
  }
  return points;
}

const ShapeCosts::Shape& ShapeCosts::shape(std::int64_t input, std::int64_t target) {
  const auto slot_of = [&](std::int64_t e, std::int64_t d) {
    std::size_t slot = hash_of(e, d) & (slots_.size() - 1);
    while (slots_[slot] >= 0) {
      const Shape& shape = shapes_[static_cast<std::size_t>(slots_[slot])];
      if (shape.input == e && shape.target == d) break;
      slot = (slot + 1) & (slots_.size() - 1);
    }
    return slot;
  };
  std::size_t slot = slot_of(input, target);
  if (slots_[slot] >= 0) return shapes_[static_cast<std::size_t>(slots_[slot])];
  if (2 * (shapes_.size() + 1) > slots_.size()) {
    slots_.assign(2 * slots_.size(), -1);
    for (std::size_t k = 0; k < shapes_.size(); ++k) {
      slots_[slot_of(shapes_[k].input, shapes_[k].target)] = static_cast<std::int32_t>(k);
    }
    slot = slot_of(input, target);
  }
  slots_[slot] = static_cast<std::int32_t>(shapes_.size());
  Shape& added = shapes_.emplace_back(Shape{input, target, points_of(input, target), 0});
  added.most_samples = most_samples_of(added);
  return added;
}

/// Between two grid points no part is below its smaller end, and what is put together grows with its
/// parts: pieces whose smaller ends exceed a limit hold nothing that fits.
std::int64_t ShapeCosts::most_samples_of(const Shape& shape) const {
  constexpr double kRounding = 1 - 1e-12;
  const bool extrapolates = !places_.empty() && places_.front().weight < 0;
  if (extrapolates) return largest_batch();
  for (auto samples = shape.points.empty() ? 0 : largest_batch(); samples > 0;) {
    const GridPlace& place = places_[static_cast<std::size_t>(samples - 1)];
    std::array<double, 6> least = shape.points[static_cast<std::size_t>(place.low)];
    if (place.weight != 0) {
      const auto& high = shape.points[static_cast<std::size_t>(place.low + 1)];
      for (std::size_t q = 0; q < least.size(); ++q) {
        const bool missing = least[q] == kInfinity || high[q] == kInfinity;
        least[q] = missing ? kInfinity : std::min(least[q], high[q]);
      }
    }
    const WindowCost bound =
        combine({least[0], least[1], least[2], least[3], least[4], least[5]}, stage_);
    if (bound.time < kInfinity && bound.stored * kRounding <= stored_limit_ &&
        bound.peak * kRounding <= peak_limit_) {
      return samples;
    }
    // On to the grid point that the piece begins with, or from a point to the piece before it.
    const auto begin = std::int64_t{tables_.mbs_grid[static_cast<std::size_t>(place.low)]};
    samples = place.weight != 0 ? std::min(begin, samples - 1) : samples - 1;
  }
  return 0;
}

WindowCost ShapeCosts::cost(const Shape& shape, std::int64_t samples) const {
  if (shape.points.empty()) return kNotCovered;
  const GridPlace& place = places_[static_cast<std::size_t>(samples - 1)];
  const auto& low = shape.points[static_cast<std::size_t>(place.low)];
  if (place.weight == 0) {
    return combine({low[0], low[1], low[2], low[3], low[4], low[5]}, stage_);
  }
  const auto& high = shape.points[static_cast<std::size_t>(place.low + 1)];
  const double v = place.weight, u = 1 - v;
  // A missing point is +inf, also where its weight is negative.
  const auto between = [&](std::size_t q) {
    const bool missing = low[q] == kInfinity || high[q] == kInfinity;
    return missing ? kInfinity : u * low[q] + v * high[q];
  };
  return combine({between(0), between(1), between(2), between(3), between(4), between(5)}, stage_);
}

void window_costs(std::span<const SampleLength> ordered, const LayerTables& tables,
                  StageShape stage, const Rounding& rounding, Out<double, 2> time,
                  Out<double, 2> stored, Out<double, 2> peak) {
  const auto n = static_cast<std::int64_t>(ordered.size());
  const std::int64_t width = time.extent(1);
  ShapeCosts costs(tables, stage, std::min(n, width));
  for (std::int64_t i = 0; i < n; ++i) {
    SampleLength longest, priced;
    const ShapeCosts::Shape* shape = nullptr;
    const std::int64_t inside = std::min({width, n - i, costs.largest_batch()});
    for (std::int64_t k = 0; k < width; ++k) {
      WindowCost cost = kNotCovered;
      if (k < inside) {
        const SampleLength& sample = ordered[static_cast<std::size_t>(i + k)];
        longest = {std::max(longest.input, sample.input), std::max(longest.target, sample.target)};
        if (shape == nullptr || longest != priced) {
          shape = &costs.shape(rounding.input(longest.input), rounding.target(longest.target));
          priced = longest;
        }
        cost = costs.cost(*shape, k + 1);
      }
      time(i, k) = cost.time;
      stored(i, k) = cost.stored;
      peak(i, k) = cost.peak;
    }
  }
}

}  // namespace researchkit::dynapipe
