#pragma once

// The device vocabulary in CUDA C++; see device.cuh.

#include <cooperative_groups.h>

#include <type_traits>

#define RESEARCHKIT_KERNEL(most_threads) static __global__ __launch_bounds__(most_threads, 1)
#define RESEARCHKIT_DEVICE_FUNCTION __device__ __forceinline__
#define RESEARCHKIT_SHARED_ARGUMENT const __grid_constant__
#define RESEARCHKIT_DEVICE on_cuda
#define RESEARCHKIT_UNROLL _Pragma("unroll")

namespace researchkit::device {

__device__ inline int thread_index() { return static_cast<int>(threadIdx.x); }
__device__ inline int block_threads() { return static_cast<int>(blockDim.x); }
__device__ inline std::int64_t block_index() { return blockIdx.x; }
__device__ inline std::int64_t block_count() { return gridDim.x; }

template <class T>
struct Global {
  T* data;
  std::int64_t size;
  __device__ T& operator[](std::int64_t i) const { return data[i]; }
  __host__ __device__ Global part(std::int64_t begin, std::int64_t count) const {
    return {data + begin, count};
  }
  template <class U>  // a template, as nvcc warns of a conversion to the class itself
  requires(std::is_same_v<U, const T> && !std::is_const_v<T>) __host__ __device__
  operator Global<U>() const {
    return {data, size};
  }
};

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
__device__ inline int cluster_rank() {
  return static_cast<int>(cooperative_groups::this_cluster().block_rank());
}
__device__ inline int cluster_blocks() {
  return static_cast<int>(cooperative_groups::this_cluster().num_blocks());
}
__device__ inline void cluster_barrier() { cooperative_groups::this_cluster().sync(); }
#else  // before clusters a cluster is one block, and launch() refuses others
__device__ inline int cluster_rank() { return 0; }
__device__ inline int cluster_blocks() { return 1; }
__device__ inline void cluster_barrier() { __syncthreads(); }
#endif

template <class T>
struct Shared {
  T* data;
  int size;
  __device__ T& operator[](std::int64_t i) const { return data[i]; }
  /// The same array in another block of the cluster.
  __device__ Shared of_block(int rank) const {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    return {cooperative_groups::this_cluster().map_shared_rank(data, rank), size};
#else
    return *this;
#endif
  }
};

/// Cuts a block's dynamic shared memory into arrays; every thread takes the same ones.
class SharedMemory {
 public:
  __device__ explicit SharedMemory(unsigned char* memory) : memory_(memory) {}
  template <class T>
  __device__ Shared<T> take(int count) {
    used_ = (used_ + sizeof(T) - 1) / sizeof(T) * sizeof(T);
    Shared<T> array{reinterpret_cast<T*>(memory_ + used_), count};
    used_ += sizeof(T) * static_cast<std::size_t>(count);
    return array;
  }

 private:
  unsigned char* memory_;
  std::size_t used_ = 0;
};

__device__ inline SharedMemory dynamic_shared() {
  extern __shared__ __align__(16) unsigned char memory[];
  return SharedMemory(memory);
}

__device__ inline void block_barrier() { __syncthreads(); }
__device__ inline void warp_barrier() { __syncwarp(); }

template <class T>
__device__ T shuffle(T value, int from) {
  return __shfl_sync(0xffffffffU, value, from);
}
__device__ inline std::uint32_t ballot(bool bit) { return __ballot_sync(0xffffffffU, bit); }
__device__ inline bool any(bool bit) { return __any_sync(0xffffffffU, bit) != 0; }
__device__ inline std::uint32_t warp_max(std::uint32_t value) {
  return __reduce_max_sync(0xffffffffU, value);
}
/// Combines the values of a warp by an associative, commutative operation; all lanes get the result.
template <class T, class Operation>
__device__ T warp_reduce(T value, Operation operation) {
  for (int step = 16; step > 0; step /= 2) {
    value = operation(value, __shfl_xor_sync(0xffffffffU, value, step));
  }
  return value;
}
__device__ inline int population_count(std::uint32_t mask) { return __popc(mask); }

__device__ inline int atomic_add(int& entry, int value) { return atomicAdd(&entry, value); }
__device__ inline std::int64_t atomic_add(std::int64_t& entry, std::int64_t value) {
  return static_cast<std::int64_t>(atomicAdd(reinterpret_cast<unsigned long long*>(&entry),
                                             static_cast<unsigned long long>(value)));
}
__device__ inline std::int64_t atomic_min(std::int64_t& entry, std::int64_t value) {
  return atomicMin(reinterpret_cast<long long*>(&entry), static_cast<long long>(value));
}

__device__ inline float add_rn(float a, float b) { return __fadd_rn(a, b); }
__device__ inline float sub_rn(float a, float b) { return __fsub_rn(a, b); }
__device__ inline float mul_rn(float a, float b) { return __fmul_rn(a, b); }
__device__ inline float fma_rn(float a, float b, float c) { return __fmaf_rn(a, b, c); }
__device__ inline double add_rn(double a, double b) { return __dadd_rn(a, b); }
__device__ inline double sub_rn(double a, double b) { return __dsub_rn(a, b); }
__device__ inline double mul_rn(double a, double b) { return __dmul_rn(a, b); }
__device__ inline double fma_rn(double a, double b, double c) { return __fma_rn(a, b, c); }
__device__ inline float sqrt_rn(float a) { return __fsqrt_rn(a); }
__device__ inline float div_rn(float a, float b) { return __fdiv_rn(a, b); }
__device__ inline double sqrt_rn(double a) { return __dsqrt_rn(a); }
__device__ inline double div_rn(double a, double b) { return __ddiv_rn(a, b); }

__device__ inline float exponential(float x) { return expf(x); }
__device__ inline float logarithm(float x) { return logf(x); }
__device__ inline float hyperbolic_tangent(float x) { return tanhf(x); }
__device__ inline double exponential(double x) { return exp(x); }
__device__ inline double logarithm(double x) { return log(x); }
__device__ inline double hyperbolic_tangent(double x) { return tanh(x); }

}  // namespace researchkit::device
