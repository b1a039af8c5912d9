#pragma once

#include <optional>
#include <string_view>

#include "researchkit/core/device.hpp"

namespace researchkit {

/// The device of a name: "cpu", "cuda" (the first), "cuda:1", ...; nothing for any other text. Throws Error
/// like Device::cuda where this machine has no such device.
std::optional<Device> device_named(std::string_view name);

}  // namespace researchkit
