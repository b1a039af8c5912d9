#pragma once

#include <string>
#include <vector>

#include "support/temporary_folder.hpp"

namespace researchkit::test {

/// What a run of the tool left behind.
struct ToolRun {
  int status = -1;
  std::string output, errors;

  std::vector<std::string> output_lines() const;
  std::vector<std::string> error_lines() const;
};

/// Runs the tool as a process of its own. `arguments` is a piece of shell command line; `folder` is
/// where it runs.
ToolRun run_tool(const TemporaryFolder& folder, const std::string& arguments);

}  // namespace researchkit::test
