#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "researchkit/nfgnn/nfgnn.hpp"

/// One trained split.
struct SplitResult {
  std::int64_t split = 0;
  double majority = 0;  ///< test accuracy of the most frequent class
  researchkit::nfgnn::TrainingResult training = {};
  std::vector<std::int32_t> nodes = {};  ///< that the coefficients are of; empty: all
};

/// One line per split.
void write_csv(const std::filesystem::path& file, const std::vector<SplitResult>& results);

/// Losses and accuracies over the epochs of one split, as a picture.
void write_curves(const std::filesystem::path& file, const std::string& title,
                  const researchkit::nfgnn::TrainingResult& training);

/// The filter responses g_i(lambda) over [0, 2] of the mean node of each fifth by local homophily: low
/// lambda keeps what neighbours share, high lambda what sets them apart.
void write_responses(const std::filesystem::path& file, const researchkit::graph::NodeDataset& data,
                     const SplitResult& result);
