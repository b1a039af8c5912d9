#pragma once

// Dynamic micro-batches and pipelines for training on sequences of very different lengths:
// everything.
#include "researchkit/dynapipe/operators.hpp"
#include "researchkit/dynapipe/plan_file.hpp"
#include "researchkit/dynapipe/planner.hpp"
#include "researchkit/dynapipe/profile.hpp"
