#pragma once

// The operators of the graph layer.
#include "researchkit/core/registry.hpp"
#include "researchkit/graph/operators_attention.hpp"
#include "researchkit/graph/operators_build.hpp"
#include "researchkit/graph/operators_dense.hpp"
#include "researchkit/graph/operators_sparse.hpp"

namespace researchkit::graph {

/// Registers them all.
void register_graph(Registry& registry);

}  // namespace researchkit::graph
