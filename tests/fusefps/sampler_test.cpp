#include "researchkit/fusefps/sampler.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "researchkit/core/error.hpp"
#include "researchkit/core/simd.hpp"
#include "support/catch.hpp"

namespace researchkit::fusefps {
namespace {

using Starts = std::vector<std::int32_t>;

template <class Real>
struct Points {
  std::vector<Real> values;
  std::int64_t n = 0, d = 0;

  Cloud<Real> cloud(std::int64_t dims = 0) const {
    return {values.data(), n, d, dims == 0 ? d : dims, nullptr, nullptr};
  }
};

template <class Real>
struct Result {
  std::vector<std::int32_t> indices, assignment;
  std::vector<Real> distances, min_dist;

  friend bool operator==(const Result&, const Result&) = default;
};

// The definition, and nothing else: O(n k d).
template <class Real>
Result<Real> plain_loop(const Cloud<Real>& cloud, std::int64_t k, const Starts& starts,
                        const SamplerOptions& options) {
  const auto n = static_cast<std::size_t>(cloud.rows);
  Result<Real> r{{}, std::vector<std::int32_t>(n, -1), {}, std::vector<Real>(n)};
  auto& distance = r.min_dist;
  for (std::size_t i = 0; i < n; ++i) {
    distance[i] =
        cloud.initial_distance ? cloud.initial_distance[i] : std::numeric_limits<Real>::infinity();
  }
  const Real spacing = static_cast<Real>(options.min_spacing);
  std::vector<bool> taken(n, false);
  while (static_cast<std::int64_t>(r.indices.size()) < k) {
    const std::size_t ordinal = r.indices.size();
    std::size_t next = n;
    if (ordinal < starts.size()) {
      next = static_cast<std::size_t>(starts[ordinal]);
    } else {
      for (std::size_t i = 0; i < n; ++i) {
        if (options.distinct && taken[i]) continue;
        if (next == n || distance[i] > distance[next]) next = i;
      }
      if (distance[next] < spacing * spacing) break;
    }
    r.indices.push_back(static_cast<std::int32_t>(next));
    r.distances.push_back(distance[next]);
    // Start points are chosen before any point has seen a sample: a distinct one keeps itself even
    // if an earlier start lies at the same place.
    const bool distinct_start = options.distinct && ordinal < starts.size();
    if (distance[next] > 0 || r.assignment[next] < 0 || distinct_start) {
      r.assignment[next] = static_cast<std::int32_t>(ordinal);
    }
    taken[next] = true;
    for (std::size_t i = 0; i < n; ++i) {
      Real sum = 0;
      for (std::int64_t c = 0; c < cloud.distance_dims; ++c) {
        const Real t = cloud.points[static_cast<std::int64_t>(i) * cloud.row_stride + c] -
                       cloud.points[static_cast<std::int64_t>(next) * cloud.row_stride + c];
        const bool fma = options.arithmetic == Arithmetic::fma && c > 0;
        sum = fma ? std::fma(t, t, sum) : sum + t * t;
      }
      if (sum < distance[i]) {
        distance[i] = sum;
        if (i != next) r.assignment[i] = static_cast<std::int32_t>(ordinal);
      }
    }
    distance[next] = 0;
  }
  return r;
}

template <class Real>
Result<Real> sample(FarthestPointSampler<Real>& sampler, const Cloud<Real>& cloud, std::int64_t k,
                    const Starts& starts, const SamplerOptions& options, std::int64_t piece = 0) {
  sampler.reset(cloud, starts, options);
  Result<Real> r;
  r.indices.resize(static_cast<std::size_t>(k));
  r.distances.resize(static_cast<std::size_t>(k));
  std::int64_t got = 0;
  for (std::int64_t size = piece > 0 ? piece : k; got < k;) {
    const auto fits = static_cast<std::size_t>(std::min(size, k - got));
    const auto now = sampler.take({r.indices.data() + got, fits}, {r.distances.data() + got, fits});
    got += now;
    if (now < static_cast<std::int64_t>(fits)) break;
  }
  r.indices.resize(static_cast<std::size_t>(got));
  r.distances.resize(static_cast<std::size_t>(got));
  r.min_dist.resize(static_cast<std::size_t>(cloud.rows));
  r.assignment.resize(static_cast<std::size_t>(cloud.rows));
  sampler.coverage(r.min_dist, r.assignment);
  return r;
}

template <class Real>
Points<Real> random_points(std::mt19937_64& random, std::int64_t n, std::int64_t d) {
  Points<Real> p{std::vector<Real>(static_cast<std::size_t>(n * d)), n, d};
  const auto kind = random() % 5;
  std::normal_distribution<double> normal;
  std::vector<double> origin(static_cast<std::size_t>(d)), direction(origin.size());
  for (auto& v : direction) v = normal(random);
  for (std::int64_t i = 0; i < n; ++i) {
    const double along = normal(random);
    if (random() % 50 == 0) {
      for (auto& v : origin) v = 20 * normal(random);
    }
    for (std::size_t c = 0; c < origin.size(); ++c) {
      double value = normal(random);                                     // a ball
      if (kind == 1) value = static_cast<double>(random() % 4);          // a lattice
      if (kind == 2) value = along * direction[c];                       // a line
      if (kind == 3) value = origin[c] + 0.01 * value;                   // clusters
      if (kind == 4) value = static_cast<double>(i % 7) * direction[c];  // seven places
      p.values[static_cast<std::size_t>(i * d) + c] = static_cast<Real>(value);
    }
  }
  return p;
}

SamplerOptions random_options(std::mt19937_64& random) {
  SamplerOptions o;
  o.arithmetic = random() % 2 ? Arithmetic::strict : Arithmetic::fma;
  o.distinct = random() % 3 != 0;
  o.min_spacing = random() % 4 == 0 ? 0.3 : 0.0;
  o.height = static_cast<int>(random() % 12) - 1;
  o.leaf_size = random() % 3 == 0 ? -1 : static_cast<std::int64_t>(1 + random() % 40);
  o.ref_buffer = random() % 2 ? 0 : static_cast<std::int64_t>(random() % 5);
  o.split_rule = static_cast<SplitRule>(random() % 3);
  o.track_assignment = random() % 2 == 0;
  return o;
}

SamplerOptions with(SamplerOptions o, Algorithm algorithm) {
  o.algorithm = algorithm;
  if (algorithm == Algorithm::fused && o.split_rule == SplitRule::median) {
    o.split_rule = SplitRule::mean;
  }
  return o;
}

constexpr Algorithm kAlgorithms[] = {Algorithm::vanilla, Algorithm::bucket, Algorithm::fused};

void check_invariants(const SamplerStats& s, Algorithm algorithm, std::int64_t starts) {
  CHECK(s.points_read == s.dist_written + s.points_moved);
  if (s.passes == 0) return;
  if (algorithm == Algorithm::vanilla) {
    CHECK(s.bucket_tests + s.skipped + s.deferred + s.splits + s.points_moved == 0);
    if (starts == 1) CHECK(s.distance_computations == s.n_points * s.passes);
    return;
  }
  CHECK(s.splits + 1 == s.final_buckets);
  const std::int64_t forced = algorithm == Algorithm::fused ? 1 : s.final_buckets;
  CHECK(s.bucket_tests == s.skipped + s.deferred + s.passes - forced);
  CHECK(s.skipped >= 0);
}

// Random clouds and options: all algorithms, whole and in pieces, against the plain loop.
template <class Real>
void check_random_clouds(int clouds, std::uint64_t seed, std::int64_t max_points) {
  std::mt19937_64 random(seed);
  FarthestPointSampler<Real> sampler;
  for (int trial = 0; trial < clouds; ++trial) {
    const auto n = static_cast<std::int64_t>(1 + random() % static_cast<std::uint64_t>(max_points));
    const auto d = static_cast<std::int64_t>(1 + random() % 8);
    const auto points = random_points<Real>(random, n, d);
    const auto dims = static_cast<std::int64_t>(1 + random() % static_cast<std::uint64_t>(d));
    auto cloud = points.cloud(dims);
    const auto options = random_options(random);
    std::vector<Real> initial(static_cast<std::size_t>(n));
    for (auto& v : initial) v = static_cast<Real>(random() % 8);
    if (random() % 4 == 0) cloud.initial_distance = initial.data();
    const auto most = static_cast<std::uint64_t>(std::min<std::int64_t>(n, 150));
    const auto k = static_cast<std::int64_t>(1 + random() % most);
    Starts starts;
    if (cloud.initial_distance == nullptr || random() % 2) {
      Starts all(static_cast<std::size_t>(n));
      std::iota(all.begin(), all.end(), 0);
      std::shuffle(all.begin(), all.end(), random);
      const auto wanted = std::min<std::size_t>(1 + random() % 6, static_cast<std::size_t>(k));
      starts.assign(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(wanted));
    }
    auto expected = plain_loop(cloud, k, starts, options);
    if (!options.track_assignment) expected.assignment.assign(expected.assignment.size(), -1);
    const std::int64_t piece = static_cast<std::int64_t>(1 + random() % 9);
    for (const Algorithm algorithm : kAlgorithms) {
      INFO("trial " << trial << " n " << n << " d " << d << " k " << k << " algorithm "
                    << static_cast<int>(algorithm) << " target " << simd_target());
      const auto chosen = with(options, algorithm);
      REQUIRE(sample(sampler, cloud, k, starts, chosen) == expected);
      const auto stats = sampler.stats();
      check_invariants(stats, algorithm, static_cast<std::int64_t>(starts.size()));
      REQUIRE(sample(sampler, cloud, k, starts, chosen, piece) == expected);
      CHECK(sampler.stats() == stats);
    }
  }
}

// Leaves the choice of the instruction set as it was.
struct AutomaticTarget {
  ~AutomaticTarget() { force_simd_target(""); }
};

// What the Error that `call` throws says; empty if it throws none.
template <class Call>
std::string message_of(Call&& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return {};
}

template <class Real>
Points<Real> cube(std::int64_t n, std::int64_t d, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::uniform_real_distribution<double> uniform;
  Points<Real> p{std::vector<Real>(static_cast<std::size_t>(n * d)), n, d};
  for (auto& v : p.values) v = static_cast<Real>(uniform(random));
  return p;
}

}  // namespace

TEST_CASE("all samplers return the sequence of the plain loop on 200 random clouds") {
  check_random_clouds<float>(100, 1, 2000);
  check_random_clouds<double>(100, 2, 2000);
}

TEST_CASE("every instruction set returns the same bits and statistics") {
  const AutomaticTarget restore;
  REQUIRE(!simd_targets().empty());
  std::vector<Result<float>> first;
  std::vector<SamplerStats> first_stats;
  const auto points = cube<float>(3001, 3, 5);
  for (const auto& target : simd_targets()) {
    force_simd_target(target);
    REQUIRE(simd_target() == target);
    check_random_clouds<float>(20, 3, 600);
    check_random_clouds<double>(20, 4, 600);
    FarthestPointSampler<float> sampler;
    for (std::size_t a = 0; a < std::size(kAlgorithms); ++a) {
      const auto r = sample(sampler, points.cloud(), 400, {17}, with({}, kAlgorithms[a]));
      if (first.size() <= a) {
        first.push_back(r);
        first_stats.push_back(sampler.stats());
      }
      CHECK(r == first[a]);
      CHECK(sampler.stats() == first_stats[a]);
    }
  }
}

TEST_CASE("an unknown instruction set is refused by name") {
  CHECK(message_of([] { force_simd_target("Z80"); }).find("Z80") != std::string::npos);
}

TEST_CASE("strict and fused arithmetic differ somewhere on a cloud with near ties") {
  // Guards against a compiler that contracts: then both chains would agree.
  const auto points = cube<float>(4000, 3, 9);
  FarthestPointSampler<float> sampler;
  SamplerOptions options;
  const auto strict = sample(sampler, points.cloud(), 4000, {0}, options);
  options.arithmetic = Arithmetic::fma;
  CHECK(sample(sampler, points.cloud(), 4000, {0}, options).distances != strict.distances);
}

TEST_CASE("the first samples of a long run are those of a short run") {
  const auto points = cube<double>(5000, 3, 11);
  FarthestPointSampler<double> sampler;
  const auto all = sample(sampler, points.cloud(), 700, {3}, {});
  for (const std::int64_t k : {1, 2, 33, 699}) {
    const auto some = sample(sampler, points.cloud(), k, {3}, {});
    CHECK(std::equal(some.indices.begin(), some.indices.end(), all.indices.begin()));
    CHECK(std::equal(some.distances.begin(), some.distances.end(), all.distances.begin()));
  }
}

TEST_CASE("sampling goes on from the min_dist of an earlier run") {
  const auto points = cube<float>(3000, 3, 12);
  for (const Algorithm algorithm : kAlgorithms) {
    FarthestPointSampler<float> sampler;
    const auto options = with({}, algorithm);
    const auto all = sample(sampler, points.cloud(), 500, {0}, options);
    const auto head = sample(sampler, points.cloud(), 200, {0}, options);
    auto cloud = points.cloud();
    cloud.initial_distance = head.min_dist.data();
    const auto tail = sample(sampler, cloud, 300, {}, options);
    CHECK(std::equal(tail.indices.begin(), tail.indices.end(), all.indices.begin() + 200));
    CHECK(tail.min_dist == all.min_dist);
  }
}

TEST_CASE("coverage in the middle does not change what follows") {
  const auto points = cube<float>(3000, 3, 13);
  FarthestPointSampler<float> sampler;
  const auto whole = sample(sampler, points.cloud(), 300, {0}, {});
  const auto stats = sampler.stats();
  sampler.reset(points.cloud(), Starts{0});
  std::vector<float> min_dist(3000);
  for (std::size_t i = 0; i < 300; ++i) {
    const auto next = sampler.next();
    REQUIRE(next.has_value());
    CHECK(next->index == whole.indices[i]);
    CHECK(next->distance == whole.distances[i]);
    if (i % 37 == 0) sampler.coverage(min_dist);
  }
  CHECK(sampler.stats() == stats);
}

TEST_CASE("distinct samples of all points are a permutation, after which there is none") {
  std::mt19937_64 random(4);
  const auto points = random_points<float>(random, 700, 2);
  for (const Algorithm algorithm : kAlgorithms) {
    FarthestPointSampler<float> sampler(with({}, algorithm));
    sampler.reset(points.cloud(), Starts{5});
    Starts indices(800);
    REQUIRE(sampler.take(indices) == 700);
    indices.resize(700);
    std::sort(indices.begin(), indices.end());
    Starts all(700);
    std::iota(all.begin(), all.end(), 0);
    CHECK(indices == all);
    CHECK(!sampler.next().has_value());
  }
}

TEST_CASE("masked points are never chosen and never looked at") {
  auto points = cube<float>(2500, 3, 14);
  std::vector<std::uint8_t> mask(2500);
  std::vector<std::int32_t> valid;
  Points<float> packed{{}, 0, 3};
  for (std::size_t i = 0; i < mask.size(); ++i) {
    mask[i] = i % 3 != 1;
    float* p = points.values.data() + 3 * i;
    if (mask[i]) {
      valid.push_back(static_cast<std::int32_t>(i));
      packed.values.insert(packed.values.end(), p, p + 3);
      ++packed.n;
    } else {
      p[i % 3] = std::numeric_limits<float>::quiet_NaN();
    }
  }
  CHECK(all_finite(points.values.data(), 2500, 3, 3, mask.data()));
  for (const Algorithm algorithm : kAlgorithms) {
    FarthestPointSampler<float> sampler;
    const auto want = sample(sampler, packed.cloud(), 200, {1}, with({}, algorithm));
    auto cloud = points.cloud();
    cloud.mask = mask.data();
    const auto got = sample(sampler, cloud, 200, {valid[1]}, with({}, algorithm));
    REQUIRE(got.distances == want.distances);
    for (std::size_t i = 0; i < 200; ++i) {
      CHECK(got.indices[i] == valid[static_cast<std::size_t>(want.indices[i])]);
    }
    CHECK(got.min_dist[1] == 0.0f);
    CHECK_THROWS_AS(sampler.reset(cloud, Starts{1}), Error);
  }
}

TEST_CASE("memory stays below 56 bytes a point and 4 MB, and a second run allocates nothing") {
  const auto points = cube<float>(150000, 3, 15);
  for (const Algorithm algorithm : kAlgorithms) {
    if (algorithm == Algorithm::vanilla) continue;
    FarthestPointSampler<float> sampler;
    sampler.reset(points.cloud(), Starts{0}, with({}, algorithm));
    Starts indices(40000);
    REQUIRE(sampler.take(indices) == 40000);
    CHECK(sampler.peak_bytes() <= std::size_t{56} * 150000 + 4000000);
    const auto allocations = sampler.allocations();
    CHECK(allocations > 0);
    sampler.reset(points.cloud(), Starts{7});
    REQUIRE(sampler.take(indices) == 40000);
    CHECK(sampler.allocations() == allocations);
  }
}

TEST_CASE("starts that are out of range, repeated or masked are refused by name") {
  const auto points = cube<float>(10, 3, 16);
  FarthestPointSampler<float> sampler;
  for (const Starts& starts : {Starts{10}, Starts{-1}, Starts{3, 4, 3}}) {
    const auto message = message_of([&] { sampler.reset(points.cloud(), starts); });
    CHECK(message.find("start_index") != std::string::npos);
  }
  SamplerOptions median;
  median.split_rule = SplitRule::median;
  const auto message = message_of([&] { FarthestPointSampler<float> refused(median); });
  CHECK(message.find("split_rule") != std::string::npos);
}

TEST_CASE("no points and no samples leave empty results and statistics") {
  FarthestPointSampler<float> sampler;
  sampler.reset({nullptr, 0, 3, 3, nullptr, nullptr}, {});
  Starts indices(4);
  CHECK(sampler.take(indices) == 0);
  CHECK(sampler.stats() == SamplerStats{});
  const auto points = cube<float>(10, 3, 17);
  sampler.reset(points.cloud(), Starts{0});
  CHECK(sampler.take(std::span<std::int32_t>()) == 0);
  CHECK(sampler.stats().n_points == 10);
  CHECK(sampler.stats().final_buckets == 0);
}

TEST_CASE("a single value that is not finite is found wherever it is, and only where it counts") {
  const AutomaticTarget restore;
  for (const auto& target : simd_targets()) {
    force_simd_target(target);
    for (const std::int64_t columns : {1, 2, 3, 5, 20}) {
      for (const std::int64_t stride : {columns, columns + 1, columns + 17}) {
        std::vector<double> values(static_cast<std::size_t>(41 * stride), 1e300);
        for (std::int64_t i = 0; i < 41; ++i) {
          for (std::int64_t c = 0; c < stride; ++c) {
            auto& value = values[static_cast<std::size_t>(i * stride + c)];
            for (const double bad :
                 {std::numeric_limits<double>::infinity(), -std::numeric_limits<double>::infinity(),
                  std::numeric_limits<double>::quiet_NaN()}) {
              value = bad;
              if (all_finite(values.data(), 41, stride, columns) != (c >= columns)) {
                FAIL(target << " row " << i << " column " << c << " of " << columns);
              }
            }
            value = 1e300;
          }
        }
        CHECK(all_finite(values.data(), 41, stride, columns));
      }
    }
  }
}

}  // namespace researchkit::fusefps
