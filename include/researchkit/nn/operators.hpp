#pragma once

// The operators of layers that several papers share.
#include "researchkit/nn/operators_activation.hpp"
#include "researchkit/nn/operators_attention.hpp"
#include "researchkit/nn/operators_embedding.hpp"
#include "researchkit/nn/operators_linear.hpp"
#include "researchkit/nn/operators_norm.hpp"

namespace researchkit {
class Registry;
}

namespace researchkit::nn {

/// Registers them all.
void register_nn(Registry& registry);

}  // namespace researchkit::nn
