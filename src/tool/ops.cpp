#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>

#include "researchkit/core/reference_text.hpp"
#include "src/tool/tool.hpp"

namespace researchkit::tool {
namespace {

struct Options {
  bool json = false;
  bool markdown = false;
};

int list_operators(const Options& options) {
  const Registry& registry = default_registry();
  if (options.markdown) {
    fmt::print("{}", markdown_table(registry));
    return kSuccess;
  }
  if (options.json) {
    auto list = nlohmann::ordered_json::array();
    for (const auto& [name, op] : registry.operators()) {
      list.push_back(nlohmann::ordered_json::parse(to_json(op)));
    }
    fmt::print("{}\n", list.dump(2));
    return kSuccess;
  }
  std::size_t width = 0;
  for (const auto& [name, op] : registry.operators()) width = std::max(width, name.size());
  for (const auto& [name, op] : registry.operators()) {
    fmt::print("{:<{}}  {}\n", name, width, op.summary());
  }
  return kSuccess;
}

}  // namespace

void add_ops(CLI::App& app, Action& action) {
  auto options = std::make_shared<Options>();
  CLI::App* verb = app.add_subcommand("ops", "list all operators");
  auto* json = verb->add_flag("--json", options->json, "everything about them, as a JSON list");
  verb->add_flag("--markdown", options->markdown, "a table for a document")->excludes(json);
  verb->footer(examples({"researchkit ops", "researchkit ops --json | jq '.[].operator'"}));
  verb->callback([options, &action] { action = [options] { return list_operators(*options); }; });
}

}  // namespace researchkit::tool
