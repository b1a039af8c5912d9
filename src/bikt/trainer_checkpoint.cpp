#include <fmt/format.h>

#include <algorithm>

#include "researchkit/core/error.hpp"
#include "researchkit/core/io/safetensors.hpp"
#include "src/bikt/trainer_state.hpp"

namespace researchkit::bikt {
namespace {

constexpr const char* kBest = "trainer/best/";
constexpr const char* kHistory = "trainer/history/";

/// Calls use(name, list) for every list of a result.
template <class Result, class Use>
void for_lists(Result& result, Use&& use) {
  use("losses", result.losses);
  use("validation_losses", result.validation_losses);
  use("validation_accuracies", result.validation_accuracies);
  use("test_accuracies", result.test_accuracies);
  use("derived_validation_accuracies", result.derived_validation_accuracies);
  use("derived_test_accuracies", result.derived_test_accuracies);
  use("agreement", result.agreement);
}

}  // namespace

void Trainer::save(const std::filesystem::path& file) const {
  const State& s = *state_;
  std::map<std::string, Tensor> tensors = s.adam->state();
  for (const auto& [name, tensor] : s.best) tensors.emplace(kBest + name, tensor);
  for_lists(s.result, [&]<class T>(const char* name, const std::vector<T>& list) {
    tensors.emplace(
        std::string(kHistory) + name,
        Tensor::from(std::span<const T>(list), {static_cast<std::int64_t>(list.size())}));
  });
  if (s.ema_host.defined()) {
    tensors.emplace("trainer/ema/host", s.ema_host);
    tensors.emplace("trainer/ema/derived", s.ema_derived);
  }
  tensors.emplace("trainer/stage", Tensor::scalar(s.stage));
  tensors.emplace("trainer/stage_begin", Tensor::scalar(s.stage_begin));
  tensors.emplace("trainer/seconds", Tensor::scalar(s.result.seconds));
  tensors.emplace("trainer/lowered", Tensor::scalar(std::int64_t{s.result.lowered ? 1 : 0}));
  write_safetensors(file, tensors,
                    {{"model", "bikt trainer"},
                     {"schedule", std::string(researchkit::name_of(s.options.schedule))}});
}

void Trainer::load(const std::filesystem::path& file) {
  State& s = *state_;
  const SafeTensors stored = read_safetensors(file);
  const auto refuse = [&](const std::string& what) {
    throw Error(fmt::format("{}: {}", file.string(), what));
  };
  const auto found = stored.metadata.find("schedule");
  if (found == stored.metadata.end() || found->second != name_of(s.options.schedule)) {
    refuse(fmt::format("it is no checkpoint of schedule {}", name_of(s.options.schedule)));
  }
  const auto tensor = [&]<class T>(const std::string& name, T) -> const Tensor& {
    const auto at = stored.tensors.find(name);
    if (at == stored.tensors.end()) refuse(fmt::format("it has no tensor '{}'", name));
    if (at->second.dtype() != dtype_of<T>) refuse(fmt::format("'{}' is of another type", name));
    return at->second;
  };
  const auto number = [&]<class T>(const std::string& name, T type) {
    const Tensor& scalar = tensor(name, type);
    if (scalar.size() != 1) refuse(fmt::format("'{}' is no number", name));
    return scalar.values<T>()[0];
  };
  // All of it is read before anything changes.
  TrainingResult result;
  for_lists(result, [&]<class T>(const char* name, std::vector<T>& list) {
    const auto values = tensor(std::string(kHistory) + name, T{}).template values<T>();
    list.assign(values.begin(), values.end());
  });
  const std::size_t epochs = result.losses.size();
  for_lists(result, [&](const char* name, const auto& list) {
    const std::string_view key = name;
    const bool derived = key.starts_with("derived") || key == "agreement";
    const std::size_t wanted = derived && !s.both() ? 0 : epochs;
    if (list.size() != wanted) refuse(fmt::format("'{}' is not of {} epochs", name, wanted));
  });
  const std::int64_t stage = number("trainer/stage", std::int64_t{});
  const std::int64_t begin = number("trainer/stage_begin", std::int64_t{});
  const bool two = s.options.schedule == Schedule::two_stage;
  if (stage < 0 || stage > (two ? 1 : 0) || begin < 0 ||
      begin > static_cast<std::int64_t>(epochs)) {
    refuse("its stage is none of this schedule");
  }
  result.seconds = number("trainer/seconds", double{});
  result.lowered = number("trainer/lowered", std::int64_t{}) != 0;
  std::map<std::string, Tensor> best;
  for (const auto& [name, variable] : s.host->parameters()) {
    if (epochs == 0) break;
    const Tensor& value = tensor(kBest + name, float{});
    if (value.shape() != variable.value().shape())
      refuse(fmt::format("'{}' has another shape", name));
    best.emplace(name, value.clone());
  }
  Tensor ema_host, ema_derived;
  if (stored.tensors.contains("trainer/ema/host")) {
    ema_host = tensor("trainer/ema/host", float{}).clone();
    ema_derived = tensor("trainer/ema/derived", float{}).clone();
    for (const Tensor* ema : {&ema_host, &ema_derived}) {
      if (ema->rank() != 2 || ema->extent(0) != s.labels.size())
        refuse("its teachers are of another graph");
    }
  }
  s.adam->load_state(stored.tensors);

  s.result = std::move(result);
  s.result.epochs = begin;
  s.begin_stage(stage);
  s.adam->load_state(stored.tensors);
  s.best = std::move(best);
  s.ema_host = ema_host;
  s.ema_derived = ema_derived;
  s.eval_host = s.eval_derived = Tensor();
  s.ended = false;
  s.derived_best_validation = -1;
  for (std::int64_t epoch = 0; epoch < static_cast<std::int64_t>(epochs); ++epoch) {
    // The stopping rule counts from the stage's beginning, the best epoch from the first.
    if (epoch == begin) s.stop.emplace(s.options.patience);
    s.follow(epoch, false);
  }
  if (begin == static_cast<std::int64_t>(epochs)) {
    s.stop.emplace(s.options.patience);
    s.ended = false;
  }
  if (s.result.lowered) s.lower();
}

}  // namespace researchkit::bikt
