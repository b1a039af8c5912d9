// NFGNN on stored data sets and on a generated power-law graph: sparse products, the filter's forward and
// backward, and a whole training epoch with its evaluation.
//
//   bench_nfgnn [--device cpu|cuda|cuda:<number>] [Google Benchmark's options]
//   bench_nfgnn --serve DATASET CASE THREADS
//
// The second form answers each number of its input with the wall and processor seconds of the fastest of
// so many calls of CASE: epoch, filter, spmm8, spmm8_rows (a row after the other) or spmm64. Data sets are read below $RESEARCHKIT_DATA/graphs; without it
// only the generated graph is measured.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "researchkit/core/registry.hpp"
#include "researchkit/graph/graph.hpp"
#include "researchkit/nfgnn/filter.hpp"
#include "researchkit/nfgnn/nfgnn.hpp"
#include "researchkit/nn/initialize.hpp"
#include "support/served_cases.hpp"

namespace {

using namespace researchkit;

using bench::Case;

std::shared_ptr<graph::NodeDataset> load(const std::string& name) {
  const Context ctx;
  if (name == "rmat_1m") {
    // 2^20 nodes and about 10 M entries, features of 8 columns.
    auto data = std::make_shared<graph::NodeDataset>();
    data->name = name;
    data->adjacency = graph::rmat_graph(ctx, 20, 5, 1);
    return data;
  }
  return bench::stored_dataset(name);
}

/// `grouped`: by rows in groups, as a product that is made again and again.
Case spmm_case(const Context& ctx, const graph::NodeDataset& data, std::int64_t d,
               bool grouped = true) {
  const auto a = normalized(ctx, data.adjacency, graph::Normalization::cheb, 0);
  const auto x = bench::random_matrix(a.columns(), d);
  const Array<float, 2> y({a.rows(), d});
  return {[=] {
            const auto view = grouped ? a.view_for(d) : a.view();
            graph::kernels::spmm<float, std::int32_t>(ctx, view, 1, x.data_handle(), d, 0, nullptr,
                                                      y.data_handle());
          },
          2 * static_cast<double>(a.entries() * d), 0};
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
    w = bench::random_matrix(11, 3 * c);
    b = bench::random_matrix(11, 3);
    gamma = bench::random_matrix(3, 11);
    d_w = bench::random_matrix(11, 3 * c);
    d_b = bench::random_matrix(11, 3);
    d_gamma = bench::random_matrix(3, 11);
    eta = bench::random_matrix(n, 11);
    y = bench::random_matrix(n, stride);
    d_y = bench::random_matrix(n, stride);
    for (int k = 0; k < 24; ++k) memory.push_back(bench::random_matrix(n, stride));
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
    nfgnn::filter_forward<float, std::int32_t>(ctx, a.view_for(model.stride), model,
                                               Basis::chebyshev, t, eta.data_handle(),
                                               y.data_handle());
    Workspace::Scope scratch(ctx.workspace());
    const nfgnn::ParameterGradients<float> gradients(scratch, model);
    nfgnn::AdjointRecursion<float, std::int32_t> adjoint(a.view_for(model.stride), Basis::chebyshev,
                                                         11, model.stride, memory[22].data_handle(),
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
  if (name == "spmm8_rows") return spmm_case(ctx, *data, 8, false);
  if (name == "spmm8") return spmm_case(ctx, *data, 8);
  if (name == "spmm64") return spmm_case(ctx, *data, 64);
  throw Error("no case '" + name + "'");
}

Tensor random_tensor(Shape shape, std::uint64_t stream) {
  Tensor tensor(DType::f32, std::move(shape));
  nn::normal<float>(tensor.values<float>(), 1, 1, stream);
  return tensor;
}

/// An operator on a device where its inputs lie: spmm8, spmm64, filter or filter_backward.
Case device_case(const std::string& dataset, const std::string& name, Device device) {
  const auto data = load(dataset);
  const auto a = normalized(Context(), data->adjacency, graph::Normalization::cheb, 0);
  const std::int64_t n = a.rows(), c = std::max<std::int64_t>(data->classes, 8);
  const bool filter = name.starts_with("filter"), backward = name == "filter_backward";
  const std::int64_t columns = filter ? c : name == "spmm8" ? 8 : 64;
  Arguments arguments;
  TensorMap& inputs = arguments.inputs;
  inputs.set("indptr", Tensor::from<std::int32_t>(a.indptr(), {n + 1}));
  inputs.set("indices", Tensor::from<std::int32_t>(a.indices(), {a.entries()}));
  inputs.set("values", Tensor::from<float>(a.values(), {a.entries()}));
  inputs.set("x", random_tensor({n, columns}, 1));
  if (filter) {
    inputs.set("w", random_tensor({11, c, 3}, 2));
    inputs.set("b", random_tensor({11, 3}, 3));
    inputs.set("gamma", random_tensor({3, 11}, 4));
  }
  if (backward) {
    inputs.set("eta", random_tensor({n, 11}, 5));
    inputs.set("d_y", random_tensor({n, c}, 6));
  }
  for (auto& [input, tensor] : inputs) tensor = tensor.to(device);
  const char* const called = !filter    ? "graph.spmm"
                             : backward ? "nfgnn.node_oriented_filter_backward"
                                        : "nfgnn.node_oriented_filter";
  const Context ctx({.device = device});
  const auto call =
      std::make_shared<PreparedCall>(default_registry().at(called).prepare(ctx, arguments));
  return {[=] {
            call->execute();
            ctx.synchronize();
          },
          call->cost().flops, 0};
}

void register_cases(Device device) {
  std::vector<std::string> datasets;
  if (bench::has_stored_datasets()) datasets = {"cora", "chameleon", "pubmed", "texas", "squirrel"};
  if (!device.is_host()) {
    datasets.emplace_back("rmat_1m");
    for (const std::string& dataset : datasets) {
      for (const char* name : {"spmm8", "spmm64", "filter", "filter_backward"}) {
        bench::register_case(device_case, dataset, name, device);
      }
    }
    return;
  }
  for (const std::string& dataset : datasets) {
    for (const char* name : {"epoch", "filter", "spmm8", "spmm8_rows", "spmm64"}) {
      bench::register_case(make_case, dataset, name);
    }
  }
  bench::register_case(make_case, "rmat_1m", "spmm8");
}

}  // namespace

int main(int argc, char** argv) {
  return bench::run_program(argc, argv, make_case, register_cases);
}
