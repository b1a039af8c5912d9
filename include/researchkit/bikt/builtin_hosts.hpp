#pragma once

#include "researchkit/bikt/host.hpp"
#include "researchkit/bikt/hosts.hpp"
#include "researchkit/core/tensor_map.hpp"

namespace researchkit::bikt {

/// Shape of a host.
struct HostOptions {
  Host host = Host::gcn;
  std::int64_t hidden = 64;
  std::int64_t layers = 0;        ///< of gcnii and fagcn; 0: 8 and 2
  std::int64_t heads = 8;         ///< of gat, a divisor of hidden
  std::int64_t output_heads = 1;  ///< of gat, averaged
  std::uint64_t seed = 0;         ///< of the first weights
};

/// The eight hosts of docs/bikt.md. Weights begin uniform within Glorot's bound, offsets at 0. Dropout
/// acts on the features and between layers.
///
///     BuiltinHost<float> host({.host = Host::gcnii}, features.columns(), classes);
template <class Real = float>
class BuiltinHost : public DerivableHost<Real> {
 public:
  /// Throws Error for extents below 1 and for heads that do not divide hidden.
  BuiltinHost(const HostOptions& options, std::int64_t features, std::int64_t classes);

  std::vector<autograd::Parameter> parameters() const override { return parameters_; }
  HostOutput forward(Tape& tape, const HostGraph<Real>& graph, HostInput<Real>& x,
                     const Pass& pass) const override;

  /// Uses other variables of the same shapes, in the order of parameters().
  void set_parameters(std::span<const Variable> variables);
  /// The weights as bikt.bikt_host takes them: copies, the matrices of a stack in one tensor.
  TensorMap weights() const;
  const HostOptions& options() const { return options_; }
  std::int64_t layers() const;

 private:
  struct Forward;
  void add(std::string name, Shape shape, bool offset = false);
  const Variable& at(std::string_view name) const;
  Variable layer(std::string_view name, std::int64_t at) const;

  HostOptions options_;
  std::vector<autograd::Parameter> parameters_;
};

/// Reads a derived model: parameters written by save_derived, ready to predict without a graph.
struct DerivedModel {
  std::shared_ptr<const DerivableHost<float>> host;
  HostOptions options;
  std::int64_t features = 0, classes = 0;
};
/// Writes the parameters of a host as safetensors, with what it takes to build it again.
void save_derived(const std::filesystem::path& file, const BuiltinHost<float>& host,
                  std::int64_t features, std::int64_t classes);
/// Throws Error, naming the file, if it does not hold such a model.
DerivedModel load_derived(const std::filesystem::path& file);

/// Logits [nodes, classes] in evaluation mode, with the graph or without.
Tensor predict(const Context& ctx, const DerivableHost<float>& host, const HostGraph<float>& graph,
               const graph::Csr<float>& features, bool propagate);

}  // namespace researchkit::bikt
