#include <array>

#include "researchkit/autograd/gradcheck.hpp"
#include "researchkit/bikt/builtin_hosts.hpp"
#include "researchkit/bikt/layers.hpp"
#include "researchkit/core/compare.hpp"
#include "researchkit/graph/synthetic.hpp"
#include "researchkit/nn/initialize.hpp"
#include "support/catch.hpp"
#include "support/temporary_folder.hpp"

namespace {

using namespace researchkit;
using namespace researchkit::bikt;

constexpr std::array kHosts = {Host::gcn,   Host::gat,  Host::mixhop, Host::gcnii,
                               Host::fagcn, Host::sage, Host::appnp,  Host::gin};

std::string name_of(Host host) {
  return std::string(names_of(host)[static_cast<std::size_t>(host)]);
}

/// A random graph with an isolated node, and sparse features.
template <class Real>
struct Small {
  graph::Csr<Real> adjacency, features;

  explicit Small(std::int64_t n = 9, std::int64_t f = 5) {
    const Context ctx;
    const auto a = graph::uniform_graph(ctx, n - 1, 2 * n, 3);
    graph::CsrArrays<Real> arrays;
    arrays.indptr.assign(a.indptr().begin(), a.indptr().end());
    arrays.indptr.push_back(arrays.indptr.back());
    arrays.indices.assign(a.indices().begin(), a.indices().end());
    arrays.values.assign(arrays.indices.size(), Real(1));
    adjacency = graph::Csr<Real>(arrays, n);
    const Philox random(8);
    graph::CsrArrays<Real> x;
    for (std::int64_t i = 0; i < n; ++i) {
      for (std::int64_t j = 0; j < f; ++j) {
        const auto at = static_cast<std::uint64_t>(i * f + j);
        if (random.word(at) % 3 == 0) continue;
        x.indices.push_back(static_cast<std::int32_t>(j));
        x.values.push_back(static_cast<Real>(random.normal(1000 + at)));
      }
      x.indptr.push_back(static_cast<std::int32_t>(x.indices.size()));
    }
    features = graph::Csr<Real>(x, f);
  }
  Tensor dense_features() const {
    Tensor x(dtype_of<Real>, {features.rows(), features.columns()});
    const auto view = x.view<Real, 2>();
    const auto a = features.view();
    for (std::int64_t i = 0; i < a.rows; ++i) {
      for (std::int64_t e = a.begin(i); e < a.end(i); ++e) view(i, a.column(e)) = a.value(e);
    }
    return x;
  }
};

/// A host whose offsets are not 0.
template <class Real>
BuiltinHost<Real> random_host(Host kind, std::int64_t features) {
  BuiltinHost<Real> host({.host = kind, .hidden = 4, .layers = 2, .heads = 2, .output_heads = 2},
                         features, 3);
  std::uint64_t stream = 7;
  for (auto& [name, variable] : host.parameters()) {
    Tensor value = variable.value();
    nn::normal<Real>(value.values<Real>(), 0.6, 5, stream++);
  }
  return host;
}

TEST_CASE("hosts on the tape are those of the operator bikt_host, with the graph and without") {
  const Context ctx;
  const Small<double> small;
  const HostGraph<double> graph(ctx, small.adjacency);
  for (const Host kind : kHosts) {
    INFO(name_of(kind));
    const auto host = random_host<double>(kind, 5);
    const auto& a = small.adjacency;
    Arguments call{.inputs = {{"indptr", Tensor::from(a.indptr(), {a.rows() + 1})},
                              {"indices", Tensor::from(a.indices(), {a.entries()})},
                              {"x", small.dense_features()}},
                   .attributes = {{"host", name_of(kind)}}};
    for (const auto& [name, tensor] : host.weights()) call.inputs.set(name, tensor);
    const auto expected = default_registry().at("bikt.bikt_host").run(ctx, call).outputs;
    for (const bool on : {true, false}) {
      Tape tape(ctx);
      HostInput<double> x(ctx, small.features, {});
      const auto output = host.forward(tape, graph, x, {.propagate = on});
      CHECK_FALSE(difference(output.logits.value(), expected.at(on ? "logits" : "derived_logits"),
                             {.rtol = 1e-12, .atol = 1e-12})
                      .has_value());
    }
  }
}

TEST_CASE("gradients of every host agree with differences in both branches, with dropout") {
  const Context ctx;
  const Small<double> small;
  const HostGraph<double> graph(ctx, small.adjacency);
  for (const Host kind : kHosts) {
    for (const bool on : {true, false}) {
      INFO(name_of(kind) << (on ? " host" : " derived"));
      auto host = random_host<double>(kind, 5);
      std::vector<Tensor> values;
      for (const auto& [name, variable] : host.parameters()) values.push_back(variable.value());
      const Pass pass{.propagate = on, .training = true, .dropout = 0.3, .seed = 2, .step = 1};
      const auto report = autograd::gradcheck(
          ctx,
          [&](Tape& tape, std::span<const Variable> weights) {
            host.set_parameters(weights);
            HostInput<double> x(ctx, small.features, pass.mask(0));
            const auto output = host.forward(tape, graph, x, pass);
            return std::vector{output.logits, output.hidden};
          },
          values);
      INFO(report.worst);
      CHECK(report.passed());
    }
  }
}

TEST_CASE("both branches share the product with the first weight, and their gradients add up") {
  const Context ctx;
  const Small<double> small;
  const HostGraph<double> graph(ctx, small.adjacency);
  const auto host = random_host<double>(Host::gcn, 5);
  const Variable w1 = host.parameters()[0].variable;
  Tape tape(ctx);
  HostInput<double> x(ctx, small.features, {0.5, 1, 0});
  const Variable product = x.times(tape, w1);
  CHECK(x.times(tape, w1).value().data() == product.value().data());

  Tensor sum(DType::f64, w1.value().shape());
  for (const bool on : {true, false}) {
    Tape alone(ctx);
    HostInput<double> own(ctx, small.features, {0.5, 1, 0});
    alone.backward(host.forward(alone, graph, own, {.propagate = on}).logits);
    for (std::size_t i = 0; i < sum.values<double>().size(); ++i) {
      sum.values<double>()[i] += w1.gradient().values<double>()[i];
    }
    for (auto parameter : host.parameters()) parameter.variable.clear_gradient();
  }
  std::vector<Variable> results;
  std::vector<Tensor> ones;
  for (const bool on : {true, false}) {
    results.push_back(host.forward(tape, graph, x, {.propagate = on}).logits);
    Tensor one(DType::f64, results.back().value().shape());
    for (double& value : one.values<double>()) value = 1;
    ones.push_back(one);
  }
  tape.backward(results, ones);
  CHECK_FALSE(difference(w1.gradient(), sum, {.rtol = 1e-12, .atol = 1e-12}).has_value());
}

TEST_CASE("attention weights get no gradient from the derived model") {
  const Context ctx;
  const Small<float> small;
  const HostGraph<float> graph(ctx, small.adjacency);
  for (const Host kind : {Host::gat, Host::fagcn}) {
    const auto host = random_host<float>(kind, 5);
    Tape tape(ctx);
    HostInput<float> x(ctx, small.features, {});
    tape.backward(host.forward(tape, graph, x, {.propagate = false}).logits);
    for (const auto& [name, variable] : host.parameters()) {
      INFO(name);
      const bool attends = name[0] == 'a' || name[0] == 'g';
      CHECK(variable.gradient().defined() == !attends);
    }
  }
}

TEST_CASE("a saved derived model predicts the same without a graph") {
  const Context ctx;
  const Small<float> small;
  const test::TemporaryFolder folder;
  for (const Host kind : kHosts) {
    INFO(name_of(kind));
    const auto host = random_host<float>(kind, 5);
    save_derived(folder / "model.safetensors", host, 5, 3);
    const DerivedModel model = load_derived(folder / "model.safetensors");
    const Tensor before =
        predict(ctx, host, HostGraph<float>(ctx, small.adjacency), small.features, false);
    const Tensor after = predict(ctx, *model.host, HostGraph<float>(), small.features, false);
    CHECK_FALSE(difference(after, before, {}).has_value());
  }
}

TEST_CASE("derived models that do not hold together are refused") {
  const Context ctx;
  const test::TemporaryFolder folder;
  const auto host = random_host<float>(Host::gcn, 5);
  const auto refuses = [&](std::int64_t features, std::int64_t classes) {
    save_derived(folder / "bad.safetensors", host, features, classes);
    CHECK_THROWS_AS(load_derived(folder / "bad.safetensors"), Error);
  };
  refuses(6, 3);
  refuses(5, 2);
  refuses(999999999, 3);
  CHECK_THROWS_AS(load_derived(folder / "missing.safetensors"), Error);
}

TEST_CASE("hosts and layers refuse what does not fit") {
  const Context ctx;
  const Small<float> small;
  CHECK_THROWS_AS(BuiltinHost<float>({.hidden = 0}, 5, 3), Error);
  CHECK_THROWS_AS(BuiltinHost<float>({.host = Host::gat, .hidden = 4, .heads = 3}, 5, 3), Error);
  Tape tape(ctx);
  HostInput<float> x(ctx, small.features, {});
  CHECK_THROWS_AS(x.times(tape, autograd::parameter(Tensor(DType::f32, {6, 2}))), Error);
  CHECK_THROWS_AS(x.times(tape, autograd::parameter(Tensor(DType::f64, {5, 2}))), Error);
  const Variable a = autograd::parameter(Tensor(DType::f32, {8, 2}));
  CHECK_THROWS_AS(propagate(tape, small.adjacency, a), Error);
  CHECK_THROWS_AS(linear(tape, a, a), Error);
  CHECK_THROWS_AS(add_offset(tape, a, a, Activation::relu), Error);
}

}  // namespace
