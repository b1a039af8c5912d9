#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>

#include "researchkit/dynapipe/plan_file.hpp"

namespace researchkit::dynapipe::detail {

/// The version that files of a plan have: what is written as an earlier version can be read by those
/// who know nothing of packed micro-batches, or of chunks.
inline constexpr int kPlainVersion = 1, kPackedVersion = 2, kChunkedVersion = 3;
inline int version_of(const StoredPlan& plan) {
  if (plan.chunks > 1) return kChunkedVersion;
  const bool packed = std::any_of(plan.micro_batches.begin(), plan.micro_batches.end(),
                                  [](const MicroBatch& batch) { return batch.packed(); });
  return packed ? kPackedVersion : kPlainVersion;
}

/// Throws Error for a version that nobody here can read.
void check_version(std::int64_t version);

/// Words where a micro-batch's samples are not in its sequences.
std::optional<std::string> find_sequence_fault(const MicroBatch& batch);

/// Throws Error where a plan that was read names what it does not have.
void check_stored_plan(const StoredPlan& plan);

}  // namespace researchkit::dynapipe::detail
