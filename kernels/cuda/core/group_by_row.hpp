#pragma once

#include <cstdint>

#include "researchkit/core/cuda/launch.cuh"

namespace researchkit::RESEARCHKIT_DEVICE {

/// Entries grouped by the row that each belongs to: those of row r are
/// `entries[first[r]] ... entries[first[r + 1] - 1]`, ascending.
struct RowGroups {
  device::DeviceArray<std::int64_t> first;    // [rows + 1]
  device::DeviceArray<std::int64_t> entries;  // what belongs to no row stands at the end
};

/// Groups the entries 0 ... row_of.size - 1, of which entry e belongs to row row_of[e] in [0, rows),
/// or to none (-1). A stable counting sort, eight bits of the row at a time; the result does not
/// depend on the order in which blocks run. Memory: 32 bytes for each entry besides the result.
RowGroups group_by_row(const Context& ctx, Device device, device::Global<const std::int64_t> row_of,
                       std::int64_t rows);

/// Every value becomes the sum of those before it.
void exclusive_sums(const Context& ctx, Device device, device::Global<std::int64_t> values);

}  // namespace researchkit::RESEARCHKIT_DEVICE
