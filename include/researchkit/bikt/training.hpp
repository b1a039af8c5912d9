#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "researchkit/autograd/training.hpp"
#include "researchkit/bikt/host.hpp"
#include "researchkit/bikt/rows.hpp"
#include "researchkit/graph/datasets.hpp"

namespace researchkit::bikt {

/// What each step minimises (docs/bikt.md).
enum class Schedule : std::uint8_t {
  plain,        ///< the host's cross entropy alone
  joint,        ///< everything in every step
  alternating,  ///< odd steps the host's losses, even ones the derived model's
  two_stage,    ///< plain to its end, then joint from its best state with half the learning rate
  host_to_derived,  ///< joint, without feedback to the host
  derived_to_host,  ///< joint, without what the host teaches
};
constexpr std::array<std::string_view, 6> names_of(Schedule) {
  return {"plain", "joint", "alternating", "two_stage", "host_to_derived", "derived_to_host"};
}

/// Whose logits teach.
enum class Teacher : std::uint8_t {
  eval,   ///< of the evaluation after the step before, without dropout
  train,  ///< the step's own, with dropout
  ema,    ///< the average of those of eval, decaying
};
constexpr std::array<std::string_view, 3> names_of(Teacher) { return {"eval", "train", "ema"}; }

/// Writes the weight of each node [n] for the feedback, from the teachers' logits [n, c].
using GateFunction =
    std::function<void(In<float, 2> host, In<float, 2> derived, std::span<float> weight)>;

/// The terms of total = CE_host + mu CE_derived + r (alpha_derived KL_1 + alpha_host KL_2 + nu (R_1 + R_2)),
/// where r rises from 0 to 1 over `ramp` epochs after `warmup` (B5).
struct TransferOptions {
  double mu = 0.1;
  double alpha_derived = 1;  ///< of what the host teaches
  double alpha_host = 0.3;   ///< of the feedback
  double temperature = 2;
  Gate gate = Gate::agree;
  GateFunction custom_gate = {};  ///< instead of `gate`, if given
  double nu = 0;                  ///< of the alignment of representations to prototypes
  double tau = 0.5;
  std::int64_t warmup = 50, ramp = 50;
  Teacher teacher = Teacher::eval;
  double ema_decay = 0.9;
  /// After the warm-up, if the derived model's validation accuracy is more than 8 points below the
  /// host's: mu and alpha_host are at most 0.1.
  bool automatic = false;
  /// All terms but the host's cross entropy are multiplied by how much more often than by chance labelled
  /// neighbours share a class, see labelled_homophily; by 0 if that is below 0.2. Where neighbours differ,
  /// what holds without the graph is no lesson for the host.
  bool by_homophily = false;
};

/// What the classes weigh in both cross entropies.
enum class ClassWeights : std::uint8_t {
  none,      ///< every labelled node the same
  balanced,  ///< every class the same, see graph::balanced_class_weights
};
constexpr std::array<std::string_view, 2> names_of(ClassWeights) { return {"none", "balanced"}; }

struct TrainingOptions {
  Schedule schedule = Schedule::joint;
  TransferOptions transfer = {};
  ClassWeights class_weights = ClassWeights::none;
  double dropout = 0.5;
  double lr = 0.01;
  double weight_decay = 5e-4;
  std::int64_t epochs = 250;    ///< at most, of each stage
  std::int64_t patience = 100;  ///< epochs without a better validation accuracy of the host
  std::uint64_t seed = 0;       ///< of dropout
};

/// What was trained so far. Lists have one entry for each epoch; those of the derived model are empty with
/// Schedule::plain.
struct TrainingResult {
  std::int64_t epochs = 0;
  std::int64_t best_epoch = 0;  ///< of the host's best validation accuracy, ties by lower loss
  double validation_accuracy = 0, test_accuracy = 0;  ///< the host's, there
  double derived_validation_accuracy = 0,
         derived_test_accuracy = 0;       ///< the derived model's, there
  double derived_best_test_accuracy = 0;  ///< where its own validation accuracy was best
  double seconds = 0;                     ///< of steps and evaluations
  bool lowered = false;                   ///< TransferOptions::automatic did something
  std::vector<float> losses, validation_losses;
  std::vector<double> validation_accuracies, test_accuracies;
  std::vector<double> derived_validation_accuracies, derived_test_accuracies;
  std::vector<double> agreement;  ///< fraction of nodes that both give one class
};

/// Trains a host by BiKT, or plainly: Adam, early stopping on the host's validation accuracy.
///
///     Trainer trainer(ctx, host, graph, data, split, {.seed = 3});
///     while (!trainer.done()) trainer.epoch();
///     trainer.restore_best();
///
/// Losses have the same bits for any number of threads, and after a checkpoint.
class Trainer {
 public:
  /// `graph` is of the data's adjacency. Throws Error for settings out of range and for a split of another
  /// size.
  Trainer(Context ctx, std::shared_ptr<const DerivableHost<float>> host, HostGraph<float> graph,
          const graph::NodeDataset& data, const graph::Split& split,
          const TrainingOptions& options);
  /// The classes of graphs: the split has a role for each, and the host gives a row for each, as PooledHost
  /// does. TransferOptions::by_homophily, which looks at nodes' labels, is refused.
  Trainer(Context ctx, std::shared_ptr<const DerivableHost<float>> host, HostGraph<float> graph,
          const graph::GraphDataset& data, const graph::Split& split,
          const TrainingOptions& options);
  ~Trainer();
  Trainer(Trainer&&) noexcept;
  Trainer& operator=(Trainer&&) noexcept;

  /// One training step, and the evaluation after it.
  void epoch();
  /// One training step alone, for measurements; returns its loss.
  float step();
  /// The evaluation alone, of both branches or of the host.
  void evaluate();

  bool done() const;
  const TrainingResult& result() const;
  /// Puts the parameters of the best epoch back into the host.
  void restore_best();

  /// Everything that continues training bit for bit, as safetensors.
  void save(const std::filesystem::path& file) const;
  /// Continues from such a file. Throws Error if it is of another host or schedule.
  void load(const std::filesystem::path& file);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Called after each epoch; false: stop.
using EpochCallback = std::function<bool(const TrainingResult& so_far)>;

/// Trains to the end and restores the best epoch.
TrainingResult train(const Context& ctx, const std::shared_ptr<const DerivableHost<float>>& host,
                     const HostGraph<float>& graph, const graph::NodeDataset& data,
                     const graph::Split& split, const TrainingOptions& options,
                     const EpochCallback& callback = {});
TrainingResult train(const Context& ctx, const std::shared_ptr<const DerivableHost<float>>& host,
                     const HostGraph<float>& graph, const graph::GraphDataset& data,
                     const graph::Split& split, const TrainingOptions& options,
                     const EpochCallback& callback = {});

/// What training on a part of the nodes gave.
struct InductiveResult {
  TrainingResult training;  ///< on the observed nodes and the edges among them
  double observed_accuracy = 0, unobserved_accuracy = 0;  ///< of the host on test nodes, see below
  double derived_observed_accuracy = 0, derived_unobserved_accuracy = 0;  ///< of the derived model
};

/// Hides a random part of the test nodes, with their edges, from training (graph::observed_part with the
/// options' seed). Observed test nodes are classified in the graph of training, the others in the whole
/// one; the derived model sees neither. The host is left at its best epoch.
InductiveResult train_inductive(const Context& ctx,
                                const std::shared_ptr<const DerivableHost<float>>& host,
                                const graph::NodeDataset& data, const graph::Split& split,
                                const TrainingOptions& options, double unobserved = 0.2,
                                const EpochCallback& callback = {});

/// How much more often than by chance the ends of an edge between training nodes share a class: (h - c) / (1 - c)
/// within [0, 1], h the fraction of such edges and c that of pairs of training nodes. Ten edges of one
/// class are added, so that hardly any labelled edges speak for homophily.
double labelled_homophily(const graph::NodeDataset& data, const graph::Split& split);

/// The distance of the representations of both branches as a classifier sees it: 2 (1 - 2 err) of a
/// logistic regression that tells host from derived, 5-fold, both rows of a node in one fold. 0: it
/// cannot; 2: always. `hidden_*` [n, d]; of more than 1000 nodes that many are drawn. (Ben-David et al.,
/// "Analysis of representations for domain adaptation", 2006.)
double proxy_distance(In<float, 2> hidden_host, In<float, 2> hidden_derived,
                      std::uint64_t seed = 0);
/// The same of a host's representations in evaluation mode.
double proxy_distance(const Context& ctx, const DerivableHost<float>& host,
                      const HostGraph<float>& graph, const graph::Csr<float>& features);

}  // namespace researchkit::bikt
