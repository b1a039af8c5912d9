#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "researchkit/nfgnn/training.hpp"

namespace researchkit::nfgnn {

/// One setting of a search and the validation accuracies that it reached, split by split.
struct Trial {
  std::int64_t number = 0;  ///< 0: the settings that the search began with
  TrainingOptions options;
  std::vector<double> validation;

  /// The mean of the validation accuracies; 0 without any.
  double mean_validation() const;
};

/// How settings are searched for.
struct SearchOptions {
  std::int64_t trials = 100;
  std::uint64_t seed = 0;  ///< of the settings that are drawn
  /// Splits that the trials of each round are trained on, ascending; every round keeps the best of
  /// each `keep_one_of` trials.
  std::vector<std::int64_t> rounds = {1, 3, 10};
  std::int64_t keep_one_of = 4;
  std::filesystem::path log = {};  ///< one JSON line per trial and round; empty: none
};

/// Called after each trial of a round, one call at a time.
using TrialCallback = std::function<void(const Trial& trial, std::int64_t splits)>;

/// Random search with successive halving over the learning rates, weight decays, hidden units, dropout of
/// the filter and rank of NFGNN's authors, `base` being the first trial. Trials are compared by mean
/// validation accuracy alone, ties by number; returned best first, those of the last round before the others.
///
/// Trials run in parallel, one thread each; the result does not depend on how many. Lines that `log`
/// already has for the same data, seeds, splits and limits are not trained again, so a search that was
/// cut off goes on. Throws Error if the rounds do not ascend to at most the number of splits.
std::vector<Trial> search(const Context& ctx, const graph::NodeDataset& data,
                          std::span<const graph::Split> splits, const TrainingOptions& base,
                          const SearchOptions& options, const TrialCallback& callback = {});

}  // namespace researchkit::nfgnn
