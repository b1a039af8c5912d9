// Calls that must be refused: the documented list, and what a schema cannot say.
#include <limits>
#include <string>

#include "researchkit/core/verify.hpp"
#include "researchkit/fusefps/fusefps.hpp"
#include "support/catch.hpp"
#include "support/contains.hpp"

using namespace researchkit;
using namespace researchkit::fusefps;

namespace {

template <class F>
void check_refused(const std::string& argument, F&& call) {
  try {
    call();
  } catch (const Error& error) {
    CHECK(error.argument() == argument);
    CHECK_THAT(error.what(), test::contains("'" + argument + "'"));
    CHECK_THAT(error.what(), test::contains("fusefps."));
    return;
  }
  FAIL_CHECK("'" << argument << "' was not refused");
}

}  // namespace

TEST_CASE("every golden case passes on both paths and every bad call is refused by name") {
  Registry registry;
  register_fusefps(registry);
  for (const auto path : {researchkit::detail::Path::run, researchkit::detail::Path::reference}) {
    const auto results = verify(registry, std::string(RESEARCHKIT_TEST_GOLDEN_DIR) + "/fusefps",
                                Context(), {path, {}});
    for (const CaseResult& result : results) {
      INFO(result.name << ": " << result.failure);
      CHECK(result.passed());
    }
    CHECK(results.size() == 154 + 129);
  }
}

TEST_CASE("samplers refuse what their schema cannot say, typed calls too") {
  Array<float, 3> points({1, 300, 3});
  for (std::int64_t i = 0; i < points.size(); ++i) {
    points.data_handle()[i] = static_cast<float>(i % 17);
  }
  const Context ctx;
  check_refused("k", [&] { farthest_point_sample(ctx, {.points = points}); });
  check_refused("height",
                [&] { farthest_point_sample(ctx, {.points = points, .k = 3, .height = 4}); });
  check_refused("split_rule", [&] {
    fused_farthest_point_sample(ctx, {.points = points, .k = 3, .split_rule = SplitRule::median});
  });
  check_refused("min_spacing", [&] {
    fused_farthest_point_sample(
        ctx, {.points = points, .k = 3, .min_spacing = std::numeric_limits<double>::infinity()});
  });
  // The last coordinate of the last point, behind all full vectors; only if it counts.
  points(0, 299, 2) = std::numeric_limits<float>::infinity();
  check_refused("points", [&] { fused_farthest_point_sample(ctx, {.points = points, .k = 3}); });
  CHECK_NOTHROW(fused_farthest_point_sample(ctx, {.points = points, .k = 3, .distance_dims = 2}));
  const Tensor lengths = Tensor::from<std::int32_t>({299}, {1});
  CHECK_NOTHROW(fused_farthest_point_sample(
      ctx, {.points = points, .lengths = lengths.view<std::int32_t, 1>(), .k = 3}));
}

TEST_CASE("a refused call leaves the caller's memory alone") {
  Array<float, 3> points({1, 8, 3});
  points(0, 7, 1) = std::numeric_limits<float>::quiet_NaN();
  Array<std::int32_t, 2> indices({1, 3});
  indices(0, 0) = 77;
  check_refused("points", [&] {
    farthest_point_sample(Context(), {.points = points, .indices = indices, .k = 3});
  });
  CHECK(indices(0, 0) == 77);
}

TEST_CASE("a mask with gaps is read as it lies") {
  Array<float, 3> points({2, 4, 2});
  for (std::int64_t i = 0; i < points.size(); ++i) {
    points.data_handle()[i] = static_cast<float>(i);
  }
  points(1, 2, 0) = std::numeric_limits<float>::quiet_NaN();
  const Tensor wide =
      Tensor::from<std::uint8_t>({1, 9, 1, 9, 1, 9, 1, 9, 1, 9, 1, 9, 0, 9, 1, 9}, {2, 8});
  const Tensor mask = wide.slice(1, 0, 8, 2);
  const auto chosen = fused_farthest_point_sample(
      Context(), {.points = points, .mask = mask.view<std::uint8_t, 2>(), .k = 3});
  CHECK(chosen.counts(1) == 3);
  CHECK(chosen.indices(1, 1) == 3);
}

TEST_CASE("a backward refuses an assignment to a sample that was not chosen") {
  const Array<float, 3> points({1, 2, 1});
  const Array<float, 2> upstream({1, 2});
  const Tensor indices = Tensor::from<std::int32_t>({0, -1}, {1, 2});
  const Tensor assignment = Tensor::from<std::int32_t>({0, 1}, {1, 2});
  check_refused("assignment", [&] {
    farthest_point_sample_backward(Context(), {.points = points,
                                               .indices = indices.view<std::int32_t, 2>(),
                                               .assignment = assignment.view<std::int32_t, 2>(),
                                               .d_min_dist = upstream});
  });
}

TEST_CASE("ragged offsets and start points are checked against each cloud") {
  Array<float, 2> points({10, 2});
  for (std::int64_t i = 0; i < points.size(); ++i) {
    points.data_handle()[i] = static_cast<float>(i * i);
  }
  const auto call = [&](std::initializer_list<std::int64_t> offsets,
                        std::initializer_list<std::int64_t> starts) {
    const auto clouds = static_cast<std::int64_t>(starts.size());
    const Tensor o = Tensor::from(offsets, {clouds + 1}), s = Tensor::from(starts, {clouds});
    return ragged_farthest_point_sample(Context(), {.points = points,
                                                    .offsets = o.view<std::int64_t, 1>(),
                                                    .start_index = s.view<std::int64_t, 1>(),
                                                    .k = 2})
        .indices(2);
  };
  CHECK(call({0, 4, 10}, {1, 5}) == 5);
  check_refused("start_index", [&] { call({0, 4, 10}, {1, 3}); });
  check_refused("start_index", [&] { call({0, 4, 10}, {1, -1}); });
  check_refused("offsets", [&] { call({0, 11, 10}, {1, 3}); });
  check_refused("k", [&] { call({0, 1, 10}, {0, 3}); });
}

TEST_CASE("demo clouds refuse settings that make no scan") {
  const Context ctx;
  check_refused("n", [&] { lidar_scan(ctx, {}); });
  check_refused("noise", [&] { lidar_scan(ctx, {.n = 5, .noise = 1.5}); });
  check_refused("n",
                [&] { lidar_scan(ctx, {.n = 10, .beams = 1, .max_range = 1, .min_range = 0.5}); });
}
