#pragma once

#include <span>
#include <vector>

#include "researchkit/dynapipe/planner.hpp"

namespace researchkit::dynapipe::detail {

/// What micro-batches cost on every stage of a pipeline, and on the links between them.
struct StageTables {
  Array<double, 2> fw, bw, comm_fw, comm_bw, stored, peak;
  Array<double, 1> state_mem;
  StageTimes times() const { return {fw, bw, comm_fw, comm_bw}; }
  StageMemory memory() const { return {stored, peak, state_mem}; }
};

/// Throws Error naming the micro-batch whose shape the profile does not cover.
StageTables stage_tables(std::span<const MicroBatch> micro_batches, const Model& model,
                         const Cluster& cluster, const Pipeline& pipeline, Recompute recompute);

}  // namespace researchkit::dynapipe::detail
