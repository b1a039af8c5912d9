// Sweeps of the micro-batch dynamic programme.
//
// Row i pushes its windows to the boundaries behind them: contiguous times, contiguous state, so
// each step is one load of a time, one or two loads and stores of state that stays in L1 (n + 1
// entries of 8 bytes), and five to ten integer operations. Memory traffic is the rows, once per
// sweep: at 8 bytes per window the sweep is bound by integer operations while rows fit in L2.

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/dynapipe/window_sweeps.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cstdint>

#include "researchkit/core/simd.hpp"
#include "researchkit/dynapipe/window_sweeps.hpp"

HWY_BEFORE_NAMESPACE();
namespace researchkit::dynapipe::detail {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

/// largest[k] = min(largest[k], max(before, time[k]))
void push_largest(const Ticks* time, std::size_t count, Ticks before, Ticks* largest) {
  const hn::ScalableTag<Ticks> d;
  const std::size_t lanes = hn::Lanes(d);
  const auto earlier = hn::Set(d, before);
  std::size_t k = 0;
  for (; k + lanes <= count; k += lanes) {
    const auto candidate = hn::Max(earlier, hn::LoadU(d, time + k));
    hn::StoreU(hn::Min(hn::LoadU(d, largest + k), candidate), d, largest + k);
  }
  for (; k < count; ++k) largest[k] = std::min(largest[k], std::max(before, time[k]));
}

/// Lexicographic minimum of (sum, largest) and (before.sum + time, max(before.largest, time)).
void push_sum_and_largest(const Ticks* time, std::size_t count, Ticks limit, Ticks sum_before,
                          Ticks largest_before, Ticks* sum, Ticks* largest) {
  const hn::ScalableTag<Ticks> d;
  const std::size_t lanes = hn::Lanes(d);
  const auto limits = hn::Set(d, limit);
  const auto sums_before = hn::Set(d, sum_before);
  const auto largest_earlier = hn::Set(d, largest_before);
  std::size_t k = 0;
  for (; k + lanes <= count; k += lanes) {
    const auto t = hn::LoadU(d, time + k);
    const auto old_sum = hn::LoadU(d, sum + k);
    const auto old_largest = hn::LoadU(d, largest + k);
    const auto new_sum = hn::Add(sums_before, t);
    const auto new_largest = hn::Max(largest_earlier, t);
    const auto smaller = hn::Lt(new_sum, old_sum);
    const auto equal_but_flatter =
        hn::And(hn::Eq(new_sum, old_sum), hn::Lt(new_largest, old_largest));
    const auto better = hn::AndNot(hn::Gt(t, limits), hn::Or(smaller, equal_but_flatter));
    hn::StoreU(hn::IfThenElse(better, new_sum, old_sum), d, sum + k);
    hn::StoreU(hn::IfThenElse(better, new_largest, old_largest), d, largest + k);
  }
  for (; k < count; ++k) {
    const Ticks new_sum = sum_before + time[k], new_largest = std::max(largest_before, time[k]);
    const bool better = new_sum < sum[k] || (new_sum == sum[k] && new_largest < largest[k]);
    if (time[k] > limit || !better) continue;
    sum[k] = new_sum;
    largest[k] = new_largest;
  }
}

void push_sum(const Ticks* time, std::size_t count, Ticks limit, Ticks before, std::int32_t row,
              Ticks* sum, std::int32_t* start) {
  for (std::size_t k = 0; k < count; ++k) {
    if (time[k] > limit || before + time[k] >= sum[k]) continue;
    sum[k] = before + time[k];
    start[k] = row;
  }
}

void bottleneck_rows(const WindowRows& rows, Ticks* largest) {
  const std::int64_t n = rows.rows();
  for (std::int64_t i = 0; i < n; ++i) {
    const auto row = rows.row(i);
    if (largest[i] >= kImpossible) continue;
    push_largest(row.data(), row.size(), largest[i], largest + i + 1);
  }
}

void sum_and_largest_rows(const WindowRows& rows, const std::int64_t* widths, Ticks limit,
                          Ticks* sum, Ticks* largest) {
  const std::int64_t n = rows.rows();
  for (std::int64_t i = 0; i < n; ++i) {
    if (sum[i] >= kImpossible) continue;
    push_sum_and_largest(rows.row(i).data(), static_cast<std::size_t>(widths[i]), limit, sum[i],
                         largest[i], sum + i + 1, largest + i + 1);
  }
}

void sum_rows(const WindowRows& rows, Ticks limit, Ticks* sum, std::int32_t* start) {
  const std::int64_t n = rows.rows();
  for (std::int64_t i = 0; i < n; ++i) {
    const auto row = rows.row(i);
    if (sum[i] >= kImpossible) continue;
    push_sum(row.data(), row.size(), limit, sum[i], static_cast<std::int32_t>(i), sum + i + 1,
             start + i + 1);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace researchkit::dynapipe::detail
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace researchkit::dynapipe::detail {
HWY_EXPORT(bottleneck_rows);
HWY_EXPORT(sum_and_largest_rows);
HWY_EXPORT(sum_rows);

Ticks bottleneck(const WindowRows& rows, std::span<Ticks> state) {
  initialize_simd();
  std::fill(state.begin(), state.end(), kImpossible);
  state[0] = 0;
  HWY_DYNAMIC_DISPATCH(bottleneck_rows)(rows, state.data());
  return state.back();
}

void sweep_sum_and_largest(const WindowRows& rows, std::span<std::int64_t> widths, Ticks limit,
                           Sweep& state) {
  initialize_simd();
  std::fill(state.sum.begin(), state.sum.end(), kImpossible);
  std::fill(state.largest.begin(), state.largest.end(), kImpossible);
  state.sum[0] = state.largest[0] = 0;
  for (std::int64_t i = 0; i < rows.rows(); ++i) {
    const auto row = rows.row(i);
    std::int64_t& width = widths[static_cast<std::size_t>(i)];
    while (width > 0 && row[static_cast<std::size_t>(width - 1)] > limit) --width;
  }
  HWY_DYNAMIC_DISPATCH(sum_and_largest_rows)
  (rows, widths.data(), limit, state.sum.data(), state.largest.data());
}

void sweep_sum(const WindowRows& rows, Ticks limit, std::span<Ticks> sum,
               std::span<std::int32_t> start) {
  initialize_simd();
  std::fill(sum.begin(), sum.end(), kImpossible);
  std::fill(start.begin(), start.end(), -1);
  sum[0] = 0;
  HWY_DYNAMIC_DISPATCH(sum_rows)(rows, limit, sum.data(), start.data());
}

}  // namespace researchkit::dynapipe::detail
#endif
