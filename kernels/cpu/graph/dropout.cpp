// Dropout by counter: lane l of a vector runs the ten rounds of Philox for block b + l, and the four
// words of each block decide over four neighbouring entries. Bound by the 20 wide multiplications
// per block, about 1 ns per entry with 8 lanes; memory traffic is 8 bytes per entry and the mask.

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/graph/dropout.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cstdint>

#include "researchkit/core/parallel.hpp"
#include "researchkit/core/random.hpp"
#include "researchkit/core/simd.hpp"
#include "researchkit/graph/dense.hpp"

HWY_BEFORE_NAMESPACE();
namespace researchkit::graph::detail {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

inline constexpr std::int64_t kBlocks = 64;  // blocks of four words made at a time
static_assert(kernels::kDropoutAlignment == 4 * kBlocks);

#if HWY_TARGET == HWY_SCALAR
void philox_blocks(const DropoutKey& key, std::uint64_t first, std::uint32_t* words) {
  const Philox random(key.seed, key.stream);
  for (std::int64_t b = 0; b < kBlocks; ++b) {
    const PhiloxBlock block = random.block(first + static_cast<std::uint64_t>(b));
    std::copy(block.words, block.words + 4, words + 4 * b);
  }
}
#else
/// The words of blocks first, ..., first + kBlocks - 1; `first` is a multiple of kBlocks, so their
/// upper halves agree.
void philox_blocks(const DropoutKey& key, std::uint64_t first, std::uint32_t* words) {
  const hn::CappedTag<std::uint32_t, 16> d;
  using V = hn::Vec<decltype(d)>;
  const hn::RepartitionToWide<decltype(d)> wide;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const auto high_mask = hn::BitCast(d, hn::Set(wide, 0xffffffff00000000u));
  // Low and high halves of the products of all lanes.
  const auto multiply = [&](V a, std::uint32_t multiplier, V& high, V& low) {
    const auto factor = hn::Set(d, multiplier);
    const auto even = hn::BitCast(d, hn::MulEven(a, factor));
    const auto shifted = hn::BitCast(d, hn::ShiftRight<32>(hn::BitCast(wide, a)));
    const auto odd = hn::BitCast(d, hn::MulEven(shifted, factor));
    high = hn::Or(hn::BitCast(d, hn::ShiftRight<32>(hn::BitCast(wide, even))),
                  hn::And(odd, high_mask));
    low = hn::Or(hn::AndNot(high_mask, even),
                 hn::BitCast(d, hn::ShiftLeft<32>(hn::BitCast(wide, odd))));
  };
  for (std::int64_t b = 0; b < kBlocks; b += lanes) {
    const std::uint64_t block = first + static_cast<std::uint64_t>(b);
    V c0 = hn::Iota(d, static_cast<std::uint32_t>(block));
    V c1 = hn::Set(d, static_cast<std::uint32_t>(block >> 32));
    V c2 = hn::Set(d, static_cast<std::uint32_t>(key.stream));
    V c3 = hn::Set(d, static_cast<std::uint32_t>(key.stream >> 32));
    auto key0 = static_cast<std::uint32_t>(key.seed);
    auto key1 = static_cast<std::uint32_t>(key.seed >> 32);
    for (int round = 0; round < 10; ++round) {
      V high0, low0, high1, low1;
      multiply(c0, 0xD2511F53, high0, low0);
      multiply(c2, 0xCD9E8D57, high1, low1);
      c0 = hn::Xor(hn::Xor(high1, c1), hn::Set(d, key0));
      c1 = low1;
      c2 = hn::Xor(hn::Xor(high0, c3), hn::Set(d, key1));
      c3 = low0;
      key0 += 0x9E3779B9;
      key1 += 0xBB67AE85;
    }
    hn::StoreInterleaved4(c0, c1, c2, c3, d, words + 4 * b);
  }
}
#endif

template <class Real>
void dropout_range(const DropoutKey& key, const Real* x, std::int64_t begin, std::int64_t end,
                   Real* y, std::uint8_t* mask) {
  alignas(64) std::uint32_t words[4 * kBlocks];
  const std::uint64_t threshold = dropout_threshold(key.p);
  const auto scale = static_cast<Real>(1 / (1 - key.p));
  for (std::int64_t first = begin; first < end; first += 4 * kBlocks) {
    philox_blocks(key, static_cast<std::uint64_t>(first) / 4, words);
    const std::int64_t count = std::min<std::int64_t>(4 * kBlocks, end - first);
    for (std::int64_t i = 0; i < count; ++i) {
      y[first + i] = words[i] >= threshold ? x[first + i] * scale : Real(0);
    }
    if (mask == nullptr) continue;
    for (std::int64_t i = 0; i < count; ++i) mask[first + i] = words[i] >= threshold ? 1 : 0;
  }
}

void dropout_f32(const DropoutKey& key, const float* x, std::int64_t begin, std::int64_t end,
                 float* y, std::uint8_t* mask) {
  dropout_range(key, x, begin, end, y, mask);
}
void dropout_f64(const DropoutKey& key, const double* x, std::int64_t begin, std::int64_t end,
                 double* y, std::uint8_t* mask) {
  dropout_range(key, x, begin, end, y, mask);
}

}  // namespace HWY_NAMESPACE
}  // namespace researchkit::graph::detail
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace researchkit::graph {
namespace detail {
HWY_EXPORT(dropout_f32);
HWY_EXPORT(dropout_f64);
inline constexpr std::int64_t kDropoutPiece = 16384;  // a multiple of what a kernel makes at a time
}  // namespace detail

namespace kernels {

template <>
void dropout<float>(const Context& ctx, const DropoutKey& key, const float* x, std::int64_t count,
                    float* y, std::uint8_t* mask) {
  initialize_simd();
  using namespace detail;
  const auto range = HWY_DYNAMIC_DISPATCH(dropout_f32);
  parallel_for(ctx, count, kDropoutPiece,
               [&](std::int64_t begin, std::int64_t end) { range(key, x, begin, end, y, mask); });
}

template <>
void dropout<double>(const Context& ctx, const DropoutKey& key, const double* x, std::int64_t count,
                     double* y, std::uint8_t* mask) {
  initialize_simd();
  using namespace detail;
  const auto range = HWY_DYNAMIC_DISPATCH(dropout_f64);
  parallel_for(ctx, count, kDropoutPiece,
               [&](std::int64_t begin, std::int64_t end) { range(key, x, begin, end, y, mask); });
}

template <>
void dropout_range<float>(const DropoutKey& key, const float* x, std::int64_t begin,
                          std::int64_t end, float* y) {
  initialize_simd();
  using namespace detail;
  HWY_DYNAMIC_DISPATCH(dropout_f32)(key, x, begin, end, y, nullptr);
}

template <>
void dropout_range<double>(const DropoutKey& key, const double* x, std::int64_t begin,
                           std::int64_t end, double* y) {
  initialize_simd();
  using namespace detail;
  HWY_DYNAMIC_DISPATCH(dropout_f64)(key, x, begin, end, y, nullptr);
}

}  // namespace kernels
}  // namespace researchkit::graph
#endif
