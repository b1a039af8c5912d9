#pragma once

#include <filesystem>

#include "paired.hpp"

/// One line for each seed.
void write_csv(const std::filesystem::path& file, const std::vector<Pair>& pairs);

/// Test accuracies of both branches over the epochs and how often they agree, as a picture.
void write_curves(const std::filesystem::path& file, const std::string& title, const Pair& pair);

/// A section of a report: summary.json, pictures and CSV.
void write_report(const std::filesystem::path& folder, const Task& task, const std::string& host,
                  const std::vector<Pair>& pairs);
