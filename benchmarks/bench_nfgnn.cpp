// NFGNN on stored data sets and on a generated power-law graph: sparse products, the filter's forward and
// backward, and a whole training epoch with its evaluation.
//
//   bench_nfgnn [Google Benchmark's options]
//   bench_nfgnn --serve DATASET CASE THREADS
//
// The second form answers each line of its input with the wall and processor seconds of one call of
// CASE: epoch, filter, spmm8 or spmm64. Data sets are read below $RESEARCHKIT_DATA/graphs; without it
// only the generated graph is measured.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <chrono>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <functional>
#include <iostream>
#include <memory>

#include "researchkit/core/peak.hpp"
#include "researchkit/graph/graph.hpp"
#include "researchkit/nfgnn/filter.hpp"
#include "researchkit/nfgnn/nfgnn.hpp"
#include "researchkit/nn/initialize.hpp"

namespace {

using namespace researchkit;

/// One thing to measure, ready to run; flops of a call, and bytes that its buffers hold.
struct Case {
  std::function<void()> call;
  double flops = 0;
  std::size_t buffer_bytes = 0;
};

std::shared_ptr<graph::NodeDataset> load(const std::string& name) {
  const Context ctx;
  if (name == "rmat_1m") {
    // 2^20 nodes and about 10 M entries, features of 8 columns.
    auto data = std::make_shared<graph::NodeDataset>();
    data->name = name;
    data->adjacency = graph::rmat_graph(ctx, 20, 5, 1);
    return data;
  }
  const char* folder = std::getenv("RESEARCHKIT_DATA");
  if (folder == nullptr) throw Error("RESEARCHKIT_DATA does not name the data sets");
  return std::make_shared<graph::NodeDataset>(
      graph::load_dataset(ctx, std::filesystem::path(folder) / "graphs" / name));
}

Array<float, 2> random_matrix(std::int64_t rows, std::int64_t columns) {
  Array<float, 2> matrix({rows, columns});
  nn::normal<float>({matrix.data_handle(), static_cast<std::size_t>(matrix.size())}, 1, 1, 1);
  return matrix;
}

Case spmm_case(const Context& ctx, const graph::NodeDataset& data, std::int64_t d) {
  const auto a = normalized(ctx, data.adjacency, graph::Normalization::cheb, 0);
  const auto x = random_matrix(a.columns(), d);
  const Array<float, 2> y({a.rows(), d});
  return {[=] { graph::multiply<float>(ctx, a, x, y); }, 2 * static_cast<double>(a.entries() * d),
          0};
}

/// The buffers of a filter with K = 10 and rank 3, as the model keeps them.
struct FilterBuffers {
  graph::Csr<float> a;
  Array<float, 2> w, b, gamma, eta, y, d_y, d_w, d_b, d_gamma;
  std::vector<Array<float, 2>> memory;
  std::vector<float*> t, d_t;
  nfgnn::Coefficients<float> model;

  explicit FilterBuffers(const graph::NodeDataset& data, const Context& ctx)
      : a(normalized(ctx, data.adjacency, graph::Normalization::cheb, 0)) {
    const std::int64_t n = a.rows(), c = data.classes, stride = nfgnn::padded_columns(c);
    w = random_matrix(11, 3 * c);
    b = random_matrix(11, 3);
    gamma = random_matrix(3, 11);
    d_w = random_matrix(11, 3 * c);
    d_b = random_matrix(11, 3);
    d_gamma = random_matrix(3, 11);
    eta = random_matrix(n, 11);
    y = random_matrix(n, stride);
    d_y = random_matrix(n, stride);
    for (int k = 0; k < 24; ++k) memory.push_back(random_matrix(n, stride));
    for (std::size_t k = 0; k < 11; ++k) {
      t.push_back(memory[k].data_handle());
      d_t.push_back(memory[11 + k].data_handle());
    }
    model.n = n;
    model.c = c;
    model.rank = 3;
    model.orders = 11;
    model.stride = stride;
    model.scale = 1.f / 3;
    model.w = w.data_handle();
    model.b = b.data_handle();
    model.gamma = gamma.data_handle();
  }

  /// Forward and backward.
  void step(const Context& ctx) const {
    using nfgnn::Basis;
    nfgnn::filter_forward<float, std::int32_t>(ctx, a.view(), model, Basis::chebyshev, t,
                                               eta.data_handle(), y.data_handle());
    Workspace::Scope scratch(ctx.workspace());
    const nfgnn::ParameterGradients<float> gradients(scratch, model);
    nfgnn::AdjointRecursion<float, std::int32_t> adjoint(a.view(), Basis::chebyshev, 11,
                                                         model.stride, memory[22].data_handle(),
                                                         memory[23].data_handle());
    nfgnn::filter_backward<float, std::int32_t>(ctx, model, t, eta.data_handle(), d_y.data_handle(),
                                                nullptr, d_t, gradients, adjoint);
    gradients.write(model, d_w.data_handle(), d_b.data_handle(), d_gamma.data_handle());
  }
};

Case filter_case(const Context& ctx, const graph::NodeDataset& data) {
  const auto buffers = std::make_shared<FilterBuffers>(data, ctx);
  return {[=] { buffers->step(ctx); },
          2 * 2 * 10 * static_cast<double>(data.adjacency.entries() * data.classes), 0};
}

Case epoch_case(const Context& ctx, const std::shared_ptr<graph::NodeDataset>& data) {
  const auto options = nfgnn::preset(data->name);
  const auto model = std::make_shared<nfgnn::NfgnnModel>(
      data->features, normalized(ctx, data->adjacency, graph::Normalization::cheb, 0),
      data->classes, options.model);
  const auto adam = std::make_shared<autograd::Adam>(std::vector<autograd::ParameterGroup>{
      {.parameters = model->dense_parameters(), .lr = options.lr, .weight_decay = 5e-4},
      {.parameters = model->filter_parameters(), .lr = options.filter_lr, .weight_decay = 5e-4}});
  const auto split = graph::balanced_split(data->labels, data->classes, 0.6, 0.2, 0);
  const auto train = mask_of(split, graph::Role::train);
  const auto validation = mask_of(split, graph::Role::validation);
  auto step = std::make_shared<std::int64_t>(0);
  return {[=] {
            model->loss_and_gradients(ctx, data->labels, train, (*step)++);
            adam->step(ctx);
            model->evaluate(ctx);
            benchmark::DoNotOptimize(model->evaluated_loss(ctx, data->labels, validation));
          },
          0, model->buffer_bytes()};
}

Case make_case(const std::string& dataset, const std::string& name, int threads) {
  const Context ctx({.threads = threads});
  const auto data = load(dataset);
  if (name == "epoch") return epoch_case(ctx, data);
  if (name == "filter") return filter_case(ctx, *data);
  if (name == "spmm8") return spmm_case(ctx, *data, 8);
  if (name == "spmm64") return spmm_case(ctx, *data, 64);
  throw Error("no case '" + name + "'");
}

double processor_seconds() {
  timespec now{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

int serve(const std::string& dataset, const std::string& name, int threads) {
  const Case measured = make_case(dataset, name, threads);
  std::string line;
  while (std::getline(std::cin, line)) {
    const auto wall = std::chrono::steady_clock::now();
    const double processor = processor_seconds();
    measured.call();
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - wall;
    fmt::print("{} {}\n", elapsed.count(), processor_seconds() - processor);
    std::fflush(stdout);
  }
  return 0;
}

void run_case(benchmark::State& state, const std::string& dataset, const std::string& name,
              int threads) {
  const Case measured = make_case(dataset, name, threads);
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

void register_cases() {
  std::vector<std::string> datasets;
  if (std::getenv("RESEARCHKIT_DATA") != nullptr) {
    datasets = {"cora", "chameleon", "pubmed", "texas", "squirrel"};
  }
  const int all = default_thread_count();
  for (const int threads : all == 1 ? std::vector{1} : std::vector{1, all}) {
    for (const std::string& dataset : datasets) {
      for (const std::string name : {"epoch", "filter", "spmm8", "spmm64"}) {
        benchmark::RegisterBenchmark(
            fmt::format("{}/{}/threads:{}", name, dataset, threads).c_str(), run_case, dataset,
            name, threads)
            ->Unit(benchmark::kMillisecond)
            ->UseRealTime();
      }
    }
    benchmark::RegisterBenchmark(fmt::format("spmm8/rmat_1m/threads:{}", threads).c_str(), run_case,
                                 "rmat_1m", "spmm8", threads)
        ->Unit(benchmark::kMillisecond)
        ->UseRealTime();
  }
}

}  // namespace

int main(int argc, char** argv) {
  try {
    if (argc == 5 && std::string(argv[1]) == "--serve") {
      return serve(argv[2], argv[3], std::atoi(argv[4]));
    }
    register_cases();
    benchmark::Initialize(&argc, argv);
    benchmark::RunSpecifiedBenchmarks();
  } catch (const std::exception& error) {
    fmt::print(stderr, "bench_nfgnn: {}\n", error.what());
    return 1;
  }
  return 0;
}
