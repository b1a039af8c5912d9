// Planning of dynamic pipelines: whole plans over the size of the mini-batch, and each of their parts.
//
//   bench_dynapipe [Google Benchmark's options]
//   bench_dynapipe --serve partition WEIGHTS.npy BINS OUT.npy
//   bench_dynapipe --serve order LENGTHS.npy OUT.npy
//
// One thread; run it from the root of the project, whose example has the measured profiles, or name
// their parent with RESEARCHKIT_DATA. The second form answers each line on standard input with
// the wall and processor seconds of one call, so that another program can time its own calls in
// between, and writes the result at the end.
//
// `x_official` compares with the planner that DynaPipe published, its caches warm: the shorter of the
// two times that were measured for it, on another machine (docs/dynapipe.md). It is no package.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <functional>
#include <iostream>
#include <string>
#include <vector>

#include "researchkit/core/io/npy.hpp"
#include "researchkit/dynapipe/dynapipe.hpp"
#include "support/device_option.hpp"

namespace {

using namespace researchkit;
using namespace researchkit::dynapipe;

std::filesystem::path profile_folder() {
  if (const char* data = std::getenv("RESEARCHKIT_DATA")) {
    auto folder = std::filesystem::path(data) / "dynapipe_a100_profiles";
    if (std::filesystem::exists(folder)) return folder;
  }
  return "examples/plan_multitask_training/profiles";
}

/// A model on its devices with a mini-batch of so many tokens.
struct Task {
  ModelProfile profile;
  std::int64_t layers;
  Cluster cluster;
  PlanOptions options;
  std::vector<SampleLength> samples;
  bool encdec;

  Model model() const { return {&profile, layers, encdec ? layers : 0}; }
};

Task make_task(bool encdec, std::int64_t tokens, std::int64_t max_seqlen, std::int64_t tp,
               std::int64_t stages) {
  const ModelKind kind = encdec ? ModelKind::encdec : ModelKind::decoder;
  Task task{load_profile(profile_folder() / (encdec ? "t5_11b.json" : "gpt_6p7b.json"), tp),
            encdec ? 24 : 32,
            {},
            {},
            flan_lengths(11, 1000 + tokens / 50, kind, max_seqlen),
            encdec};
  task.cluster.stages = stages;
  task.cluster.replicas = 8 / (tp * stages);
  task.options.order = encdec ? OrderMethod::path : OrderMethod::sort;
  const auto offsets = mini_batch_offsets(task.samples, tokens);
  task.samples.resize(static_cast<std::size_t>(offsets[1]));
  return task;
}

/// The windows of a task with all activations stored, full width.
struct Windows {
  Array<double, 2> time, stored, peak;
  PartitionProblem problem;
  double limit;
};

Windows windows_of(const Task& task, Recompute recompute) {
  const auto order = order_samples(task.samples, {task.options.order});
  std::vector<SampleLength> ordered;
  ordered.reserve(order.size());
  for (const std::int32_t i : order) {
    ordered.push_back(task.samples[static_cast<std::size_t>(i)]);
  }
  const Pipeline pipeline = pipeline_of(task.model(), task.cluster);
  const auto n = static_cast<std::int64_t>(ordered.size());
  Windows windows{Array<double, 2>({n, n}),
                  Array<double, 2>({n, n}),
                  Array<double, 2>({n, n}),
                  {task.cluster.stages, task.cluster.replicas, pipeline.shape.chunks},
                  pipeline.available_mb};
  window_costs(ordered, task.profile.tables(recompute), pipeline.shape, {}, windows.time,
               windows.stored, windows.peak);
  return windows;
}

void add(const std::string& name, const std::function<void(benchmark::State&)>& body,
         benchmark::TimeUnit unit = benchmark::kMillisecond) {
  benchmark::RegisterBenchmark(name.c_str(), body)->Unit(unit)->UseRealTime();
}

/// Times `call`, then sets the ratio to the official time.
template <class Call>
void timed(benchmark::State& state, double official_s, Call&& call) {
  const auto begin = std::chrono::steady_clock::now();
  for (auto _ : state) benchmark::DoNotOptimize(call());
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count() /
      static_cast<double>(state.iterations());
  if (official_s > 0) state.counters["x_official"] = official_s / seconds;
}

void time_plan(benchmark::State& state, bool encdec, std::int64_t tokens, bool packed) {
  Task task = make_task(encdec, tokens, 2048, encdec ? 4 : 1, encdec ? 2 : 4);
  task.options.pack_windows = packed;
  const Context ctx({.threads = 1});
  IterationPlan planned;
  timed(state, 0, [&] {
    planned = plan(ctx, task.samples, task.model(), task.cluster, task.options);
    return planned.objective_ms;
  });
  state.counters["samples"] = static_cast<double>(task.samples.size());
  state.counters["micro_batches"] = static_cast<double>(planned.micro_batches());
  state.counters["iteration_ms"] = planned.iteration_ms();
  state.counters["order_ms"] = planned.planning.order_ms;
  state.counters["windows_ms"] = planned.planning.windows_ms;
  state.counters["partition_ms"] = planned.planning.partition_ms;
  state.counters["schedule_ms"] = planned.planning.schedule_ms;
}

void add_plans() {
  for (const bool encdec : {false, true}) {
    for (const std::int64_t tokens : {16384, 32768, 65536, 131072, 262144, 524288}) {
      for (const bool packed : {false, true}) {
        add(fmt::format("plan{}/{}/tokens:{}", packed ? "_packed" : "",
                        encdec ? "t5_tp4_pp2" : "gpt_tp1_pp4", tokens),
            [=](benchmark::State& state) { time_plan(state, encdec, tokens, packed); });
      }
    }
  }
}

void add_partitions() {
  struct Case {
    const char* name;
    bool encdec;
    std::int64_t tokens, max_seqlen, tp, stages;
    Recompute recompute;
    double official_s;
  };
  const std::vector<Case> cases = {
      {"gpt_65536", false, 65536, 2048, 1, 4, Recompute::selective, 0.07},
      {"gpt_131072", false, 131072, 2048, 1, 4, Recompute::selective, 0.33},
      {"gpt_8192_full", false, 65536, 8192, 4, 2, Recompute::full, 0.96},
      {"t5_65536", true, 65536, 2048, 2, 4, Recompute::full, 0.24},
      {"t5_131072_full", true, 131072, 2048, 2, 4, Recompute::full, 6.9}};
  for (const Case& c : cases) {
    add(fmt::format("windows/{}", c.name), [c](benchmark::State& state) {
      const Task task = make_task(c.encdec, c.tokens, c.max_seqlen, c.tp, c.stages);
      timed(state, 0, [&] { return windows_of(task, c.recompute).limit; });
    });
    add(fmt::format("partition/{}", c.name), [c](benchmark::State& state) {
      const Task task = make_task(c.encdec, c.tokens, c.max_seqlen, c.tp, c.stages);
      const Windows windows = windows_of(task, c.recompute);
      Partition partition;
      timed(state, c.official_s, [&] {
        const WindowRows rows =
            allowed_windows(windows.time, windows.stored, windows.peak,
                            windows.limit / static_cast<double>(c.stages), windows.limit, kTick);
        partition = partition_samples(rows, windows.problem);
        return partition.objective;
      });
      if (!partition.feasible()) state.SkipWithError("no partition fits");
      state.counters["samples"] = static_cast<double>(task.samples.size());
      state.counters["solves"] = static_cast<double>(partition.solves);
      state.counters["F_ms"] = windows.problem.milliseconds(partition.objective, kTick);
    });
  }
}

/// A pipeline of micro-batches of random times.
struct Pipelines {
  Array<double, 2> fw, bw, comm, memory;
  Array<double, 1> state;
  Pipelines(std::int64_t count, std::int64_t stages)
      : fw({count, stages}),
        bw({count, stages}),
        comm({count, stages - 1}),
        memory({count, stages}),
        state({stages}) {
    const auto lengths = flan_lengths(3, count * stages, ModelKind::decoder, 2048);
    for (std::int64_t k = 0; k < count * stages; ++k) {
      const double tokens = lengths[static_cast<std::size_t>(k)].input;
      fw(k / stages, k % stages) = 2 + tokens / 100;
      bw(k / stages, k % stages) = 4 + tokens / 50;
    }
  }
  StageTimes times() const { return {fw, bw, comm, comm}; }
  StageMemory stage_memory() const { return {memory, memory, state}; }
};

void add_schedules() {
  struct Case {
    std::int64_t micro_batches, stages;
    double official_s;
  };
  for (const Case& c : {Case{38, 4, 1.40}, Case{66, 4, 2.54}, Case{29, 8, 3.50}}) {
    add(fmt::format("schedule_search/{}x{}", c.micro_batches, c.stages),
        [c](benchmark::State& state) {
          const Pipelines pipeline(c.micro_batches, c.stages);
          const Context ctx({.threads = 1});
          timed(state, c.official_s, [&] {
            return reorder_microbatches(ctx, pipeline.times(), pipeline.stage_memory(), {})
                .makespan;
          });
        });
  }
  for (const std::int64_t count : {64, 1024}) {
    add(fmt::format("simulate/{}x8", count), [count](benchmark::State& state) {
      const Pipelines pipeline(count, 8);
      const Array<std::int32_t, 2> order({8, 2 * count});
      const Array<double, 2> start({8, 2 * count}), sent({8, 2 * count});
      const Array<double, 1> peak({8}), busy({8});
      make_schedule(pipeline.stage_memory(), {}, order);
      timed(state, 0, [&] {
        return simulate_schedule(order, pipeline.times(), pipeline.stage_memory(),
                                 CommStreams::device, {start, sent}, {peak, busy});
      });
      // Operations and transfers.
      state.counters["events/s"] =
          benchmark::Counter(static_cast<double>(16 * count + 14 * count),
                             benchmark::Counter::kIsIterationInvariantRate);
    });
  }
}

std::vector<Ticks> random_weights(std::int64_t count) {
  std::vector<Ticks> weights;
  for (const SampleLength& sample : flan_lengths(5, count, ModelKind::decoder, 8192)) {
    weights.push_back(std::int64_t{sample.input} << 20);
  }
  return weights;
}

void add_parts() {
  add("balanced_partition/1024_to_16", [](benchmark::State& state) {
    const auto weights = random_weights(1024);
    timed(state, 0, [&] { return balanced_partition(weights, 16).sums[0]; });
  });
  for (const std::int64_t count : {128, 256, 512}) {
    add(fmt::format("order_path/{}", count), [count](benchmark::State& state) {
      const auto samples = flan_lengths(7, count, ModelKind::encdec, 4096);
      std::vector<std::int32_t> order;
      timed(state, 0, [&] {
        order = order_samples(samples, {.method = OrderMethod::path});
        return order[0];
      });
      state.counters["path"] = static_cast<double>(path_length(samples, order));
    });
  }
  add("flan_lengths/100000", [](benchmark::State& state) {
    timed(state, 0, [] { return flan_lengths(1, 100000, ModelKind::encdec, 8192)[0].input; });
  });
}

/// Answers each line with the seconds of one call.
template <class Call>
void answer(Call&& call) {
  for (std::string line; std::getline(std::cin, line);) {
    const auto begin = std::chrono::steady_clock::now();
    const std::clock_t processor_begin = std::clock();
    call();
    const std::clock_t processor_end = std::clock();
    const std::chrono::duration<double> wall = std::chrono::steady_clock::now() - begin;
    fmt::print("{:.9f} {:.9f}\n", wall.count(),
               static_cast<double>(processor_end - processor_begin) / CLOCKS_PER_SEC);
    std::fflush(stdout);
  }
}

int serve(const std::vector<std::string>& arguments) {
  const Context ctx({.threads = 1});
  if (arguments.size() == 4 && arguments[0] == "partition") {
    const Tensor weights = read_npy(arguments[1]);
    BalancedPartition call;
    call.weights = weights.view<double, 1>();
    call.num_bins = std::stoll(arguments[2]);
    Tensor sums;
    answer([&] { sums = run(ctx, call).memory.at(1); });
    write_npy(arguments[3], sums);
  } else if (arguments.size() == 3 && arguments[0] == "order") {
    const Tensor lengths = read_npy(arguments[1]);
    OrderSamples call;
    call.lengths = lengths.view<std::int32_t, 2>();
    call.method = OrderMethod::path;
    Tensor perm;
    answer([&] { perm = run(ctx, call).memory.at(0); });
    write_npy(arguments[2], perm);
  } else {
    throw Error("--serve wants partition WEIGHTS BINS OUT or order LENGTHS OUT");
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const std::vector<std::string> arguments(argv + 1, argv + argc);
    if (!arguments.empty() && arguments[0] == "--serve") {
      return serve({arguments.begin() + 1, arguments.end()});
    }
    bench::refuse_device(bench::take_device(argc, argv), "dynapipe");
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
    add_plans();
    add_partitions();
    add_schedules();
    add_parts();
    benchmark::RunSpecifiedBenchmarks();
    benchmark::Shutdown();
  } catch (const std::exception& error) {
    fmt::print(stderr, "bench_dynapipe: {}\n", error.what());
    return 1;
  }
  return 0;
}
