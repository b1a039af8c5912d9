#include "layering/include_rules.hpp"

#include <algorithm>
#include <array>
#include <fstream>
#include <optional>
#include <regex>
#include <string_view>

namespace researchkit::test {
namespace {

namespace fs = std::filesystem;

constexpr std::array<std::string_view, 3> kMiddle = {"autograd", "graph", "nn"};
constexpr std::array<std::string_view, 10> kPapers = {
    "dynapipe", "bikt", "fusefps", "vcc", "pomp", "slapo", "spt", "smile", "nfgnn", "pascl"};

bool is_one_of(const auto& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

/// The part that a path belongs to: "core", "nn", "fusefps", ...; "top" for what may include
/// everything.
std::string part_of(const fs::path& relative) {
  std::vector<std::string> steps;
  for (const fs::path& step : relative) steps.push_back(step.string());
  std::size_t at = 0;
  if (steps[0] == "include") at = 2;  // include/researchkit/<part>/
  if (steps[0] == "src") at = 1;      // src/<part>/
  if (steps[0] == "kernels") at = 2;  // kernels/cpu/<part>/
  if (at + 1 >= steps.size()) return "top";
  const std::string& part = steps[at];
  return part == "core" || is_one_of(kMiddle, part) || is_one_of(kPapers, part) ? part : "top";
}

bool may_include(std::string_view from, std::string_view to) {
  if (from == to || from == "top" || to == "core") return true;
  if (from == "core" || to == "top") return false;
  if (is_one_of(kMiddle, from)) return is_one_of(kMiddle, to);
  return is_one_of(kMiddle, to);
}

/// The included file relative to the root, if it is one of ours.
std::optional<fs::path> ours(const std::string& include, const fs::path& includer) {
  const fs::path path = include;
  const std::string first = path.begin()->string();
  if (first == "researchkit") return "include" / path;
  if (first == "src" || first == "kernels") return path;
  if (include.find("..") != std::string::npos) {
    return (includer.parent_path() / path).lexically_normal();
  }
  return std::nullopt;
}

}  // namespace

std::vector<IncludeViolation> find_include_violations(const fs::path& root) {
  static const std::regex directive(R"(^\s*#\s*include\s*["<]([^">]+)[">])");
  std::vector<IncludeViolation> violations;
  for (const char* top : {"include", "src", "kernels"}) {
    if (!fs::exists(root / top)) continue;
    for (const auto& entry : fs::recursive_directory_iterator(root / top)) {
      if (!entry.is_regular_file()) continue;
      const fs::path file = fs::relative(entry.path(), root);
      std::ifstream stream(entry.path());
      std::string text;
      std::smatch match;
      for (int line = 1; std::getline(stream, text); ++line) {
        if (!std::regex_search(text, match, directive)) continue;
        const auto included = ours(match[1], file);
        if (included && !may_include(part_of(file), part_of(*included))) {
          violations.push_back({file.string(), line, match[1]});
        }
      }
    }
  }
  return violations;
}

}  // namespace researchkit::test
