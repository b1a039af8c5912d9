#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "researchkit/core/device.hpp"

namespace researchkit {

class DeviceKernels;  // core/device_kernels.hpp

/// What one kind of device does for the library: memory, copies, streams, events and kernels.
///
/// Handles are the backend's own (cudaStream_t, cudaEvent_t); a null stream is the default one.
/// Everything but the constructors of handles is ordered on its stream. Every function throws Error
/// if the device reports one.
class Backend {
 public:
  enum class Direction : std::uint8_t { to_device, to_host, on_device };

  Backend() = default;
  Backend(const Backend&) = delete;
  Backend& operator=(const Backend&) = delete;
  virtual ~Backend() = default;

  /// What stands before the number in "cuda:0".
  virtual std::string_view name() const = 0;
  virtual std::int32_t device_count() const = 0;
  /// The product's name and what else tells it from others.
  virtual std::string describe(std::int32_t device) const = 0;

  /// Zeroed memory, aligned to at least 64 bytes; `bytes` may be 0.
  virtual void* allocate(std::int32_t device, std::size_t bytes, void* stream) const = 0;
  virtual void release(std::int32_t device, void* memory, void* stream) const noexcept = 0;
  virtual void copy(std::int32_t device, void* to, const void* from, std::size_t bytes,
                    Direction direction, void* stream) const = 0;
  /// Waits for all work on the device.
  virtual void synchronize(std::int32_t device) const = 0;

  virtual void* make_stream(std::int32_t device) const = 0;
  virtual void destroy_stream(std::int32_t device, void* stream) const noexcept = 0;
  virtual void synchronize_stream(std::int32_t device, void* stream) const = 0;
  virtual void* make_event(std::int32_t device) const = 0;
  virtual void destroy_event(std::int32_t device, void* event) const noexcept = 0;
  virtual void record_event(std::int32_t device, void* event, void* stream) const = 0;
  virtual void wait_event(std::int32_t device, void* event, void* stream) const = 0;
  /// Seconds between two recorded events, after waiting for both.
  virtual double elapsed_s(void* begin, void* end) const = 0;

  /// Which operators run there.
  virtual const DeviceKernels& kernels() const = 0;
};

/// The CUDA backend, or null where this build has none.
const Backend* cuda_backend();

}  // namespace researchkit
