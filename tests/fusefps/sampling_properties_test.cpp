// What must hold for any cloud: the samplers agree, sequences continue, counters add up.
#include <algorithm>
#include <numeric>
#include <random>
#include <vector>

#include "researchkit/fusefps/fusefps.hpp"
#include "support/catch.hpp"

using namespace researchkit;
using namespace researchkit::fusefps;

namespace {

enum class Kind { uniform, lattice, duplicates, clusters, line };

/// A random cloud [1, n, d] of a kind that is hard for one reason or another.
template <class Real>
Array<Real, 3> random_cloud(std::mt19937& engine, Kind kind, std::int64_t n, std::int64_t d) {
  const auto draw = [&](std::int64_t low, std::int64_t high) {
    return std::uniform_int_distribution<std::int64_t>(low, high)(engine);
  };
  Array<Real, 3> cloud({1, n, d});
  std::normal_distribution<double> normal;
  for (std::int64_t i = 0; i < n; ++i) {
    const bool copy = kind == Kind::duplicates && i > 0 && draw(0, 4) != 0;
    const std::int64_t from = draw(0, std::max<std::int64_t>(i - 1, 0));
    const double centre = 10.0 * static_cast<double>(draw(0, 4));
    for (std::int64_t c = 0; c < d; ++c) {
      double x = normal(engine);
      if (kind == Kind::lattice) x = 0.1 * static_cast<double>(draw(0, 4));
      if (kind == Kind::clusters) x = centre + 0.01 * x;
      if (kind == Kind::line && c != d / 2) x = 0.5;
      cloud(0, i, c) = copy ? cloud(0, from, c) : static_cast<Real>(x);
    }
  }
  return cloud;
}

template <class View>
bool same(const View& a, const View& b) {
  return std::equal(a.data_handle(), a.data_handle() + a.size(), b.data_handle(),
                    b.data_handle() + b.size());
}

template <class A, class B>
void check_same(const A& a, const B& b) {
  CHECK(same(a.indices, b.indices));
  CHECK(same(a.distances, b.distances));
  CHECK(same(a.counts, b.counts));
  CHECK(same(*a.min_dist, *b.min_dist));
  CHECK(same(*a.assignment, *b.assignment));
}

template <class Result>
std::vector<std::int64_t> stats_of(const Result& result) {
  return {result.stats.data_handle(), result.stats.data_handle() + SamplerStats::kCount};
}

// Columns of `stats`.
constexpr std::int64_t kSamples = 1, kTests = 2, kSkipped = 3, kDeferred = 4, kPasses = 5,
                       kPointsRead = 7, kDistWritten = 8, kPointsMoved = 9, kDistances = 10,
                       kBuildRead = 11, kSplits = 13, kBuckets = 15;

std::int64_t counter(const std::vector<std::int64_t>& stats, std::int64_t column) {
  return stats[static_cast<std::size_t>(column)];
}

void check_counters(const std::vector<std::int64_t>& stats, std::int64_t forced_passes) {
  const auto s = [&](std::int64_t column) { return counter(stats, column); };
  CHECK(s(kPointsRead) == s(kDistWritten) + s(kPointsMoved));
  if (s(kBuildRead) == 0) return;  // no tree was needed
  CHECK(s(kSplits) + 1 == s(kBuckets));
  CHECK(s(kTests) == s(kSkipped) + s(kDeferred) + s(kPasses) - forced_passes);
}

/// The three samplers on one random cloud with random attributes.
template <class Real>
void check_agreement(std::mt19937& engine) {
  const auto draw = [&](std::int64_t low, std::int64_t high) {
    return std::uniform_int_distribution<std::int64_t>(low, high)(engine);
  };
  const auto kind = static_cast<Kind>(draw(0, 4));
  const std::int64_t n = draw(0, 3) == 0 ? draw(1, 2000) : draw(1, 300), d = draw(1, 8);
  CAPTURE(static_cast<int>(kind), n, d, sizeof(Real));
  const Array<Real, 3> cloud = random_cloud<Real>(engine, kind, n, d);

  FarthestPointSample<Real> plain;
  plain.points = cloud;
  plain.return_min_dist = plain.return_assignment = true;
  plain.k = draw(0, 4) == 0 ? n : draw(0, std::min<std::int64_t>(n, 200));
  plain.arithmetic = draw(0, 3) == 0 ? Arithmetic::fma : Arithmetic::strict;
  plain.distinct = draw(0, 3) != 0;
  plain.distance_dims = draw(0, 2) == 0 ? draw(1, d) : 0;
  plain.start = draw(0, 2) == 0 ? Start::random : Start::first;
  plain.seed = static_cast<std::uint64_t>(draw(0, 1000));
  plain.min_spacing = draw(0, 3) == 0 ? 0.2 : 0.0;
  const auto complete = [&](auto op) {
    op.points = plain.points;
    op.return_min_dist = op.return_assignment = true;
    op.k = plain.k;
    op.arithmetic = plain.arithmetic;
    op.distinct = plain.distinct;
    op.distance_dims = plain.distance_dims;
    op.start = plain.start;
    op.seed = plain.seed;
    op.min_spacing = plain.min_spacing;
    op.height = draw(-1, 9);
    op.leaf_size = draw(0, 1) == 0 ? -1 : draw(1, 9);
    op.ref_buffer = draw(0, 3);
    return op;
  };
  auto bucket_call = complete(BucketFarthestPointSample<Real>());
  bucket_call.split_rule = static_cast<SplitRule>(draw(0, 2));
  auto fused_call = complete(FusedFarthestPointSample<Real>());
  fused_call.split_rule = static_cast<SplitRule>(draw(0, 1));

  const Context ctx;
  const auto wanted = run(ctx, plain);
  const auto bucket = run(ctx, bucket_call);
  const auto fused = run(ctx, fused_call);
  check_same(bucket, wanted);
  check_same(fused, wanted);
  check_counters(stats_of(bucket),
                 counter(stats_of(bucket), kBuckets));  // every leaf is passed over once
  check_counters(stats_of(fused), 1);
  if (plain.min_spacing == 0.0 && plain.k > 0) {
    CHECK(counter(stats_of(wanted), kDistances) == n * (plain.k - 1));
  }
}

}  // namespace

TEST_CASE("plain, bucket and fused sampling agree on 200 random clouds") {
  std::mt19937 engine(20240601);
  for (int round = 0; round < 100; ++round) {
    CAPTURE(round);
    check_agreement<float>(engine);
    check_agreement<double>(engine);
  }
}

TEST_CASE("the fused sampler gives what the plain loops give, counters included") {
  std::mt19937 engine(7);
  for (const Kind kind : {Kind::uniform, Kind::lattice, Kind::duplicates, Kind::line}) {
    for (const std::int64_t n : {1, 31, 257, 1500}) {
      CAPTURE(static_cast<int>(kind), n);
      const Array<float, 3> cloud = random_cloud<float>(engine, kind, n, 3);
      const std::int64_t k = std::min<std::int64_t>(n, 100);
      const auto fast = fused_farthest_point_sample(Context(), {.points = cloud,
                                                                .k = k,
                                                                .return_min_dist = true,
                                                                .return_assignment = true,
                                                                .height = 6,
                                                                .leaf_size = 3});
      const Array<std::int32_t, 2> indices({1, k}), assignment({1, n});
      const Array<float, 2> distances({1, k}), min_dist({1, n});
      const Array<std::int32_t, 1> counts({1});
      const Array<std::int64_t, 2> stats({1, SamplerStats::kCount});
      FusedFarthestPointSample<float> plain = fast;
      plain.indices = indices;
      plain.distances = distances;
      plain.counts = counts;
      plain.stats = stats;
      plain.min_dist = min_dist;
      plain.assignment = assignment;
      plain.reference();
      check_same(plain, fast);
      CHECK(stats_of(plain) == stats_of(fast));
    }
  }
}

TEST_CASE("the first samples of a long run are a short run, and a run can be resumed") {
  std::mt19937 engine(3);
  const Array<float, 3> cloud = random_cloud<float>(engine, Kind::uniform, 900, 3);
  const Context ctx;
  const auto all = fused_farthest_point_sample(ctx, {.points = cloud, .k = 120});
  const auto head =
      fused_farthest_point_sample(ctx, {.points = cloud, .k = 50, .return_min_dist = true});
  CHECK(std::equal(head.indices.data_handle(), head.indices.data_handle() + 50,
                   all.indices.data_handle()));
  const auto tail = fused_farthest_point_sample(
      ctx, {.points = cloud, .initial_distance = *head.min_dist, .k = 70, .start = Start::initial});
  CHECK(std::equal(tail.indices.data_handle(), tail.indices.data_handle() + 70,
                   all.indices.data_handle() + 50));
}

TEST_CASE("permuting the points permutes the samples when no two distances tie") {
  std::mt19937 engine(11);
  constexpr std::int64_t kPoints = 700, kWanted = 300;
  const Array<double, 3> cloud = random_cloud<double>(engine, Kind::uniform, kPoints, 3);
  std::vector<std::int64_t> order(kPoints);
  std::iota(order.begin(), order.end(), 0);
  std::shuffle(order.begin() + 1, order.end(), engine);  // the start stays where it is
  Array<double, 3> permuted({1, kPoints, 3});
  for (std::int64_t i = 0; i < kPoints; ++i) {
    for (std::int64_t c = 0; c < 3; ++c) {
      permuted(0, i, c) = cloud(0, order[static_cast<std::size_t>(i)], c);
    }
  }
  const Context ctx;
  const auto a = fused_farthest_point_sample(ctx, {.points = cloud, .k = kWanted});
  const auto b = fused_farthest_point_sample(ctx, {.points = permuted, .k = kWanted});
  for (std::int64_t j = 0; j < kWanted; ++j) {
    CHECK(order[static_cast<std::size_t>(b.indices(0, j))] == a.indices(0, j));
  }
}

TEST_CASE("every cloud of a batch gives what it gives alone, on any number of threads") {
  std::mt19937 engine(5);
  Array<float, 3> clouds({6, 500, 4});
  for (std::int64_t b = 0; b < 6; ++b) {
    const auto one = random_cloud<float>(engine, static_cast<Kind>(b % 5), 500, 4);
    std::copy_n(one.data_handle(), one.size(), &clouds(b, 0, 0));
  }
  const Tensor lengths = Tensor::from<std::int32_t>({500, 3, 0, 250, 499, 77}, {6});
  const auto sample_on = [&](int threads) {
    return fused_farthest_point_sample(Context({.threads = threads}),
                                       {.points = clouds,
                                        .lengths = lengths.view<std::int32_t, 1>(),
                                        .k = 90,
                                        .distance_dims = 3,
                                        .on_short = OnShort::pad,
                                        .return_min_dist = true,
                                        .return_assignment = true});
  };
  const auto wanted = sample_on(1);
  for (const int threads : {2, 3, 7}) check_same(sample_on(threads), wanted);
  for (std::int64_t b = 0; b < 6; ++b) {
    const std::int64_t n = lengths.values<std::int32_t>()[static_cast<std::size_t>(b)];
    const std::int64_t k = std::min<std::int64_t>(n, 90);
    CHECK(wanted.counts(b) == k);
    const In<float, 3> alone(&clouds(b, 0, 0), {1, n, 4});
    const auto single =
        farthest_point_sample(Context(), {.points = alone, .k = k, .distance_dims = 3});
    CHECK(std::equal(single.indices.data_handle(), single.indices.data_handle() + k,
                     &wanted.indices(b, 0)));
    if (k < 90) CHECK(wanted.indices(b, k) == -1);
  }
}

TEST_CASE("points with gaps between their columns give the same samples") {
  std::mt19937 engine(9);
  const Array<float, 3> wide = random_cloud<float>(engine, Kind::uniform, 400, 6);
  const Tensor strided = wide.tensor().slice(2, 0, 6, 2);
  const Tensor packed = strided.clone();
  const Context ctx;
  const auto a = fused_farthest_point_sample(ctx, {.points = strided.view<float, 3>(), .k = 64});
  const auto b = fused_farthest_point_sample(ctx, {.points = packed.view<float, 3>(), .k = 64});
  CHECK(same(a.indices, b.indices));
}

TEST_CASE("a ragged batch gives what its clouds give") {
  std::mt19937 engine(21);
  const Array<float, 3> cloud = random_cloud<float>(engine, Kind::clusters, 600, 3);
  const In<float, 2> points = cloud[0];
  const Tensor offsets = Tensor::from<std::int64_t>({0, 250, 250, 600}, {4});
  const Tensor wanted = Tensor::from<std::int32_t>({40, 0, 90}, {3});
  for (const auto algorithm : {Algorithm::vanilla, Algorithm::bucket, Algorithm::fused}) {
    const auto ragged = ragged_farthest_point_sample(Context({.threads = 2}),
                                                     {.points = points,
                                                      .offsets = offsets.view<std::int64_t, 1>(),
                                                      .num_samples = wanted.view<std::int32_t, 1>(),
                                                      .algorithm = algorithm});
    REQUIRE(ragged.indices.extent(0) == 130);
    CHECK(ragged.sample_offsets(1) == 40);
    CHECK(ragged.sample_offsets(2) == 40);
    CHECK(ragged.sample_offsets(3) == 130);
    const In<float, 3> last(&points(250, 0), {1, 350, 3});
    const auto alone = farthest_point_sample(Context(), {.points = last, .k = 90});
    for (std::int64_t j = 0; j < 90; ++j) {
      CHECK(ragged.indices(40 + j) == alone.indices(0, j) + 250);
      CHECK(ragged.distances(40 + j) == alone.distances(0, j));
    }
  }
}

TEST_CASE("a ragged batch that stops early has as many samples as it says") {
  std::mt19937 engine(22);
  const Array<float, 3> cloud = random_cloud<float>(engine, Kind::clusters, 400, 3);
  const Tensor offsets = Tensor::from<std::int64_t>({0, 100, 400}, {3});
  const auto ragged =
      ragged_farthest_point_sample(Context(), {.points = cloud[0],
                                               .offsets = offsets.view<std::int64_t, 1>(),
                                               .k = 90,
                                               .min_spacing = 1.0});
  CHECK(ragged.indices.extent(0) == ragged.sample_offsets(2));
  CHECK(ragged.indices.extent(0) < 180);
  CHECK(ragged.stats(0, kSamples) + ragged.stats(1, kSamples) == ragged.indices.extent(0));
}

TEST_CASE("sample() chooses the points that the operators choose") {
  std::mt19937 engine(2);
  for (const std::int64_t n : {20, 255, 256, 3000}) {
    const Array<float, 3> cloud = random_cloud<float>(engine, Kind::uniform, n, 3);
    const auto wanted = farthest_point_sample(Context(), {.points = cloud, .k = 20});
    Cloud<float> points;
    points.points = cloud.data_handle();
    points.rows = n;
    points.row_stride = points.distance_dims = 3;
    const auto chosen = sample(points, 20);
    CHECK(std::equal(chosen.indices.begin(), chosen.indices.end(), wanted.indices.data_handle()));
    CHECK((chosen.stats.splits > 0) == (n >= 256));
    CHECK_THROWS_AS(sample(points, n + 1), Error);
  }
}

TEST_CASE("the cost of a tree sampler is a bound before the run and counted after it") {
  std::mt19937 engine(8);
  const Array<float, 3> cloud = random_cloud<float>(engine, Kind::uniform, 3000, 3);
  FusedFarthestPointSample<float> fused;
  fused.points = cloud;
  fused.k = 300;
  CHECK(fused.cost().upper_bound);
  const auto result = run(Context(), fused);
  const Cost measured = result.measured_cost();
  CHECK_FALSE(measured.upper_bound);
  CHECK(measured.flops < fused.cost().flops);
  CHECK(measured.flops == static_cast<double>(result.stats(0, kDistances)) * 8 +
                              static_cast<double>(result.stats(0, kTests)) * 17);
  FarthestPointSample<float> plain;
  plain.points = cloud;
  plain.k = 300;
  const auto plain_result = run(Context(), plain);
  CHECK(plain.cost().flops == 299.0 * 3000 * 8);
  CHECK(plain_result.measured_cost().flops == plain.cost().flops);
  CHECK(plain_result.measured_cost().bytes == plain.cost().bytes);
}
