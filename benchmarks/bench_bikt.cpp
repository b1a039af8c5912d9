// BiKT on stored data sets: a training step of the host alone and of both branches, each with the
// evaluation that follows it, and the operators of the method.
//
//   bench_bikt [Google Benchmark's options]
//   bench_bikt --serve DATASET CASE THREADS
//
// The second form answers each number of its input with the wall and processor seconds of the fastest of
// so many calls of CASE: plain:HOST, joint:HOST, transfer, dual, derived or gate. Data sets are read below
// $RESEARCHKIT_DATA/graphs; without it a generated graph of the size of cora is measured.
#include <benchmark/benchmark.h>

#include <memory>
#include <string>
#include <vector>

#include "researchkit/bikt/bikt.hpp"
#include "researchkit/bikt/transfer.hpp"
#include "researchkit/graph/graph.hpp"
#include "support/device_option.hpp"
#include "support/served_cases.hpp"

namespace {

using namespace researchkit;

using bench::Case;

std::shared_ptr<graph::NodeDataset> load(const std::string& name) {
  const Context ctx;
  if (name == "csbm") {
    return std::make_shared<graph::NodeDataset>(
        graph::csbm(ctx, {.nodes = 2700, .average_degree = 4, .features = 20}));
  }
  return bench::stored_dataset(name);
}

/// A step past warm-up and ramp, so that all terms are there, and its evaluation.
Case training_case(const Context& ctx, const std::shared_ptr<graph::NodeDataset>& data,
                   bikt::Schedule schedule, const std::string& kind) {
  bikt::HostOptions options;
  const auto named = value_named<bikt::Host>(kind);
  if (!named) throw Error("no host '" + kind + "'");
  options.host = *named;
  const auto host =
      std::make_shared<bikt::BuiltinHost<float>>(options, data->features.columns(), data->classes);
  const auto split = data->public_split.empty()
                         ? graph::balanced_split(data->labels, data->classes, 0.6, 0.2, 0)
                         : data->public_split;
  bikt::TrainingOptions training{.schedule = schedule};
  training.transfer.warmup = 0;
  training.transfer.ramp = 1;
  const auto trainer = std::make_shared<bikt::Trainer>(
      ctx, host, bikt::HostGraph<float>(ctx, data->adjacency), *data, split, training);
  trainer->evaluate();
  return {[=] {
    benchmark::DoNotOptimize(data->labels.data());
    benchmark::DoNotOptimize(trainer->step());
    trainer->evaluate();
  }};
}

/// Logits of both branches and of both teachers.
struct Logits {
  Array<float, 2> host, derived, host_teacher, derived_teacher, d_host, d_derived;
  Array<float, 1> weight;
  explicit Logits(const graph::NodeDataset& data) : weight({data.nodes()}) {
    std::uint64_t stream = 0;
    for (Array<float, 2>* logits :
         {&host, &derived, &host_teacher, &derived_teacher, &d_host, &d_derived}) {
      *logits = bench::random_matrix(data.nodes(), data.classes, stream++);
    }
    for (std::int64_t i = 0; i < data.nodes(); ++i) weight(i) = 0.5f;
  }
};

Case transfer_case(const Context& ctx, const std::shared_ptr<graph::NodeDataset>& data) {
  const auto z = std::make_shared<Logits>(*data);
  const auto mask = std::make_shared<std::vector<std::uint8_t>>(data->labels.size());
  for (std::size_t i = 0; i < mask->size(); i += 20) (*mask)[i] = 1;
  return {[=] {
            const bikt::TransferRows<> rows{data->nodes(),
                                            data->classes,
                                            z->host.data_handle(),
                                            z->derived.data_handle(),
                                            z->host_teacher.data_handle(),
                                            z->derived_teacher.data_handle(),
                                            data->labels.data(),
                                            mask->data(),
                                            z->weight.data_handle()};
            benchmark::DoNotOptimize(
                bikt::kernels::transfer_loss(ctx, rows, 2.f, {1, 0.1f, 1, 0.3f},
                                             z->d_host.data_handle(), z->d_derived.data_handle()));
          },
          120 * static_cast<double>(data->nodes() * data->classes)};
}

Case gate_case(const Context& ctx, const std::shared_ptr<graph::NodeDataset>& data) {
  const auto z = std::make_shared<Logits>(*data);
  return {[=] {
    bikt::kernels::gate(ctx, bikt::Gate::agree, z->host_teacher, z->derived_teacher,
                        z->weight.data_handle());
  }};
}

/// Forward and backward of the second layer, 64 to the classes.
Case dual_case(const Context& ctx, const std::shared_ptr<graph::NodeDataset>& data) {
  const auto a = normalized(ctx, data->adjacency, graph::Normalization::sym, 1);
  const std::int64_t n = data->nodes(), c = data->classes;
  const auto h = bench::random_matrix(n, 64, 1), m = bench::random_matrix(n, 64, 2),
             w = bench::random_matrix(64, c, 3), d = bench::random_matrix(n, c, 4);
  const Array<float, 1> b({c});
  return {[=] {
            const In<std::int32_t, 1> indptr(a.indptr().data(), {n + 1}),
                indices(a.indices().data(), {a.entries()});
            const In<float, 1> values(a.values().data(), {a.entries()});
            const auto y = bikt::dual_propagate_linear(
                ctx, bikt::DualPropagateLinear<float, std::int32_t>{.indptr = indptr,
                                                                    .indices = indices,
                                                                    .x_host = h,
                                                                    .values = values,
                                                                    .x_derived = m,
                                                                    .w = w,
                                                                    .b = b});
            const auto gradient = bikt::dual_propagate_linear_backward(
                ctx,
                bikt::DualPropagateLinearBackward<float, std::int32_t>{.indptr = indptr,
                                                                       .indices = indices,
                                                                       .x_host = h,
                                                                       .values = values,
                                                                       .x_derived = m,
                                                                       .w = w,
                                                                       .y_host = y.y_host,
                                                                       .y_derived = y.y_derived,
                                                                       .d_y_host = d,
                                                                       .d_y_derived = d});
            benchmark::DoNotOptimize(gradient.d_w.data_handle());
          },
          12 * static_cast<double>(n * 64 * c) + 4 * static_cast<double>(a.entries() * c)};
}

/// The derived model of a GCN in evaluation, features sparse.
Case derived_case(const Context& ctx, const std::shared_ptr<graph::NodeDataset>& data) {
  const auto host = std::make_shared<bikt::BuiltinHost<float>>(
      bikt::HostOptions{}, data->features.columns(), data->classes);
  return {[=] {
            benchmark::DoNotOptimize(
                bikt::predict(ctx, *host, bikt::HostGraph<float>(), data->features, false).data());
          },
          2 * static_cast<double>(data->features.entries() * 64)};
}

Case make_case(const std::string& dataset, const std::string& name, int threads) {
  const Context ctx({.threads = threads});
  const auto data = load(dataset);
  const auto colon = name.find(':');
  if (colon != std::string::npos) {
    const bool plain = name.substr(0, colon) == "plain";
    return training_case(ctx, data, plain ? bikt::Schedule::plain : bikt::Schedule::joint,
                         name.substr(colon + 1));
  }
  if (name == "transfer") return transfer_case(ctx, data);
  if (name == "gate") return gate_case(ctx, data);
  if (name == "dual") return dual_case(ctx, data);
  if (name == "derived") return derived_case(ctx, data);
  throw Error("no case '" + name + "'");
}

void register_cases(Device device) {
  bench::refuse_device(device, "bikt");
  std::vector<std::string> datasets = {"csbm"};
  if (bench::has_stored_datasets()) datasets = {"cora", "citeseer", "pubmed", "chameleon"};
  std::vector<std::string> cases = {"transfer", "gate", "dual", "derived"};
  for (const std::string_view host : names_of(bikt::Host{})) {
    for (const char* schedule : {"plain:", "joint:"}) cases.push_back(schedule + std::string(host));
  }
  for (const std::string& dataset : datasets) {
    for (const std::string& name : cases) bench::register_case(make_case, dataset, name);
  }
}

}  // namespace

int main(int argc, char** argv) {
  return bench::run_program(argc, argv, make_case, register_cases);
}
