// Grouping, coverage and gradients around the samplers.
#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "researchkit/core/compare.hpp"
#include "researchkit/fusefps/fusefps.hpp"
#include "support/catch.hpp"

using namespace researchkit;
using namespace researchkit::fusefps;

namespace {

/// Normal coordinates on a coarse lattice: many distances tie, many points coincide.
template <class Real>
Array<Real, 3> lattice_cloud(std::uint32_t seed, std::int64_t b, std::int64_t n, std::int64_t d) {
  std::mt19937 engine(seed);
  std::normal_distribution<double> normal;
  Array<Real, 3> cloud({b, n, d});
  for (std::int64_t i = 0; i < cloud.size(); ++i) {
    cloud.data_handle()[i] = static_cast<Real>(std::round(4 * normal(engine)) / 8);
  }
  return cloud;
}

/// Runs an operator on two threads and by its plain loops: every output must be the same bits.
template <class Op>
void check_against_reference(Op op) {
  Description description;
  op.describe(description);
  researchkit::detail::Invocation call(Context({.threads = 2}), researchkit::detail::hooks_of<Op>(),
                                       &op, description.ports());
  call.execute();
  std::vector<Tensor> fast;
  for (const auto& [name, tensor] : call.outputs()) fast.push_back(tensor.clone());
  call.execute(researchkit::detail::Path::reference);
  REQUIRE_FALSE(fast.empty());
  std::size_t i = 0;
  for (const auto& [name, tensor] : call.outputs()) {
    const auto different = difference(fast[i++], tensor);
    INFO(name << ": " << different.value_or(""));
    CHECK_FALSE(different.has_value());
  }
}

}  // namespace

TEST_CASE("ball_query through the index gives what a scan gives") {
  for (const std::int64_t d : {1, 2, 3, 4, 7, 40}) {
    for (const std::int64_t n : {0, 1, 33, 700, 5000}) {
      const auto points = lattice_cloud<float>(1, 2, n, d);
      const auto queries = lattice_cloud<float>(2, 2, 40, d);
      for (const std::int64_t width : {1, 5, 64}) {
        CAPTURE(d, n, width);
        BallQuery<float> call;
        call.queries = queries;
        call.points = points;
        call.radius = 0.5 * std::sqrt(static_cast<double>(d));
        call.max_neighbors = width;
        call.fill = BallFill::first;
        check_against_reference(call);
        call.arithmetic = Arithmetic::fma;
        check_against_reference(call);
      }
    }
  }
}

TEST_CASE("a point at exactly the radius is not in the ball") {
  Array<float, 3> points({1, 4, 1});
  for (std::int64_t i = 0; i < 4; ++i) points(0, i, 0) = 0.5F * static_cast<float>(i);
  for (const double radius : {0.5, 0.625, 1.0}) {
    CAPTURE(radius);
    const auto ball =
        ball_query(Context(), {.queries = points, .points = points, .radius = radius});
    const std::int32_t near = radius == 0.5 ? 0 : 1;  // on each side
    for (std::int64_t q = 0; q < 4; ++q) {
      CHECK(ball.counts(0, q) == 1 + (q > 0 ? near : 0) + (q < 3 ? near : 0));
    }
  }
}

TEST_CASE("knn_query through the index gives what a sort gives, ties by index") {
  const Tensor lengths = Tensor::from<std::int32_t>({3, 900}, {2});
  for (const std::int64_t d : {1, 2, 3, 4, 9}) {
    const auto points = lattice_cloud<double>(3, 2, 900, d);
    const auto queries = lattice_cloud<double>(4, 2, 50, d);
    for (const std::int64_t k : {1, 7, 100}) {
      CAPTURE(d, k);
      KnnQuery<double> call;
      call.queries = queries;
      call.points = points;
      call.k = k;
      check_against_reference(call);
      call.lengths = lengths.view<std::int32_t, 1>();
      call.arithmetic = Arithmetic::fma;
      check_against_reference(call);
    }
  }
}

TEST_CASE("queries survive squared distances that overflow") {
  Array<float, 3> points({1, 200, 3});
  for (std::int64_t i = 0; i < points.size(); ++i) {
    points.data_handle()[i] = 3e38f * static_cast<float>(std::sin(static_cast<double>(i)));
  }
  KnnQuery<float> nearest;
  nearest.queries = nearest.points = points;
  nearest.k = 20;
  check_against_reference(nearest);
  BallQuery<float> ball;
  ball.queries = ball.points = points;
  ball.radius = 1e19;
  ball.max_neighbors = 20;
  check_against_reference(ball);
}

TEST_CASE("farthest point samples cover better than the first points do") {
  const Context ctx;
  const auto cloud = primitives_cloud(ctx, {.n = 4000, .kind = PrimitivesKind::room});
  const In<float, 3> points(cloud.points.data_handle(), {1, 4000, 3});
  const auto chosen = fused_farthest_point_sample(ctx, {.points = points, .k = 200});
  const auto ours = coverage_metrics(ctx, {.points = points, .indices = chosen.indices});
  Array<std::int32_t, 2> first({1, 200});
  for (std::int64_t j = 0; j < 200; ++j) first(0, j) = static_cast<std::int32_t>(j);
  const auto random = coverage_metrics(ctx, {.points = points, .indices = first});
  CHECK(ours.metrics(0, 0) < 0.6 * random.metrics(0, 0));
  CHECK(ours.metrics(0, 3) > 2 * random.metrics(0, 3));
  CHECK(ours.metrics(0, 3) >= ours.metrics(0, 0) * (1 - 1e-6));
}

TEST_CASE("coverage metrics have the same bits on any number of threads and are those of a scan") {
  const auto points = lattice_cloud<float>(6, 2, 3000, 3);
  Array<std::int32_t, 2> samples({2, 500});
  for (std::int64_t j = 0; j < 500; ++j) {
    samples(0, j) = static_cast<std::int32_t>(5 * j);
    samples(1, j) = j % 3 == 0 ? -1 : static_cast<std::int32_t>(j);
  }
  CoverageMetrics<float> call;
  call.points = points;
  call.indices = samples;
  const auto one = run(Context({.threads = 1}), call);
  const auto three = run(Context({.threads = 3}), call);
  CHECK_FALSE(difference(three.memory[0], one.memory[0]).has_value());
  const Array<double, 2> plain({2, 4});
  call.metrics = plain;
  call.reference();
  CHECK_FALSE(difference(one.memory[0], plain.tensor(), {.rtol = 1e-12}).has_value());
}

TEST_CASE("the gradient of the coverage loss is that of central differences") {
  std::mt19937 engine(31);
  std::normal_distribution<double> normal;
  Array<double, 3> points({2, 60, 4});
  Array<double, 2> upstream({2, 60});
  for (std::int64_t i = 0; i < points.size(); ++i) points.data_handle()[i] = normal(engine);
  for (std::int64_t i = 0; i < upstream.size(); ++i) upstream.data_handle()[i] = normal(engine);
  const Context ctx;
  const auto chosen = fused_farthest_point_sample(ctx, {.points = points,
                                                        .k = 9,
                                                        .distance_dims = 3,
                                                        .return_min_dist = true,
                                                        .return_assignment = true});
  const auto gradient = fused_farthest_point_sample_backward(ctx, {.points = points,
                                                                   .indices = chosen.indices,
                                                                   .assignment = *chosen.assignment,
                                                                   .d_min_dist = upstream,
                                                                   .distance_dims = 3});
  // The samples are held fixed: all of them are start points.
  const auto loss = [&] {
    const auto fixed = farthest_point_sample(ctx, {.points = points,
                                                   .start_index = chosen.indices,
                                                   .k = 9,
                                                   .distance_dims = 3,
                                                   .return_min_dist = true});
    double sum = 0;
    for (std::int64_t i = 0; i < upstream.size(); ++i) {
      sum += upstream.data_handle()[i] * fixed.min_dist->data_handle()[i];
    }
    return sum;
  };
  const double h = 1e-6;
  for (std::int64_t i = 0; i < points.size(); ++i) {
    double& x = points.data_handle()[i];
    const double kept = x;
    x = kept + h;
    const double above = loss();
    x = kept - h;
    const double below = loss();
    x = kept;
    CHECK(std::abs(gradient.d_points.data_handle()[i] - (above - below) / (2 * h)) < 1e-7);
  }
}

TEST_CASE("gathering, its gradient and that of coverage are those of plain loops") {
  std::mt19937 engine(4);
  for (const std::int64_t n : {1, 17, 300}) {
    CAPTURE(n);
    const auto features = lattice_cloud<float>(8, 3, n, 70);
    const auto d_gathered = lattice_cloud<float>(9, 3, 41, 70);
    Array<std::int32_t, 2> indices({3, 41});
    std::uniform_int_distribution<std::int32_t> draw(-1, static_cast<std::int32_t>(n) - 1);
    for (std::int64_t j = 0; j < indices.size(); ++j) indices.data_handle()[j] = draw(engine);
    GatherPoints<float> gather;
    gather.features = features;
    gather.indices = indices;
    check_against_reference(gather);
    GatherPointsBackward<float> scatter;
    scatter.features = features;
    scatter.indices = indices;
    scatter.d_gathered = d_gathered;
    check_against_reference(scatter);

    const auto chosen = farthest_point_sample(
        Context(), {.points = features, .k = (n + 3) / 4, .return_assignment = true});
    const Array<float, 3> upstream = lattice_cloud<float>(10, 3, n, 1);
    FarthestPointSampleBackward<float> coverage;
    coverage.points = features;
    coverage.indices = chosen.indices;
    coverage.assignment = *chosen.assignment;
    coverage.d_min_dist = In<float, 2>(upstream.data_handle(), {3, n});
    coverage.distance_dims = n % 2;
    check_against_reference(coverage);
  }
}
