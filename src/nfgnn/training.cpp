#include "researchkit/nfgnn/training.hpp"

#include <algorithm>
#include <array>
#include <chrono>

#include "researchkit/autograd/training.hpp"
#include "researchkit/core/io/safetensors.hpp"
#include "researchkit/graph/splits.hpp"
#include "researchkit/nn/metrics.hpp"

namespace researchkit::nfgnn {
namespace {

Tensor copy_of(In<float, 2> matrix) {
  return Tensor::from<float>({matrix.data_handle(), static_cast<std::size_t>(matrix.size())},
                             {matrix.extent(0), matrix.extent(1)});
}

}  // namespace

TrainingOptions preset(std::string_view dataset) {
  TrainingOptions options;
  constexpr std::array<std::string_view, 3> kSmall = {"texas", "wisconsin", "cornell"};
  if (std::find(kSmall.begin(), kSmall.end(), dataset) != kSmall.end()) {
    options.lr = options.filter_lr = 0.05;
    options.weight_decay = dataset == "cornell" ? 5e-3 : 1e-3;
    options.model.filter_dropout = 0;
  }
  return options;
}

TrainingResult train(const Context& ctx, const graph::NodeDataset& data, const graph::Split& split,
                     const TrainingOptions& options, const EpochCallback& callback,
                     const std::optional<std::filesystem::path>& save) {
  if (static_cast<std::int64_t>(split.size()) != data.nodes()) {
    throw Error("a split with a role for each node wanted");
  }
  const auto train_mask = mask_of(split, graph::Role::train);
  const auto validation_mask = mask_of(split, graph::Role::validation);
  const auto test_mask = mask_of(split, graph::Role::test);
  NfgnnModel model(data.features, normalized(ctx, data.adjacency, graph::Normalization::cheb, 0),
                   data.classes, options.model);
  autograd::Adam adam({{.parameters = model.dense_parameters(),
                        .lr = options.lr,
                        .weight_decay = options.weight_decay},
                       {.parameters = model.filter_parameters(),
                        .lr = options.filter_lr,
                        .weight_decay = options.filter_weight_decay}});
  autograd::WindowStop stop(options.early_stop);
  TrainingResult result;
  std::map<std::string, Tensor> best;
  const auto begin = std::chrono::steady_clock::now();
  for (std::int64_t epoch = 0; epoch < options.epochs; ++epoch) {
    ctx.check_cancelled();
    result.losses.push_back(model.loss_and_gradients(ctx, data.labels, train_mask, epoch));
    adam.step(ctx);
    const auto logits = model.evaluate(ctx);
    const auto predicted = nn::predictions(logits);
    const float loss = model.evaluated_loss(ctx, data.labels, validation_mask);
    result.validation_losses.push_back(loss);
    result.validation_accuracies.push_back(nn::accuracy(predicted, data.labels, validation_mask));
    result.test_accuracies.push_back(nn::accuracy(predicted, data.labels, test_mask));
    result.epochs = epoch + 1;
    const bool stops = stop.stop_after(static_cast<double>(loss));
    result.best_epoch = stop.best_epoch();
    if (result.best_epoch == epoch) {
      result.validation_accuracy = result.validation_accuracies.back();
      result.test_accuracy = result.test_accuracies.back();
      result.logits = copy_of(logits);
      result.coefficients = copy_of(model.coefficients());
      result.parameters = model.parameters();
      if (save) best = adam.state();
    }
    const bool goes_on = !callback || callback(epoch, result);
    if (stops || !goes_on) break;
  }
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - begin;
  result.seconds = elapsed.count();
  if (save && !best.empty()) {
    write_safetensors(*save, best, {{"dataset", data.name}, {"model", "nfgnn"}});
  }
  return result;
}

InductiveResult train_inductive(const Context& ctx, const graph::NodeDataset& data,
                                const graph::Split& split, const TrainingOptions& options,
                                double unobserved, const EpochCallback& callback) {
  const graph::ObservedPart part =
      graph::observed_part(data, split, unobserved, options.model.seed);
  InductiveResult result;
  result.training = train(ctx, part.data, part.split, options, callback);
  result.observed_accuracy = result.training.test_accuracy;
  NfgnnModel model(data.features, normalized(ctx, data.adjacency, graph::Normalization::cheb, 0),
                   data.classes, options.model);
  model.load(result.training.parameters);
  result.unobserved_accuracy =
      nn::accuracy(nn::predictions(model.evaluate(ctx)), data.labels, part.hidden);
  return result;
}

}  // namespace researchkit::nfgnn
