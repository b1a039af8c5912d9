#pragma once

#include <filesystem>
#include <vector>

#include "researchkit/dynapipe/lengths.hpp"

/// Reads lengths of samples: .jsonl with "input" and, where there are targets, "target" in each
/// line; .csv with two columns; .npy of shape [n, 2]. Throws researchkit::Error naming the line.
std::vector<researchkit::dynapipe::SampleLength> read_lengths(const std::filesystem::path& file);
