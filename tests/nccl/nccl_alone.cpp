// NCCL behind the communicator on one device: collectives of one rank. Without a device it must say so;
// "test skipped:" then tells that nothing else was run.
#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include <vector>

#include "researchkit/core/nccl_communicator.hpp"

namespace {

using researchkit::Error;

void must(bool holds, const char* what) {
  if (!holds) throw Error(what);
}

/// Numbers in device memory.
class DeviceNumbers {
 public:
  explicit DeviceNumbers(const std::vector<double>& values) : size_(values.size()) {
    must(cudaMalloc(&data_, size_ * sizeof(double)) == cudaSuccess, "no device memory");
    cudaMemcpy(data_, values.data(), size_ * sizeof(double), cudaMemcpyHostToDevice);
  }
  ~DeviceNumbers() { cudaFree(data_); }
  DeviceNumbers(const DeviceNumbers&) = delete;
  DeviceNumbers& operator=(const DeviceNumbers&) = delete;
  std::span<double> span() const { return {static_cast<double*>(data_), size_}; }
  std::vector<double> values() const {
    std::vector<double> host(size_);
    cudaMemcpy(host.data(), data_, size_ * sizeof(double), cudaMemcpyDeviceToHost);
    return host;
  }

 private:
  void* data_ = nullptr;
  std::size_t size_;
};

int without_device() {
  try {
    researchkit::nccl_communicator(researchkit::self_communicator(), 0);
  } catch (const Error& error) {
    fmt::print("refused: {}\ntest skipped: no CUDA device\n", error.what());
    return 0;
  }
  fmt::print("no device, and no refusal\n");
  return 1;
}

void on_device() {
  const auto gpu = researchkit::nccl_communicator(researchkit::self_communicator(), 0);
  const std::vector<double> values{0.1, 0.2, 0.3};
  const DeviceNumbers numbers(values), copy({0, 0, 0});
  gpu->all_reduce(numbers.span());
  gpu->broadcast(std::as_writable_bytes(numbers.span()), 0);
  must(numbers.values() == values, "all_reduce or broadcast of one rank");
  gpu->all_gather(std::as_bytes(numbers.span()), std::as_writable_bytes(copy.span()));
  must(copy.values() == values, "all_gather of one rank");
  gpu->reduce_scatter(std::span<const double>(numbers.span()), copy.span());
  gpu->all_to_all(std::as_bytes(numbers.span()), std::as_writable_bytes(copy.span()));
  must(copy.values() == values, "all_to_all of one rank");
  const auto group = gpu->split(3, 0);
  group->barrier();
  fmt::print("one rank on a device: all collectives hold\n");
}

}  // namespace

int main() {
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) return without_device();
  try {
    on_device();
    return 0;
  } catch (const std::exception& error) {
    fmt::print("{}\n", error.what());
    return 1;
  }
}
