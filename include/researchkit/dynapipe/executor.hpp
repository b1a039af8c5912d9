#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "researchkit/core/communicator.hpp"
#include "researchkit/core/context.hpp"
#include "researchkit/dynapipe/pipeline_stage.hpp"
#include "researchkit/dynapipe/plan_file.hpp"

namespace researchkit::dynapipe {

struct RunOptions {
  /// Gradients are summed in ascending order of the micro-batches, whatever the order of execution:
  /// the bits do not depend on the number of stages. Else as they come, without keeping any.
  bool deterministic = true;
};

/// What a rank brings home from an iteration.
struct StageRun {
  /// Of the mini-batch, summed over the replicas, named like the weights: for each chunk.
  std::vector<TensorMap> gradients;
  double loss = 0;  ///< of this replica, where its last stage is; elsewhere 0
  double forward_ms = 0, backward_ms = 0;
  /// Processor time of this thread in forwards and backwards: all of the work where the stage has one
  /// thread, whatever else the machine does.
  double processor_ms = 0;
  std::int64_t live_slots = 0;  ///< most buffers at a time
  /// Most bytes of buffers and of what the stages keep, at a time.
  std::size_t peak_bytes = 0;
  double busy_ms() const { return forward_ms + backward_ms; }
};

/// Executes this rank's part of an iteration: rank = replica * devices + device, `plans` has one plan
/// for each replica, `chunks` the stages of the model on this device: c devices + device for chunk c.
///
///     TransformerPipelineStage mine(ctx, model, DType::f32, stage, stages, seed, data);
///     auto run = run_pipeline(ctx, *ranks, plans, mine);
///
/// Gradients of replicas are summed in ascending order. A rank that fails tells the others, whose
/// error names it; a rank that never answers runs into the communicator's limit.
/// Throws Error where plans, ranks and the stages do not fit.
StageRun run_pipeline(const Context& ctx, Communicator& ranks, std::span<const StoredPlan> plans,
                      std::span<PipelineStage* const> chunks, const RunOptions& options = {});
/// The same for plans whose devices have one stage each.
StageRun run_pipeline(const Context& ctx, Communicator& ranks, std::span<const StoredPlan> plans,
                      PipelineStage& stage, const RunOptions& options = {});

/// The same on one process without instructions: for each micro-batch of each plan all stages
/// forward and back. The gradients of all stages.
std::vector<TensorMap> run_stages_alone(const Context& ctx, std::span<const StoredPlan> plans,
                                        std::span<PipelineStage* const> stages);

}  // namespace researchkit::dynapipe
