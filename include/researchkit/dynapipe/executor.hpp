#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "researchkit/core/communicator.hpp"
#include "researchkit/core/context.hpp"
#include "researchkit/core/tensor.hpp"
#include "researchkit/dynapipe/plan_file.hpp"
#include "researchkit/dynapipe/stage_math.hpp"

namespace researchkit::dynapipe {

/// Weights of a stage that is a residual MLP, or their gradient.
template <class Real>
struct MlpParameters {
  Array<Real, 2> w1;  ///< [H, F]
  Array<Real, 1> b1;  ///< [F]
  Array<Real, 2> w2;  ///< [F, H]
  Array<Real, 1> b2;  ///< [H]

  MlpParameters() = default;
  MlpParameters(std::int64_t hidden, std::int64_t inner)
      : w1({hidden, inner}), b1({inner}), w2({inner, hidden}), b2({hidden}) {}
  MlpWeights<Real> weights() const { return {w1, b1, w2, b2}; }
  MlpGradients<Real> gradients() const { return {w1, b1, w2, b2}; }
  /// The four arrays as memory.
  std::vector<std::span<Real>> parts() const;
};

/// What is trained on: sequences of vectors. Every rank has all of it.
template <class Real>
struct PipelineData {
  In<Real, 3> inputs;           ///< [n, T, H]
  In<Real, 3> targets;          ///< [n, T, H]
  In<std::int32_t, 1> lengths;  ///< [n]: valid tokens
  /// Valid tokens of the whole mini-batch, over all replicas: gradients then do not depend on how
  /// it is cut.
  double norm = 1;
};

/// What a rank brings home from an iteration.
template <class Real>
struct StageRun {
  MlpParameters<Real> gradient;  ///< of the mini-batch, summed over the replicas
  double loss = 0;               ///< of this replica, on its last stage; elsewhere 0
  double busy_ms = 0;            ///< in forwards and backwards
  std::int64_t live_slots = 0;   ///< most buffers at a time
};

/// Executes this rank's part of an iteration: rank = replica * stages + stage, `plans` has one plan
/// for each replica. Stages are residual MLPs; plans of decoder-only models.
///
///     auto run = run_pipeline(ctx, *ranks, plans, weights_of_my_stage, data);
///
/// Gradients are summed in ascending order of the micro-batches, then of the replicas, whatever
/// the order of execution: they have the same bits for any number of stages. A rank that fails tells
/// the others, whose error names it; a rank that never answers runs into the communicator's limit.
/// Throws Error where plans and ranks do not fit.
StageRun<float> run_pipeline(const Context& ctx, Communicator& ranks,
                             std::span<const StoredPlan> plans,
                             const MlpParameters<float>& parameters,
                             const PipelineData<float>& data);
StageRun<double> run_pipeline(const Context& ctx, Communicator& ranks,
                              std::span<const StoredPlan> plans,
                              const MlpParameters<double>& parameters,
                              const PipelineData<double>& data);

/// The same on one process without instructions: for each micro-batch of each plan all stages
/// forward and back. The gradients of all stages.
std::vector<MlpParameters<float>> run_stages_alone(const Context& ctx,
                                                   std::span<const StoredPlan> plans,
                                                   std::span<const MlpParameters<float>> parameters,
                                                   const PipelineData<float>& data);
std::vector<MlpParameters<double>> run_stages_alone(
    const Context& ctx, std::span<const StoredPlan> plans,
    std::span<const MlpParameters<double>> parameters, const PipelineData<double>& data);

}  // namespace researchkit::dynapipe
