#pragma once

// Differentiating calls of operators, and training with the result.
#include "researchkit/autograd/gradcheck.hpp"
#include "researchkit/autograd/optimizers.hpp"
#include "researchkit/autograd/tape.hpp"
#include "researchkit/autograd/training.hpp"
