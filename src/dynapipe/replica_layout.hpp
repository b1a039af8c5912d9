#pragma once

#include <limits>
#include <optional>
#include <span>
#include <string_view>

#include "src/dynapipe/stage_tables.hpp"

// What a replica does with given micro-batches: their schedule, its place in time, its instructions.
namespace researchkit::dynapipe::detail {

inline constexpr std::string_view kPlan = "dynapipe.plan";

/// A way to run given micro-batches on one replica.
struct Candidate {
  SchedulePolicy policy = SchedulePolicy::cyclic;
  double memory_limit = std::numeric_limits<double>::infinity();
  Reordering reordering;
};

/// The schedule that finishes first within memory; none if nothing fits.
std::optional<Candidate> best_schedule(const Context& ctx, const detail::StageTables& tables,
                                       const Cluster& cluster, const PlanOptions& options);

/// Lays a replica out in time. `micro_batches` are in the order of their injection.
ReplicaPlan lay_out(std::vector<MicroBatch> micro_batches, const detail::StageTables& tables,
                    SchedulePolicy policy, double memory_limit, const PlanOptions& options);

/// Plans the transfers and writes the instructions of all replicas.
void write_programs(IterationPlan& plan, const Model& model, const Pipeline& pipeline);

/// Real and padded tokens of a plan.
PaddingStats padding_of(const IterationPlan& plan, std::span<const SampleLength> mini_batch);

}  // namespace researchkit::dynapipe::detail
