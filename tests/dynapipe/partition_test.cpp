// The cut into micro-batches and the deal to replicas, held against all there are.
#include <algorithm>
#include <random>

#include "researchkit/dynapipe/balance.hpp"
#include "researchkit/dynapipe/microbatch_dp.hpp"
#include "support/catch.hpp"

using namespace researchkit::dynapipe;

namespace {

using Random = std::mt19937_64;
std::int64_t draw(Random& random, std::int64_t low, std::int64_t high) {
  return low + static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(high - low + 1));
}

/// Random windows: with ties, with impossible ones, not monotone.
WindowRows random_rows(Random& random, std::int64_t n, std::int64_t width, Ticks largest) {
  WindowRows rows;
  for (std::int64_t i = 0; i < n; ++i) {
    for (std::int64_t k = 0; k < std::min(width, n - i); ++k) {
      rows.push(draw(random, 0, 9) == 0 ? kImpossible : draw(random, 0, largest));
    }
    rows.end_row();
  }
  return rows;
}

PartitionProblem random_problem(Random& random) {
  return {draw(random, 1, 8), draw(random, 1, 4), draw(random, 0, 1) == 0 ? 1 : 2};
}

Ticks objective_of(const WindowRows& rows, const PartitionProblem& problem,
                   const Partition& partition) {
  Ticks sum = 0, largest = 0;
  for (std::size_t m = 0; m + 1 < partition.cuts.size(); ++m) {
    const auto begin = partition.cuts[m], end = partition.cuts[m + 1];
    const Ticks time = rows.row(begin)[static_cast<std::size_t>(end - begin - 1)];
    REQUIRE(time < kImpossible);
    sum += time;
    largest = std::max(largest, time);
  }
  return problem.objective(sum, largest);
}

}  // namespace

TEST_CASE("a partition is the best of all 2^(n-1)") {
  Random random(1);
  int infeasible = 0;
  for (int round = 0; round < 3000; ++round) {
    const std::int64_t n = draw(random, 1, 12);
    const WindowRows rows =
        random_rows(random, n, draw(random, 1, n), round % 3 == 0 ? 5 : 1000000);
    const PartitionProblem problem = random_problem(random);
    const Ticks least = reference::least_objective(rows, problem);
    const Partition partition = partition_samples(rows, problem);
    REQUIRE(partition.feasible() == (least < kImpossible));
    if (!partition.feasible()) {
      ++infeasible;
      continue;
    }
    REQUIRE(partition.objective == least);
    REQUIRE(objective_of(rows, problem, partition) == least);
  }
  CHECK(infeasible > 100);
}

TEST_CASE("the fast search makes the same cuts as a dynamic programme for every time") {
  Random random(2);
  for (int round = 0; round < 300; ++round) {
    const std::int64_t n = draw(random, 1, 40);
    const WindowRows rows = random_rows(random, n, draw(random, 1, n), round % 2 == 0 ? 9 : 5000);
    const PartitionProblem problem = random_problem(random);
    const Partition fast = partition_samples(rows, problem);
    const Partition plain = reference::partition_samples(rows, problem);
    REQUIRE(fast.cuts == plain.cuts);
    if (fast.feasible()) REQUIRE(fast.objective == plain.objective);
  }
}

TEST_CASE("a grid of largest times never beats the exact search") {
  Random random(3);
  for (int round = 0; round < 200; ++round) {
    const WindowRows rows = random_rows(random, draw(random, 1, 40), 12, 5000);
    const PartitionProblem problem = random_problem(random);
    const Partition exact = partition_samples(rows, problem);
    const Partition grid = partition_samples_on_grid(rows, problem, 300);
    if (grid.feasible()) REQUIRE(exact.objective <= grid.objective);
  }
}

TEST_CASE("Karmarkar-Karp deals as with plain lists, and never better than the exact search") {
  Random random(4);
  for (int round = 0; round < 300; ++round) {
    std::vector<Ticks> weights(static_cast<std::size_t>(draw(random, 0, 10)));
    for (Ticks& weight : weights) weight = draw(random, 0, round % 2 == 0 ? 6 : 100000);
    const std::int64_t bins = draw(random, 1, 5);
    const Deal fast = balanced_partition(weights, bins);
    const Deal plain = reference::karmarkar_karp(weights, bins);
    REQUIRE(fast.bin_of == plain.bin_of);
    REQUIRE(fast.sums == plain.sums);
    const Deal exact = balanced_partition(weights, bins, PartitionMethod::exact);
    const auto largest = [](const Deal& deal) {
      return *std::max_element(deal.sums.begin(), deal.sums.end());
    };
    REQUIRE(largest(exact) <= largest(fast));
  }
}

TEST_CASE("refining a deal never slows the slowest replica") {
  Random random(5);
  int improved = 0;
  for (int round = 0; round < 300; ++round) {
    std::vector<Ticks> weights(static_cast<std::size_t>(draw(random, 1, 20)));
    for (Ticks& weight : weights) weight = draw(random, 1, 1000);
    const std::int64_t bins = draw(random, 1, 4), stages = draw(random, 1, 8);
    const auto slowest = [&](const Deal& deal) {
      Ticks slow = 0;
      for (std::int64_t b = 0; b < bins; ++b) {
        Ticks sum = 0, largest = 0;
        for (std::size_t i = 0; i < weights.size(); ++i) {
          if (deal.bin_of[i] != b) continue;
          sum += weights[i];
          largest = std::max(largest, weights[i]);
        }
        slow = std::max(slow, sum + (stages - 1) * largest);
      }
      return slow;
    };
    Deal deal = balanced_partition(weights, bins);
    const Ticks before = slowest(deal);
    refine_deal(weights, stages, deal);
    REQUIRE(slowest(deal) <= before);
    improved += slowest(deal) < before ? 1 : 0;
  }
  CHECK(improved > 20);
}
