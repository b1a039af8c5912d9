#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "researchkit/core/arbitrary.hpp"
#include "researchkit/core/operator.hpp"
#include "researchkit/core/parallel.hpp"
#include "researchkit/dynapipe/window_cost.hpp"

namespace researchkit::dynapipe {
namespace detail {

inline constexpr std::string_view kGridRange = "[1, 268435456]";

/// Refuses a grid that does not ascend.
inline void check_grid(const Check& check, std::string_view argument, In<std::int32_t, 1> grid) {
  for (std::int64_t i = 1; i < grid.extent(0); ++i) {
    if (grid(i) <= grid(i - 1)) {
      check.refuse(argument, "strictly ascending numbers",
                   std::to_string(grid(i)) + " after " + std::to_string(grid(i - 1)) + " at [" +
                       std::to_string(i) + "]");
    }
  }
}

inline std::span<const std::int32_t> grid_of(In<std::int32_t, 1> grid) {
  return {grid.data_handle(), static_cast<std::size_t>(grid.extent(0))};
}

/// Makes random grids ascend.
inline void make_grids_ascend(Arbitrary& random) {
  for (const char* name : {"grid0", "grid1", "grid2", "mbs_grid", "seq_grid"}) {
    Tensor* grid = random.call.inputs.find(name);
    if (grid == nullptr) continue;
    std::int32_t last = 0;
    for (std::int32_t& point : grid->values<std::int32_t>()) {
      last += static_cast<std::int32_t>(random.integer(1, 5));
      point = last;
    }
  }
}

}  // namespace detail

/// Multilinear interpolation in a profile over two or three axes.
///
///     auto costs = profile_interp(ctx, {.table = table, .grid0 = mbs, .grid1 = lengths,
///                                       .query = queries});
///
/// +inf above the last grid point of an axis and where a corner that counts is missing (NaN). See
/// interpolate() for the arithmetic. O(N Q 2^axes).
template <int Axes>
struct ProfileInterp {
  static constexpr std::string_view name = "dynapipe.profile_interp";
  static constexpr std::string_view summary = "Multilinear interpolation in a profile.";

  In<double, Axes + 1> table = {};  // [Q, G0, G1] or [Q, G0, G1, G2]
  In<std::int32_t, 1> grid0 = {};   // [G0]
  In<std::int32_t, 1> grid1 = {};   // [G1]
  In<std::int32_t, 1> grid2 = {};   // [G2], with three axes
  In<std::int32_t, 2> query = {};   // [N, axes]
  Out<double, 2> values = {};       // [Q, N]
  Below below = Below::clamp;

  void describe(Description& io) {
    io.dimension("G0", "[1, inf)", "points of the first axis");
    io.dimension("G1", "[1, inf)", "points of the second axis");
    io.dimension("G2", "[1, inf)", "points of the third axis");
    io.input(table, "table", Axes == 2 ? "Q G0 G1" : "Q G0 G1 G2", "quantities; NaN: missing",
             {.contiguous = true});
    io.input(grid0, "grid0", "G0", "first axis, ascending",
             {.in = detail::kGridRange, .contiguous = true});
    io.input(grid1, "grid1", "G1", "second axis, ascending",
             {.in = detail::kGridRange, .contiguous = true});
    if constexpr (Axes == 3) {
      io.input(grid2, "grid2", "G2", "third axis, ascending",
               {.in = detail::kGridRange, .contiguous = true});
    }
    io.input(query, "query", Axes == 2 ? "N 2" : "N 3", "places");
    io.output(values, "values", "Q N", "interpolated quantities, +inf where unknown");
    io.attribute(below, "below", "what holds below the first grid point");
  }
  void validate(const Check& check) const {
    detail::check_grid(check, "grid0", grid0);
    detail::check_grid(check, "grid1", grid1);
    if constexpr (Axes == 3) detail::check_grid(check, "grid2", grid2);
  }
  Cost cost() const {
    const auto n = static_cast<double>(query.extent(0)), q = static_cast<double>(table.extent(0));
    return {n * q * (1 << Axes) * 2,
            4 * Axes * n + 8 * static_cast<double>(table.size()) + 8 * n * q, true};
  }
  void run(const Context& ctx) const {
    parallel_for(ctx, query.extent(0), 1024,
                 [&](std::int64_t begin, std::int64_t end) { interpolate_all(begin, end); });
  }
  void reference() const {
    for (std::int64_t i = 0; i < query.extent(0); ++i) {
      for (std::int64_t q = 0; q < table.extent(0); ++q) values(q, i) = plain(i, q);
    }
  }
  static void arbitrary(Arbitrary& random) { detail::make_grids_ascend(random); }

 private:
  const In<std::int32_t, 1>& grid(int axis) const {
    return axis == 0 ? grid0 : axis == 1 ? grid1 : grid2;
  }

  void interpolate_all(std::int64_t begin, std::int64_t end) const {
    for (std::int64_t i = begin; i < end; ++i) {
      std::array<GridPlace, Axes> place;
      bool covered = true;
      for (int axis = 0; axis < Axes; ++axis) {
        const auto found = locate(detail::grid_of(grid(axis)), query(i, axis), below);
        covered = covered && found.has_value();
        place[static_cast<std::size_t>(axis)] = found.value_or(GridPlace{});
      }
      for (std::int64_t q = 0; q < table.extent(0); ++q) {
        values(q, i) =
            covered ? interpolate(table[q], place) : std::numeric_limits<double>::infinity();
      }
    }
  }

  /// One value by the definition: all corners, linear search.
  double plain(std::int64_t i, std::int64_t q) const {
    std::array<std::int64_t, 3> low{};
    std::array<double, 3> weight{};
    for (int axis = 0; axis < Axes; ++axis) {
      const auto& points = grid(axis);
      const double at = query(i, axis);
      const std::int64_t last = points.extent(0) - 1;
      if (at > points(last)) return std::numeric_limits<double>::infinity();
      std::int64_t k = last;
      while (k > 0 && points(k) > at) --k;
      const auto slot = static_cast<std::size_t>(axis);
      low[slot] = k;
      const bool outside = at < points(0) && below == Below::clamp;
      if (k < last && !outside) weight[slot] = (at - points(k)) / (points(k + 1) - points(k));
    }
    double sum = 0;
    for (int corner = 0; corner < (1 << Axes); ++corner) {
      double product = 1;
      std::int64_t at = q;
      for (int axis = 0; axis < Axes; ++axis) {
        const auto slot = static_cast<std::size_t>(axis);
        const int high = (corner >> (Axes - 1 - axis)) & 1;
        product *= high != 0 ? weight[slot] : 1 - weight[slot];
        at = at * grid(axis).extent(0) + low[slot] + high;
      }
      if (product == 0) continue;
      if (table.data_handle()[at] != table.data_handle()[at]) {
        return std::numeric_limits<double>::infinity();
      }
      sum += product * table.data_handle()[at];
    }
    return sum;
  }
};
static_assert(OperatorStruct<ProfileInterp<2>> && OperatorStruct<ProfileInterp<3>>);
inline auto profile_interp(const Context& ctx, ProfileInterp<2> op) { return run(ctx, op); }
inline auto profile_interp(const Context& ctx, ProfileInterp<3> op) { return run(ctx, op); }

/// Time and memory of every window of ordered samples; see window_costs and ShapeCosts.
struct WindowCosts {
  static constexpr std::string_view name = "dynapipe.window_cost";
  static constexpr std::string_view summary =
      "Time and memory of every micro-batch that consecutive samples can make.";
  static constexpr Tolerance tolerance = {.rtol = 1e-12, .atol = 1e-12};

  In<std::int32_t, 2> lengths = {};   // [n, 2]
  In<std::int32_t, 1> mbs_grid = {};  // [G0]
  In<std::int32_t, 1> seq_grid = {};  // [G1]
  In<double, 3> enc_table = {};       // [6, G0, G1]
  In<double, 4> dec_table = {};       // [4, G0, G1, G1] or [4, 0, 0, 0]
  Out<double, 2> time = {};           // [n, W]
  Out<double, 2> stored = {};         // [n, W]
  Out<double, 2> peak = {};           // [n, W]
  std::int64_t layers_per_stage = 1;
  std::int64_t n_chunks = 1;
  std::int64_t width = 0;
  std::int64_t round_multiple = 8;
  std::int64_t dec_extra = 2;
  std::int64_t seqlen_offset = 0;
  Below below = Below::clamp;

  void describe(Description& io) {
    io.dimension("n", "[1, inf)", "samples");
    io.dimension("G0", "[1, inf)", "points of the axis of samples");
    io.dimension("G1", "[1, inf)", "points of the axis of lengths");
    io.input(lengths, "lengths", "n 2", "input (at least 1) and target length, in order",
             {.in = "[0, 268435456]"});
    io.input(mbs_grid, "mbs_grid", "G0", "samples of a micro-batch, ascending",
             {.in = detail::kGridRange, .contiguous = true});
    io.input(seq_grid, "seq_grid", "G1", "padded lengths, ascending",
             {.in = detail::kGridRange, .contiguous = true});
    io.input(enc_table, "enc_table", "6 G0 G1",
             "forward, backward, forward and backward of the loss, stored, peak",
             {.contiguous = true});
    io.input(dec_table, "dec_table", "4 D0 D1 D2",
             "forward, backward, stored, peak over (samples, input, target); empty: no decoder",
             {.contiguous = true});
    io.output(time, "time", "n W", "ms of the window [i, i + k + 1)");
    io.output(stored, "stored", "n W", "MB kept until its backward");
    io.output(peak, "peak", "n W", "largest MB in its forward");
    io.attribute(layers_per_stage, "layers_per_stage", "layers of a stage", {.in = "[1, 65536]"});
    io.attribute(n_chunks, "n_chunks", "chunks of a stage: 1 or even", {.in = "[1, 65536]"});
    io.attribute(width, "width", "samples of the longest window; 0: all", {.in = "[0, inf)"});
    io.attribute(round_multiple, "round_multiple", "padded lengths are multiples of this",
                 {.in = "[1, 1048576]"});
    io.attribute(dec_extra, "dec_extra", "begin and end tokens of a target",
                 {.in = "[0, 1048576]"});
    io.attribute(seqlen_offset, "seqlen_offset",
                 "1 where the input is one token shorter than the sample", {.in = "[0, 1048576]"});
    io.attribute(below, "below", "what holds below the first grid point");
  }
  void infer(Extents& extents) const { extents.set("W", width > 0 ? width : lengths.extent(0)); }
  void validate(const Check& check) const {
    if (n_chunks != 1 && n_chunks % 2 != 0) {
      check.refuse("n_chunks", "1 or an even number", std::to_string(n_chunks));
    }
    detail::check_grid(check, "mbs_grid", mbs_grid);
    detail::check_grid(check, "seq_grid", seq_grid);
    const Shape shape = {4, mbs_grid.extent(0), seq_grid.extent(0), seq_grid.extent(0)};
    const Shape got(dec_table.extents().begin(), dec_table.extents().end());
    if (got != shape && got != Shape{4, 0, 0, 0}) {
      check.refuse("dec_table", "shape " + to_string(shape) + " or [4, 0, 0, 0]", to_string(got));
    }
    for (std::int64_t i = 0; i < lengths.extent(0); ++i) {
      const std::string where = " at [" + std::to_string(i) + "]";
      if (lengths(i, 0) == 0) check.refuse("lengths", "inputs of at least 1 token", "0" + where);
      if ((lengths(i, 1) > 0) != (lengths(0, 1) > 0)) {
        check.refuse("lengths", "samples that all have a target, or none",
                     std::to_string(lengths(i, 1)) + " target tokens" + where);
      }
    }
    if (lengths(0, 1) > 0 && dec_table.empty()) {
      check.refuse("dec_table", "shape " + to_string(shape) + ", because samples have targets",
                   to_string(got));
    }
  }
  Cost cost() const {
    const auto windows = static_cast<double>(time.size());
    return {100 * windows, 24 * windows, true};
  }
  void run(const Context&) const {
    window_costs(samples_of(lengths), tables(), stage(), rounding(), time, stored, peak);
  }
  void reference() const {
    for (std::int64_t i = 0; i < time.extent(0); ++i) {
      std::int64_t input = 0, target = 0;
      for (std::int64_t k = 0; k < time.extent(1); ++k) {
        WindowCost window = {kNever, kNever, kNever};
        if (i + k < lengths.extent(0)) {
          input = std::max<std::int64_t>(input, lengths(i + k, 0));
          target = std::max<std::int64_t>(target, lengths(i + k, 1));
          window = dynapipe::window_cost(tables(), stage(), k + 1, rounding().input(input),
                                         rounding().target(target));
        }
        time(i, k) = window.time;
        stored(i, k) = window.stored;
        peak(i, k) = window.peak;
      }
    }
  }
  static void arbitrary(Arbitrary& random) {
    detail::make_grids_ascend(random);
    random.call.attributes["n_chunks"] =
        random.chance(0.5) ? std::int64_t{1} : 2 * random.integer(1, 3);
    if (random.size("n") > 64) random.call.attributes["width"] = random.integer(1, 8);
    const bool targets = random.chance(0.5);
    auto lengths = random.call.inputs.find("lengths")->values<std::int32_t>();
    for (std::size_t i = 0; i < lengths.size(); i += 2) {
      lengths[i] = static_cast<std::int32_t>(random.integer(1, 60));
      lengths[i + 1] = targets ? static_cast<std::int32_t>(random.integer(1, 40)) : 0;
    }
    const std::int64_t mbs = random.size("G0"), seq = random.size("G1");
    Tensor decoder(DType::f64, targets ? Shape{4, mbs, seq, seq} : Shape{4, 0, 0, 0});
    for (double& value : decoder.values<double>()) value = random.normal();
    random.call.inputs.set("dec_table", decoder);
  }

 private:
  static constexpr double kNever = std::numeric_limits<double>::infinity();
  LayerTables tables() const {
    return {detail::grid_of(mbs_grid), detail::grid_of(seq_grid), enc_table, dec_table, below};
  }
  StageShape stage() const { return {layers_per_stage, n_chunks}; }
  Rounding rounding() const { return {round_multiple, dec_extra, seqlen_offset}; }
};
static_assert(OperatorStruct<WindowCosts>);
inline auto window_cost(const Context& ctx, WindowCosts op) { return run(ctx, op); }

}  // namespace researchkit::dynapipe
