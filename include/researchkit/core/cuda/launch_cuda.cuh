#pragma once

#include <cuda_runtime.h>

#include <limits>
#include <string>

#include "researchkit/core/cuda/check_cuda.cuh"

namespace researchkit::device {

/// How a kernel is spread. Blocks of a cluster share their memory; clusters need sm_90.
struct Launch {
  std::int64_t blocks = 1;
  int block_threads = 32;
  int cluster_blocks = 1;
  std::size_t shared_bytes = 0;
};

/// The most blocks of a cluster that the device takes: 1 before sm_90.
inline int largest_cluster(Device device) {
  int major = 0;
  check_cuda(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device.index),
             "compute capability");
  return major >= 9 ? 8 : 1;  // 8 is what every such device takes without asking
}

template <class... Parameters, class... Arguments>
void launch(const Context& ctx, Device device, std::string_view name, void (*kernel)(Parameters...),
            const Launch& shape, Arguments&&... arguments) {
  if (shape.blocks == 0) return;  // which CUDA refuses
  if (shape.blocks > std::numeric_limits<std::int32_t>::max()) {
    throw Error("CUDA: " + std::string(name) + ": " + std::to_string(shape.blocks) +
                " blocks, more than a grid has");
  }
  const CurrentDevice current(device.index);
  if (shape.shared_bytes > 48U * 1024) {
    check_cuda(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                                    cudaFuncAttributeMaxDynamicSharedMemorySize,
                                    static_cast<int>(shape.shared_bytes)),
               name);
  }
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(shape.blocks));
  config.blockDim = dim3(static_cast<unsigned>(shape.block_threads));
  config.dynamicSmemBytes = shape.shared_bytes;
  config.stream = static_cast<cudaStream_t>(ctx.stream().handle());
  cudaLaunchAttribute cluster{};
  if (shape.cluster_blocks > 1) {
    cluster.id = cudaLaunchAttributeClusterDimension;
    cluster.val.clusterDim.x = static_cast<unsigned>(shape.cluster_blocks);
    cluster.val.clusterDim.y = cluster.val.clusterDim.z = 1;
    config.attrs = &cluster;
    config.numAttrs = 1;
  }
  check_cuda(cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...), name);
}

}  // namespace researchkit::device
