#pragma once

#include <map>
#include <optional>
#include <string>

#include "researchkit/bikt/training.hpp"
#include "researchkit/bikt/transfer.hpp"

namespace researchkit::bikt {

/// The weights of all terms in one step.
struct StepWeights {
  double host = 0, derived = 0;        // cross entropies
  double to_derived = 0, to_host = 0;  // divergences
  double align_host = 0, align_derived = 0;
  bool teaches() const { return to_derived > 0 || to_host > 0; }
  bool aligns() const { return align_host > 0 || align_derived > 0; }
  bool trains_host() const { return host > 0 || to_host > 0 || align_host > 0; }
  bool trains_derived() const { return derived > 0 || to_derived > 0 || align_derived > 0; }
};

/// What is to be told apart: nodes, or graphs.
struct Problem {
  graph::Csr<float> features;
  std::span<const std::int32_t> labels;  // of what the host has rows for
  std::int64_t classes;
  std::int64_t nodes;
};

struct Trainer::State {
  Context ctx;
  std::shared_ptr<const DerivableHost<float>> host;
  HostGraph<float> graph;
  graph::Csr<float> features;
  TrainingOptions options;
  Tensor labels, train_mask;         // as operators take them
  std::vector<float> class_weights;  // empty: all 1
  std::vector<std::uint8_t> validation_mask, test_mask;

  std::unique_ptr<autograd::Adam> adam;
  std::optional<autograd::PatienceStop> stop;
  double trust = 1;                         // factor of all terms of transfer
  std::int64_t stage = 0, stage_begin = 0;  // of two_stage
  bool ended = false;
  float best_loss = 0;
  double derived_best_validation = -1;
  std::map<std::string, Tensor> best;
  TrainingResult result;

  // Logits of the last evaluation and what teaches; not defined before the first.
  Tensor eval_host, eval_derived, ema_host, ema_derived;

  State(Context c, std::shared_ptr<const DerivableHost<float>> h, HostGraph<float> g,
        const Problem& problem, const graph::Split& split, const TrainingOptions& o);

  std::span<const std::int32_t> label_list() const {
    return std::as_const(labels).values<std::int32_t>();
  }

  void begin_stage(std::int64_t number);
  bool both() const { return options.schedule != Schedule::plain; }
  bool plain_now() const {
    return options.schedule == Schedule::plain ||
           (options.schedule == Schedule::two_stage && stage == 0);
  }
  StepWeights weights_now() const;
  Pass pass(bool propagate) const;
  std::pair<Tensor, Tensor> teachers(const std::optional<HostOutput>& f,
                                     const std::optional<HostOutput>& m);
  float step();
  float backward(Tape& tape, const StepWeights& weights, const std::optional<HostOutput>& f,
                 const std::optional<HostOutput>& m);
  void evaluate();
  void average_teachers();
  /// Takes the last evaluation into the result; `follow` does what depends on it alone, as after a
  /// checkpoint.
  void record(float loss);
  void follow(std::int64_t epoch, bool keep);
  void lower_if_poor();
  void lower();
  void restore_best();
};

}  // namespace researchkit::bikt
