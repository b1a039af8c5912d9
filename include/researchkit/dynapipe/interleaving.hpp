#pragma once

#include <cstdint>

namespace researchkit::dynapipe {

/// An operation in a schedule: 2 k is a forward, 2 k + 1 a backward, of micro-batch m = k; where a
/// device has several chunks, of k = c M + m for chunk c.
using OperationCode = std::int32_t;
/// The micro-batch of an operation on a device of one chunk.
inline constexpr std::int32_t micro_batch_of(OperationCode code) { return code >> 1; }
inline constexpr bool is_backward(OperationCode code) { return (code & 1) != 0; }

/// What an operation of a device works on.
struct ChunkOperation {
  std::int64_t micro_batch = 0, chunk = 0;
  std::int64_t stage = 0;  ///< of the model
};

/// Which device has which stage of the model: with C chunks on each of S devices, stage v = c S + s is
/// chunk c of device s. With one chunk stages are devices.
struct Interleaving {
  std::int64_t devices = 1, chunks = 1, micro_batches = 0;

  std::int64_t stages() const { return devices * chunks; }
  std::int64_t device_of(std::int64_t stage) const { return stage % devices; }
  std::int64_t chunk_of(std::int64_t stage) const { return stage / devices; }
  /// One device has all stages: nothing is sent.
  bool alone() const { return devices == 1; }

  ChunkOperation operation(std::int64_t device, OperationCode code) const {
    const std::int64_t k = micro_batch_of(code);
    if (chunks == 1) return {k, 0, device};
    const std::int64_t chunk = k / micro_batches;
    return {k - chunk * micro_batches, chunk, chunk * devices + device};
  }
  OperationCode code(std::int64_t stage, std::int64_t micro_batch, bool backward) const {
    const std::int64_t k = chunk_of(stage) * micro_batches + micro_batch;
    return static_cast<OperationCode>(2 * k + (backward ? 1 : 0));
  }
};

/// Of an order [devices, 2 chunks M].
template <class Order>
Interleaving interleaving_of(const Order& order, std::int64_t chunks) {
  return {order.extent(0), chunks, order.extent(1) / 2 / chunks};
}

}  // namespace researchkit::dynapipe
