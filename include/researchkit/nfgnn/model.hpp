#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "researchkit/autograd/optimizers.hpp"
#include "researchkit/graph/csr.hpp"
#include "researchkit/nfgnn/attributes.hpp"

namespace researchkit::nfgnn {

/// First values of the global part gamma [rank, K + 1].
enum class GammaInit : std::uint8_t {
  xavier,  ///< normal with variance 2 / (rank + K + 1)
  ppr,     ///< alpha (1 - alpha)^k, the last (1 - alpha)^K
  random,  ///< one uniform vector, its absolute values summing to 1, for all ranks
  fix,     ///< ones
};
constexpr std::array<std::string_view, 4> names_of(GammaInit) {
  return {"xavier", "ppr", "random", "fix"};
}

/// What the coefficients of a node are made of.
enum class FilterKind : std::uint8_t {
  node,    ///< local gates times the global part: NFGNN
  global,  ///< gamma alone: one filter for all nodes
  local,   ///< the mean of the gates alone
};
constexpr std::array<std::string_view, 3> names_of(FilterKind) {
  return {"node", "global", "local"};
}

/// Shape and settings of a model.
struct ModelOptions {
  std::int64_t hidden = 64;
  std::int64_t K = 10;
  std::int64_t rank = 3;
  double dropout = 0.5;         ///< of features and hidden units
  double filter_dropout = 0.5;  ///< of the logits before the filter ("dprate")
  Basis basis = Basis::chebyshev;
  GammaInit init = GammaInit::xavier;
  double alpha = 0.1;  ///< of the ppr start
  FilterKind filter = FilterKind::node;
  std::uint64_t seed = 0;
};

/// NFGNN (arXiv 2212.03654): two dense layers on sparse features, then the node-oriented filter on
/// their logits.
///
///     NfgnnModel model(data.features, propagation, data.classes, options);
///     float loss = model.train_step(ctx, labels, train_mask, adam);
///     auto logits = model.evaluate(ctx);
///
/// Buffers are made once, with the model. Dropout masks are Philox numbers of (seed, 16 step + site), so
/// the same seed gives the same losses bit for bit on any number of threads, and after a checkpoint.
class NfgnnModel {
 public:
  /// `propagation` is square, over the nodes that `features` has rows for.
  NfgnnModel(graph::Csr<float> features, graph::Csr<float> propagation, std::int64_t classes,
             const ModelOptions& options);
  ~NfgnnModel();
  NfgnnModel(NfgnnModel&&) noexcept;
  NfgnnModel& operator=(NfgnnModel&&) noexcept;

  /// The dense layers (w1, b1, w2, b2), and the filter (w, b, gamma): two groups of an optimiser.
  std::vector<autograd::Parameter> dense_parameters() const;
  std::vector<autograd::Parameter> filter_parameters() const;

  /// Copies of all parameters by name, and parameters from such a map. load() throws Error, changing
  /// nothing, if one is missing or has another shape; the model's graph may be another.
  std::map<std::string, Tensor> parameters() const;
  void load(const std::map<std::string, Tensor>& parameters);

  /// One forward and backward in training mode; sets the gradients and returns the mean loss of the
  /// masked nodes. `step` picks the dropout masks.
  float loss_and_gradients(const Context& ctx, std::span<const std::int32_t> labels,
                           std::span<const std::uint8_t> mask, std::int64_t step);

  /// Logits [nodes, classes] in evaluation mode. The view is valid until the next call.
  In<float, 2> evaluate(const Context& ctx);
  /// The mean cross entropy of masked nodes in the logits evaluated last.
  float evaluated_loss(const Context& ctx, std::span<const std::int32_t> labels,
                       std::span<const std::uint8_t> mask) const;
  /// The coefficients [nodes, K + 1] of the last forward.
  In<float, 2> coefficients() const;

  /// Bytes of the buffers.
  std::size_t buffer_bytes() const;
  const ModelOptions& options() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace researchkit::nfgnn
