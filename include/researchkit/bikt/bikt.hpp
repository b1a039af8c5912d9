#pragma once

// Bi-directional knowledge transfer between a graph network and its derived model (arXiv 2310.17132).
#include "researchkit/bikt/builtin_hosts.hpp"
#include "researchkit/bikt/host.hpp"
#include "researchkit/bikt/layers.hpp"
#include "researchkit/bikt/operators.hpp"
#include "researchkit/bikt/pooled_host.hpp"
#include "researchkit/bikt/training.hpp"
