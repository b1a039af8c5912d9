#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <map>
#include <mutex>

#include "kernels/cuda/all_kernels.hpp"
#include "researchkit/core/backend.hpp"
#include "researchkit/core/cuda/check_cuda.cuh"

namespace researchkit {
namespace {

using device::check_cuda;
using device::CurrentDevice;

cudaStream_t stream_of(void* handle) { return static_cast<cudaStream_t>(handle); }
cudaEvent_t event_of(void* handle) { return static_cast<cudaEvent_t>(handle); }

/// The devices of the CUDA runtime.
class CudaBackend final : public Backend {
 public:
  std::string_view name() const override { return "cuda"; }

  /// 0 without a driver, too.
  std::int32_t device_count() const override {
    int count = 0;
    if (cudaGetDeviceCount(&count) == cudaSuccess) return count;
    (void)cudaGetLastError();
    return 0;
  }

  std::string describe(std::int32_t device) const override {
    cudaDeviceProp properties{};
    check_cuda(cudaGetDeviceProperties(&properties, device), "properties");
    return fmt::format("{}, sm_{}{}, {} multiprocessors, {:.1f} GB", properties.name,
                       properties.major, properties.minor, properties.multiProcessorCount,
                       static_cast<double>(properties.totalGlobalMem) * 1e-9);
  }

  void* allocate(std::int32_t device, std::size_t bytes, void* stream) const override {
    const CurrentDevice current(device);
    void* memory = nullptr;
    const std::size_t taken = std::max<std::size_t>(bytes, 1);
    check_cuda(cudaMallocFromPoolAsync(&memory, taken, pool_of(device), stream_of(stream)),
               fmt::format("allocation of {} bytes", bytes));
    const cudaError_t zeroed = cudaMemsetAsync(memory, 0, taken, stream_of(stream));
    if (zeroed != cudaSuccess) release(device, memory, stream);
    check_cuda(zeroed, "zeroing of memory");
    return memory;
  }

  void release(std::int32_t device, void* memory, void* stream) const noexcept override {
    try {
      const CurrentDevice current(device);
      (void)cudaFreeAsync(memory, stream_of(stream));
    } catch (const Error&) {  // the device is lost, and its memory with it
    }
  }

  void copy(std::int32_t device, void* to, const void* from, std::size_t bytes, Direction direction,
            void* stream) const override {
    if (bytes == 0) return;
    const CurrentDevice current(device);
    const cudaMemcpyKind kind = direction == Direction::to_device ? cudaMemcpyHostToDevice
                                : direction == Direction::to_host ? cudaMemcpyDeviceToHost
                                                                  : cudaMemcpyDeviceToDevice;
    check_cuda(cudaMemcpyAsync(to, from, bytes, kind, stream_of(stream)), "copy");
  }

  void synchronize(std::int32_t device) const override {
    const CurrentDevice current(device);
    check_cuda(cudaDeviceSynchronize(), "waiting for the device");
  }

  /// Streams wait for the default stream and it for them: tensors that are made and copied without
  /// a stream then stand in the right order to calls that have one.
  void* make_stream(std::int32_t device) const override {
    const CurrentDevice current(device);
    cudaStream_t stream = nullptr;
    check_cuda(cudaStreamCreate(&stream), "a stream");
    return stream;
  }
  void destroy_stream(std::int32_t, void* stream) const noexcept override {
    (void)cudaStreamDestroy(stream_of(stream));
  }
  void synchronize_stream(std::int32_t device, void* stream) const override {
    const CurrentDevice current(device);  // whose default stream a null handle is
    check_cuda(cudaStreamSynchronize(stream_of(stream)), "waiting for a stream");
  }

  void* make_event(std::int32_t device) const override {
    const CurrentDevice current(device);
    cudaEvent_t event = nullptr;
    check_cuda(cudaEventCreate(&event), "an event");
    return event;
  }
  void destroy_event(std::int32_t, void* event) const noexcept override {
    (void)cudaEventDestroy(event_of(event));
  }
  void record_event(std::int32_t device, void* event, void* stream) const override {
    const CurrentDevice current(device);
    check_cuda(cudaEventRecord(event_of(event), stream_of(stream)), "recording an event");
  }
  void wait_event(std::int32_t device, void* event, void* stream) const override {
    const CurrentDevice current(device);
    check_cuda(cudaStreamWaitEvent(stream_of(stream), event_of(event), 0), "waiting for an event");
  }
  double elapsed_s(void* begin, void* end) const override {
    for (void* event : {begin, end}) {
      check_cuda(cudaEventSynchronize(event_of(event)), "waiting for an event");
    }
    float milliseconds = 0;
    check_cuda(cudaEventElapsedTime(&milliseconds, event_of(begin), event_of(end)),
               "the time between two events");
    return static_cast<double>(milliseconds) * 1e-3;
  }

  const DeviceKernels& kernels() const override {
    static const DeviceKernels kernels = on_cuda::all_kernels();
    return kernels;
  }

 private:
  /// Our own pool, so that memory stays with the library from call to call whatever the program's
  /// default pool does. Pools live until the process ends, as the tensors in them may.
  cudaMemPool_t pool_of(std::int32_t device) const {
    const std::lock_guard lock(mutex_);
    cudaMemPool_t& pool = pools_[device];
    if (pool != nullptr) return pool;
    cudaMemPoolProps properties{};
    properties.allocType = cudaMemAllocationTypePinned;
    properties.location.type = cudaMemLocationTypeDevice;
    properties.location.id = device;
    cudaMemPool_t made = nullptr;
    check_cuda(cudaMemPoolCreate(&made, &properties), "a memory pool");
    std::uint64_t keep = std::numeric_limits<std::uint64_t>::max();
    const cudaError_t kept = cudaMemPoolSetAttribute(made, cudaMemPoolAttrReleaseThreshold, &keep);
    if (kept != cudaSuccess) (void)cudaMemPoolDestroy(made);
    check_cuda(kept, "a memory pool");
    return pool = made;
  }

  mutable std::mutex mutex_;
  mutable std::map<std::int32_t, cudaMemPool_t> pools_;
};

}  // namespace

const Backend* cuda_backend() {
  static const CudaBackend backend;
  return &backend;
}

}  // namespace researchkit
