#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "options.hpp"
#include "researchkit/dynapipe/executor.hpp"
#include "researchkit/dynapipe/mlp_pipeline.hpp"
#include "researchkit/dynapipe/plan_queue.hpp"
#include "researchkit/dynapipe/profile.hpp"
#include "researchkit/dynapipe/transformer_pipeline.hpp"

/// A seeded training task, the same on every rank.
class Training {
 public:
  explicit Training(const Options& options);

  researchkit::dynapipe::ModelKind kind() const;
  /// Lengths of a mini-batch.
  std::vector<researchkit::dynapipe::SampleLength> samples(std::int64_t iteration) const;
  /// Plans a mini-batch: what the planner threads call.
  researchkit::dynapipe::IterationPlan plan(const researchkit::Context& ctx,
                                            std::int64_t iteration) const;
  /// Megabytes of weights and optimiser states that the planner counts on each stage.
  double state_mb() const;

 private:
  Options options_;
  researchkit::dynapipe::ModelProfile profile_;
};

/// A model that can be cut into stages, and the data of one mini-batch.
class Learner {
 public:
  Learner(const Options& options, const Training& training);
  /// Takes the data of a mini-batch.
  void load(std::int64_t iteration);
  double tokens() const { return tokens_; }
  /// A stage with its first weights.
  std::unique_ptr<researchkit::dynapipe::PipelineStage> stage(std::int64_t number) const;
  /// Gives a stage the data that was loaded last.
  void use_data(researchkit::dynapipe::PipelineStage& stage) const;

 private:
  std::unique_ptr<researchkit::dynapipe::PipelineStage> mlp_stage(std::int64_t number) const;

  Options options_;
  const Training& training_;
  double tokens_ = 0;
  researchkit::dynapipe::LanguageData language_;
  researchkit::Array<double, 3> inputs_, targets_;
  researchkit::Array<std::int32_t, 1> lengths_;
};

/// The sizes of the transformer that the options ask for.
researchkit::dynapipe::TransformerModel transformer_of(const Options& options);

/// Largest difference over the largest entry.
double relative_difference(const researchkit::TensorMap& a, const researchkit::TensorMap& b);
