#pragma once

// What the tests of kernels share: calls on a device held against those of the CPU.

#include <string>
#include <string_view>

#include "researchkit/core/compare.hpp"
#include "researchkit/core/registry.hpp"
#include "support/catch.hpp"
#include "support/skip.hpp"

namespace researchkit::test {

/// Calls check(device), or lists the test as skipped where there is no CUDA device.
template <class Check>
void on_cuda(Check&& check) {
  const Backend* cuda = cuda_backend();
  if (cuda == nullptr || cuda->device_count() == 0) {
    skip("no CUDA device");
    return;
  }
  check(Device::cuda(0));
}

/// Nothing may differ, but for operators with an exponential, a logarithm or a hyperbolic tangent of
/// the library on a device that has its own: there they differ in the last bits.
inline Tolerance device_tolerance(std::string_view name, Device device) {
  if (device.backend != cuda_backend()) return {};
  for (const std::string_view with_library : {"graph.edge_softmax", "graph.log_softmax", "nn.",
                                              "nfgnn.node_filter", "nfgnn.node_oriented"}) {
    if (name.starts_with(with_library)) return {.rtol = 1e-5, .atol = 1e-5};
  }
  return {};
}

/// Holds the outputs of a call on the device against those of the CPU.
inline void check_call(Device device, const std::string& name, const Arguments& call) {
  const Operator& op = default_registry().at(name);
  Arguments there = call;
  for (auto& [input, tensor] : there.inputs) tensor = tensor.to(device);
  const TensorMap want = op.run(Context(), call).outputs;
  const TensorMap got = op.run(Context({.device = device}), there).outputs;
  CHECK(got.size() == want.size());
  for (const auto& [output, tensor] : got) {
    INFO(name << " of " << to_string(call.inputs.begin()->second.shape()) << ": " << output);
    const auto words =
        difference(tensor.to(Device::host()), want.at(output), device_tolerance(name, device));
    INFO(words.value_or(""));
    CHECK_FALSE(words.has_value());
  }
}

}  // namespace researchkit::test
