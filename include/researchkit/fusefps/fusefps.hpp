#pragma once

// Farthest point sampling whose KD-tree is grown by the sampling itself: everything.
#include "researchkit/fusefps/accelerator_model.hpp"
#include "researchkit/fusefps/demo_clouds.hpp"
#include "researchkit/fusefps/neighbors.hpp"
#include "researchkit/fusefps/operators.hpp"
#include "researchkit/fusefps/sample.hpp"
#include "researchkit/fusefps/sampler.hpp"
