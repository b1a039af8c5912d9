#include "researchkit/bikt/training.hpp"

#include "researchkit/bikt/builtin_hosts.hpp"
#include "researchkit/graph/splits.hpp"
#include "researchkit/nn/metrics.hpp"

namespace researchkit::bikt {
namespace {

using HostPointer = std::shared_ptr<const DerivableHost<float>>;

double accuracy_of(const Tensor& logits, std::span<const std::int32_t> labels,
                   std::span<const std::uint8_t> mask) {
  return nn::accuracy(nn::predictions(logits.view<float, 2>()), labels, mask);
}

template <class Dataset>
TrainingResult train_on(const Context& ctx, const HostPointer& host, const HostGraph<float>& graph,
                        const Dataset& data, const graph::Split& split,
                        const TrainingOptions& options, const EpochCallback& callback) {
  Trainer trainer(ctx, host, graph, data, split, options);
  while (!trainer.done()) {
    trainer.epoch();
    if (callback && !callback(trainer.result())) break;
  }
  trainer.restore_best();
  TrainingResult result = trainer.result();
  if (options.schedule == Schedule::plain) {
    const Tensor logits = predict(ctx, *host, graph, data.features, false);
    const auto accuracy = [&](graph::Role role) {
      return accuracy_of(logits, data.labels, mask_of(split, role));
    };
    result.derived_validation_accuracy = accuracy(graph::Role::validation);
    result.derived_test_accuracy = result.derived_best_test_accuracy = accuracy(graph::Role::test);
  }
  return result;
}

}  // namespace

TrainingResult train(const Context& ctx, const HostPointer& host, const HostGraph<float>& graph,
                     const graph::NodeDataset& data, const graph::Split& split,
                     const TrainingOptions& options, const EpochCallback& callback) {
  return train_on(ctx, host, graph, data, split, options, callback);
}
TrainingResult train(const Context& ctx, const HostPointer& host, const HostGraph<float>& graph,
                     const graph::GraphDataset& data, const graph::Split& split,
                     const TrainingOptions& options, const EpochCallback& callback) {
  return train_on(ctx, host, graph, data, split, options, callback);
}

InductiveResult train_inductive(const Context& ctx, const HostPointer& host,
                                const graph::NodeDataset& data, const graph::Split& split,
                                const TrainingOptions& options, double unobserved,
                                const EpochCallback& callback) {
  const graph::ObservedPart part = graph::observed_part(data, split, unobserved, options.seed);
  InductiveResult result;
  result.training = train(ctx, host, HostGraph<float>(ctx, part.data.adjacency), part.data,
                          part.split, options, callback);
  result.observed_accuracy = result.training.test_accuracy;
  result.derived_observed_accuracy = result.training.derived_test_accuracy;
  const HostGraph<float> whole(ctx, data.adjacency);
  const auto accuracy = [&](bool propagate) {
    return accuracy_of(predict(ctx, *host, whole, data.features, propagate), data.labels,
                       part.hidden);
  };
  result.unobserved_accuracy = accuracy(true);
  result.derived_unobserved_accuracy = accuracy(false);
  return result;
}

}  // namespace researchkit::bikt
