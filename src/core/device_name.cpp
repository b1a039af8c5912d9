#include "researchkit/core/device_name.hpp"

#include <charconv>

namespace researchkit {

std::optional<Device> device_named(std::string_view name) {
  if (name == "cpu") return Device::host();
  if (name == "cuda") return Device::cuda(0);
  if (!name.starts_with("cuda:")) return std::nullopt;
  std::int32_t index = 0;
  const char* const end = name.data() + name.size();
  const auto [stop, error] = std::from_chars(name.data() + 5, end, index);
  if (error != std::errc() || stop != end) return std::nullopt;
  return Device::cuda(index);
}

}  // namespace researchkit
