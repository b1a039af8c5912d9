// Every operator that a device has a kernel for gives the bits of the CPU there: golden cases,
// random calls of all shapes, and shapes that reach each variant of a kernel. The same checks run on
// the emulated grid and, where there is one, on a CUDA device.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>
#include <string>
#include <vector>

#include "researchkit/core/compare.hpp"
#include "researchkit/core/registry.hpp"
#include "researchkit/core/verify.hpp"
#include "researchkit/fusefps/fusefps.hpp"
#include "support/catch.hpp"
#include "support/conformance.hpp"
#include "support/contains.hpp"
#include "support/device_parity.hpp"
#include "support/emulator/emulated_backend.hpp"

using namespace researchkit;
using test::check_call;
using test::on_cuda;

namespace {

void check_golden_cases(Device device) {
  const auto results =
      verify(default_registry(), std::filesystem::path(RESEARCHKIT_TEST_GOLDEN_DIR),
             Context({.device = device}), {});
  std::size_t ran = 0;
  for (const CaseResult& result : results) {
    INFO(result.name << ": " << result.failure);
    CHECK((result.passed() || !result.ran));
    ran += result.ran ? 1 : 0;
  }
  CHECK(ran > 0);
}

void check_random_calls(Device device) {
  std::size_t operators = 0;
  for (const auto& [name, op] : default_registry().operators()) {
    if (!op.runs_on(device)) continue;
    ++operators;
    const auto failures =
        conformance::device_equals_host(op, device, test::device_tolerance(name, device));
    for (std::size_t i = 0; i < failures.size() && i < 5; ++i) UNSCOPED_INFO(failures[i]);
    INFO(name << ": " << failures.size() << " failures");
    CHECK(failures.empty());
  }
  CHECK(operators > 0);
}

/// Clouds of n points in [-1, 1), many of them on a lattice, so that distances tie.
Tensor cloud(DType dtype, std::int64_t clouds, std::int64_t n, std::int64_t d, std::uint64_t seed) {
  Tensor points(dtype, {clouds, n, d});
  std::uint64_t state = seed;
  for (std::int64_t i = 0; i < points.size(); ++i) {
    state = state * 6364136223846793005U + 1442695040888963407U;
    double value = static_cast<double>(state >> 11) * 0x1p-52 - 1;
    if ((state >> 5) % 3 == 0) value = static_cast<double>(static_cast<int>(value * 8)) / 8;
    const auto at = static_cast<std::size_t>(i);
    if (dtype == DType::f32) {
      points.values<float>()[at] = static_cast<float>(value);
    } else {
      points.values<double>()[at] = value;
    }
  }
  return points;
}

void check_sampling(Device device, const std::string& name, const Tensor& points,
                    const AttributeMap& attributes) {
  const Operator& op = default_registry().at("fusefps." + name);
  INFO(op.name() << " of " << to_string(points.shape()));
  const TensorMap want =
      op.run(Context(), {.inputs = {{"points", points}}, .attributes = attributes}).outputs;
  const TensorMap got =
      op.run(Context({.device = device}),
             {.inputs = {{"points", points.to(device)}}, .attributes = attributes})
          .outputs;
  REQUIRE(got.size() == want.size());
  for (const auto& [output, tensor] : got) {
    INFO(output);
    const auto words = difference(tensor.to(Device::host()), want.at(output), {});
    INFO(words.value_or(""));
    CHECK_FALSE(words.has_value());
  }
}

const std::vector<std::string> kSamplers = {"farthest_point_sample", "bucket_farthest_point_sample",
                                            "fused_farthest_point_sample"};

void check_variants(Device device) {
  const AttributeMap coverage = {{"k", std::int64_t{40}},
                                 {"return_min_dist", true},
                                 {"return_assignment", true},
                                 {"arithmetic", std::string("fma")}};
  for (const std::string& name : kSamplers) {
    for (const DType dtype : {DType::f32, DType::f64}) {
      // One, some and all points of a thread in registers, and points in memory; odd tails.
      for (const std::int64_t n : {31, 64, 65, 127, 257, 1000, 2049}) {
        for (const std::int64_t d : {1, 2, 3, 4, 5}) {
          if (n > 300 && d != 3) continue;
          AttributeMap attributes = coverage;
          attributes["k"] = std::min<std::int64_t>(n, 40);
          check_sampling(device, name, cloud(dtype, 2, n, d, 7), attributes);
        }
      }
    }
  }
}

/// More points than the registers of one block hold.
void check_clusters(Device device) {
  for (const DType dtype : {DType::f32, DType::f64}) {
    for (const std::int64_t n : {9000, 20000}) {
      AttributeMap attributes = {{"k", std::int64_t{12}}, {"return_assignment", true}};
      check_sampling(device, "farthest_point_sample", cloud(dtype, 1, n, 3, 5), attributes);
    }
  }
}

void check_trees(Device device) {
  for (const char* name : {"bucket_farthest_point_sample", "fused_farthest_point_sample"}) {
    // Buckets of one point, and tables that do not fit shared memory.
    for (const std::int64_t height : {0, 1, 5, 12, 16}) {
      for (const std::int64_t ref_buffer : {0, 1, 3}) {
        check_sampling(device, name, cloud(DType::f32, 1, 1500, 3, 11),
                       {{"k", std::int64_t{60}},
                        {"height", height},
                        {"leaf_size", std::int64_t{1}},
                        {"ref_buffer", ref_buffer}});
      }
    }
    check_sampling(device, name, cloud(DType::f64, 1, 4000, 3, 13),
                   {{"k", std::int64_t{500}},
                    {"height", std::int64_t{12}},
                    {"leaf_size", std::int64_t{1}},
                    {"return_min_dist", true}});
    check_sampling(device, name, cloud(DType::f32, 3, 700, 2, 17),
                   {{"k", std::int64_t{700}}, {"distinct", true}});
    check_sampling(device, name, cloud(DType::f32, 3, 300, 2, 19),
                   {{"k", std::int64_t{300}}, {"distinct", false}, {"min_spacing", 0.01}});
  }
  for (const DType dtype : {DType::f32, DType::f64}) {
    check_sampling(device, "bucket_farthest_point_sample", cloud(dtype, 1, 900, 3, 23),
                   {{"k", std::int64_t{90}}, {"split_rule", std::string("median")}});
  }
}

/// More points than a tile of a block, and more than a piece of a sum.
void check_queries(Device device) {
  for (const DType dtype : {DType::f32, DType::f64}) {
    for (const std::int64_t d : {3, 70}) {
      const Tensor points = cloud(dtype, 2, 1500, d, 29), queries = cloud(dtype, 2, 150, d, 31);
      const TensorMap inputs = {{"points", points}, {"queries", queries}};
      check_call(device, "fusefps.ball_query",
                 {.inputs = inputs, .attributes = {{"radius", d == 3 ? 0.3 : 5.0}}});
      check_call(device, "fusefps.knn_query",
                 {.inputs = inputs, .attributes = {{"k", std::int64_t{9}}}});
      check_call(device, "fusefps.coverage_metrics",
                 {.inputs = {{"points", points},
                             {"indices", Tensor::from({5, 17, -1, 1499, 3, 0}, {2, 3})}}});
    }
  }
  // A neighbour at exactly the radius is not near.
  Tensor steps(DType::f32, {1, 16, 1});
  for (int i = 0; i < 16; ++i)
    steps.values<float>()[static_cast<std::size_t>(i)] = 0.125F * static_cast<float>(i);
  check_call(device, "fusefps.ball_query",
             {.inputs = {{"points", steps}, {"queries", steps}}, .attributes = {{"radius", 0.25}}});
}

/// Indices in [-1, bound), most of them of a few rows.
Tensor scattered(Shape shape, std::int64_t bound, std::uint64_t seed) {
  Tensor indices(DType::i32, std::move(shape));
  std::uint64_t state = seed;
  for (std::int32_t& index : indices.values<std::int32_t>()) {
    state = state * 6364136223846793005U + 1442695040888963407U;
    const auto drawn = static_cast<std::int64_t>(state >> 33);
    index = static_cast<std::int32_t>((state >> 20) % 4 == 0
                                          ? drawn % (bound + 1) - 1
                                          : drawn % std::min<std::int64_t>(bound, 3));
  }
  return indices;
}

/// Rows of one, two and three digits, tiles of several blocks, rows of many terms and of none.
void check_gradients(Device device) {
  for (const std::int64_t n : {1, 200, 300, 70000}) {
    for (const DType dtype : {DType::f32, DType::f64}) {
      const std::int64_t k = n < 300 ? 40 : 9000;
      check_call(device, "fusefps.gather_points_backward",
                 {.inputs = {{"features", Tensor(dtype, {2, n, 1})},
                             {"indices", scattered({2, k}, n, 43)},
                             {"d_gathered", cloud(dtype, 2, k, 1, 47)}}});
    }
  }
  const Tensor points = cloud(DType::f64, 2, 5000, 3, 53);
  const Tensor min_dist = cloud(DType::f64, 1, 2, 5000, 59).reshape({2, 5000});
  Arguments call{.inputs = {{"points", points},
                            {"indices", Tensor::from({5, 17, 4999, 0, 3, 70}, {2, 3})},
                            {"assignment", scattered({2, 5000}, 3, 61)},
                            {"d_min_dist", min_dist}}};
  check_call(device, "fusefps.farthest_point_sample_backward", call);
  call.inputs.set("indices", Tensor::from({5, 17, -1, 0, 3, 70}, {2, 3}));
  for (auto& [input, tensor] : call.inputs) tensor = tensor.to(device);
  CHECK_THROWS_WITH(default_registry()
                        .at("fusefps.farthest_point_sample_backward")
                        .run(Context({.device = device}), call),
                    test::contains("samples that were chosen"));
}

/// The first of several values outside of a range, wherever they stand; edges are outside if open.
void check_find_outside(Device device) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  const Context ctx({.device = device});
  const auto found = [&](const Tensor& tensor, const ValueRange& range) {
    return device.backend->kernels().find_outside(ctx, tensor.to(device), range);
  };
  const ValueRange closed{-1, 1}, open{-1, 1, true, true};
  const ValueRange any{-kInfinity, kInfinity}, finite{-kInfinity, kInfinity, false, false, true};
  for (const std::int64_t n : {1, 64, 1000, 70000}) {
    Tensor values(DType::f32, {n});
    INFO(n << " values");
    CHECK(found(values, closed) == -1);
    for (const std::int64_t at : {n - 1, n / 2, n / 3}) {  // each before those that are there
      const auto entry = [&]() -> float& {
        return values.values<float>()[static_cast<std::size_t>(at)];
      };
      entry() = 1;
      CHECK(found(values.slice(0, 0, at + 1), closed) == -1);
      CHECK(found(values, open) == at);
      entry() = -1;
      CHECK(found(values.slice(0, 0, at + 1), closed) == -1);
      CHECK(found(values, open) == at);
      for (const float outside : {1.5F, -1.5F, std::nanf("")}) {
        entry() = outside;
        CHECK(found(values, closed) == at);
      }
      for (const float infinite : {HUGE_VALF, -HUGE_VALF}) {
        entry() = infinite;
        CHECK(found(values.slice(0, at, at + 1), any) == -1);
        CHECK(found(values, finite) == at);
      }
    }
  }
  CHECK(found(Tensor::from({0, 1, 2, 7, -1}, {5}), {0, 2}) == 3);
  CHECK(found(Tensor(DType::f64, {0}), closed) == -1);
}

/// The last point in use must be finite; what lies behind it, or is masked, may be anything.
void check_finite(Device device) {
  for (const char* name :
       {"farthest_point_sample", "fused_farthest_point_sample", "ball_query", "knn_query"}) {
    const Operator& op = default_registry().at("fusefps." + std::string(name));
    INFO(op.name());
    const bool samples = op.schema().find("queries") == nullptr;
    Tensor points = cloud(DType::f32, 2, 40, 3, 37);
    Arguments call{.attributes = {{"k", std::int64_t{3}}}};
    if (!samples) call.inputs.set("queries", cloud(DType::f32, 2, 5, 3, 41).to(device));
    if (std::string_view(name) == "ball_query") call.attributes.clear();
    call.inputs.set("lengths", Tensor::from({40, 30}, {2}).to(device));
    const auto refused = [&](std::int64_t row) {
      Tensor bad = points.clone();
      bad.values<float>()[static_cast<std::size_t>(row * 3 + 2)] = std::nanf("");
      call.inputs.set("points", bad.to(device));
      try {
        op.run(Context({.device = device}), call);
        return std::string();
      } catch (const Error& error) {
        return std::string(error.argument());
      }
    };
    CHECK(refused(39) == "points");
    CHECK(refused(40 + 29) == "points");
    CHECK(refused(40 + 30).empty());
  }
}

}  // namespace

TEST_CASE("emulated device: golden cases") { check_golden_cases(emulated_device()); }
TEST_CASE("emulated device: random calls give the bits of the CPU") {
  check_random_calls(emulated_device());
}
TEST_CASE("emulated device: every variant of the sampling kernels") {
  check_variants(emulated_device());
}
TEST_CASE("emulated device: clouds larger than a block's registers") {
  check_clusters(emulated_device());
}
TEST_CASE("emulated device: trees of every height") { check_trees(emulated_device()); }
TEST_CASE("emulated device: queries over several tiles") { check_queries(emulated_device()); }
TEST_CASE("emulated device: gradients of rows of every length") {
  check_gradients(emulated_device());
}
TEST_CASE("emulated device: the first value outside of a range") {
  check_find_outside(emulated_device());
}
TEST_CASE("emulated device: points that are not finite") { check_finite(emulated_device()); }

TEST_CASE("CUDA device: golden cases") { on_cuda(check_golden_cases); }
TEST_CASE("CUDA device: random calls give the bits of the CPU") { on_cuda(check_random_calls); }
TEST_CASE("CUDA device: every variant of the sampling kernels") { on_cuda(check_variants); }
TEST_CASE("CUDA device: clouds larger than a block's registers") { on_cuda(check_clusters); }
TEST_CASE("CUDA device: trees of every height") { on_cuda(check_trees); }
TEST_CASE("CUDA device: queries over several tiles") { on_cuda(check_queries); }
TEST_CASE("CUDA device: gradients of rows of every length") { on_cuda(check_gradients); }
TEST_CASE("CUDA device: the first value outside of a range") { on_cuda(check_find_outside); }
TEST_CASE("CUDA device: points that are not finite") { on_cuda(check_finite); }

TEST_CASE("device tensors: copies, slices and strided copies keep the elements") {
  const Device device = emulated_device();
  const Tensor host = cloud(DType::f32, 3, 4, 5, 1);
  const Tensor there = host.to(device);
  CHECK(there.device() == device);
  CHECK_FALSE(difference(there.to(Device::host()), host, {}).has_value());
  const Tensor slice = there.slice(1, 1, 4, 2).slice(2, 0, 5, 3);
  const Tensor want = host.slice(1, 1, 4, 2).slice(2, 0, 5, 3);
  CHECK_FALSE(difference(slice.to(Device::host()), want.clone(), {}).has_value());
  CHECK_FALSE(difference(slice.contiguous().to(Device::host()), want.clone(), {}).has_value());
  Tensor target = there.clone();
  target.slice(0, 0, 3, 2).copy_from(there.slice(0, 1, 3));
  Tensor expected = host.clone();
  expected.slice(0, 0, 3, 2).copy_from(host.slice(0, 1, 3));
  CHECK_FALSE(difference(target.to(Device::host()), expected, {}).has_value());
  CHECK_THROWS_AS(there.values<float>(), Error);
}

TEST_CASE("device calls: strided inputs and outputs, streams, and what has no kernel") {
  const Device device = emulated_device();
  const Stream stream(device);
  const Context ctx({.stream = stream});
  CHECK(ctx.device() == device);
  const Operator& op = default_registry().at("fusefps.farthest_point_sample");
  const Tensor wide = cloud(DType::f32, 2, 100, 6, 3);
  const Tensor points = wide.slice(1, 0, 100, 2).slice(2, 0, 6, 2);
  const Arguments call{.inputs = {{"points", points.clone().to(device)}},
                       .attributes = {{"k", std::int64_t{9}}}};
  const TensorMap want = op.run(ctx, call).outputs;
  Arguments strided = call;
  strided.inputs.set("points", wide.to(device).slice(1, 0, 100, 2).slice(2, 0, 6, 2));
  Tensor counts(DType::i32, {4}, device), indices(DType::i32, {2, 18}, device);
  strided.outputs.set("counts", counts.slice(0, 0, 4, 2));
  strided.outputs.set("indices", indices.slice(1, 0, 18, 2));
  for (const auto& [name, tensor] : op.run(ctx, strided).outputs) {
    INFO(name);
    CHECK_FALSE(difference(tensor.to(Device::host()), want.at(name).to(Device::host()), {}));
  }
  stream.synchronize();
  Event begin(device), end(device);
  begin.record(stream);
  end.record(stream);
  end.wait_on(stream);
  CHECK(end.seconds_since(begin) >= 0);

  const Operator& model = default_registry().at("fusefps.fps_accelerator_model");
  const Tensor stats = Tensor(DType::i64, {1, 16}).to(device);
  CHECK_THROWS_WITH(model.run(ctx, {.inputs = {{"stats", stats}}}),
                    test::contains("has no kernel"));
  CHECK_THROWS_WITH(op.reference(ctx, call), test::contains("run on the host"));
  Arguments mixed = call;
  mixed.inputs.set("num_samples", Tensor::from({3, 3}, {2}));
  mixed.attributes.clear();
  CHECK_THROWS_WITH(op.run(ctx, mixed), test::contains("num_samples"));
}
