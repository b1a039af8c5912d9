#pragma once

#include "researchkit/core/device.hpp"

namespace researchkit::bench {

/// Takes `--device NAME` out of the arguments, which Google Benchmark does not know; the host where it is not
/// given. Throws Error for a name that is none, or has no device.
Device take_device(int& argc, char** argv);

/// Throws Error for another device than the host, in a program without cases for one.
void refuse_device(Device device, const char* name);

}  // namespace researchkit::bench
