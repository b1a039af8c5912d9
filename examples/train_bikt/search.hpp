#pragma once

#include <filesystem>

#include "paired.hpp"

/// What a search found: the settings of the best mean validation accuracy, for each method of its own.
struct Found {
  Method plain, bikt;
  double plain_validation = 0, bikt_validation = 0;
};

/// Random search on validation accuracy alone. Trial 0 has the given settings, others draw learning
/// rate, decay and dropout, the same for both methods, and the weights of transfer; each is trained on
/// `seeds` seeds apart from those of the table. One JSON line for each trial is appended to `log`, if
/// it is not empty, and trials that are there already are not run again.
Found search(const researchkit::Context& ctx, const Task& task, const Method& plain,
             const Method& bikt, std::int64_t trials, std::int64_t seeds,
             const std::filesystem::path& log);
