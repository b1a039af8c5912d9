#pragma once

#include <cmath>
#include <cstdint>
#include <string>
#include <string_view>

#include "researchkit/core/arbitrary.hpp"
#include "researchkit/core/operator.hpp"
#include "researchkit/core/parallel.hpp"
#include "researchkit/dynapipe/baselines.hpp"
#include "researchkit/dynapipe/reference_path.hpp"
#include "researchkit/dynapipe/sample_order.hpp"

namespace researchkit::dynapipe {

/// Lengths of a seeded mixture of tasks; see flan_length.
///
///     auto mixture = flan_lengths(ctx, {.seed = 11, .count = 1000, .kind = ModelKind::decoder});
struct FlanLengths {
  static constexpr std::string_view name = "dynapipe.flan_lengths";
  static constexpr std::string_view summary = "Lengths of a seeded mixture of tasks like FLANv2.";

  Out<std::int32_t, 2> lengths = {};  // [count, 2]
  std::uint64_t seed = 0;
  std::int64_t count = 0;
  ModelKind kind = ModelKind::encdec;
  std::int64_t max_seqlen = 8192;

  void describe(Description& io) {
    io.output(lengths, "lengths", "count 2", "input and target length in tokens");
    io.attribute(seed, "seed", "of the samples");
    io.attribute(count, "count", "samples", {.in = "[0, 1073741824]"});
    io.attribute(kind, "kind", "pairs, or both sequences joined and a target of 0");
    io.attribute(max_seqlen, "max_seqlen", "longer sequences are truncated",
                 {.in = "[1, 268435456]"});
  }
  Cost cost() const {
    return {40.0 * static_cast<double>(count), 8.0 * static_cast<double>(count)};
  }
  void run(const Context& ctx) const {
    parallel_for(ctx, count, 4096, [&](std::int64_t begin, std::int64_t end) { fill(begin, end); });
  }
  void reference() const { fill(0, count); }

 private:
  void fill(std::int64_t begin, std::int64_t end) const {
    for (std::int64_t i = begin; i < end; ++i) {
      const SampleLength sample = flan_length(seed, i, kind, max_seqlen);
      lengths(i, 0) = sample.input;
      lengths(i, 1) = sample.target;
    }
  }
};
static_assert(OperatorStruct<FlanLengths>);
inline auto flan_lengths(const Context& ctx, FlanLengths op) { return run(ctx, op); }

namespace detail {

inline constexpr std::string_view kLengthRange = "[0, 268435456]";

inline void describe_rounding(Description& io, std::int64_t& multiple, std::int64_t& dec_extra) {
  io.attribute(multiple, "round_multiple", "padded lengths are multiples of this",
               {.in = "[1, 1048576]"});
  io.attribute(dec_extra, "dec_extra", "begin and end tokens added to a target",
               {.in = "[0, 1048576]"});
}

}  // namespace detail

/// The order in which samples are cut into micro-batches; see order_samples in sample_order.hpp.
struct OrderSamples {
  static constexpr std::string_view name = "dynapipe.order_samples";
  static constexpr std::string_view summary =
      "Puts samples in line so that neighbours have similar "
      "lengths.";

  In<std::int32_t, 2> lengths = {};       // [n, 2]
  Out<std::int32_t, 1> perm = {};         // [n]
  Out<std::int64_t, 1> path_length = {};  // [1]
  OrderMethod method = OrderMethod::sort;
  std::int64_t round_multiple = 8;
  std::int64_t dec_extra = 2;
  std::int64_t max_sweeps = 16;

  void describe(Description& io) {
    io.input(lengths, "lengths", "n 2", "input and target length", {.in = detail::kLengthRange});
    io.output(perm, "perm", "n", "samples in order");
    io.output(path_length, "path_length", "1", "sum of L1 distances of neighbours");
    io.attribute(method, "method", "sort for one length, path for two");
    detail::describe_rounding(io, round_multiple, dec_extra);
    io.attribute(max_sweeps, "max_sweeps", "sweeps that improve a path", {.in = "[0, inf)"});
  }
  Cost cost() const {
    const auto n = static_cast<double>(lengths.extent(0));
    const double work =
        method == OrderMethod::sort
            ? n * std::log2(n + 1)
            : 8 * n * n * static_cast<double>(std::max<std::int64_t>(max_sweeps, 1));
    return {work, 12 * n + 8, true};
  }
  void run(const Context&) const { store(order_samples(samples_of(lengths), options())); }
  void reference() const {
    store(detail::order_with(samples_of(lengths), options(), reference::short_path));
  }

 private:
  SampleOrderOptions options() const {
    return {method, {round_multiple, dec_extra, 0}, max_sweeps};
  }
  void store(const std::vector<std::int32_t>& order) const {
    for (std::size_t i = 0; i < order.size(); ++i) perm(i) = order[i];
    path_length(0) = dynapipe::path_length(samples_of(lengths), order);
  }
};
static_assert(OperatorStruct<OrderSamples>);
inline auto order_samples(const Context& ctx, OrderSamples op) { return run(ctx, op); }

/// Next-fit packing of truncated samples into sequences of (max_enc, max_dec), in data order: the
/// baseline. O(n).
struct PackNextFit {
  static constexpr std::string_view name = "dynapipe.pack_next_fit";
  static constexpr std::string_view summary = "Packs samples into sequences of a fixed size.";

  In<std::int32_t, 2> lengths = {};  // [n, 2]
  Out<std::int32_t, 1> bin_id = {};  // [n]
  Out<std::int32_t, 2> bins = {};    // [B, 2]
  Extent filled = {};
  std::int64_t max_enc = 0;
  std::int64_t max_dec = 1;
  ModelKind kind = ModelKind::encdec;

  void describe(Description& io) {
    io.input(lengths, "lengths", "n 2", "input and target length", {.in = detail::kLengthRange});
    io.output(bin_id, "bin_id", "n", "sequence of each sample");
    io.output(bins, "bins", "B 2", "used tokens of each sequence");
    io.extent(filled, "B", "n", "sequences");
    io.attribute(max_enc, "max_enc", "input tokens of a sequence, must be given",
                 {.in = "[1, 268435456]"});
    io.attribute(max_dec, "max_dec", "target tokens of a sequence", {.in = "[1, 268435456]"});
    io.attribute(kind, "kind", "decoder: targets do not count");
  }
  Cost cost() const {
    const auto n = static_cast<double>(lengths.extent(0));
    return {4 * n, 20 * n, true};
  }
  void run(const Context&) const { reference(); }
  void reference() const {
    const Packing packing = pack_next_fit(samples_of(lengths), max_enc, max_dec, kind);
    for (std::size_t i = 0; i < packing.sequence_of.size(); ++i) bin_id(i) = packing.sequence_of[i];
    for (std::size_t b = 0; b < packing.used.size(); ++b) {
      bins(b, 0) = packing.used[b].input;
      bins(b, 1) = packing.used[b].target;
    }
    filled.set(static_cast<std::int64_t>(packing.used.size()));
  }
};
static_assert(OperatorStruct<PackNextFit>);
inline auto pack_next_fit(const Context& ctx, PackNextFit op) { return run(ctx, op); }

/// Micro-batches of a number of padded tokens, greedily along ordered samples: the baseline. O(n).
struct TokenMicrobatches {
  static constexpr std::string_view name = "dynapipe.token_microbatches";
  static constexpr std::string_view summary = "Cuts ordered samples by a number of padded tokens.";

  In<std::int32_t, 2> lengths = {};  // [n, 2]
  Out<std::int32_t, 1> mb_id = {};   // [n]
  std::int64_t tokens = 0;
  std::int64_t round_multiple = 8;
  std::int64_t dec_extra = 2;

  void describe(Description& io) {
    io.input(lengths, "lengths", "n 2", "input and target length", {.in = detail::kLengthRange});
    io.output(mb_id, "mb_id", "n", "micro-batch of each sample, ascending");
    io.attribute(tokens, "tokens",
                 "padded tokens that a micro-batch of several samples may have, "
                 "must be given",
                 {.in = "[1, inf)"});
    detail::describe_rounding(io, round_multiple, dec_extra);
  }
  Cost cost() const {
    const auto n = static_cast<double>(lengths.extent(0));
    return {8 * n, 12 * n, true};
  }
  void run(const Context&) const { reference(); }
  void reference() const {
    const auto ids =
        token_microbatches(samples_of(lengths), tokens, {round_multiple, dec_extra, 0});
    for (std::size_t i = 0; i < ids.size(); ++i) mb_id(i) = ids[i];
  }
};
static_assert(OperatorStruct<TokenMicrobatches>);
inline auto token_microbatches(const Context& ctx, TokenMicrobatches op) { return run(ctx, op); }

/// How much of what is computed is padding; see PaddingStats. O(n).
struct PaddingStatistics {
  static constexpr std::string_view name = "dynapipe.padding_stats";
  static constexpr std::string_view summary = "Real and padded tokens of micro-batches.";

  In<std::int32_t, 2> lengths = {};  // [n, 2]
  In<std::int32_t, 1> mb_id = {};    // [n]
  Out<double, 1> stats = {};         // [5]
  std::int64_t round_multiple = 8;
  std::int64_t dec_extra = 2;

  void describe(Description& io) {
    io.input(lengths, "lengths", "n 2", "input and target length", {.in = detail::kLengthRange});
    io.input(mb_id, "mb_id", "n", "micro-batch of each sample", {.in = "[0, n)"});
    io.output(stats, "stats", "5",
              "real tokens, padded tokens, real / padded, the same of inputs and of targets");
    detail::describe_rounding(io, round_multiple, dec_extra);
  }
  Cost cost() const {
    const auto n = static_cast<double>(lengths.extent(0));
    return {8 * n, 12 * n + 40, true};
  }
  void run(const Context&) const { reference(); }
  void reference() const {
    std::vector<std::int32_t> ids(static_cast<std::size_t>(mb_id.extent(0)));
    for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = mb_id(i);
    const PaddingStats padding =
        padding_stats(samples_of(lengths), ids, {round_multiple, dec_extra, 0});
    stats(0) = static_cast<double>(padding.real());
    stats(1) = static_cast<double>(padding.padded());
    stats(2) = padding.efficiency();
    stats(3) = padding.input_efficiency();
    stats(4) = padding.target_efficiency();
  }
};
static_assert(OperatorStruct<PaddingStatistics>);
inline auto padding_stats(const Context& ctx, PaddingStatistics op) { return run(ctx, op); }

}  // namespace researchkit::dynapipe
