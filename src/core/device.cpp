#include <fmt/format.h>

#include "researchkit/core/backend.hpp"
#include "researchkit/core/cuda/blas.hpp"
#include "researchkit/core/error.hpp"
#include "researchkit/core/stream.hpp"

namespace researchkit {

#ifndef RESEARCHKIT_HAS_CUDA
const Backend* cuda_backend() { return nullptr; }

void cuda::gemm(const Context&, float, In<float, 2>, In<float, 2>, float, Out<float, 2>) {
  throw Error("this build of researchkit has no CUDA");
}
void cuda::gemm(const Context&, double, In<double, 2>, In<double, 2>, double, Out<double, 2>) {
  throw Error("this build of researchkit has no CUDA");
}
#endif

Device Device::cuda(std::int32_t index) {
  const Backend* backend = cuda_backend();
  if (backend == nullptr) {
    throw Error(fmt::format("there is no device cuda:{}: this build has no CUDA", index));
  }
  const std::int32_t count = backend->device_count();
  if (index < 0 || index >= count) {
    throw Error(fmt::format("there is no device cuda:{}; this machine has {}", index, count));
  }
  return {*backend, index};
}

std::string to_string(Device device) {
  if (device.is_host()) return "cpu";
  return fmt::format("{}:{}", device.backend->name(), device.index);
}

namespace {

const Backend& backend_of(Device device) {
  if (device.is_host()) throw Error("the host has no streams and events");
  return *device.backend;
}

}  // namespace

Stream::Stream(Device device) : device_(device) {
  const Backend* backend = &backend_of(device);
  handle_ = {backend->make_stream(device.index), [backend, index = device.index](void* stream) {
               backend->destroy_stream(index, stream);
             }};
}

void Stream::synchronize() const {
  if (!device_.is_host()) device_.backend->synchronize_stream(device_.index, handle());
}

Event::Event(Device device) : device_(device) {
  const Backend* backend = &backend_of(device);
  handle_ = {backend->make_event(device.index), [backend, index = device.index](void* event) {
               backend->destroy_event(index, event);
             }};
}

void Event::record(const Stream& stream) {
  device_.backend->record_event(device_.index, handle_.get(), stream.handle());
}

void Event::wait_on(const Stream& stream) const {
  device_.backend->wait_event(device_.index, handle_.get(), stream.handle());
}

double Event::seconds_since(const Event& earlier) const {
  return device_.backend->elapsed_s(earlier.handle_.get(), handle_.get());
}

}  // namespace researchkit
