#include "support/served_cases.hpp"

#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <iostream>
#include <vector>

#include "researchkit/core/error.hpp"
#include "researchkit/core/peak.hpp"
#include "researchkit/nn/initialize.hpp"
#include "support/device_option.hpp"

namespace researchkit::bench {
namespace {

double processor_seconds() {
  timespec now{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

int serve(const Case& measured) {
  int calls = 0;
  while (std::cin >> calls) {
    double wall = HUGE_VAL, processor = HUGE_VAL;
    for (int i = 0; i < calls; ++i) {
      const auto wall_begin = std::chrono::steady_clock::now();
      const double processor_begin = processor_seconds();
      measured.call();
      const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - wall_begin;
      wall = std::min(wall, elapsed.count());
      processor = std::min(processor, processor_seconds() - processor_begin);
    }
    fmt::print("{} {}\n", wall, processor);
    std::fflush(stdout);
  }
  return 0;
}

void run_case(benchmark::State& state, const Case& measured, int threads) {
  while (state.KeepRunning()) measured.call();
  if (measured.flops > 0) {
    const double peak = machine_peak(threads).gemm_f32_flops_per_s;
    const double done = measured.flops * static_cast<double>(state.iterations());
    state.counters["GFLOP/s"] = benchmark::Counter(1e-9 * done, benchmark::Counter::kIsRate);
    state.counters["share of peak"] = benchmark::Counter(done / peak, benchmark::Counter::kIsRate);
  }
  if (measured.buffer_bytes > 0) {
    state.counters["buffers MB"] = 1e-6 * static_cast<double>(measured.buffer_bytes);
  }
}

}  // namespace

bool has_stored_datasets() { return std::getenv("RESEARCHKIT_DATA") != nullptr; }

std::shared_ptr<graph::NodeDataset> stored_dataset(const std::string& name) {
  if (!has_stored_datasets()) throw Error("RESEARCHKIT_DATA does not name the data sets");
  const std::filesystem::path folder = std::getenv("RESEARCHKIT_DATA");
  return std::make_shared<graph::NodeDataset>(
      graph::load_dataset(Context(), folder / "graphs" / name));
}

Array<float, 2> random_matrix(std::int64_t rows, std::int64_t columns, std::uint64_t stream) {
  Array<float, 2> matrix({rows, columns});
  nn::normal<float>({matrix.data_handle(), static_cast<std::size_t>(matrix.size())}, 1, 1, stream);
  return matrix;
}

void register_case(MakeCase make, const std::string& dataset, const std::string& name) {
  const int all = default_thread_count();
  for (const int threads : all == 1 ? std::vector{1} : std::vector{1, all}) {
    benchmark::RegisterBenchmark(
        fmt::format("{}/{}/threads:{}", name, dataset, threads).c_str(),
        [=](benchmark::State& state) { run_case(state, make(dataset, name, threads), threads); })
        ->Unit(benchmark::kMillisecond)
        ->UseRealTime();
  }
}

void register_case(MakeDeviceCase make, const std::string& dataset, const std::string& name,
                   Device device) {
  benchmark::RegisterBenchmark(
      fmt::format("{}/{}/{}", name, dataset, to_string(device)).c_str(),
      [=](benchmark::State& state) {
        const Case measured = make(dataset, name, device);
        measured.call();  // the first call loads the kernels
        while (state.KeepRunning()) measured.call();
        const double done = measured.flops * static_cast<double>(state.iterations());
        state.counters["GFLOP/s"] = benchmark::Counter(1e-9 * done, benchmark::Counter::kIsRate);
      })
      ->Unit(benchmark::kMillisecond)
      ->UseRealTime();
}

int run_program(int argc, char** argv, MakeCase make, void (*register_cases)(Device)) {
  try {
    if (argc == 5 && std::string(argv[1]) == "--serve") {
      return serve(make(argv[2], argv[3], std::atoi(argv[4])));
    }
    register_cases(take_device(argc, argv));
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
    benchmark::RunSpecifiedBenchmarks();
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}: {}\n", argv[0], error.what());
    return 1;
  }
  return 0;
}

}  // namespace researchkit::bench
