// The losses of transfer between two branches, with their gradients, and the gate.
//
// Classes are few (3 to 10), so vector lanes run across rows: 16 rows at a time are transposed, every
// softmax is then vertical. Per row and class one exponential for each of the four softmaxes at
// temperature, two more where a row is labelled; 4 rows of logits are read, 2 of gradients written. Bound
// by the exponentials, about 20 operations each. Multiplications and additions round apart, so the bits
// are those of every instruction set.

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/bikt/transfer.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "kernels/cpu/core/exponential-inl.h"
#include "researchkit/bikt/transfer.hpp"
#include "researchkit/core/parallel.hpp"
#include "researchkit/core/simd.hpp"

#ifndef RESEARCHKIT_BIKT_TRANSFER_ONCE
#define RESEARCHKIT_BIKT_TRANSFER_ONCE
namespace researchkit::bikt::detail {

inline constexpr std::int64_t kTile = 16;  // rows at a time, and the most lanes

/// One branch in one tile. Matrices are transposed, [c][kTile].
struct BranchTile {
  const float* student;
  const float* teacher;   // null: no divergence
  const float* target;    // one where the row has this label, null: no row of the tile is labelled
  const float* labelled;  // [kTile] the weight of the row's class, 0 without a label
  const float* weight;    // [kTile] of the divergence's gradient
  float* gradient;        // null: not wanted
  float* scratch;         // [4 c][kTile]
  float* cross_entropy;   // [kTile]
  float* divergence;      // [kTile]
  float label_scale;
};

}  // namespace researchkit::bikt::detail
#endif

HWY_BEFORE_NAMESPACE();
namespace researchkit::bikt::detail {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;
using researchkit::detail::HWY_NAMESPACE::exp_of_nonpositive;

/// log(x) for finite x >= 1: x = m 2^n with m in [sqrt(1/2), sqrt(2)), and 2 atanh(s) with s = (m - 1) / (m + 1),
/// |s| < 0.1716, to s^11, whose first missing term is below 3e-11.
template <class D, class V>
V log_of_at_least_one(D d, V x) {
  const hn::RebindToSigned<D> di;
  const auto bits = hn::BitCast(di, x);
  // The exponent of x / sqrt(1/2), so that m begins there.
  const auto shifted = hn::Sub(bits, hn::Set(di, 0x3f3504f3));
  const auto n = hn::ShiftRight<23>(shifted);
  const auto m = hn::BitCast(d, hn::Sub(bits, hn::ShiftLeft<23>(n)));
  const auto one = hn::Set(d, 1.f);
  const auto s = hn::Div(hn::Sub(m, one), hn::Add(m, one));
  const auto square = hn::Mul(s, s);
  auto series = hn::Set(d, 2.f / 11);
  for (const float factor : {2.f / 9, 2.f / 7, 2.f / 5, 2.f / 3}) {
    series = hn::Add(hn::Mul(series, square), hn::Set(d, factor));
  }
  const auto power = hn::ConvertTo(d, n);
  // 2 s is exact, and the rest small beside it.
  auto result =
      hn::Add(hn::Mul(hn::Mul(series, square), s), hn::Mul(power, hn::Set(d, -2.12194440e-4f)));
  result = hn::Add(hn::Add(s, s), result);
  result = hn::Add(result, hn::Mul(power, hn::Set(d, 0.693359375f)));
  return hn::IfThenElse(hn::Eq(x, x), result, x);
}

/// The softmax of column lanes: differences to the largest go to `logs`, exponentials to `powers`; gives
/// the sum of these.
template <class D>
auto soften(D d, const float* z, std::int64_t c, float inverse, float* logs, float* powers) {
  const auto scale = hn::Set(d, inverse);
  auto largest = hn::Mul(hn::LoadU(d, z), scale);
  for (std::int64_t j = 1; j < c; ++j) {
    largest = hn::Max(largest, hn::Mul(hn::LoadU(d, z + j * kTile), scale));
  }
  auto sum = hn::Zero(d);
  for (std::int64_t j = 0; j < c; ++j) {
    const auto difference = hn::Sub(hn::Mul(hn::LoadU(d, z + j * kTile), scale), largest);
    const auto power = exp_of_nonpositive(d, difference);
    hn::StoreU(difference, d, logs + j * kTile);
    hn::StoreU(power, d, powers + j * kTile);
    sum = hn::Add(sum, power);
  }
  return sum;
}

/// One branch of one tile: row losses, and the gradient.
void branch_tile(const BranchTile& t, std::int64_t c, float inverse_temperature) {
  const hn::CappedTag<float, kTile> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const auto one = hn::Set(d, 1.f);
  for (std::int64_t at = 0; at < kTile; at += lanes) {
    float* const logs = t.scratch + at;
    float *const powers = logs + c * kTile, *const teacher_logs = powers + c * kTile,
                 *const teacher_powers = teacher_logs + c * kTile;
    auto cross_entropy = hn::Zero(d), divergence = hn::Zero(d);
    if (t.gradient != nullptr) {
      for (std::int64_t j = 0; j < c; ++j) hn::StoreU(hn::Zero(d), d, t.gradient + at + j * kTile);
    }
    if (t.target != nullptr) {
      const auto sum = soften(d, t.student + at, c, 1.f, logs, powers);
      const auto labelled = hn::LoadU(d, t.labelled + at);
      const auto scale = hn::Mul(hn::Set(d, t.label_scale), labelled);
      const auto inverse = hn::Div(one, sum);
      auto own = hn::Zero(d);
      for (std::int64_t j = 0; j < c; ++j) {
        const auto target = hn::LoadU(d, t.target + at + j * kTile);
        own = hn::Add(
            own, hn::IfThenElseZero(hn::Gt(target, hn::Zero(d)), hn::LoadU(d, logs + j * kTile)));
        if (t.gradient == nullptr) continue;
        const auto probability = hn::Mul(hn::LoadU(d, powers + j * kTile), inverse);
        const auto slope = hn::IfThenElseZero(hn::Gt(labelled, hn::Zero(d)),
                                              hn::Mul(scale, hn::Sub(probability, target)));
        hn::StoreU(slope, d, t.gradient + at + j * kTile);
      }
      cross_entropy =
          hn::IfThenElseZero(hn::Gt(labelled, hn::Zero(d)),
                             hn::Mul(labelled, hn::Sub(log_of_at_least_one(d, sum), own)));
    }
    if (t.teacher != nullptr) {
      const auto sum = soften(d, t.student + at, c, inverse_temperature, logs, powers);
      const auto teacher_sum =
          soften(d, t.teacher + at, c, inverse_temperature, teacher_logs, teacher_powers);
      const auto inverse = hn::Div(one, sum), teacher_inverse = hn::Div(one, teacher_sum);
      const auto log_ratio =
          hn::Sub(log_of_at_least_one(d, sum), log_of_at_least_one(d, teacher_sum));
      const auto weight = hn::LoadU(d, t.weight + at);
      for (std::int64_t j = 0; j < c; ++j) {
        const auto q = hn::Mul(hn::LoadU(d, teacher_powers + j * kTile), teacher_inverse);
        const auto p = hn::Mul(hn::LoadU(d, powers + j * kTile), inverse);
        const auto difference =
            hn::Sub(hn::LoadU(d, teacher_logs + j * kTile), hn::LoadU(d, logs + j * kTile));
        divergence = hn::Add(divergence, hn::Mul(q, hn::Add(difference, log_ratio)));
        if (t.gradient == nullptr) continue;
        float* const to = t.gradient + at + j * kTile;
        hn::StoreU(hn::Add(hn::LoadU(d, to), hn::Mul(weight, hn::Sub(p, q))), d, to);
      }
    }
    hn::StoreU(cross_entropy, d, t.cross_entropy + at);
    hn::StoreU(divergence, d, t.divergence + at);
  }
}

/// The largest probability of each row, [kTile].
void confidence_tile(const float* z, std::int64_t c, float* scratch, float* confidence) {
  const hn::CappedTag<float, kTile> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  for (std::int64_t at = 0; at < kTile; at += lanes) {
    const auto sum = soften(d, z + at, c, 1.f, scratch + at, scratch + c * kTile + at);
    hn::StoreU(hn::Div(hn::Set(d, 1.f), sum), d, confidence + at);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace researchkit::bikt::detail
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace researchkit::bikt {
namespace detail {
HWY_EXPORT(branch_tile);
HWY_EXPORT(confidence_tile);

namespace {

constexpr std::int64_t kRows = 1024;  // a multiple of a tile

/// to[j][r] = from[r][j] for the `count` rows of a tile, 0 for others.
void load_tile(const float* from, std::int64_t count, std::int64_t c, float* to) {
  if (count < kTile) std::fill(to, to + c * kTile, 0.f);
  for (std::int64_t r = 0; r < count; ++r) {
    for (std::int64_t j = 0; j < c; ++j) to[j * kTile + r] = from[r * c + j];
  }
}
void store_tile(const float* from, std::int64_t count, std::int64_t c, float* to) {
  for (std::int64_t r = 0; r < count; ++r) {
    for (std::int64_t j = 0; j < c; ++j) to[r * c + j] = from[j * kTile + r];
  }
}

/// Sums of a branch's rows over all nodes.
struct RowLosses {
  std::span<float> cross_entropy, divergence;
};

/// The factors of one branch, final: with upstream and divisors.
struct BranchScales {
  float label, divergence;
};

template <class Index>
struct Branch {
  const float* student;
  const float* teacher;
  const float* weight;  // null: 1
  float* gradient;
  BranchScales scales;
  RowLosses losses;

  void rows(const TransferRows<Index>& all, std::int64_t begin, std::int64_t end,
            float inverse_temperature) const {
    const std::int64_t c = all.c;
    const auto tile_size = static_cast<std::size_t>(c * kTile);
    std::vector<float> memory(8 * tile_size);
    float *const student_tile = memory.data(), *const teacher_tile = student_tile + tile_size,
                 *const target_tile = teacher_tile + tile_size,
                 *const gradient_tile = target_tile + tile_size,
                 *const scratch = gradient_tile + tile_size;
    for (std::int64_t first = begin; first < end; first += kTile) {
      const std::int64_t count = std::min(kTile, end - first);
      float labelled[kTile] = {}, weights[kTile] = {}, entropies[kTile], divergences[kTile];
      load_tile(student + first * c, count, c, student_tile);
      if (teacher != nullptr) load_tile(teacher + first * c, count, c, teacher_tile);
      bool any = false;
      for (std::int64_t r = 0; r < count; ++r) {
        weights[r] = scales.divergence * (weight == nullptr ? 1.f : weight[first + r]);
        if (all.mask == nullptr || all.mask[first + r] == 0) continue;
        if (!any) std::fill(target_tile, target_tile + tile_size, 0.f);
        any = true;
        const auto label = static_cast<std::int64_t>(all.labels[first + r]);
        labelled[r] = all.class_weights == nullptr ? 1.f : all.class_weights[label];
        target_tile[label * kTile + r] = 1;
      }
      const BranchTile tile{student_tile,
                            teacher == nullptr ? nullptr : teacher_tile,
                            any ? target_tile : nullptr,
                            labelled,
                            weights,
                            gradient == nullptr ? nullptr : gradient_tile,
                            scratch,
                            entropies,
                            divergences,
                            scales.label};
      HWY_DYNAMIC_DISPATCH(branch_tile)(tile, c, inverse_temperature);
      if (gradient != nullptr) store_tile(gradient_tile, count, c, gradient + first * c);
      std::copy_n(entropies, count, losses.cross_entropy.begin() + first);
      std::copy_n(divergences, count, losses.divergence.begin() + first);
    }
  }
};

double sum_of(std::span<const float> terms, const float* weight) {
  double sum = 0;
  for (std::size_t i = 0; i < terms.size(); ++i) {
    sum +=
        static_cast<double>(terms[i]) * (weight == nullptr ? 1.0 : static_cast<double>(weight[i]));
  }
  return sum;
}

}  // namespace
}  // namespace detail

namespace kernels {

template <class Index>
std::array<float, 4> transfer_loss(const Context& ctx, const TransferRows<Index>& rows,
                                   float temperature, const TransferScales& scales, float* d_host,
                                   float* d_derived) {
  using namespace detail;
  initialize_simd();
  const auto n = static_cast<std::size_t>(rows.n);
  Workspace::Scope scratch(ctx.workspace());
  const auto losses = [&] {
    return RowLosses{scratch.allocate<float>(n), scratch.allocate<float>(n)};
  };
  double labelled = 0;  // the sum of their weights
  for (std::size_t i = 0; rows.mask != nullptr && i < n; ++i) {
    if (rows.mask[i] == 0) continue;
    labelled += rows.class_weights == nullptr
                    ? 1.0
                    : static_cast<double>(rows.class_weights[rows.labels[i]]);
  }
  auto weights = static_cast<double>(rows.n);
  if (rows.weight != nullptr) {
    weights = 0;
    for (std::size_t i = 0; i < n; ++i) weights += static_cast<double>(rows.weight[i]);
  }
  const double count = labelled > 0 ? labelled : 1;
  const auto all = static_cast<double>(std::max<std::int64_t>(rows.n, 1));
  const auto over = [](double factor, double divisor) {
    return divisor > 0 ? static_cast<float>(factor / divisor) : 0.f;
  };
  const auto t = static_cast<double>(temperature);
  const Branch<Index> host{rows.host,
                           rows.derived_teacher,
                           rows.weight,
                           d_host,
                           {over(static_cast<double>(scales.host), count),
                            over(t * static_cast<double>(scales.to_host), weights)},
                           losses()};
  const Branch<Index> derived{rows.derived,
                              rows.host_teacher,
                              nullptr,
                              d_derived,
                              {over(static_cast<double>(scales.derived), count),
                               over(t * static_cast<double>(scales.to_derived), all)},
                              losses()};
  parallel_for(ctx, rows.n, kRows, [&](std::int64_t begin, std::int64_t end) {
    if (rows.host != nullptr) host.rows(rows, begin, end, 1 / temperature);
    if (rows.derived != nullptr) derived.rows(rows, begin, end, 1 / temperature);
  });
  std::array<float, 4> parts{};
  if (rows.host != nullptr) {
    parts[0] = static_cast<float>(sum_of(host.losses.cross_entropy, nullptr) / count);
    parts[3] = over(t * t * sum_of(host.losses.divergence, rows.weight), weights);
  }
  if (rows.derived != nullptr) {
    parts[1] = static_cast<float>(sum_of(derived.losses.cross_entropy, nullptr) / count);
    parts[2] = static_cast<float>(t * t * sum_of(derived.losses.divergence, nullptr) / all);
  }
  return parts;
}

template std::array<float, 4> transfer_loss(const Context&, const TransferRows<std::int32_t>&,
                                            float, const TransferScales&, float*, float*);
template std::array<float, 4> transfer_loss(const Context&, const TransferRows<std::int64_t>&,
                                            float, const TransferScales&, float*, float*);

void gate(const Context& ctx, Gate mode, In<float, 2> host, In<float, 2> derived, float* weight) {
  using namespace detail;
  initialize_simd();
  const std::int64_t n = host.extent(0), c = host.extent(1);
  if (mode == Gate::none) {
    std::fill(weight, weight + n, 1.f);
    return;
  }
  parallel_for(ctx, n, kRows, [&](std::int64_t begin, std::int64_t end) {
    std::vector<float> memory(static_cast<std::size_t>(3 * c * kTile));
    float* const scratch = memory.data() + c * kTile;
    for (std::int64_t first = begin; first < end; first += kTile) {
      const std::int64_t count = std::min(kTile, end - first);
      float sure_host[kTile] = {}, sure_derived[kTile];
      load_tile(derived.data_handle() + first * c, count, c, memory.data());
      HWY_DYNAMIC_DISPATCH(confidence_tile)(memory.data(), c, scratch, sure_derived);
      if (mode != Gate::agree) {
        load_tile(host.data_handle() + first * c, count, c, memory.data());
        HWY_DYNAMIC_DISPATCH(confidence_tile)(memory.data(), c, scratch, sure_host);
      }
      for (std::int64_t r = 0; r < count; ++r) {
        const float *f = &host(first + r, 0), *m = &derived(first + r, 0);
        const bool agree = std::max_element(f, f + c) - f == std::max_element(m, m + c) - m;
        const bool sure = sure_derived[r] >= sure_host[r];
        weight[first + r] = mode == Gate::agree       ? (agree ? sure_derived[r] : 0.f)
                            : mode == Gate::confident ? (sure ? 1.f : 0.f)
                                                      : (agree || sure ? 1.f : 0.f);
      }
    }
  });
}

}  // namespace kernels
}  // namespace researchkit::bikt
#endif
