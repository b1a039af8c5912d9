#pragma once

// Sparse graphs: operators, data sets, splits, formats.
#include "researchkit/graph/csr.hpp"
#include "researchkit/graph/datasets.hpp"
#include "researchkit/graph/import.hpp"
#include "researchkit/graph/operators.hpp"
#include "researchkit/graph/splits.hpp"
#include "researchkit/graph/synthetic.hpp"
