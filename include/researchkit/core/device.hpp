#pragma once

#include <cstdint>
#include <string>

namespace researchkit {

enum class DeviceKind : std::uint8_t { host, cuda };

/// Where a tensor lives or an operator runs: the host, or CUDA device number `index`.
struct Device {
  DeviceKind kind = DeviceKind::host;
  std::int32_t index = 0;

  static constexpr Device host() { return {}; }
  static constexpr Device cuda(std::int32_t index = 0) { return {DeviceKind::cuda, index}; }

  constexpr bool is_host() const { return kind == DeviceKind::host; }
  friend constexpr bool operator==(Device, Device) = default;
};

/// "cpu", "cuda:0", ...
inline std::string to_string(Device device) {
  return device.is_host() ? "cpu" : "cuda:" + std::to_string(device.index);
}

}  // namespace researchkit
