#include "tests/tool/tool_process.hpp"

#include <sys/wait.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <sstream>

namespace researchkit::test {
namespace {

std::string content(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

}  // namespace

std::vector<std::string> ToolRun::output_lines() const { return lines_of(output); }
std::vector<std::string> ToolRun::error_lines() const { return lines_of(errors); }

ToolRun run_tool(const TemporaryFolder& folder, const std::string& arguments) {
  const TemporaryFolder streams;
  const auto out = streams / "out", err = streams / "err";
  const std::string command = "cd '" + folder.path().string() +
                              "' && '" RESEARCHKIT_TEST_TOOL "' " + arguments + " >'" +
                              out.string() + "' 2>'" + err.string() + "' </dev/null";
  const int status = std::system(command.c_str());
  return {WIFEXITED(status) ? WEXITSTATUS(status) : 128, content(out), content(err)};
}

}  // namespace researchkit::test
