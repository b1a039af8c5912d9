#include "search.hpp"

#include <fmt/format.h>

#include <array>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "researchkit/core/error.hpp"
#include "researchkit/core/random.hpp"

namespace rk = researchkit;
namespace bikt = researchkit::bikt;

namespace {

constexpr std::uint64_t kSearchSeeds = 1000;  // seeds of a search begin here
constexpr std::uint64_t kDraws = 0x736561726368;

struct Trial {
  Method plain, bikt;
};

Trial draw(const Method& plain, const Method& bikt, std::int64_t number) {
  Trial trial{plain, bikt};
  if (number == 0) return trial;
  const rk::Philox random(kDraws, static_cast<std::uint64_t>(number));
  std::uint64_t at = 0;
  const auto pick = [&](const auto& choices) {
    return choices[random.below(at++, choices.size())];
  };
  const double lr = pick(std::array{0.005, 0.01, 0.02, 0.05});
  const double decay = pick(std::array{5e-5, 5e-4, 1e-3, 5e-3});
  const double dropout = pick(std::array{0.3, 0.5, 0.6, 0.7});
  for (Method* method : {&trial.plain, &trial.bikt}) {
    method->training.lr = lr;
    method->training.weight_decay = decay;
    method->training.dropout = dropout;
  }
  auto& transfer = trial.bikt.training.transfer;
  transfer.temperature = pick(std::array{1.0, 2.0, 4.0});
  transfer.alpha_derived = pick(std::array{0.1, 0.3, 1.0});
  transfer.alpha_host = pick(std::array{0.0, 0.3, 1.0});
  transfer.mu = pick(std::array{0.0, 0.1, 0.3, 1.0});
  transfer.gate = pick(std::array{bikt::Gate::none, bikt::Gate::confident, bikt::Gate::agree,
                                  bikt::Gate::agree_or_confident});
  transfer.nu = pick(std::array{0.0, 0.1, 0.2});
  return trial;
}

double validation(const rk::Context& ctx, const Task& task, const Method& method,
                  std::int64_t seeds) {
  double sum = 0;
  for (std::int64_t k = 0; k < seeds; ++k) {
    sum += train_once(ctx, task, method, k).result.validation_accuracy;
  }
  return sum / static_cast<double>(seeds);
}

/// What identifies a trial's conditions in a log.
std::string key_of(const Task& task, const Method& method, std::int64_t seeds) {
  return fmt::format("{} {} {} seeds {} epochs {}", task.name(), task.split,
                     rk::name_of(method.host.host), seeds, method.training.epochs);
}

/// Validation accuracies of the trials that a log has of `key`.
std::map<std::int64_t, std::pair<double, double>> read_log(const std::filesystem::path& log,
                                                           const std::string& key) {
  std::map<std::int64_t, std::pair<double, double>> done;
  std::ifstream stream(log);
  std::string line;
  while (std::getline(stream, line)) {
    const auto json = nlohmann::json::parse(line, nullptr, false);
    // A last line that was cut off is made again.
    if (!json.is_object() || json.value("key", "") != key) continue;
    done[json.at("trial").get<std::int64_t>()] = {json.at("plain").get<double>(),
                                                  json.at("bikt").get<double>()};
  }
  return done;
}

}  // namespace

Found search(const rk::Context& ctx, const Task& task, const Method& plain, const Method& bikt,
             std::int64_t trials, std::int64_t seeds, const std::filesystem::path& log) {
  Task apart = task;
  // A published split is one of ten whatever the seed; then splits are those of the table, of which only
  // training and validation nodes are looked at.
  apart.seed += kSearchSeeds;
  const std::string key = key_of(task, plain, seeds);
  const auto done = read_log(log, key);
  Found found;
  for (std::int64_t number = 0; number < trials; ++number) {
    const Trial trial = draw(plain, bikt, number);
    const auto known = done.find(number);
    double without = 0, with = 0;
    if (known != done.end()) {
      std::tie(without, with) = known->second;
    } else {
      without = validation(ctx, apart, trial.plain, seeds);
      with = validation(ctx, apart, trial.bikt, seeds);
      const auto& t = trial.bikt.training;
      const nlohmann::ordered_json line = {{"key", key},
                                           {"trial", number},
                                           {"plain", without},
                                           {"bikt", with},
                                           {"lr", t.lr},
                                           {"wd", t.weight_decay},
                                           {"dropout", t.dropout},
                                           {"T", t.transfer.temperature},
                                           {"alpha_derived", t.transfer.alpha_derived},
                                           {"alpha_host", t.transfer.alpha_host},
                                           {"mu", t.transfer.mu},
                                           {"gate", rk::name_of(t.transfer.gate)},
                                           {"nu", t.transfer.nu}};
      if (!log.empty()) {
        std::ofstream stream(log, std::ios::app);
        stream << line.dump() << "\n";
        if (!stream.flush()) throw rk::Error("cannot write " + log.string());
      }
    }
    fmt::print(stderr, "trial {}: validation {:.2f} % alone, {:.2f} % with BiKT\n", number,
               100 * without, 100 * with);
    if (number == 0 || without > found.plain_validation) {
      found.plain = trial.plain;
      found.plain_validation = without;
    }
    if (number == 0 || with > found.bikt_validation) {
      found.bikt = trial.bikt;
      found.bikt_validation = with;
    }
  }
  return found;
}
