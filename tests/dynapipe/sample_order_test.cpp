// The path through the plane of lengths, held against the shortest one.
#include <map>
#include <random>

#include "researchkit/dynapipe/reference_path.hpp"
#include "researchkit/dynapipe/sample_order.hpp"
#include "support/catch.hpp"

using namespace researchkit::dynapipe;

namespace {

/// The shortest open path by dynamic programming over subsets (Held and Karp).
std::int64_t shortest_path(const std::vector<SampleLength>& points) {
  const std::size_t n = points.size();
  const auto distance = [&](std::size_t a, std::size_t b) {
    return std::int64_t{std::abs(points[a].input - points[b].input)} +
           std::abs(points[a].target - points[b].target);
  };
  constexpr std::int64_t kFar = std::int64_t{1} << 60;
  std::vector<std::vector<std::int64_t>> best(std::size_t{1} << n,
                                              std::vector<std::int64_t>(n, kFar));
  for (std::size_t i = 0; i < n; ++i) best[std::size_t{1} << i][i] = 0;
  for (std::size_t mask = 1; mask < best.size(); ++mask) {
    for (std::size_t last = 0; last < n; ++last) {
      if (best[mask][last] >= kFar) continue;
      for (std::size_t next = 0; next < n; ++next) {
        if (((mask >> next) & 1) != 0) continue;
        auto& entry = best[mask | (std::size_t{1} << next)][next];
        entry = std::min(entry, best[mask][last] + distance(last, next));
      }
    }
  }
  return *std::min_element(best.back().begin(), best.back().end());
}

std::vector<SampleLength> random_samples(std::mt19937_64& random, std::size_t n) {
  std::vector<SampleLength> samples(n);
  for (SampleLength& sample : samples) {
    sample = {static_cast<std::int32_t>(8 * (1 + random() % 40)),
              static_cast<std::int32_t>(8 * (1 + random() % 40) - 2)};
  }
  return samples;
}

}  // namespace

TEST_CASE("the path through few samples is at most a fifth longer than the shortest") {
  std::mt19937_64 random(1);
  for (int round = 0; round < 60; ++round) {
    const auto samples = random_samples(random, 2 + random() % 8);
    const auto order = order_samples(samples, {.method = OrderMethod::path});
    const auto length = path_length(samples, order), shortest = shortest_path(samples);
    REQUIRE(length >= shortest);
    REQUIRE(5 * length <= 6 * shortest);
  }
}

TEST_CASE("the fast path search makes the moves of the plain one") {
  std::mt19937_64 random(2);
  for (int round = 0; round < 40; ++round) {
    const auto samples = random_samples(random, random() % 150);
    const auto fast = order_samples(samples, {.method = OrderMethod::path});
    const auto plain = researchkit::dynapipe::detail::order_with(
        samples, {.method = OrderMethod::path}, reference::short_path);
    REQUIRE(fast == plain);
  }
}

TEST_CASE("the mixture has the statistics that are documented") {
  const auto samples = flan_lengths(11, 20000, ModelKind::encdec, 40960);
  double inputs = 0, targets = 0;
  std::vector<std::int32_t> sorted;
  for (const SampleLength& sample : samples) {
    inputs += sample.input;
    targets += sample.target;
    sorted.push_back(sample.input);
  }
  std::sort(sorted.begin(), sorted.end());
  CHECK(inputs / 20000 == Approx(270).margin(1));
  CHECK(targets / 20000 == Approx(21.6).margin(0.1));
  CHECK(sorted[10000] == 117);
  CHECK(sorted.back() == 21535);
}

TEST_CASE("a mini-batch ends before the sample that exceeds its tokens") {
  const std::vector<SampleLength> samples = {{5, 0}, {4, 1}, {1, 0}, {30, 0}, {2, 0}};
  CHECK(mini_batch_offsets(samples, 10) == std::vector<std::int64_t>{0, 2, 3, 4, 5});
  CHECK(mini_batch_offsets({}, 10) == std::vector<std::int64_t>{0});
}
