// The set abstraction of PointNet++ on a point cloud: farthest points become centres, a ball query
// finds each centre's neighbours, and their relative coordinates and features are max-pooled.
// Then a check of the gradient of the coverage loss against central differences.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cmath>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>

#include "picture.hpp"
#include "researchkit/fusefps/fusefps.hpp"

namespace rk = researchkit;
namespace fusefps = researchkit::fusefps;

namespace {

using Json = nlohmann::ordered_json;

struct Options {
  std::int64_t points = 16'384;
  std::string kind = "object";
  std::uint64_t seed = 0;
  std::int64_t neighbors = 32;
  int threads = 1;
  std::string report;
};

/// The points of one level [1, n, 3] and their features [1, n, c]; c may be 0.
struct Level {
  rk::Array<float, 3> points, features;
  rk::Array<std::int32_t, 3> neighbours;  // [1, n, max_neighbors], points of the level before
  double radius = 0, sample_s = 0, query_s = 0, pool_s = 0, mean_neighbours = 0;
};

class Stopwatch {
 public:
  double lap() {
    const auto now = std::chrono::steady_clock::now();
    const std::chrono::duration<double> elapsed = now - std::exchange(begin_, now);
    return elapsed.count();
  }

 private:
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

/// features[j] = max over the neighbours i of centre j of (x_i - x_j, features_i). [1, k, 3 + c]
rk::Array<float, 3> pool(const rk::Context& ctx, const Level& level, rk::In<float, 3> centres,
                         rk::In<std::int32_t, 3> neighbours) {
  const std::int64_t k = centres.extent(1), c = level.features.extent(2);
  rk::Array<float, 3> pooled({1, k, 3 + c});
  rk::parallel_for(ctx, k, 64, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t j = begin; j < end; ++j) {
      for (std::int64_t a = 0; a < 3 + c; ++a) {
        float highest = -std::numeric_limits<float>::infinity();
        for (std::int64_t m = 0; m < neighbours.extent(2); ++m) {
          const std::int32_t i = neighbours(0, j, m);
          const float value =
              a < 3 ? level.points(0, i, a) - centres(0, j, a) : level.features(0, i, a - 3);
          highest = std::max(highest, value);
        }
        pooled(0, j, a) = highest;
      }
    }
  });
  return pooled;
}

/// The next level: k centres, the ball of `radius` around each, max pooling.
Level abstract(const rk::Context& ctx, const Level& level, std::int64_t k, double radius,
               std::int64_t max_neighbors) {
  Level next;
  next.radius = radius;
  Stopwatch watch;
  const auto sample = fusefps::fused_farthest_point_sample(
      ctx, fusefps::FusedFarthestPointSample<float>{.points = level.points, .k = k});
  next.points = rk::Array<float, 3>(
      fusefps::gather_points(
          ctx, fusefps::GatherPoints<float>{.features = level.points, .indices = sample.indices})
          .memory.front());
  next.sample_s = watch.lap();

  // A centre is its own neighbour, so that the row is never empty and `first` always fills it.
  const auto ball =
      fusefps::ball_query(ctx, fusefps::BallQuery<float>{.queries = next.points,
                                                         .points = level.points,
                                                         .radius = radius,
                                                         .max_neighbors = max_neighbors,
                                                         .fill = fusefps::BallFill::first});
  next.query_s = watch.lap();
  next.features = pool(ctx, level, next.points, ball.indices);
  next.pool_s = watch.lap();

  for (std::int64_t j = 0; j < k; ++j) next.mean_neighbours += ball.counts(0, j);
  next.mean_neighbours /= static_cast<double>(k);
  next.neighbours = rk::Array<std::int32_t, 3>(ball.memory.front());
  return next;
}

/// sum_i w_i min_j |x_i - x_s(j)|^2: how well the samples s cover the points, in plain loops.
double coverage_loss(const std::vector<double>& x, const std::vector<double>& weight,
                     rk::In<std::int32_t, 2> samples) {
  double loss = 0;
  for (std::size_t i = 0; i < weight.size(); ++i) {
    double nearest = std::numeric_limits<double>::infinity();
    for (std::int64_t j = 0; j < samples.extent(1); ++j) {
      const auto s = static_cast<std::size_t>(samples(0, j));
      double squared = 0;
      for (std::size_t a = 0; a < 3; ++a) {
        const double t = x[3 * i + a] - x[3 * s + a];
        squared += t * t;
      }
      nearest = std::min(nearest, squared);
    }
    loss += weight[i] * nearest;
  }
  return loss;
}

/// The largest error of the operator's gradient against central differences, relative to the
/// largest entry, over all samples and as many other points.
double check_gradient(const rk::Context& ctx, rk::In<float, 3> cloud) {
  constexpr std::int64_t kPoints = 1000, kSamples = 40;
  const std::int64_t step = cloud.extent(1) / kPoints;
  std::vector<double> x, weight;
  for (std::int64_t i = 0; i < kPoints; ++i) {
    for (std::int64_t a = 0; a < 3; ++a) x.push_back(static_cast<double>(cloud(0, i * step, a)));
    weight.push_back(1 + 0.5 * std::sin(static_cast<double>(i)));
  }
  const rk::In<double, 3> points(x.data(), {1, kPoints, 3});
  const auto sample = fusefps::fused_farthest_point_sample(
      ctx,
      fusefps::FusedFarthestPointSample<double>{
          .points = points, .k = kSamples, .return_min_dist = true, .return_assignment = true});
  const auto gradient = fusefps::fused_farthest_point_sample_backward(
      ctx, fusefps::FusedFarthestPointSampleBackward<double>{
               .points = points,
               .indices = sample.indices,
               .assignment = *sample.assignment,
               .d_min_dist = {weight.data(), {1, kPoints}}});

  std::vector<std::int32_t> moved;
  for (std::int64_t j = 0; j < kSamples; ++j) {
    moved.push_back(sample.indices(0, j));
    moved.push_back(static_cast<std::int32_t>(j * (kPoints / kSamples)));
  }
  double error = 0, largest = 0;
  for (const std::int32_t i : moved) {
    for (std::size_t a = 0; a < 3; ++a) {
      constexpr double kStep = 1e-6;
      std::vector<double> shifted = x;
      double& coordinate = shifted[3 * static_cast<std::size_t>(i) + a];
      const double at = coordinate;
      coordinate = at + kStep;
      const double above = coverage_loss(shifted, weight, sample.indices);
      coordinate = at - kStep;
      const double below = coverage_loss(shifted, weight, sample.indices);
      const double exact = gradient.d_points(0, i, static_cast<std::int64_t>(a));
      error = std::max(error, std::abs(exact - (above - below) / (2 * kStep)));
      largest = std::max(largest, std::abs(exact));
    }
  }
  return error / largest;
}

LevelPicture picture_of(const Level& level, const Level* next) {
  LevelPicture picture;
  const std::int64_t n = level.points.extent(1);
  const auto point = [&](std::int64_t i) {
    return std::array{level.points(0, i, 0), level.points(0, i, 1), level.points(0, i, 2)};
  };
  picture.title = fmt::format("{} points", n);
  const std::int64_t features = level.features.extent(2);
  picture.note = features == 0 ? "coordinates" : fmt::format("{} features each", features);
  for (std::int64_t i = 0; i < n; ++i) picture.points.push_back(point(i));
  if (next == nullptr) return picture;
  // The centre that lies highest: its ball is in plain sight.
  std::int64_t shown = 0;
  for (std::int64_t j = 0; j < next->points.extent(1); ++j) {
    if (next->points(0, j, 2) > next->points(0, shown, 2)) shown = j;
  }
  picture.note += fmt::format("; a ball of {:g} m", next->radius);
  picture.centre = {next->points(0, shown, 0), next->points(0, shown, 1),
                    next->points(0, shown, 2)};
  for (std::int64_t m = 0; m < next->neighbours.extent(2); ++m) {
    picture.neighbours.push_back(point(next->neighbours(0, shown, m)));
  }
  return picture;
}

void write_report(const std::filesystem::path& folder, const std::vector<Level>& levels,
                  double gradient_error) {
  std::filesystem::create_directories(folder);
  std::vector<LevelPicture> pictures;
  Json rows = Json::array();
  double total_s = 0;
  for (std::size_t l = 0; l < levels.size(); ++l) {
    pictures.push_back(picture_of(levels[l], l + 1 < levels.size() ? &levels[l + 1] : nullptr));
    if (l == 0) continue;
    const Level& level = levels[l];
    const double level_s = level.sample_s + level.query_s + level.pool_s;
    total_s += level_s;
    rows.push_back({{"name", fmt::format("{} -> {} points", levels[l - 1].points.extent(1),
                                         level.points.extent(1))},
                    {"value", 1e3 * level_s},
                    {"unit", "ms"},
                    {"note", fmt::format("sampling {:.2f} ms, ball query {:.2f} ms, pooling {:.2f} "
                                         "ms; {:.1f} neighbours on average",
                                         1e3 * level.sample_s, 1e3 * level.query_s,
                                         1e3 * level.pool_s, level.mean_neighbours)}});
  }
  rows.push_back({{"name", "gradient of the coverage loss"},
                  {"value", gradient_error},
                  {"note", "largest relative error against central differences"}});
  write_levels(folder / "levels.svg", pictures);
  const Json summary = {
      {"title", "Set abstraction on sampled points"},
      {"paper",
       {{"title", "PointNet++ (NeurIPS 2017)"}, {"url", "https://arxiv.org/abs/1706.02413"}}},
      {"headline",
       "Farthest point sampling is the down-sampling step of PointNet++: centres, the "
       "points around each, and a maximum over them."},
      {"measured",
       fmt::format("Three levels, {} points to {}, in {:.1f} ms.", levels.front().points.extent(1),
                   levels.back().points.extent(1), 1e3 * total_s)},
      {"rows", rows},
      {"pictures",
       Json::array({{{"file", "levels.svg"},
                     {"caption",
                      "The levels, coloured by height. Orange: the points that the ball "
                      "query gave to one centre of the next level."}}})},
      {"commands", Json::array({"build/release/examples/group_point_cloud/group_point_cloud"})}};
  std::ofstream out(folder / "summary.json");
  out << summary.dump(2) << '\n';
  if (!out.flush()) throw rk::Error((folder / "summary.json").string() + ": cannot be written");
}

int group(const Options& o) {
  const rk::Context ctx({.threads = o.threads});
  const auto kind =
      o.kind == "object" ? fusefps::PrimitivesKind::object : fusefps::PrimitivesKind::room;
  const auto cloud = fusefps::primitives_cloud(ctx, {.n = o.points, .kind = kind, .seed = o.seed});
  std::vector<Level> levels(1);
  levels[0].points = rk::Array<float, 3>(cloud.memory.front().reshape({1, o.points, 3}));
  levels[0].features = rk::Array<float, 3>({1, o.points, 0});

  const double size = kind == fusefps::PrimitivesKind::object ? 1 : 8;  // metres across
  fmt::print("  {:>15}{:>9}{:>12}{:>12}{:>12}{:>12}{:>10}\n", "points", "radius", "neighbours",
             "sampling", "ball query", "pooling", "features");
  for (int l = 1; l <= 3; ++l) {
    const std::int64_t n = levels.back().points.extent(1);
    levels.push_back(
        abstract(ctx, levels.back(), n / 4, size * 0.03 * (1 << (l - 1)), o.neighbors));
    const Level& level = levels.back();
    fmt::print("  {:>6} -> {:>5}{:>7.2f} m{:>12.1f}{:>9.2f} ms{:>9.2f} ms{:>9.2f} ms{:>10}\n", n,
               n / 4, level.radius, level.mean_neighbours, 1e3 * level.sample_s,
               1e3 * level.query_s, 1e3 * level.pool_s, level.features.extent(2));
  }
  const double error = check_gradient(ctx, levels[0].points);
  const bool ok = error < 1e-6;
  fmt::print(
      "\ngradient of the coverage loss against central differences: relative error {:.1e}, "
      "{}\n",
      error, ok ? "ok" : "WRONG");
  if (!o.report.empty()) write_report(o.report, levels, error);
  return ok ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Set abstraction of PointNet++ on a generated cloud");
  Options o;
  app.add_option("--points", o.points, "points of the cloud")
      ->check(CLI::Range(1024, 10'000'000))
      ->capture_default_str();
  app.add_option("--generate", o.kind, "what to make")
      ->check(CLI::IsMember({"object", "room"}))
      ->capture_default_str();
  app.add_option("--seed", o.seed, "of the cloud");
  app.add_option("--neighbors", o.neighbors, "at most so many neighbours of a centre")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  app.add_option("--threads", o.threads, "threads; 0: all processors")->capture_default_str();
  app.add_option("--report", o.report, "folder for summary.json and the picture");
  CLI11_PARSE(app, argc, argv);
  try {
    return group(o);
  } catch (const std::exception& error) {
    fmt::print(stderr, "group_point_cloud: {}\n", error.what());
    return 1;
  }
}
