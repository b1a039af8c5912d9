#pragma once

// The vocabulary of device code. Kernels (kernels/cuda/**/*.cuh, *.cu) are written in it alone, so
// that nvcc compiles them for a GPU and the host's compiler for the emulated grid of
// tests/support/emulator, which checks every access and every barrier.
//
//   RESEARCHKIT_KERNEL(256) void f(...)   a kernel for blocks of at most 256 threads, to which its
//                                    registers are cut; launched by launch() of core/cuda/launch.cuh
//   RESEARCHKIT_DEVICE_FUNCTION      a function that kernels call
//   RESEARCHKIT_SHARED_ARGUMENT T x  a kernel's argument that its functions refer to: all threads read
//                                    the one that the launch brought, none copies it
//   RESEARCHKIT_UNROLL               before a loop whose trip count is a constant
//   RESEARCHKIT_DEVICE               the namespace of this compilation's kernels: `on_cuda`, or
//                                    `on_emulator`
//   block_index() block_count() block_threads() thread_index() lane() warp_index()
//   grid_thread() grid_threads()     for (std::int64_t e = grid_thread(); e < n; e += grid_threads())
//   Global<T>                        device memory with an extent
//   SharedMemory, Shared<T>          shared memory: dynamic_shared().take<T>(count)
//   block_barrier() warp_barrier() cluster_barrier()
//   shuffle(value, lane)  ballot(bit)  any(bit)  warp_reduce(value, operation)
//   warp_max(std::uint32_t)          a warp's largest number, in hardware from sm_80 on
//   atomic_add atomic_min atomic_max on entries of Global<T> and Shared<T>
//   cluster_rank() cluster_blocks() Shared<T>::of_block(rank)
//   add_rn sub_rn mul_rn div_rn fma_rn sqrt_rn   one rounding each, never contracted
//   exponential logarithm hyperbolic_tangent   of the host's or the device's library, which may
//                                    differ in the last bits
//   bits_of(value)  float_of(bits)  population_count(mask)
//
// All collective functions are for whole warps: a block has a multiple of 32 threads.

#include <cstddef>
#include <cstdint>
#include <cstring>

#if defined(__CUDACC__)
#include "researchkit/core/cuda/device_cuda.cuh"
#else
#include "tests/support/emulator/device_emulator.hpp"
#endif

namespace researchkit::device {

inline constexpr int kWarp = 32;

RESEARCHKIT_DEVICE_FUNCTION int lane() { return thread_index() % kWarp; }
RESEARCHKIT_DEVICE_FUNCTION int warp_index() { return thread_index() / kWarp; }
RESEARCHKIT_DEVICE_FUNCTION std::int64_t grid_thread() {
  return block_index() * block_threads() + thread_index();
}
RESEARCHKIT_DEVICE_FUNCTION std::int64_t grid_threads() { return block_count() * block_threads(); }

/// The bits of a float or double, as an unsigned number of that size.
RESEARCHKIT_DEVICE_FUNCTION std::uint32_t bits_of(float value) {
  std::uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}
RESEARCHKIT_DEVICE_FUNCTION std::uint64_t bits_of(double value) {
  std::uint64_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}
/// The float of these bits.
RESEARCHKIT_DEVICE_FUNCTION float float_of(std::uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

}  // namespace researchkit::device
