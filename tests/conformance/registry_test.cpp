// Every registered operator is held against every rule; a failing one is named in the message.
#include <cstdlib>
#include <filesystem>
#include <functional>

#include "researchkit/core/registry.hpp"
#include "researchkit/core/simd.hpp"
#include "researchkit/core/verify.hpp"
#include "support/catch.hpp"
#include "support/conformance.hpp"

using namespace researchkit;
using conformance::Failures;

namespace {

void check_all(const std::function<Failures(const Operator&)>& check) {
  REQUIRE_FALSE(default_registry().operators().empty());
  for (const auto& [name, op] : default_registry().operators()) {
    const Failures failures = check(op);
    for (std::size_t i = 0; i < failures.size() && i < 5; ++i) UNSCOPED_INFO(failures[i]);
    INFO(name << ": " << failures.size() << " failures");
    CHECK(failures.empty());
  }
}

/// The cases that the project ships, and those of $RESEARCHKIT_GOLDENS.
std::vector<std::filesystem::path> golden_folders() {
  std::vector<std::filesystem::path> folders = {RESEARCHKIT_TEST_GOLDEN_DIR};
  if (const char* more = std::getenv("RESEARCHKIT_GOLDENS")) folders.emplace_back(more);
  return folders;
}

void check_goldens(const Context& ctx, detail::Path path) {
  for (const auto& folder : golden_folders()) {
    // Cases of namespaces that have no operators yet are not this build's to pass.
    for (const auto& space : std::filesystem::directory_iterator(folder)) {
      const std::string prefix = space.path().filename().string() + ".";
      const auto first = default_registry().operators().lower_bound(prefix);
      if (first == default_registry().operators().end() || !first->first.starts_with(prefix))
        continue;
      const auto results =
          verify(default_registry(), space.path(), ctx, {.path = path, .on_case = {}});
      CHECK_FALSE(results.empty());
      for (const CaseResult& result : results) {
        INFO(prefix << result.name << ": " << result.failure);
        CHECK(result.passed());
      }
    }
  }
}

}  // namespace

TEST_CASE("run reproduces the golden cases for any number of threads") {
  for (const int threads : {1, 2, 3, 7})
    check_goldens(Context({.threads = threads}), detail::Path::run);
}

TEST_CASE("run reproduces the golden cases on every instruction set") {
  for (const std::string& target : simd_targets()) {
    INFO(target);
    force_simd_target(target);
    check_goldens(Context(), detail::Path::run);
  }
  force_simd_target("");
}

TEST_CASE("reference reproduces the golden cases") {
  check_goldens(Context(), detail::Path::reference);
}

TEST_CASE("run equals reference on random calls") { check_all(conformance::run_equals_reference); }

TEST_CASE("1, 2, 3 and 7 threads give the same bits") {
  check_all(conformance::threads_do_not_matter);
}

TEST_CASE("every instruction set gives the same bits") {
  check_all(conformance::instruction_sets_do_not_matter);
}

TEST_CASE("strided and offset views give the same bits") {
  check_all(conformance::strides_do_not_matter);
}

TEST_CASE("the same call twice gives the same bits") {
  check_all(conformance::calls_leave_no_trace);
}

TEST_CASE("backward operators give the derivative") {
  check_all([](const Operator& op) {
    return conformance::gradients_match_differences(default_registry(), op);
  });
}

TEST_CASE("illegal calls are refused before an output is touched") {
  check_all(conformance::illegal_calls_are_refused);
}

TEST_CASE("costs are what the plain loops do") {
  check_all(conformance::cost_matches_counted_flops);
}
