#pragma once

#include <cstdint>
#include <string>

namespace researchkit {

class Backend;  // core/backend.hpp

/// Where a tensor lives or an operator runs: the host, or device number `index` of a backend.
struct Device {
  const Backend* backend = nullptr;  ///< null: the host
  std::int32_t index = 0;

  constexpr Device() = default;
  constexpr Device(const Backend& of, std::int32_t number) : backend(&of), index(number) {}

  static constexpr Device host() { return {}; }
  /// CUDA device number `index`. Throws Error where this build has no CUDA or the machine no such
  /// device.
  static Device cuda(std::int32_t index = 0);

  constexpr bool is_host() const { return backend == nullptr; }
  friend constexpr bool operator==(Device, Device) = default;
};

/// "cpu", "cuda:0", ...
std::string to_string(Device device);

}  // namespace researchkit
