#include "researchkit/core/random.hpp"

#include <array>
#include <cmath>
#include <vector>

#include "support/catch.hpp"

namespace {

using namespace researchkit;
using Words = std::array<std::uint32_t, 4>;

constexpr Words words_of(PhiloxBlock block) { return {block[0], block[1], block[2], block[3]}; }

// The known answers that Random123 publishes for philox4x32-10.
static_assert(words_of(philox4x32({{0, 0, 0, 0}}, 0, 0)) ==
              Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});

TEST_CASE("Philox gives the published known answers") {
  constexpr std::uint32_t ones = 0xffffffff;
  CHECK(words_of(philox4x32({{ones, ones, ones, ones}}, ones, ones)) ==
        Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  CHECK(words_of(philox4x32({{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}}, 0xa4093822,
                            0x299f31d0)) == Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("Philox: seed and stream fill key and counter as the specified generators want") {
  // smile, graph: counter (b low, b high, stream low, stream high).
  const Philox random(0x123456789abcdef0, 0x0fedcba987654321);
  const std::vector<std::uint32_t> wanted = {0x5db017ef, 0x2cf7f40d, 0x97954855, 0xc1c6f1f2,
                                             0x698719a1, 0xba0c4475, 0x52e126c5, 0x6335d02c,
                                             0xb34db547, 0x53e852c4};
  for (std::size_t i = 0; i < wanted.size(); ++i) CHECK(random.word(i) == wanted[i]);
  CHECK(random.block(1)[2] == wanted[6]);
  // slapo: counter (q low, q high, site, step).
  const Philox slapo(3917405024756549, Philox::stream_of(5, 2));
  CHECK(slapo.word(0) == 0x7679995b);
  CHECK(slapo.word(4) == 0x80fcab05);
  CHECK(slapo.word(1002) == 0xbc78ade2);
  // pomp: counter (block, 0x504F4D50, step low, step high).
  const Philox pomp(81985529216486895, 3);
  constexpr std::uint64_t kFirst = std::uint64_t{0x504F4D50} << 33;
  CHECK(pomp.word64(kFirst) == 0x8e5d1bafd4529f7a);
  CHECK(pomp.word64(kFirst + 1) == 0x0ba413badcf983e6);
  CHECK(pomp.word64(kFirst + 5) == 0x094331b527c0068b);
}

TEST_CASE("Philox: uniform numbers are the upper bits of the words") {
  const Philox random(7, 3);
  CHECK(random.uniform(0) == 0.5925801992416382f);
  CHECK(random.uniform(4) == 0.5873945951461792f);
  CHECK(uniform_float(0xffffffff) == 1 - 0x1p-24f);
  CHECK(uniform_double(~std::uint64_t{0}) == 1 - 0x1p-53);
  CHECK(uniform_float(0xff) == 0);
  const Philox other(42, 9);
  CHECK(other.word64(1) == 16831692079701037455u);
  CHECK(other.uniform64(0) == 0.6494104646348187);
  CHECK(other.uniform64(3) == 0.25891989471864507);
}

TEST_CASE("Philox: below multiplies and keeps the upper half") {
  const Philox random(42, 9);
  CHECK(random.below(1, 1000) == 912);
  CHECK(random.below(3, 1) == 0);
  CHECK(random.below(0, (std::uint64_t{1} << 63) + 12345) == 5989754319953662513u);
  CHECK(random.below(3, (std::uint64_t{1} << 63) + 12345) == 2388114516733336903u);
}

TEST_CASE("Philox: normal numbers follow Box and Muller on word pairs") {
  const Philox random(7, 3);
  const double wanted[] = {0.728884060921287,   0.7178202700474395,  -1.54324605171107,
                           -1.1179984808068641, -0.9989460108746635, 0.25733944036311013};
  for (std::uint64_t i = 0; i < 6; ++i) CHECK(std::abs(random.normal(i) - wanted[i]) < 1e-14);
  double sum = 0, squares = 0;
  constexpr int n = 20000;
  for (std::uint64_t i = 0; i < n; ++i) {
    const double z = Philox(1).normal(i);
    sum += z;
    squares += z * z;
  }
  CHECK(std::abs(sum / n) < 0.03);  // about four standard errors
  CHECK(std::abs(squares / n - 1) < 0.04);
}

}  // namespace
