#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace researchkit::test {

struct IncludeViolation {
  std::string file;     // relative to the root
  int line;             // 1-based
  std::string include;  // what stands between the quotes or brackets
};

/// Reads every include of include/, src/ and kernels/ below `root` and returns those that look
/// upwards: core <- autograd, graph, nn <- the papers' namespaces <- src. A paper's namespace
/// includes no other one.
std::vector<IncludeViolation> find_include_violations(const std::filesystem::path& root);

}  // namespace researchkit::test
