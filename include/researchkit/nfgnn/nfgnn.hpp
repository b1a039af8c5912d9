#pragma once

// Node-oriented spectral filtering for graph neural networks: everything.
#include "researchkit/nfgnn/model.hpp"
#include "researchkit/nfgnn/operators.hpp"
#include "researchkit/nfgnn/scalable.hpp"
#include "researchkit/nfgnn/search.hpp"
#include "researchkit/nfgnn/training.hpp"
