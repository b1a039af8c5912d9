#include <cmath>
#include <fstream>
#include <limits>

#include "researchkit/core/io/file.hpp"
#include "researchkit/core/io/npy.hpp"
#include "researchkit/fusefps/fusefps.hpp"
#include "support/catch.hpp"
#include "tests/tool/tool_process.hpp"

using namespace researchkit;
using namespace researchkit::test;

namespace {

constexpr std::int64_t kPoints = 500;

Tensor small_cloud() {
  return fusefps::primitives_cloud(Context(), {.n = kPoints, .seed = 3}).memory.front();
}

std::string bytes_of(const std::filesystem::path& path) {
  const FileBytes file = read_file(path);
  return {reinterpret_cast<const char*>(file.bytes.data()), file.bytes.size()};
}

const std::string kSample = "run fusefps.farthest_point_sample --output-dir out ";

/// The call must fail with one line that holds `part`, and leave the folder as it was.
void check_refused(const TemporaryFolder& folder, const std::string& arguments,
                   const std::string& part) {
  INFO(arguments);
  const auto before = folder.entries();
  const ToolRun run = run_tool(folder, arguments);
  CHECK(run.status == 1);
  CHECK(run.output.empty());
  REQUIRE(run.error_lines().size() == 1);
  INFO(run.errors);
  CHECK(run.errors.find(part) != std::string::npos);
  CHECK(folder.entries() == before);
}

}  // namespace

TEST_CASE("run writes what the library computes, for a batch and for one cloud") {
  const TemporaryFolder folder;
  const Tensor cloud = small_cloud();
  write_npy(folder / "one.npy", cloud);
  write_npy(folder / "batch.npy", cloud.reshape({1, kPoints, 3}));
  const Tensor batch = cloud.reshape({1, kPoints, 3});
  const auto expected = fusefps::farthest_point_sample(
      Context(), {.points = std::as_const(batch).view<float, 3>(), .k = 20});
  for (const std::string file : {"one.npy", "batch.npy"}) {
    const ToolRun run = run_tool(folder, kSample + "--input points=" + file + " --set k=20");
    REQUIRE(run.status == 0);
    CHECK(run.errors.empty());
    const Tensor indices = read_npy(folder / "out/indices.npy");
    REQUIRE(indices.shape() == Shape{1, 20});
    for (std::int64_t i = 0; i < 20; ++i) {
      CHECK(indices.values<std::int32_t>()[static_cast<std::size_t>(i)] == expected.indices(0, i));
    }
    CHECK(read_npy(folder / "out/counts.npy").shape() == Shape{1});
    CHECK_FALSE(std::filesystem::exists(folder / "out/min_dist.npy"));
    std::filesystem::remove_all(folder / "out");
  }
}

TEST_CASE("any number of threads and repetitions writes the same bytes") {
  const TemporaryFolder folder;
  write_npy(folder / "points.npy", small_cloud());
  const std::string call =
      "run fusefps.fused_farthest_point_sample --input points=points.npy --set ratio=0.5 "
      "--set return_min_dist=true --output-dir ";
  REQUIRE(run_tool(folder, call + "a --threads 1").status == 0);
  REQUIRE(run_tool(folder, call + "b --threads 3 --repeat 4").status == 0);
  for (const std::string name : {"indices", "distances", "counts", "stats", "min_dist"}) {
    CHECK(bytes_of(folder / ("a/" + name + ".npy")) == bytes_of(folder / ("b/" + name + ".npy")));
  }
}

TEST_CASE("point files of other formats and archives are inputs, too") {
  const TemporaryFolder folder;
  write_file(folder / "points.xyz", "0 0 0\n1 0 0\n0 3 0\n");
  REQUIRE(run_tool(folder, kSample + "--input points=points.xyz --set k=2").status == 0);
  CHECK(read_npy(folder / "out/indices.npy").values<std::int32_t>()[1] == 2);
  write_npz(folder / "inputs.npz", {{"points", small_cloud()}});
  CHECK(run_tool(folder, kSample + "--input inputs.npz --set k=2").status == 0);
}

TEST_CASE("the option --seed is the operator's seed unless --set says another") {
  const TemporaryFolder folder;
  const std::string call = "run fusefps.lidar_scan --set n=2000 --output-dir ";
  REQUIRE(run_tool(folder, call + "a --seed 5").status == 0);
  REQUIRE(run_tool(folder, call + "b --set seed=5").status == 0);
  REQUIRE(run_tool(folder, call + "c --set seed=5 --seed 6").status == 0);
  REQUIRE(run_tool(folder, call + "d --seed 6").status == 0);
  CHECK(bytes_of(folder / "a/points.npy") == bytes_of(folder / "b/points.npy"));
  CHECK(bytes_of(folder / "a/points.npy") == bytes_of(folder / "c/points.npy"));
  CHECK(bytes_of(folder / "a/points.npy") != bytes_of(folder / "d/points.npy"));
}

TEST_CASE("broken point files are refused and nothing is written") {
  const TemporaryFolder folder;
  write_npy(folder / "good.npy", small_cloud());
  const std::string good = bytes_of(folder / "good.npy");
  write_file(folder / "truncated.npy", std::string_view(good).substr(0, good.size() - 5));
  write_file(folder / "header.npy", std::string_view(good).substr(0, 9));
  write_file(folder / "empty.npy", "");
  write_file(folder / "text.npy", "these are no points");
  write_npy(folder / "integers.npy", Tensor(DType::i32, {kPoints, 3}));
  write_npy(folder / "flat.npy", Tensor(DType::f32, {kPoints}));
  write_npy(folder / "no_points.npy", Tensor(DType::f32, {0, 3}));
  write_npy(folder / "four_axes.npy", Tensor(DType::f32, {1, 1, kPoints, 3}));
  Tensor nan = small_cloud();
  nan.values<float>()[100] = std::nanf("");
  write_npy(folder / "nan.npy", nan);
  nan.values<float>()[100] = std::numeric_limits<float>::infinity();
  write_npy(folder / "infinite.npy", nan);

  const auto refused = [&](const std::string& file, const std::string& part) {
    check_refused(folder, kSample + "--input points=" + file + " --set k=5", part);
  };
  refused("truncated.npy", "truncated.npy");
  refused("header.npy", "header.npy");
  refused("empty.npy", "empty.npy");
  refused("text.npy", "text.npy");
  refused("missing.npy", "missing.npy");
  refused("good.bogus", "good.bogus");
  refused("integers.npy", "argument 'points': wanted float32 or float64, got int32");
  refused("flat.npy", "argument 'points': wanted float32 of shape [b n d]");
  refused("four_axes.npy", "argument 'points'");
  refused("no_points.npy", "argument 'k'");
  refused("nan.npy", "argument 'points'");
  refused("infinite.npy", "argument 'points'");
}

TEST_CASE("illegal calls are refused and nothing is written") {
  const TemporaryFolder folder;
  write_npy(folder / "good.npy", small_cloud());
  const std::string points = kSample + "--input points=good.npy ";
  check_refused(folder, points, "argument 'k'");
  check_refused(folder, points + "--set k=501", "argument 'k'");
  check_refused(folder, points + "--set k=ten", "argument 'k': wanted integer, got ten");
  check_refused(folder, points + "--set k=5 --set k=6", "argument 'k': wanted one value, got two");
  check_refused(folder, points + "--set k=5 --set colour=red", "argument 'colour'");
  check_refused(folder, points + "--set k=5 --set start=last", "argument 'start'");
  check_refused(folder, points + "--set k=5 --input points=good.npy", "argument 'points'");
  check_refused(folder, points + "--set k=5 --input sizes=good.npy", "argument 'sizes'");
  check_refused(folder, points + "--set k", "wanted NAME=VALUE");
  check_refused(folder, kSample + "--input good.npy --set k=5", "wanted NAME=FILE");
  check_refused(folder, points + "--set k=5 --device cuda:99", "no device cuda:99");
  check_refused(folder, points + "--set k=5 --device tpu", "wanted cpu, cuda");
  check_refused(folder, "run fusefps.bogus --output-dir out", "there is no operator");
}

TEST_CASE("where an output cannot be written, none is") {
  const TemporaryFolder folder;
  write_npy(folder / "points.npy", small_cloud());
  const std::string call =
      "run fusefps.farthest_point_sample --input points=points.npy --set k=5 --output-dir ";
  check_refused(folder, call + "points.npy", "points.npy");
  check_refused(folder, call + "points.npy/deeper", "points.npy");
  // The name of the last output is taken by a folder that is not empty.
  std::filesystem::create_directories(folder / "out/stats.npy/inside");
  check_refused(folder, call + "out", "out");
  CHECK(std::distance(std::filesystem::directory_iterator(folder / "out"),
                      std::filesystem::directory_iterator()) == 1);
}
