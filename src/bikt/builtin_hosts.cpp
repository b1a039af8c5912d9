#include "researchkit/bikt/builtin_hosts.hpp"

#include <fmt/format.h>

#include <array>
#include <cmath>

#include "researchkit/bikt/layers.hpp"
#include "researchkit/core/expression.hpp"
#include "researchkit/nn/initialize.hpp"

namespace researchkit::bikt {
namespace {

constexpr double kTeleport = 0.1;     // share of the first rows in GCNII and APPNP
constexpr double kGcniiLambda = 0.5;  // beta_l = log(lambda / (l + 1) + 1)
constexpr double kFagcnEps = 0.3;
constexpr double kGinEps = 0.1;
constexpr double kSlope = 0.2;  // of GAT's scores
constexpr int kAppnpSteps = 10;
constexpr std::uint64_t kFirstValues = 0x62696b7400;  // streams apart from those of dropout

std::string numbered(std::string_view name, std::int64_t at) {
  return fmt::format("{}.{}", name, at);
}

}  // namespace

/// One pass of one host.
template <class Real>
struct BuiltinHost<Real>::Forward {
  const BuiltinHost& host;
  Tape& tape;
  const HostGraph<Real>& graph;
  HostInput<Real>& x;
  const Pass& pass;

  const Variable& weight(std::string_view name) const { return host.at(name); }
  Variable weight(std::string_view name, std::int64_t at) const { return host.layer(name, at); }
  Variable product(std::string_view name) const { return x.times(tape, weight(name)); }
  Variable dropped(const Variable& h, std::int64_t site) const {
    return dropout(tape, h, pass.mask(site));
  }
  /// Site 0: without dropout.
  Variable relu(const Variable& h, std::string_view offset, std::int64_t site = 0) const {
    return offset_relu(tape, h, weight(offset), site == 0 ? graph::DropoutKey{} : pass.mask(site));
  }
  Variable plus(const Variable& h, std::string_view offset) const {
    return add_offset(tape, h, weight(offset), Activation::none);
  }
  const graph::Csr<Real>& gcn_operator() const {
    return graph.normalized(graph::Normalization::sym, 1);
  }
  Variable spread(const Variable& h) const {
    return pass.propagate ? propagate(tape, gcn_operator(), h) : h;
  }
  /// (1 - a) P h + a h0.
  Variable teleport(const Variable& h, const Variable& h0) const {
    if (!pass.propagate) return mix(tape, 1 - kTeleport, h, kTeleport, h0);
    return propagate(tape, gcn_operator(), h, 1 - kTeleport, kTeleport, h0);
  }

  HostOutput gcn() const {
    const Variable h = relu(spread(product("w1")), "b1", 1);
    return {h, plus(spread(linear(tape, h, weight("w2"))), "b2")};
  }

  Variable attention(const Variable& h, std::string_view source, std::string_view target) const {
    if (!pass.propagate) return h;
    const auto& pattern = graph.normalized(graph::Normalization::none, 1);
    return attend(tape, pattern, h, head_scores(tape, h, weight(source)),
                  head_scores(tape, h, weight(target)), kSlope);
  }
  HostOutput gat() const {
    const Variable h = dropped(
        add_offset(tape, attention(product("w1"), "as1", "ad1"), weight("b1"), Activation::elu), 1);
    const Variable y = attention(linear(tape, h, weight("w2")), "as2", "ad2");
    return {h, plus(mean_of_heads(tape, y, host.options_.output_heads), "b2")};
  }

  /// act([u_0, P u_1, P^2 u_2]).
  Variable powers(const std::array<Variable, 3>& u) const {
    const std::array parts = {u[0], spread(u[1]), spread(spread(u[2]))};
    return concatenate(tape, parts, Activation::relu);
  }
  HostOutput mixhop() const {
    const Variable h = powers({product("w1.0"), product("w1.1"), product("w1.2")});
    const Variable d = dropped(h, 1);
    const auto second = [&](std::int64_t at) { return linear(tape, d, weight("w2", at)); };
    const Variable g = dropped(powers({second(0), second(1), second(2)}), 2);
    return {g, plus(linear(tape, g, weight("w3")), "b3")};
  }

  HostOutput gcnii() const {
    const Variable first = relu(product("w_in"), "b_in");
    Variable h = first;
    for (std::int64_t l = 0; l < host.layers(); ++l) {
      const double beta = std::log(kGcniiLambda / static_cast<double>(l + 1) + 1);
      const Variable s = teleport(dropped(h, 1 + l), first);
      h = activate(tape, identity_linear(tape, 1 - beta, s, beta, weight("w", l)),
                   Activation::relu);
    }
    h = dropped(h, 1 + host.layers());
    return {h, plus(linear(tape, h, weight("w_out")), "b_out")};
  }

  HostOutput fagcn() const {
    const Variable first = relu(product("w_in"), "b_in", 1);
    Variable h = first;
    for (std::int64_t l = 0; l < host.layers(); ++l) {
      h = pass.propagate
              ? signed_attend(tape, graph, h, first, head_scores(tape, h, weight("g_source", l)),
                              head_scores(tape, h, weight("g_target", l)), kFagcnEps)
              : mix(tape, kFagcnEps, first, 1, h);
    }
    return {h, plus(linear(tape, h, weight("w_out")), "b_out")};
  }

  /// own + mean of the neighbours, or own + neighbours.
  Variable sum_of_mean(const Variable& own, const Variable& neighbours) const {
    if (!pass.propagate) return mix(tape, 1, neighbours, 1, own);
    return propagate(tape, graph.normalized(graph::Normalization::rw, 0), neighbours, 1, 1, own);
  }
  HostOutput sage() const {
    const Variable h = relu(sum_of_mean(product("ws1"), product("wn1")), "b1", 1);
    return {
        h, plus(sum_of_mean(linear(tape, h, weight("ws2")), linear(tape, h, weight("wn2"))), "b2")};
  }

  HostOutput appnp() const {
    const Variable h = relu(product("w1"), "b1", 1);
    const Variable first = plus(linear(tape, h, weight("w2")), "b2");
    Variable z = first;
    for (int step = 0; pass.propagate && step < kAppnpSteps; ++step) z = teleport(z, first);
    return {h, z};
  }

  /// (1 + eps) u + the sum over neighbours, or (1 + eps) u; the first matrix of the MLP goes before it.
  Variable neighbour_sum(const Variable& u) const {
    if (!pass.propagate) return mix(tape, 1 + kGinEps, u, 0, u);
    return propagate(tape, graph.adjacency(), u, 1, 1 + kGinEps, u);
  }
  HostOutput gin() const {
    const Variable inner = relu(neighbour_sum(product("wa1")), "ba1");
    const Variable h = relu(linear(tape, inner, weight("wb1")), "bb1", 1);
    const Variable last = relu(neighbour_sum(linear(tape, h, weight("wa2"))), "ba2");
    return {last, plus(linear(tape, last, weight("wb2")), "bb2")};
  }
};

template <class Real>
BuiltinHost<Real>::BuiltinHost(const HostOptions& options, std::int64_t features,
                               std::int64_t classes)
    : options_(options) {
  const std::int64_t f = features, h = options.hidden, c = classes, m = options.heads;
  if (f < 1 || h < 1 || c < 1 || options.layers < 0 || options.layers > 28) {
    throw Error("a host: features, hidden and classes of at least 1, layers in [0, 28] wanted");
  }
  const bool is_gat = options.host == Host::gat;
  if (is_gat && (m < 1 || h % m != 0 || options.output_heads < 1)) {
    throw Error("gat: a number of heads that divides hidden wanted");
  }
  switch (options.host) {
    case Host::gcn:
    case Host::appnp:
      add("w1", {f, h});
      add("b1", {h}, true);
      add("w2", {h, c});
      add("b2", {c}, true);
      return;
    case Host::gat:
      add("w1", {f, h});
      add("as1", {m, h / m});
      add("ad1", {m, h / m});
      add("b1", {h}, true);
      add("w2", {h, options.output_heads * c});
      add("as2", {options.output_heads, c});
      add("ad2", {options.output_heads, c});
      add("b2", {c}, true);
      return;
    case Host::mixhop:
      for (std::int64_t j = 0; j < 3; ++j) add(numbered("w1", j), {f, h});
      for (std::int64_t j = 0; j < 3; ++j) add(numbered("w2", j), {3 * h, h});
      add("w3", {3 * h, c});
      add("b3", {c}, true);
      return;
    case Host::gcnii:
    case Host::fagcn:
      add("w_in", {f, h});
      add("b_in", {h}, true);
      for (std::int64_t l = 0; l < layers(); ++l) {
        if (options.host == Host::gcnii) {
          add(numbered("w", l), {h, h});
        } else {
          add(numbered("g_target", l), {1, h});
          add(numbered("g_source", l), {1, h});
        }
      }
      add("w_out", {h, c});
      add("b_out", {c}, true);
      return;
    case Host::sage:
      for (const char* name : {"ws1", "wn1"}) add(name, {f, h});
      add("b1", {h}, true);
      for (const char* name : {"ws2", "wn2"}) add(name, {h, c});
      add("b2", {c}, true);
      return;
    case Host::gin:
      break;
  }
  add("wa1", {f, h});
  add("ba1", {h}, true);
  add("wb1", {h, h});
  add("bb1", {h}, true);
  add("wa2", {h, h});
  add("ba2", {h}, true);
  add("wb2", {h, c});
  add("bb2", {c}, true);
}

template <class Real>
std::int64_t BuiltinHost<Real>::layers() const {
  if (options_.layers > 0) return options_.layers;
  return options_.host == Host::gcnii ? 8 : 2;
}

template <class Real>
void BuiltinHost<Real>::add(std::string name, Shape shape, bool offset) {
  Tensor value(dtype_of<Real>, shape);
  if (!offset) {
    nn::uniform<Real>(value.values<Real>(), nn::glorot_bound(shape[0], shape[1]), options_.seed,
                      kFirstValues + parameters_.size());
  }
  parameters_.push_back({std::move(name), autograd::parameter(value)});
}

template <class Real>
const Variable& BuiltinHost<Real>::at(std::string_view name) const {
  for (const auto& parameter : parameters_) {
    if (parameter.name == name) return parameter.variable;
  }
  throw Error(fmt::format("the host has no weight '{}'", name));
}

template <class Real>
Variable BuiltinHost<Real>::layer(std::string_view name, std::int64_t number) const {
  return at(numbered(name, number));
}

template <class Real>
void BuiltinHost<Real>::set_parameters(std::span<const Variable> variables) {
  if (variables.size() != parameters_.size()) {
    throw Error(fmt::format("{} weights wanted, {} came", parameters_.size(), variables.size()));
  }
  for (std::size_t i = 0; i < variables.size(); ++i) {
    auto& [name, old] = parameters_[i];
    const Tensor &wanted = old.value(), &came = variables[i].value();
    if (came.shape() != wanted.shape() || came.dtype() != wanted.dtype()) {
      throw Error(fmt::format("weight '{}': {} of shape {} wanted, {} of shape {} came", name,
                              to_string(wanted.dtype()), to_string(wanted.shape()),
                              to_string(came.dtype()), to_string(came.shape())));
    }
    old = variables[i];
  }
}

template <class Real>
HostOutput BuiltinHost<Real>::forward(Tape& tape, const HostGraph<Real>& graph, HostInput<Real>& x,
                                      const Pass& pass) const {
  const Forward run{*this, tape, graph, x, pass};
  switch (options_.host) {
    case Host::gcn:
      return run.gcn();
    case Host::gat:
      return run.gat();
    case Host::mixhop:
      return run.mixhop();
    case Host::gcnii:
      return run.gcnii();
    case Host::fagcn:
      return run.fagcn();
    case Host::sage:
      return run.sage();
    case Host::appnp:
      return run.appnp();
    case Host::gin:
      break;
  }
  return run.gin();
}

template <class Real>
TensorMap BuiltinHost<Real>::weights() const {
  // The parts of each weight, one after the other.
  const auto parts_of = [&](std::string_view name) {
    std::vector<Tensor> parts;
    for (std::int64_t l = 0;; ++l) {
      bool found = false;
      for (const auto& [part, variable] : parameters_) {
        const bool whole = l == 0 && part == name;
        const bool half =
            name == "g" && (part == numbered("g_target", l) || part == numbered("g_source", l));
        if (!whole && !half && part != numbered(name, l)) continue;
        parts.push_back(variable.value());
        found = true;
      }
      if (!found) return parts;
    }
  };
  TensorMap weights;
  for (const WeightShape& weight : weights_of(options_.host)) {
    const std::vector<Tensor> parts = parts_of(weight.name);
    Shape shape = parts.front().shape();
    std::vector<Real> values;
    for (const Tensor& part : parts) {
      const auto some = std::as_const(part).template values<Real>();
      values.insert(values.end(), some.begin(), some.end());
    }
    const auto count = static_cast<std::int64_t>(parts.size());
    if (weight.name == "g") {
      shape = {count / 2, 2 * shape[1]};
    } else if (parse_shape(weight.shape).size() > shape.size()) {
      shape.insert(shape.begin(), count);
    }
    weights.set(std::string(weight.name), Tensor::from(std::span<const Real>(values), shape));
  }
  return weights;
}

template class BuiltinHost<float>;
template class BuiltinHost<double>;

}  // namespace researchkit::bikt
