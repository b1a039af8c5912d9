#pragma once

#include <memory>

#include "researchkit/core/backend.hpp"

namespace researchkit {

/// An order of work on a device; copies share it. Default-constructed it is the device's default
/// stream, and on the host it orders nothing.
///
///     Stream stream(Device::cuda(0));
///     Context ctx({.device = stream.device(), .stream = stream});
class Stream {
 public:
  Stream() = default;
  explicit Stream(Device device);

  Device device() const { return device_; }
  /// The backend's handle: a cudaStream_t for CUDA.
  void* handle() const { return handle_.get(); }
  /// Waits for everything that was put on this stream.
  void synchronize() const;

 private:
  Device device_;
  std::shared_ptr<void> handle_;
};

/// A point in a stream.
class Event {
 public:
  explicit Event(Device device);
  /// Marks the end of what is on `stream` now.
  void record(const Stream& stream);
  /// What comes on `stream` from now on waits for the mark.
  void wait_on(const Stream& stream) const;
  /// Seconds from `earlier` to this mark, after waiting for both.
  double seconds_since(const Event& earlier) const;

 private:
  Device device_;
  std::shared_ptr<void> handle_;
};

}  // namespace researchkit
