// The real scans and the large generated clouds: sums and hashes of expected_large.json.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <numeric>
#include <string>
#include <vector>

#include "researchkit/core/io/npy.hpp"
#include "researchkit/fusefps/fusefps.hpp"
#include "support/catch.hpp"
#include "support/skip.hpp"

using namespace researchkit;
using namespace researchkit::fusefps;

namespace {

std::string fnv1a(const void* data, std::size_t bytes) {
  std::uint64_t hash = 0xCBF29CE484222325U;
  for (std::size_t i = 0; i < bytes; ++i) {
    hash = (hash ^ static_cast<const unsigned char*>(data)[i]) * 0x100000001B3U;
  }
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(hash));
  return text;
}

nlohmann::json expected_rows() {
  std::ifstream file(std::string(RESEARCHKIT_TEST_GOLDEN_DIR) + "/fusefps/expected_large.json");
  return nlohmann::json::parse(file).at("rows");
}

Tensor leading_columns(const Tensor& points) { return points.slice(1, 0, 3).clone(); }

Tensor scan(std::int64_t n) {
  return leading_columns(lidar_scan(Context(), {.n = n}).memory.at(0));
}

Tensor primitives(std::int64_t n, PrimitivesKind kind) {
  return primitives_cloud(Context(), {.n = n, .kind = kind}).memory.at(0);
}

bool is_real_scan(const std::string& cloud) { return cloud.starts_with("kitti_"); }

Tensor cloud_named(const std::string& cloud, const std::filesystem::path& data) {
  if (cloud == "kitti_49497x3") return read_npy(data / "kitti_frame/kitti_49497x3.npy");
  if (cloud == "kitti_124668x4[:, :3]") {
    return leading_columns(read_npy(data / "kitti_frame/kitti_124668x4.npy"));
  }
  if (cloud == "lidar_scan(n=16384, seed=0)[:, :3]") return scan(16384);
  if (cloud == "lidar_scan(n=120000, seed=0)[:, :3]") return scan(120000);
  if (cloud == "primitives_cloud(n=4096, kind=object, seed=0)") {
    return primitives(4096, PrimitivesKind::object);
  }
  if (cloud == "primitives_cloud(n=16384, kind=room, seed=0)") {
    return primitives(16384, PrimitivesKind::room);
  }
  throw Error("no cloud " + cloud);
}

template <Algorithm kAlgorithm>
FarthestPointSampling<float, kAlgorithm> call(const Tensor& points, const nlohmann::json& row) {
  FarthestPointSampling<float, kAlgorithm> op;
  const Tensor batch = points.reshape({1, points.extent(0), 3});
  op.points = batch.view<float, 3>();
  op.k = row.at("k").get<std::int64_t>();
  op.return_min_dist = true;
  return op;
}

template <class Result>
void check_samples(const Result& result, const nlohmann::json& row) {
  const std::int64_t k = row.at("k").get<std::int64_t>();
  const std::int32_t* indices = result.indices.data_handle();
  REQUIRE(result.counts(0) == k);
  CHECK(indices[0] == row.at("start").get<std::int32_t>());
  CHECK(std::vector<int>(indices, indices + 8) == row.at("first8").get<std::vector<int>>());
  CHECK(std::vector<int>(indices + k - 8, indices + k) == row.at("last8").get<std::vector<int>>());
  CHECK(std::accumulate(indices, indices + k, std::int64_t{0}) ==
        row.at("index_sum").get<std::int64_t>());
  CHECK(fnv1a(indices, static_cast<std::size_t>(k) * 4) ==
        row.at("indices_fnv1a64").get<std::string>());
  CHECK(static_cast<double>(result.distances(0, k - 1)) ==
        row.at("last_sample_squared_distance").get<double>());
  const float* nearest = result.min_dist->data_handle();
  const float radius = *std::max_element(nearest, nearest + result.min_dist->size());
  CHECK(static_cast<double>(radius) == row.at("covering_radius_squared").get<double>());
}

template <Algorithm kAlgorithm>
void check_tree(const Context& ctx, const Tensor& points, const nlohmann::json& row,
                const std::string& height, const nlohmann::json& wanted_stats) {
  auto op = call<kAlgorithm>(points, row);
  if (height != "auto") {
    op.height = std::stoi(height);
    op.leaf_size = 1;
  }
  const auto result = run(ctx, op);
  check_samples(result, row);
  const std::int64_t* stats = result.stats.data_handle();
  CHECK(std::vector<std::int64_t>(stats, stats + 16) ==
        wanted_stats.get<std::vector<std::int64_t>>());
}

void check_row(const nlohmann::json& row, const std::filesystem::path& data) {
  const auto cloud = row.at("cloud").get<std::string>();
  CAPTURE(cloud, row.at("k").get<int>());
  const Context ctx;
  const Tensor points = cloud_named(cloud, data);
  REQUIRE(points.extent(0) == row.at("n").get<std::int64_t>());
  REQUIRE(fnv1a(points.data(), points.bytes()) == row.at("points_fnv1a64").get<std::string>());
  check_samples(run(ctx, call<Algorithm::vanilla>(points, row)), row);
  for (const auto& [key, stats] : row.at("stats").items()) {
    const std::string& name = key;
    CAPTURE(name);
    const std::string height = name.substr(name.find("_h") + 2);
    if (name.starts_with("bucket")) {
      check_tree<Algorithm::bucket>(ctx, points, row, height, stats);
    } else {
      check_tree<Algorithm::fused>(ctx, points, row, height, stats);
    }
  }
}

}  // namespace

TEST_CASE("all three samplers return the expected sequence on the large generated clouds") {
  int rows = 0;
  for (const auto& row : expected_rows()) {
    if (is_real_scan(row.at("cloud").get<std::string>())) continue;
    check_row(row, {});
    ++rows;
  }
  CHECK(rows == 4);
}

TEST_CASE("all three samplers return the expected sequence on the real scans") {
  const char* data = std::getenv("RESEARCHKIT_DATA");
  if (data == nullptr) return test::skip("RESEARCHKIT_DATA does not name a folder of data sets");
  int rows = 0;
  for (const auto& row : expected_rows()) {
    if (!is_real_scan(row.at("cloud").get<std::string>())) continue;
    check_row(row, data);
    ++rows;
  }
  CHECK(rows == 4);
}
