#include <algorithm>
#include <chrono>
#include <numeric>

#include "researchkit/autograd/training.hpp"
#include "researchkit/core/error.hpp"
#include "researchkit/core/io/safetensors.hpp"
#include "researchkit/graph/dense.hpp"
#include "researchkit/nfgnn/scalable.hpp"
#include "researchkit/nfgnn/training.hpp"
#include "researchkit/nn/metrics.hpp"

namespace researchkit::nfgnn {
namespace {

double seconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

/// The stored nodes and the rows of theirs that have one role.
struct Rows {
  std::vector<std::int32_t> nodes, labels;
  std::vector<std::int32_t> train, held;  // held: validation, then test
  std::vector<std::int32_t> held_labels;
  std::vector<std::uint8_t> validation, test;  // masks of `held`

  Rows(const graph::NodeDataset& data, const graph::Split& split) {
    std::vector<std::int32_t> tested;
    for (std::size_t i = 0; i < split.size(); ++i) {
      if (split[i] == graph::Role::none) continue;
      const auto row = static_cast<std::int32_t>(nodes.size());
      nodes.push_back(static_cast<std::int32_t>(i));
      labels.push_back(data.labels[i]);
      if (split[i] == graph::Role::train) train.push_back(row);
      if (split[i] == graph::Role::validation) held.push_back(row);
      if (split[i] == graph::Role::test) tested.push_back(row);
    }
    validation.assign(held.size(), 1);
    test.assign(held.size(), 0);
    held.insert(held.end(), tested.begin(), tested.end());
    validation.resize(held.size(), 0);
    test.resize(held.size(), 1);
    for (const std::int32_t row : held) {
      held_labels.push_back(labels[static_cast<std::size_t>(row)]);
    }
  }
};

/// Takes an evaluation of the held-out rows into the result; returns the validation loss.
double record(const Context& ctx, const Rows& rows, const Tensor& evaluated,
              TrainingResult& result) {
  const auto logits = evaluated.view<float, 2>();
  const auto predicted = nn::predictions(logits);
  result.validation_losses.push_back(graph::kernels::log_softmax_nll<float, std::int32_t>(
      ctx, logits, rows.held_labels.data(), rows.validation.data(), graph::Reduction::mean));
  result.validation_accuracies.push_back(
      nn::accuracy(predicted, rows.held_labels, rows.validation));
  result.test_accuracies.push_back(nn::accuracy(predicted, rows.held_labels, rows.test));
  return static_cast<double>(result.validation_losses.back());
}

}  // namespace

TrainingOptions scalable_preset() {
  TrainingOptions options;
  options.model.init = GammaInit::ppr;
  options.model.alpha = 0.5;
  options.lr = 0.001;
  options.weight_decay = 0;
  options.filter_lr = 0.01;
  options.filter_weight_decay = 5e-5;
  options.epochs = 5000;
  options.early_stop = 300;
  return options;
}

ScalableResult train_scalable(const Context& ctx, const graph::NodeDataset& data,
                              const graph::Split& split, const ScalableOptions& options,
                              const EpochCallback& callback,
                              const std::optional<std::filesystem::path>& save) {
  if (static_cast<std::int64_t>(split.size()) != data.nodes()) {
    throw Error("a split with a role for each node wanted");
  }
  const TrainingOptions& o = options.training;
  const Rows rows(data, split);
  auto begin = std::chrono::steady_clock::now();
  const PropagatedFeatures orders(
      ctx, data.features,
      normalized(ctx, symmetrized(ctx, data.adjacency), graph::Normalization::cheb, 0), rows.nodes,
      {.K = o.model.K, .basis = o.model.basis, .storage = options.storage});
  ScalableResult result;
  result.nodes = rows.nodes;
  result.propagation_seconds = seconds_since(begin);
  result.stored_bytes = orders.values().bytes();

  NfgnnScalable<float> model(orders.columns(), data.classes, o.model);
  autograd::Adam adam(
      {{.parameters = model.dense_parameters(), .lr = o.lr, .weight_decay = o.weight_decay},
       {.parameters = model.filter_parameters(),
        .lr = o.filter_lr,
        .weight_decay = o.filter_weight_decay}});
  autograd::PatienceStop stop(o.early_stop);
  TrainingResult& t = result.training;
  std::map<std::string, Tensor> best;
  begin = std::chrono::steady_clock::now();
  for (std::int64_t epoch = 0; epoch < o.epochs; ++epoch) {
    ctx.check_cancelled();
    t.losses.push_back(
        model.train_epoch(ctx, orders, rows.train, rows.labels, options.batch, adam));
    const double loss = record(ctx, rows, model.evaluate(ctx, orders, rows.held).logits, t);
    t.epochs = epoch + 1;
    const bool stops = stop.stop_after(-loss, loss);
    t.best_epoch = stop.best_epoch();
    if (stop.improved()) {
      t.validation_accuracy = t.validation_accuracies.back();
      t.test_accuracy = t.test_accuracies.back();
      t.parameters = model.parameters();
      if (save) best = adam.state();
    }
    const bool goes_on = !callback || callback(epoch, t);
    if (stops || !goes_on) break;
  }
  t.seconds = seconds_since(begin);
  if (t.epochs > 0) model.load(t.parameters);
  std::vector<std::int32_t> all(rows.nodes.size());
  std::iota(all.begin(), all.end(), 0);
  ScalableOutput last = model.evaluate(ctx, orders, all);
  t.logits = std::move(last.logits);
  t.coefficients = std::move(last.coefficients);
  if (save && !best.empty()) {
    write_safetensors(*save, best, {{"dataset", data.name}, {"model", "nfgnn scalable"}});
  }
  return result;
}

}  // namespace researchkit::nfgnn
