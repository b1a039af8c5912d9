#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "researchkit/autograd/optimizers.hpp"
#include "researchkit/nfgnn/model.hpp"
#include "researchkit/nfgnn/propagated_features.hpp"

namespace researchkit::nfgnn {

/// Logits [rows, classes] and filter coefficients [rows, K + 1] of some nodes.
struct ScalableOutput {
  Tensor logits, coefficients;
};

/// NFGNN for graphs too large to train on as a whole (arXiv 2212.03654, its scalable variant): the
/// features are propagated once, and what is trained sees single nodes,
///
///     eta[i,k] = <sigmoid(T_k[i] W + b), gamma[:,k]>,   y_i = sum over k of eta[i,k] T_k[i],
///     z_i = MLP(y_i): features -> hidden -> hidden -> classes, relu between, dropout before each layer,
///
/// with one projection W for all orders. In training entries of T are dropped as well.
///
///     const PropagatedFeatures orders(ctx, data.features, propagation, nodes);
///     NfgnnScalable<float> model(orders.columns(), data.classes, {.init = GammaInit::ppr, .alpha = 0.5});
///     for (int epoch = 0; epoch < 100; ++epoch) {
///       model.train_epoch(ctx, orders, train_rows, labels, 102400, adam);
///     }
///     const Tensor logits = model.evaluate(ctx, orders, test_rows).logits;
///
/// Whatever the batch, nodes go through the model 2048 at a time: the working memory is about one
/// [K + 1, 2048, features]. Dropout masks are Philox numbers of (seed, step, piece, site), so the same
/// seed gives the same losses bit for bit on any number of threads, and after a checkpoint. One model is
/// for one thread at a time.
template <class Real = float>
class NfgnnScalable {
 public:
  /// The variant's own start of gamma is ppr with alpha 0.5, which scalable_preset() has and the defaults
  /// of `options` have not. Throws Error for settings out of range.
  NfgnnScalable(std::int64_t features, std::int64_t classes, const ModelOptions& options);
  ~NfgnnScalable();
  NfgnnScalable(NfgnnScalable&&) noexcept;
  NfgnnScalable& operator=(NfgnnScalable&&) noexcept;

  /// The dense layers (w1, b1, ..., w3, b3), and the filter (w, b, gamma): two groups of an optimiser.
  std::vector<autograd::Parameter> dense_parameters() const;
  std::vector<autograd::Parameter> filter_parameters() const;

  /// Copies of all parameters by name, and parameters from such a map. load() throws Error, changing
  /// nothing, if one is missing or has another shape.
  std::map<std::string, Tensor> parameters() const;
  void load(const std::map<std::string, Tensor>& parameters);

  /// One forward and backward of a batch in training mode: rows `which` of `orders`, `labels` having one
  /// entry for each row of `orders`. Sets the gradients and returns the batch's mean loss; `step` picks
  /// the dropout masks. Throws Error for an empty batch, orders of other extents, and rows or labels out
  /// of range.
  Real loss_and_gradients(const Context& ctx, const PropagatedFeatures& orders,
                          std::span<const std::int32_t> which, std::span<const std::int32_t> labels,
                          std::int64_t step);

  /// One epoch: `rows` in a new random order, `batch` of them a step. Which epoch it is, is told by the
  /// steps that `optimizer` has done, so it goes on after a checkpoint. Returns the mean loss.
  Real train_epoch(const Context& ctx, const PropagatedFeatures& orders,
                   std::span<const std::int32_t> rows, std::span<const std::int32_t> labels,
                   std::int64_t batch, autograd::Optimizer& optimizer);

  /// Evaluation mode.
  ScalableOutput evaluate(const Context& ctx, const PropagatedFeatures& orders,
                          std::span<const std::int32_t> which);

  const ModelOptions& options() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace researchkit::nfgnn
