#include "support/device_option.hpp"

#include <string>

#include "researchkit/core/device_name.hpp"
#include "researchkit/core/error.hpp"

namespace researchkit::bench {

Device take_device(int& argc, char** argv) {
  int kept = 1;
  Device device;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    const bool joined = argument.starts_with("--device=");
    if (argument != "--device" && !joined) {
      argv[kept++] = argv[i];
      continue;
    }
    const std::string name = joined ? argument.substr(9) : ++i < argc ? argv[i] : "";
    const auto named = device_named(name);
    if (!named) throw Error("--device: wanted cpu, cuda or cuda:<number>, got '" + name + "'");
    device = *named;
  }
  argc = kept;
  return device;
}

void refuse_device(Device device, const char* name) {
  if (device.is_host()) return;
  throw Error(std::string("--device: wanted cpu, no operator of ") + name +
              " has a kernel for a device");
}

}  // namespace researchkit::bench
