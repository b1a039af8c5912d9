#include "researchkit/nfgnn/search.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <numeric>
#include <utility>

#include "researchkit/core/parallel.hpp"
#include "researchkit/core/random.hpp"

namespace researchkit::nfgnn {
namespace {

constexpr std::uint64_t kDraws = 0x736561726368;  // apart from the streams of training

TrainingOptions draw(const TrainingOptions& base, std::uint64_t seed, std::int64_t number) {
  if (number == 0) return base;
  constexpr std::array kRates = {0.01, 0.05, 0.001, 0.005, 0.002};
  constexpr std::array kDecays = {5e-4, 2.5e-4, 1e-4, 1e-3, 2.5e-3, 5e-3, 0.0};
  const Philox random(seed, kDraws + static_cast<std::uint64_t>(number));
  std::uint64_t at = 0;
  const auto pick = [&](const auto& choices) {
    return choices[random.below(at++, choices.size())];
  };
  TrainingOptions drawn = base;
  drawn.lr = pick(kRates);
  drawn.filter_lr = pick(kRates);
  drawn.weight_decay = pick(kDecays);
  drawn.filter_weight_decay = pick(kDecays);
  drawn.model.hidden = pick(std::array<std::int64_t, 4>{32, 64, 128, 256});
  drawn.model.rank = pick(std::array<std::int64_t, 5>{1, 3, 5, 7, 10});
  drawn.model.filter_dropout = static_cast<double>(random.below(at++, 10)) / 10;
  return drawn;
}

nlohmann::ordered_json settings_of(const TrainingOptions& options) {
  return {{"lr", options.lr},
          {"prop_lr", options.filter_lr},
          {"wd", options.weight_decay},
          {"prop_wd", options.filter_weight_decay},
          {"hidden", options.model.hidden},
          {"rank", options.model.rank},
          {"dprate", options.model.filter_dropout}};
}

/// What must be the same for a line of a log to count.
std::string conditions_of(const graph::NodeDataset& data, std::span<const graph::Split> splits,
                          const TrainingOptions& base) {
  std::uint64_t hash = 14695981039346656037U;  // FNV-1a of the roles
  for (const graph::Split& split : splits) {
    for (const auto role : split) hash = (hash ^ static_cast<std::uint64_t>(role)) * 1099511628211U;
  }
  return fmt::format("{} splits {:016x} seed {} epochs {} stop {} K {} dropout {}", data.name, hash,
                     base.model.seed, base.epochs, base.early_stop, base.model.K,
                     base.model.dropout);
}

/// The trials of a search, on disk.
class TrialLog {
 public:
  TrialLog(std::filesystem::path file, std::string conditions)
      : file_(std::move(file)), conditions_(std::move(conditions)) {
    std::ifstream stream(file_);
    for (std::string line; std::getline(stream, line);) {
      const auto json =
          nlohmann::json::parse(line, nullptr, false);  // a cut last line is no object
      if (!json.is_object() || json.value("conditions", "") != conditions_) continue;
      if (!json.contains("settings") || !json.contains("validation")) continue;
      auto& known = known_[json["settings"].dump()];
      if (json["validation"].size() > known.size()) {
        known = json["validation"].get<std::vector<double>>();
      }
    }
  }

  /// Appends what is known of the trial's further splits, at most up to `splits` of them.
  void recall(Trial& trial, std::int64_t splits) const {
    const auto found = known_.find(key_of(trial));
    if (found == known_.end()) return;
    const auto count = std::min(found->second.size(), static_cast<std::size_t>(splits));
    for (std::size_t k = trial.validation.size(); k < count; ++k) {
      trial.validation.push_back(found->second[k]);
    }
  }
  void write(const Trial& trial) {
    if (file_.empty()) return;
    const nlohmann::ordered_json line = {{"conditions", conditions_},
                                         {"trial", trial.number},
                                         {"settings", settings_of(trial.options)},
                                         {"validation", trial.validation},
                                         {"mean", trial.mean_validation()}};
    std::ofstream stream(file_, std::ios::app);
    stream << line.dump() << "\n";
    if (!stream.flush()) throw Error("cannot write " + file_.string());
  }

 private:
  static std::string key_of(const Trial& trial) {
    return nlohmann::json(settings_of(trial.options)).dump();
  }

  std::filesystem::path file_;
  std::string conditions_;
  std::map<std::string, std::vector<double>> known_;
};

void check(const SearchOptions& options, std::size_t splits) {
  const bool ascends = std::is_sorted(options.rounds.begin(), options.rounds.end());
  if (options.trials < 1 || options.keep_one_of < 1 || options.rounds.empty() || !ascends ||
      options.rounds.front() < 1 || options.rounds.back() > static_cast<std::int64_t>(splits)) {
    throw Error(fmt::format(
        "search: at least one trial and rounds that ascend from 1 to {} splits wanted", splits));
  }
}

}  // namespace

double Trial::mean_validation() const {
  if (validation.empty()) return 0;
  return std::accumulate(validation.begin(), validation.end(), 0.0) /
         static_cast<double>(validation.size());
}

std::vector<Trial> search(const Context& ctx, const graph::NodeDataset& data,
                          std::span<const graph::Split> splits, const TrainingOptions& base,
                          const SearchOptions& options, const TrialCallback& callback) {
  check(options, splits.size());
  TrialLog log(options.log, conditions_of(data, splits, base));
  std::vector<Trial> trials;
  for (std::int64_t number = 0; number < options.trials; ++number) {
    trials.push_back({number, draw(base, options.seed, number), {}});
  }
  std::mutex mutex;
  auto alive = static_cast<std::int64_t>(trials.size());
  for (std::size_t round = 0; round < options.rounds.size(); ++round) {
    if (round > 0) alive = std::max<std::int64_t>(1, alive / options.keep_one_of);
    const std::int64_t wanted = options.rounds[round];
    parallel_blocks(ctx, alive, [&](std::int64_t i) {
      Trial& trial = trials[static_cast<std::size_t>(i)];
      log.recall(trial, wanted);
      const auto known = static_cast<std::int64_t>(trial.validation.size());
      const Context alone({.threads = 1});
      for (std::int64_t k = known; k < wanted; ++k) {
        ctx.check_cancelled();
        TrainingOptions setting = trial.options;
        setting.model.seed = base.model.seed + static_cast<std::uint64_t>(k);
        const auto result = train(alone, data, splits[static_cast<std::size_t>(k)], setting);
        trial.validation.push_back(result.validation_accuracy);
      }
      const std::lock_guard lock(mutex);
      if (known < wanted) log.write(trial);
      if (callback) callback(trial, wanted);
    });
    // Those that were left behind stay behind.
    std::sort(trials.begin(), trials.begin() + alive, [](const Trial& a, const Trial& b) {
      const double x = a.mean_validation(), y = b.mean_validation();
      return x > y || (x == y && a.number < b.number);
    });
  }
  return trials;
}

}  // namespace researchkit::nfgnn
