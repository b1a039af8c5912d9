#pragma once

#include "paired.hpp"

/// Trains both methods without a fraction of the test nodes and prints how well these are classified
/// afterwards, beside those that were seen.
void run_inductive(const researchkit::Context& ctx, const Task& task, const Method& plain,
                   const Method& bikt, double unobserved, std::int64_t seeds);
