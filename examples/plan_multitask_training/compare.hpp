#pragma once

#include <array>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "researchkit/dynapipe/dynapipe.hpp"

namespace rk = researchkit;
namespace dynapipe = researchkit::dynapipe;

using MiniBatches = std::vector<std::vector<dynapipe::SampleLength>>;

/// A model on a number of devices, for every degree of tensor parallelism that was measured.
struct Setting {
  std::string name;
  dynapipe::ModelKind kind = dynapipe::ModelKind::decoder;
  std::map<std::int64_t, dynapipe::ModelProfile> profiles;  // by tp
  std::int64_t layers = 32;                                 // of each half, for t5
  std::int64_t gpus = 8, chunks = 1;
  int zero = 1;
  double memory_mb = 36000;
  dynapipe::PlanOptions options;

  dynapipe::Model model(std::int64_t tp) const {
    const bool encdec = kind == dynapipe::ModelKind::encdec;
    return {&profiles.at(tp), layers, encdec ? layers : 0};
  }
  dynapipe::Cluster cluster(std::int64_t tp, std::int64_t pp) const;
};

/// How the devices are divided.
struct Division {
  std::int64_t tp, pp;
};
/// All that the devices and the layers allow, or the one that is asked for (0: any).
std::vector<Division> divisions(const Setting& setting, std::int64_t tp, std::int64_t pp);

/// What a method made of some mini-batches.
struct Score {
  std::string method, settings;
  double tokens_per_s = 0;  // real tokens
  double padding_efficiency = 0, bubble = 0, peak_mb = 0;
  double iteration_ms = 0, planning_ms = 0;  // means
  Division division{0, 0};
  std::optional<dynapipe::IterationPlan> first;  // plan of the first mini-batch
};

using Planner = std::function<dynapipe::IterationPlan(const std::vector<dynapipe::SampleLength>&)>;

/// Plans all mini-batches; nothing if one cannot be planned.
std::optional<Score> score(std::string method, std::string settings, const MiniBatches& batches,
                           const Planner& planner);

/// The best over all divisions. Throws the last refusal if none works.
Score best_dynapipe(const rk::Context& ctx, const Setting& setting, const MiniBatches& batches,
                    const std::vector<Division>& among);

/// Packing: the best of a grid over divisions, sequences per micro-batch and recomputation.
std::optional<Score> best_packing(const rk::Context& ctx, const Setting& setting,
                                  const MiniBatches& batches, std::int64_t max_seqlen,
                                  const std::vector<Division>& among);

/// Packing in the configuration that DynaPipe's artifact found for 8 A100s and 65,536 tokens; it
/// has none for other settings.
std::optional<Score> artifact_packing(const rk::Context& ctx, const Setting& setting,
                                      const MiniBatches& batches, std::int64_t max_seqlen);

/// Micro-batches by tokens, of a fixed size, and one batch, in the division of `like`.
std::vector<Score> other_baselines(const rk::Context& ctx, const Setting& setting,
                                   const MiniBatches& batches, const Division& like);
