// Farthest point sampling: the sizes of the literature, every sampler, one thread and all of them.
//
//   bench_fusefps [--device cpu|cuda|cuda:<number>] [Google Benchmark's options]
//   bench_fusefps --write-clouds DIR
//   bench_fusefps --serve CLOUD.npy K vanilla|bucket|fused START INDICES.npy
//
// A call is timed whole: validation with its pass for finite coordinates, allocation of the outputs
// and the copy of the points. The sampler's memory lives in the context and is warm but in the first
// call. The second form writes the clouds as .npy and prints name and k of each case. The third
// answers each line on standard input with the seconds of one call on one thread, by the wall clock
// and of processor time, so that another program can time its own calls in between.
//
// The real scans are read below $RESEARCHKIT_DATA; without it scans of the same size are generated.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <iostream>
#include <map>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "researchkit/core/io/npy.hpp"
#include "researchkit/core/peak.hpp"
#include "researchkit/fusefps/fusefps.hpp"
#include "support/device_option.hpp"

namespace {

using namespace researchkit;
using namespace researchkit::fusefps;

/// Points in the unit cube, float32 [n, 3].
Tensor uniform_cloud(std::int64_t n) {
  Tensor points(DType::f32, {n, 3});
  const auto values = points.values<float>();
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = static_cast<float>(counter_uniform(1, i));
  }
  return points;
}

Tensor three_columns(const Tensor& points) { return points.slice(1, 0, 3).clone(); }

/// A scan with n points: the real one if its file is there, else a generated one.
struct Scan {
  std::string name;
  Tensor points;
};
Scan scan_cloud(std::int64_t n, const std::string& file) {
  if (const char* data = std::getenv("RESEARCHKIT_DATA")) {
    const auto path = std::filesystem::path(data) / "kitti_frame" / file;
    if (std::filesystem::exists(path)) return {"kitti", three_columns(read_npy(path))};
  }
  return {"lidar_scan", three_columns(lidar_scan(Context(), {.n = n}).memory.at(0))};
}

template <Algorithm kAlgorithm>
auto call_of(const Tensor& points, std::int64_t k) {
  FarthestPointSampling<float, kAlgorithm> op;
  const std::int64_t clouds = points.rank() == 3 ? points.extent(0) : 1;
  op.points = In<float, 3>(static_cast<const float*>(points.data()),
                           {clouds, points.extent(points.rank() - 2), 3}, points.device());
  op.k = k;
  return op;
}

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// Seconds of one plain sampling, 0 where that takes too long to be worth it.
double plain_seconds(const std::string& name, const Tensor& points, std::int64_t k) {
  static std::map<std::string, double> known;
  constexpr double kMostUpdates = 6e9;
  const double updates = static_cast<double>(points.extent(0)) * static_cast<double>(k);
  if (updates > kMostUpdates) return 0;
  if (const auto found = known.find(name); found != known.end()) return found->second;
  const Context ctx({.threads = 1});
  const auto start = std::chrono::steady_clock::now();
  benchmark::DoNotOptimize(run(ctx, call_of<Algorithm::vanilla>(points, k)));
  return known[name] = seconds_since(start);
}

/// One sampling of a cloud that lies on a device, by the wall clock until the device is done.
template <Algorithm kAlgorithm>
void bench_sampling_on(benchmark::State& state, const Tensor& points, std::int64_t k) {
  const Context ctx({.device = points.device()});
  auto call = call_of<kAlgorithm>(points, k);
  benchmark::DoNotOptimize(run(ctx, call));  // the first call loads the kernels
  ctx.synchronize();
  double seconds = 0;
  for (auto _ : state) {
    const auto start = std::chrono::steady_clock::now();
    const auto result = run(ctx, call);
    ctx.synchronize();
    seconds += seconds_since(start);
  }
  seconds /= static_cast<double>(state.iterations());
  const auto n = static_cast<double>(call.points.extent(1));
  const auto samples = static_cast<double>(call.points.extent(0)) * static_cast<double>(k);
  state.counters["n"] = n;
  state.counters["k"] = static_cast<double>(k);
  state.counters["clouds"] = static_cast<double>(call.points.extent(0));
  state.counters["samples/us"] = samples / seconds * 1e-6;
}

template <Algorithm kAlgorithm>
void bench_sampling(benchmark::State& state, const std::string& name, const Tensor& points,
                    std::int64_t k, int threads, int height) {
  const Context ctx({.threads = threads});
  auto call = call_of<kAlgorithm>(points, k);
  call.height = height;
  std::array<std::int64_t, SamplerStats::kCount> stats{};
  Cost cost;
  double seconds = 0;
  for (auto _ : state) {
    const auto start = std::chrono::steady_clock::now();
    const auto result = run(ctx, call);
    seconds += seconds_since(start);
    state.PauseTiming();
    cost = result.measured_cost();
    stats = {};
    for (std::int64_t b = 0; b < call.points.extent(0); ++b) {
      for (std::size_t i = 0; i < stats.size(); ++i) {
        stats[i] += result.stats(b, static_cast<std::int64_t>(i));
      }
    }
    state.ResumeTiming();
  }
  seconds /= static_cast<double>(state.iterations());
  const std::int64_t clouds = call.points.extent(0);
  const auto samples = static_cast<double>(stats[1]);
  const double bandwidth = machine_peak(threads).bandwidth_bytes_per_s;
  state.counters["n"] = static_cast<double>(call.points.extent(1));
  state.counters["k"] = static_cast<double>(k);
  state.counters["clouds"] = static_cast<double>(clouds);
  state.counters["height"] =
      kAlgorithm == Algorithm::vanilla
          ? 0.0
          : static_cast<double>(height < 0 ? automatic_height(call.points.extent(1)) : height);
  state.counters["samples/us"] = samples / seconds * 1e-6;
  state.counters["reads/(n*k)"] =
      static_cast<double>(stats[7]) / (static_cast<double>(call.points.extent(1)) * samples);
  state.counters["distances"] = static_cast<double>(stats[10]);
  state.counters["GB/s"] = cost.bytes / seconds * 1e-9;
  state.counters["GFLOP/s"] = cost.flops / seconds * 1e-9;
  state.counters["of_peak_GB/s"] = cost.bytes / seconds / bandwidth;
  if (const double plain = plain_seconds(name, points, k); plain > 0) {
    state.counters["x_plain"] = plain / seconds;
  }
}

/// Any operator, by its cost model.
template <class Op>
void bench_operator(benchmark::State& state, const Op& call, int threads) {
  const Context ctx({.threads = threads});
  for (auto _ : state) benchmark::DoNotOptimize(run(ctx, call));
  using benchmark::Counter;
  state.counters["GB/s"] = Counter(call.cost().bytes * 1e-9, Counter::kIsIterationInvariantRate);
}

void add_samplers(const std::string& name, const Tensor& points, std::int64_t k,
                  const std::vector<int>& thread_counts) {
  const double updates = static_cast<double>(points.extent(0)) * static_cast<double>(k);
  for (const int threads : thread_counts) {
    const std::string label = fmt::format("{}/threads:{}", name, threads);
    const auto add = [&]<Algorithm kAlgorithm>(std::integral_constant<Algorithm, kAlgorithm>) {
      benchmark::RegisterBenchmark((std::string(name_of(kAlgorithm)) + "/" + label).c_str(),
                                   [=](benchmark::State& state) {
                                     bench_sampling<kAlgorithm>(state, name, points, k, threads,
                                                                -1);
                                   })
          ->Unit(benchmark::kMillisecond)
          ->UseRealTime();
    };
    add(std::integral_constant<Algorithm, Algorithm::fused>());
    add(std::integral_constant<Algorithm, Algorithm::bucket>());
    if (updates < 6e9) add(std::integral_constant<Algorithm, Algorithm::vanilla>());
  }
}

struct Case {
  std::string name;
  Tensor points;
  std::int64_t k;
};

/// The single clouds, by size.
std::vector<Case> cases() {
  const Scan small = scan_cloud(49497, "kitti_49497x3.npy");
  const Scan large = scan_cloud(124668, "kitti_124668x4.npy");
  return {{"uniform_4096_to_1024", uniform_cloud(4096), 1024},
          {"uniform_16384_to_4096", uniform_cloud(16384), 4096},
          {small.name + "_49497_to_4096", small.points, 4096},
          {large.name + "_124668_to_4096", large.points, 4096},
          {large.name + "_124668_to_16384", large.points, 16384},
          {large.name + "_124668_to_30000", large.points, 30000},
          {"uniform_1000000_to_65536", uniform_cloud(1000000), 65536}};
}

int write_clouds(const std::filesystem::path& folder) {
  std::filesystem::create_directories(folder);
  for (const Case& each : cases()) {
    write_npy(folder / (each.name + ".npy"), each.points);
    fmt::print("{} {}\n", each.name, each.k);
  }
  return 0;
}

void add_all() {
  const int all = default_thread_count();
  const std::vector<int> one = {1};
  std::vector<int> one_and_all = {1};
  if (all > 1) one_and_all.push_back(all);
  for (const Case& each : cases()) add_samplers(each.name, each.points, each.k, one);
  add_samplers("batch16_uniform_16384_to_4096", uniform_cloud(16 * 16384).reshape({16, 16384, 3}),
               4096, one_and_all);

  const Tensor cloud = uniform_cloud(16384);
  const In<float, 3> points(static_cast<const float*>(cloud.data()), {1, 16384, 3});
  const In<float, 3> queries(static_cast<const float*>(cloud.data()), {1, 4096, 3});
  for (const int threads : one_and_all) {
    const auto add = [&](const std::string& name, const auto& call) {
      benchmark::RegisterBenchmark(fmt::format("{}/threads:{}", name, threads).c_str(),
                                   [call, threads, keep = cloud](benchmark::State& state) {
                                     bench_operator(state, call, threads);
                                   })
          ->Unit(benchmark::kMillisecond)
          ->UseRealTime();
    };
    BallQuery<float> ball;
    ball.queries = queries;
    ball.points = points;
    ball.radius = 0.1;
    add("ball_query_16384_points_4096_queries_radius_0.1_keep_32", ball);
    KnnQuery<float> nearest;
    nearest.queries = queries;
    nearest.points = points;
    nearest.k = 16;
    add("knn_query_16384_points_4096_queries_k_16", nearest);
    LidarScan scan;
    scan.n = 120000;
    add("lidar_scan_120000", scan);
    PrimitivesCloud room;
    room.n = 120000;
    room.kind = PrimitivesKind::room;
    add("primitives_cloud_room_120000", room);
  }
}

/// The same clouds on a device.
void add_all_on(Device device) {
  const auto add_cloud = [device](const std::string& name, const Tensor& host, std::int64_t k) {
    const Tensor points = host.to(device);
    const auto add = [&]<Algorithm kAlgorithm>(std::integral_constant<Algorithm, kAlgorithm>) {
      benchmark::RegisterBenchmark(
          fmt::format("{}/{}/{}", name_of(kAlgorithm), name, to_string(device)).c_str(),
          [=](benchmark::State& state) { bench_sampling_on<kAlgorithm>(state, points, k); })
          ->Unit(benchmark::kMillisecond)
          ->UseRealTime();
    };
    add(std::integral_constant<Algorithm, Algorithm::fused>());
    add(std::integral_constant<Algorithm, Algorithm::bucket>());
    add(std::integral_constant<Algorithm, Algorithm::vanilla>());
  };
  for (const Case& each : cases()) add_cloud(each.name, each.points, each.k);
  add_cloud("batch16_uniform_16384_to_4096", uniform_cloud(16 * 16384).reshape({16, 16384, 3}),
            4096);
}

template <Algorithm kAlgorithm>
std::vector<std::int32_t> serve(const Tensor& points, std::int64_t k, std::int32_t start) {
  const Context ctx({.threads = 1});
  auto call = call_of<kAlgorithm>(points, k);
  call.start_index.emplace(&start, std::array<std::int64_t, 2>{1, 1});
  std::vector<std::int32_t> indices;
  for (std::string line; std::getline(std::cin, line);) {
    const auto begin = std::chrono::steady_clock::now();
    const std::clock_t processor_begin = std::clock();
    const auto result = run(ctx, call);
    const std::clock_t processor_end = std::clock();
    fmt::print("{:.9f} {:.9f}\n", seconds_since(begin),
               static_cast<double>(processor_end - processor_begin) / CLOCKS_PER_SEC);
    std::fflush(stdout);
    indices.assign(result.indices.data_handle(),
                   result.indices.data_handle() + result.indices.size());
  }
  return indices;
}

int serve(const std::vector<std::string>& arguments) {
  if (arguments.size() != 5) throw Error("--serve wants CLOUD.npy K ALGORITHM START INDICES.npy");
  const Tensor points = read_npy(arguments[0]);
  if (points.dtype() != DType::f32 || points.rank() != 2 || points.extent(1) != 3) {
    throw Error(arguments[0] + ": wanted float32 of shape [n, 3]");
  }
  const std::int64_t k = std::stoll(arguments[1]);
  const auto start = static_cast<std::int32_t>(std::stol(arguments[3]));
  const auto& algorithm = arguments[2];
  const std::vector<std::int32_t> indices =
      algorithm == "vanilla"  ? serve<Algorithm::vanilla>(points, k, start)
      : algorithm == "bucket" ? serve<Algorithm::bucket>(points, k, start)
      : algorithm == "fused"  ? serve<Algorithm::fused>(points, k, start)
                              : throw Error("no algorithm '" + algorithm + "'");
  write_npy(arguments[4], Tensor::from(std::span<const std::int32_t>(indices),
                                       {static_cast<std::int64_t>(indices.size())}));
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const std::vector<std::string> arguments(argv + 1, argv + argc);
    if (!arguments.empty() && arguments[0] == "--serve") {
      return serve({arguments.begin() + 1, arguments.end()});
    }
    if (arguments.size() == 2 && arguments[0] == "--write-clouds")
      return write_clouds(arguments[1]);
    const Device device = bench::take_device(argc, argv);
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
    if (device.is_host()) {
      add_all();
    } else {
      add_all_on(device);
    }
    benchmark::RunSpecifiedBenchmarks();
    benchmark::Shutdown();
  } catch (const std::exception& error) {
    fmt::print(stderr, "bench_fusefps: {}\n", error.what());
    return 1;
  }
  return 0;
}
