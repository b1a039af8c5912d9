// A stable counting sort of entries by row: for each digit of the row, blocks count the digits of
// their tiles, a scan turns the counts into places, and blocks move their entries there in order.
// Memory traffic: 40 bytes for each entry and digit; bound by memory bandwidth, the writes scattered
// over 256 runs.
#include "kernels/cuda/core/group_by_row.hpp"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <utility>

namespace researchkit::RESEARCHKIT_DEVICE {
namespace {

using namespace device;

constexpr int kBits = 8, kDigits = 1 << kBits;  // also the threads of a block
constexpr int kWarps = kDigits / kWarp;
constexpr std::int64_t kTile = 16 * kDigits;

/// Entries on their way: `entry` is empty as long as each stands where it began.
struct Entries {
  Global<std::int64_t> row, entry;
};

RESEARCHKIT_DEVICE_FUNCTION int digit_of(std::int64_t row, int shift) {
  return static_cast<int>((row >> shift) & (kDigits - 1));
}

/// Entries without a row are taken for those of a row behind the last.
RESEARCHKIT_KERNEL(256)
void take_rows(Global<const std::int64_t> row_of, std::int64_t rows, Global<std::int64_t> row) {
  for (std::int64_t e = grid_thread(); e < row.size; e += grid_threads()) {
    row[e] = row_of[e] < 0 ? rows : row_of[e];
  }
}

/// counts[digit][block]: how many entries of the block's tile have the digit.
RESEARCHKIT_KERNEL(256)
void count_digits(Global<const std::int64_t> row, int shift, Global<std::int64_t> counts) {
  SharedMemory memory = dynamic_shared();
  const Shared<std::int32_t> count = memory.take<std::int32_t>(kDigits);
  count[thread_index()] = 0;
  block_barrier();
  const std::int64_t begin = block_index() * kTile;
  const std::int64_t end = begin + kTile < row.size ? begin + kTile : row.size;
  for (std::int64_t e = begin + thread_index(); e < end; e += kDigits) {
    atomic_add(count[digit_of(row[e], shift)], 1);
  }
  block_barrier();
  const std::int32_t counted = count[thread_index()];
  counts[thread_index() * block_count() + block_index()] = counted;
}

/// Every value becomes the sum of those before it. One block; each thread adds up a run of them.
RESEARCHKIT_KERNEL(256)
void exclusive_scan(Global<std::int64_t> values) {
  SharedMemory memory = dynamic_shared();
  const Shared<std::int64_t> sums = memory.take<std::int64_t>(kDigits);
  const std::int64_t each = (values.size + kDigits - 1) / kDigits;
  const std::int64_t begin = thread_index() * each;
  const std::int64_t end = begin + each < values.size ? begin + each : values.size;
  std::int64_t sum = 0;
  for (std::int64_t i = begin; i < end; ++i) sum += values[i];
  sums[thread_index()] = sum;
  block_barrier();
  std::int64_t before = 0;
  for (int thread = 0; thread < thread_index(); ++thread) before += sums[thread];
  for (std::int64_t i = begin; i < end; ++i) {
    const std::int64_t value = values[i];
    values[i] = before;
    before += value;
  }
}

/// Moves the entries of a tile to their places, in their order: a warp's lanes of one digit find each
/// other by ballots, warps follow each other by their counts.
RESEARCHKIT_KERNEL(256)
void move_entries(Entries from, int shift, Global<const std::int64_t> places, Entries to) {
  SharedMemory memory = dynamic_shared();
  const Shared<std::int64_t> place = memory.take<std::int64_t>(kDigits);
  const Shared<std::int32_t> counts = memory.take<std::int32_t>(kWarps * kDigits);
  const int own_digit = thread_index();
  place[own_digit] = places[own_digit * block_count() + block_index()];
  const std::int64_t begin = block_index() * kTile;
  for (std::int64_t base = begin; base < begin + kTile && base < from.row.size; base += kDigits) {
    for (int warp = 0; warp < kWarps; ++warp) counts[warp * kDigits + own_digit] = 0;
    block_barrier();
    const std::int64_t e = base + thread_index();
    const bool exists = e < from.row.size;
    const std::int64_t row = exists ? from.row[e] : 0;
    const int digit = digit_of(row, shift);
    std::uint32_t peers = ballot(exists);
    for (int bit = 0; bit < kBits; ++bit) {
      const bool is_set = ((digit >> bit) & 1) != 0;
      const std::uint32_t set = ballot(is_set);
      peers &= is_set ? set : ~set;
    }
    const int rank = population_count(peers & ((1U << lane()) - 1));
    if (exists && rank == 0) {
      counts[warp_index() * kDigits + digit] = population_count(peers);
    }
    block_barrier();
    std::int32_t sum = 0;
    for (int warp = 0; warp < kWarps; ++warp) {
      const std::int32_t count = counts[warp * kDigits + own_digit];
      counts[warp * kDigits + own_digit] = sum;
      sum += count;
    }
    block_barrier();
    if (exists) {
      const std::int64_t start = place[digit];
      const std::int32_t before = counts[warp_index() * kDigits + digit];
      const std::int64_t at = start + before + rank;
      to.row[at] = row;
      to.entry[at] = from.entry.size > 0 ? from.entry[e] : e;
    }
    block_barrier();
    place[own_digit] += sum;
  }
}

/// first[r]: how many entries belong to rows before r, found by bisection.
RESEARCHKIT_KERNEL(256)
void find_first(Global<const std::int64_t> sorted_row, Global<std::int64_t> first) {
  for (std::int64_t r = grid_thread(); r < first.size; r += grid_threads()) {
    std::int64_t begin = 0, end = sorted_row.size;
    while (begin < end) {
      const std::int64_t middle = begin + (end - begin) / 2;
      if (sorted_row[middle] < r) {
        begin = middle + 1;
      } else {
        end = middle;
      }
    }
    first[r] = begin;
  }
}

}  // namespace

void exclusive_sums(const Context& ctx, Device device, Global<std::int64_t> values) {
  launch(ctx, device, "exclusive_scan", exclusive_scan,
         {.block_threads = kDigits, .shared_bytes = kDigits * sizeof(std::int64_t)}, values);
}

RowGroups group_by_row(const Context& ctx, Device device, Global<const std::int64_t> row_of,
                       std::int64_t rows) {
  const std::int64_t count = row_of.size;
  DeviceArray<std::int64_t> first(ctx, device, rows + 1), entries(ctx, device, count);
  if (count == 0) return {std::move(first), std::move(entries)};
  const DeviceArray<std::int64_t> row(ctx, device, count), other_row(ctx, device, count),
      other_entries(ctx, device, count);
  const std::int64_t blocks = (count + kTile - 1) / kTile;
  const DeviceArray<std::int64_t> places(ctx, device, kDigits * blocks);
  launch(ctx, device, "take_rows", take_rows, for_entries(count), row_of, rows, row.global());
  const auto bits = static_cast<int>(std::bit_width(static_cast<std::uint64_t>(rows)));
  const int digits = std::max(1, (bits + kBits - 1) / kBits);
  // The last move must end in `entries`.
  Entries to{other_row.global(), entries.global()}, spare{row.global(), other_entries.global()};
  if (digits % 2 == 0) std::swap(to.entry, spare.entry);
  Entries from{row.global(), {}};
  const auto grid = [](std::int64_t of_blocks, std::size_t shared_bytes) {
    return Launch{.blocks = of_blocks, .block_threads = kDigits, .shared_bytes = shared_bytes};
  };
  for (int d = 0; d < digits; ++d) {
    const int shift = d * kBits;
    launch(ctx, device, "count_digits", count_digits, grid(blocks, kDigits * sizeof(std::int32_t)),
           from.row, shift, places.global());
    exclusive_sums(ctx, device, places.global());
    launch(ctx, device, "move_entries", move_entries,
           grid(blocks, kDigits * (sizeof(std::int64_t) + kWarps * sizeof(std::int32_t))), from,
           shift, places.global(), to);
    from = to;
    std::swap(to, spare);
  }
  launch(ctx, device, "find_first", find_first, for_entries(rows + 1), from.row, first.global());
  return {std::move(first), std::move(entries)};
}

}  // namespace researchkit::RESEARCHKIT_DEVICE
