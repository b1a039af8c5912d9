#pragma once

#include <cmath>
#include <cstdint>

#include "researchkit/core/host_device.hpp"

namespace researchkit {

/// Four 32-bit words: a counter of Philox, or what it turns into.
struct PhiloxBlock {
  std::uint32_t words[4];
  RESEARCHKIT_HOST_DEVICE constexpr std::uint32_t operator[](std::uint64_t i) const {
    return words[i];
  }
};

/// Philox4x32-10: ten rounds that turn a counter and a key into four random words.
/// Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
RESEARCHKIT_HOST_DEVICE constexpr PhiloxBlock philox4x32(PhiloxBlock counter, std::uint32_t key0,
                                                         std::uint32_t key1) {
  std::uint32_t c0 = counter.words[0], c1 = counter.words[1];
  std::uint32_t c2 = counter.words[2], c3 = counter.words[3];
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t product0 = std::uint64_t{0xD2511F53} * c0;
    const std::uint64_t product1 = std::uint64_t{0xCD9E8D57} * c2;
    c0 = static_cast<std::uint32_t>(product1 >> 32) ^ c1 ^ key0;
    c1 = static_cast<std::uint32_t>(product1);
    c2 = static_cast<std::uint32_t>(product0 >> 32) ^ c3 ^ key1;
    c3 = static_cast<std::uint32_t>(product0);
    key0 += 0x9E3779B9;
    key1 += 0xBB67AE85;
  }
  return {{c0, c1, c2, c3}};
}

/// Uniform in [0, 1): the upper 24 bits, exact in float.
RESEARCHKIT_HOST_DEVICE constexpr float uniform_float(std::uint32_t word) {
  return static_cast<float>(word >> 8) * 0x1p-24f;
}
/// Uniform in [0, 1): the upper 53 bits, exact in double.
RESEARCHKIT_HOST_DEVICE constexpr double uniform_double(std::uint64_t word) {
  return static_cast<double>(word >> 11) * 0x1p-53;
}

/// Random numbers by position: `word(i)` depends on (seed, stream, i) alone, so they are the same
/// in any order, on any number of threads, on the host and on a device.
///
///     const Philox random(seed, stream);
///     mask[i] = random.word(i) >= threshold;
///
/// Word i is word i % 4 of philox4x32 with
///     key     = (seed low, seed high)
///     counter = (b low, b high, stream low, stream high), b = i / 4.
/// The specified generators are this one, with the stream that their text calls
/// - graph (G8), nfgnn, bikt: `stream`, in training step * 16 + site;
/// - slapo (4.1): counter words (site, step), that is stream = step * 2^32 + site
///   (`Philox::stream_of(site, step)`);
/// - smile router_noise: `offset`; its jitter is uniform(i), its gaussian normal(i);
/// - pomp: stream = step and block numbers above 0x504F4D50 * 2^32; its 64-bit word i is
///   word64(i + 0x504F4D50 * 2^33).
class Philox {
 public:
  RESEARCHKIT_HOST_DEVICE constexpr explicit Philox(std::uint64_t seed, std::uint64_t stream = 0)
      : seed_(seed), stream_(stream) {}

  RESEARCHKIT_HOST_DEVICE static constexpr std::uint64_t stream_of(std::uint32_t low,
                                                                   std::uint32_t high) {
    return std::uint64_t{high} << 32 | low;
  }

  /// The words 4 b, ..., 4 b + 3 for the price of one.
  RESEARCHKIT_HOST_DEVICE constexpr PhiloxBlock block(std::uint64_t b) const {
    return philox4x32(
        {{static_cast<std::uint32_t>(b), static_cast<std::uint32_t>(b >> 32),
          static_cast<std::uint32_t>(stream_), static_cast<std::uint32_t>(stream_ >> 32)}},
        static_cast<std::uint32_t>(seed_), static_cast<std::uint32_t>(seed_ >> 32));
  }
  RESEARCHKIT_HOST_DEVICE constexpr std::uint32_t word(std::uint64_t i) const {
    return block(i / 4)[i % 4];
  }
  /// Words 2 i (low half) and 2 i + 1 (high half).
  RESEARCHKIT_HOST_DEVICE constexpr std::uint64_t word64(std::uint64_t i) const {
    const PhiloxBlock words = block(i / 2);
    return std::uint64_t{words[2 * (i % 2) + 1]} << 32 | words[2 * (i % 2)];
  }

  /// Uniform in [0, 1): 24 bits of word(i).
  RESEARCHKIT_HOST_DEVICE constexpr float uniform(std::uint64_t i) const {
    return uniform_float(word(i));
  }
  /// Uniform in [0, 1): 53 bits of word64(i).
  RESEARCHKIT_HOST_DEVICE constexpr double uniform64(std::uint64_t i) const {
    return uniform_double(word64(i));
  }
  /// Uniform in {0, ..., bound - 1}: the upper half of word64(i) * bound. Each value's probability
  /// is off by less than 2^-64. `bound` must be positive.
  RESEARCHKIT_HOST_DEVICE constexpr std::uint64_t below(std::uint64_t i,
                                                        std::uint64_t bound) const {
    return multiply_high(word64(i), bound);
  }
  /// Standard normal, by Box and Muller in double: numbers 2 j and 2 j + 1 are r cos and r sin of
  /// words 2 j and 2 j + 1. Equal on every host with the same libm; a device's last bit may differ.
  RESEARCHKIT_HOST_DEVICE double normal(std::uint64_t i) const {
    const PhiloxBlock words = block(i / 4);
    const std::uint64_t pair = i % 4 / 2 * 2;
    const double u1 = (static_cast<double>(words[pair] >> 8) + 1.0) * 0x1p-24;  // in (0, 1]
    const double u2 = static_cast<double>(words[pair + 1] >> 8) * 0x1p-24;
    const double radius = std::sqrt(-2.0 * std::log(u1));
    const double angle = 2.0 * 3.141592653589793 * u2;
    return radius * (i % 2 == 0 ? std::cos(angle) : std::sin(angle));
  }

 private:
  /// The upper 64 bits of a product, from 32-bit halves: neither C++20 nor device code has more.
  RESEARCHKIT_HOST_DEVICE static constexpr std::uint64_t multiply_high(std::uint64_t a,
                                                                       std::uint64_t b) {
    const std::uint64_t a0 = a & 0xffffffff, a1 = a >> 32, b0 = b & 0xffffffff, b1 = b >> 32;
    const std::uint64_t middle = a1 * b0 + (a0 * b0 >> 32);
    return a1 * b1 + (middle >> 32) + ((a0 * b1 + (middle & 0xffffffff)) >> 32);
  }

  std::uint64_t seed_, stream_;
};

}  // namespace researchkit
