#include "researchkit/core/simd.hpp"

#include <hwy/highway.h>

#include <cstdint>
#include <cstdlib>
#include <mutex>

#include "researchkit/core/error.hpp"

namespace researchkit {
namespace {

// What the processor and the build have, without what a test may have forced.
std::int64_t runnable_targets() {
  static const std::int64_t targets = hwy::SupportedTargets() & HWY_TARGETS;
  return targets;
}

void use_targets(std::int64_t targets) {
  hwy::SetSupportedTargetsForTest(targets);
  hwy::GetChosenTarget().Update(targets == 0 ? runnable_targets() : targets);
}

void select(std::string_view name) {
  if (name.empty()) return use_targets(0);
  std::string known;
  for (std::int64_t rest = runnable_targets(); rest != 0; rest &= rest - 1) {
    const std::int64_t target = rest & -rest;
    if (name == hwy::TargetName(target)) return use_targets(target);
    known += known.empty() ? "" : ", ";
    known += hwy::TargetName(target);
  }
  throw Error("instruction set '" + std::string(name) + "' cannot run here; known: " + known);
}

std::once_flag environment_read;

}  // namespace

void initialize_simd() {
  std::call_once(environment_read, [] {
    runnable_targets();
    const char* name = std::getenv("RESEARCHKIT_SIMD_TARGET");
    if (name != nullptr) select(name);
  });
}

std::vector<std::string> simd_targets() {
  initialize_simd();
  std::vector<std::string> names;
  for (std::int64_t rest = runnable_targets(); rest != 0; rest &= rest - 1) {
    names.emplace_back(hwy::TargetName(rest & -rest));
  }
  return names;
}

std::string simd_target() {
  initialize_simd();
  const std::int64_t targets = hwy::SupportedTargets() & HWY_TARGETS;
  return hwy::TargetName(targets & -targets);
}

void force_simd_target(std::string_view name) {
  initialize_simd();
  select(name);
}

}  // namespace researchkit
