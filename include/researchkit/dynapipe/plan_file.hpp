#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "researchkit/dynapipe/planner.hpp"

namespace researchkit::dynapipe {

/// What an executor needs of a replica's plan, and what it was predicted to take: the content of a
/// plan file.
struct StoredPlan {
  std::string plan_id;
  std::int32_t data_parallel_rank = 0;
  Recompute recompute = Recompute::none;
  std::int32_t hidden = 0;
  std::int32_t n_enc_stages = 1;  ///< of devices times chunks
  std::int32_t chunks = 1;        ///< stages of the model on each device
  Program program;
  std::vector<MicroBatch> micro_batches;
  std::vector<double> time_ms;  ///< of each micro-batch, forward and backward on all stages
  double makespan_ms = 0;
  std::vector<double> peak_mb, bubble;  ///< of each device
};
bool operator==(const StoredPlan& a, const StoredPlan& b);

/// The part of a plan that replica `rank` runs.
StoredPlan stored_plan(const IterationPlan& plan, std::size_t rank, std::string plan_id);

/// The JSON form, "researchkit-dynapipe-plan"; docs/dynapipe.md has its schema. Both forms are written
/// as version 1 where no micro-batch is packed and devices have one chunk, as version 2 where some are
/// packed, as version 3 with chunks; all are read.
std::string plan_to_json(const StoredPlan& plan);
/// Reads it back, the same to the bit. Throws Error for anything that is no such plan.
StoredPlan plan_from_json(std::string_view text);

/// The binary form: "RKDP", version, crc32 and size of the content, then the content (little-endian
/// int32 tables), deflated.
std::vector<std::byte> plan_to_bytes(const StoredPlan& plan);
/// Reads it back. Throws Error for an unknown version, a wrong checksum and missing bytes.
StoredPlan plan_from_bytes(std::span<const std::byte> bytes);

/// The timeline of a replica for Perfetto or chrome://tracing: a process per device, with its
/// operations, its transfers and its memory.
std::string chrome_trace(const ReplicaPlan& replica);

}  // namespace researchkit::dynapipe
