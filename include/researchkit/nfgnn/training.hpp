#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "researchkit/graph/datasets.hpp"
#include "researchkit/nfgnn/model.hpp"

namespace researchkit::nfgnn {

/// How one split is trained. The defaults are the preset of most data sets.
struct TrainingOptions {
  ModelOptions model = {};
  double lr = 0.01;  ///< of the dense layers
  double weight_decay = 5e-4;
  double filter_lr = 0.01;  ///< of the filter ("prop_lr")
  double filter_weight_decay = 5e-4;
  std::int64_t epochs = 1000;     ///< at most
  std::int64_t early_stop = 200;  ///< window of the stopping rule
};

/// The settings found for a stored data set by short searches; the defaults for others.
TrainingOptions preset(std::string_view dataset);

/// What one split gave.
struct TrainingResult {
  std::int64_t epochs = 0;      ///< that were run
  std::int64_t best_epoch = 0;  ///< of the lowest validation loss, the first one
  double validation_accuracy = 0, test_accuracy = 0;  ///< at that epoch
  double seconds = 0;
  std::vector<float> losses, validation_losses;  ///< of each epoch
  std::vector<double> validation_accuracies, test_accuracies;
  Tensor logits, coefficients;               ///< of the best epoch
  std::map<std::string, Tensor> parameters;  ///< of the best epoch, for NfgnnModel::load()
};

/// Called after each epoch, with the results so far; false: stop.
using EpochCallback = std::function<bool(std::int64_t epoch, const TrainingResult& so_far)>;

/// Trains NFGNN on one split with Adam, to at most `epochs` epochs, stopped by the window rule on
/// the validation loss. The model's parameters at the best epoch are written to `save`, a safetensors
/// file, if given. Same seed, same result bit for bit, on any number of threads.
TrainingResult train(const Context& ctx, const graph::NodeDataset& data, const graph::Split& split,
                     const TrainingOptions& options, const EpochCallback& callback = {},
                     const std::optional<std::filesystem::path>& save = std::nullopt);

/// What training on a part of the graph gave.
struct InductiveResult {
  TrainingResult training;         ///< on the observed nodes and the edges among them
  double observed_accuracy = 0;    ///< of test nodes that were seen, without labels
  double unobserved_accuracy = 0;  ///< of test nodes that were not, in the whole graph
};

/// Hides a random part of the test nodes, with their edges, from training, and classifies them in the
/// whole graph afterwards.
InductiveResult train_inductive(const Context& ctx, const graph::NodeDataset& data,
                                const graph::Split& split, const TrainingOptions& options,
                                double unobserved = 0.2, const EpochCallback& callback = {});

/// The settings of the scalable variant: gamma "ppr" with alpha 0.5, learning rates 0.001 and 0.01, decay
/// of the filter 5e-5, up to 5000 epochs, stopped after `early_stop` = 300 without a lower validation loss.
TrainingOptions scalable_preset();

/// How the scalable variant is trained.
struct ScalableOptions {
  TrainingOptions training = scalable_preset();
  std::int64_t batch = 102400;  ///< nodes of a step
  DType storage = DType::f32;   ///< of the propagated features: float32 or bfloat16
};

/// What training of the scalable variant gave.
struct ScalableResult {
  TrainingResult training;          ///< logits and coefficients have one row for each of `nodes`
  std::vector<std::int32_t> nodes;  ///< those with a role in the split, ascending
  double propagation_seconds = 0;
  std::size_t stored_bytes = 0;  ///< of the propagated features
};

/// Propagates the features of all nodes that have a role over the symmetrised graph, once, and trains
/// NfgnnScalable on them in batches. Same seed, same result bit for bit, on any number of threads; the
/// optimiser's state at the best epoch is written to `save`, if given.
ScalableResult train_scalable(const Context& ctx, const graph::NodeDataset& data,
                              const graph::Split& split, const ScalableOptions& options = {},
                              const EpochCallback& callback = {},
                              const std::optional<std::filesystem::path>& save = std::nullopt);

}  // namespace researchkit::nfgnn
