#include "researchkit/nfgnn/search.hpp"

#include <algorithm>
#include <fstream>
#include <string>

#include "researchkit/graph/splits.hpp"
#include "support/catch.hpp"
#include "support/contains.hpp"
#include "support/temporary_folder.hpp"

namespace {

using namespace researchkit;
using namespace researchkit::nfgnn;

std::vector<graph::Split> club_splits(const graph::NodeDataset& data) {
  std::vector<graph::Split> splits;
  for (std::int64_t k = 0; k < 4; ++k) splits.push_back(split_of(data, "random", k, 7));
  return splits;
}

TrainingOptions short_training() {
  TrainingOptions options;
  options.epochs = 6;
  options.model.hidden = 8;
  return options;
}

std::size_t lines_of(const std::filesystem::path& file) {
  std::ifstream stream(file);
  std::size_t count = 0;
  for (std::string line; std::getline(stream, line);) ++count;
  return count;
}

}  // namespace

TEST_CASE("a search halves its trials, the best first, on any number of threads") {
  const Context one({.threads = 1}), many({.threads = 7});
  const auto data = graph::karate_club(one);
  const auto splits = club_splits(data);
  const SearchOptions options{.trials = 9, .seed = 3, .rounds = {1, 2, 4}, .keep_one_of = 3};
  const auto trials = search(one, data, splits, short_training(), options);
  REQUIRE(trials.size() == 9);
  std::vector<std::size_t> rounds;
  for (const Trial& trial : trials) rounds.push_back(trial.validation.size());
  CHECK(rounds == std::vector<std::size_t>{4, 2, 2, 1, 1, 1, 1, 1, 1});
  CHECK(trials[1].mean_validation() >= trials[2].mean_validation());
  // The first value of a trial is what training alone gives.
  TrainingOptions again = trials.front().options;
  again.model.seed = short_training().model.seed;
  CHECK(train(one, data, splits[0], again).validation_accuracy == trials.front().validation[0]);
  const auto threaded = search(many, data, splits, short_training(), options);
  for (std::size_t i = 0; i < trials.size(); ++i) {
    CHECK(threaded[i].number == trials[i].number);
    CHECK(threaded[i].validation == trials[i].validation);
  }
}

TEST_CASE("a search that was cut off goes on from its log") {
  const Context ctx({.threads = 2});
  const test::TemporaryFolder folder;
  const auto data = graph::karate_club(ctx);
  const auto splits = club_splits(data);
  SearchOptions options{.trials = 6, .rounds = {1, 3}, .keep_one_of = 2};
  const auto wanted = search(ctx, data, splits, short_training(), options);
  options.log = folder / "trials.jsonl";
  options.trials = 4;
  search(ctx, data, splits, short_training(), options);
  CHECK(lines_of(options.log) == 4 + 2);
  std::ofstream(options.log, std::ios::app) << "{\"conditions\": \"cut o";
  std::ofstream(options.log, std::ios::app) << "\n";
  options.trials = 6;
  const auto resumed = search(ctx, data, splits, short_training(), options);
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    CHECK(resumed[i].number == wanted[i].number);
    CHECK(resumed[i].mean_validation() == wanted[i].mean_validation());
  }
  const std::size_t lines = lines_of(options.log);
  search(ctx, data, splits, short_training(), options);
  CHECK(lines_of(options.log) == lines);  // nothing was left to train
  // Other limits are other trials.
  TrainingOptions longer = short_training();
  longer.epochs = 7;
  search(ctx, data, splits, longer, options);
  CHECK(lines_of(options.log) > lines);
}

TEST_CASE("a search refuses rounds that do not fit") {
  const Context ctx;
  const auto data = graph::karate_club(ctx);
  const auto splits = club_splits(data);
  for (const std::vector<std::int64_t>& rounds : {std::vector<std::int64_t>{}, {0}, {3, 2}, {5}}) {
    CHECK_THROWS_WITH(search(ctx, data, splits, short_training(), {.rounds = rounds}),
                      test::contains("rounds that ascend from 1 to 4"));
  }
  CHECK_THROWS_AS(search(ctx, data, splits, short_training(), {.trials = 0, .rounds = {1}}), Error);
}
