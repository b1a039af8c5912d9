#pragma once

// Layers, first values and metrics that several papers share.
#include "researchkit/nn/initialize.hpp"
#include "researchkit/nn/metrics.hpp"
#include "researchkit/nn/operators.hpp"
#include "researchkit/nn/transformer.hpp"
