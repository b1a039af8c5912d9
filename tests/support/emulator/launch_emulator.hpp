#pragma once

#include <tuple>
#include <utility>

#include "tests/support/emulator/grid.hpp"

namespace researchkit::device {

using Launch = emulator::GridShape;

inline int largest_cluster(Device) { return 8; }

template <class... Parameters, class... Arguments>
void launch(const Context& ctx, Device, std::string_view name, void (*kernel)(Parameters...),
            const Launch& shape, Arguments&&... arguments) {
  const std::tuple<Parameters...> held(std::forward<Arguments>(arguments)...);
  emulator::run_grid(name, shape, ctx.threads(), [&] { std::apply(kernel, held); });
}

}  // namespace researchkit::device
