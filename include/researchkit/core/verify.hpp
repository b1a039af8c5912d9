#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "researchkit/core/registry.hpp"

namespace researchkit {

/// The outcome of one golden case or of one call that must be refused.
struct CaseResult {
  std::string name;     ///< its path below the folder that is verified; "errors.json[3]" for a call
  std::string failure;  ///< what is wrong, empty if nothing
  bool ran = true;      ///< false: the operator has no kernel for the device
  bool passed() const { return ran && failure.empty(); }
};

struct VerifyOptions {
  /// Which of an operator's two implementations is held against the cases.
  detail::Path path = detail::Path::run;
  /// Called after each case.
  std::function<void(const CaseResult&)> on_case = {};
};

/// Runs every `case.json` below `folder` and every call of every `errors.json`, sorted by path.
///
/// The namespace of an operator is the name of the folder that holds the case's folder; where there
/// is no such operator, the one operator of that name in any namespace. The tensors of a case are
/// moved to the device of `ctx`. Throws Error only if
/// `folder` cannot be read: a broken case is a failed one.
std::vector<CaseResult> verify(const Registry& registry, const std::filesystem::path& folder,
                               const Context& ctx, const VerifyOptions& options = {});

}  // namespace researchkit
