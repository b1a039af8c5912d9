#include <fmt/format.h>

#include <memory>
#include <vector>

#include "researchkit/core/reference_text.hpp"
#include "src/tool/tool.hpp"

namespace researchkit::tool {
namespace {

struct Options {
  std::vector<std::string> names;
  bool json = false;
  bool markdown = false;
};

int describe(const Options& options) {
  const Registry& registry = default_registry();
  std::vector<const Operator*> operators;
  for (const std::string& name : options.names) operators.push_back(&registry.at(name));
  if (options.names.empty()) {
    for (const auto& [name, op] : registry.operators()) operators.push_back(&op);
  }
  std::string_view separator;
  for (const Operator* op : operators) {
    fmt::print("{}{}", separator,
               options.json       ? to_json(*op) + "\n"
               : options.markdown ? to_markdown(*op)
                                  : to_text(*op));
    separator = options.json ? "" : "\n";
  }
  return kSuccess;
}

}  // namespace

void add_describe(CLI::App& app, Action& action) {
  auto options = std::make_shared<Options>();
  CLI::App* verb = app.add_subcommand("describe", "tell everything about operators");
  verb->add_option("OPERATOR", options->names, "names as `ops` lists them; none: all operators");
  auto* json = verb->add_flag("--json", options->json, "a JSON object per operator");
  verb->add_flag("--markdown", options->markdown, "a section per operator, for a document")
      ->excludes(json);
  verb->footer(examples({"researchkit describe fusefps.farthest_point_sample",
                         "researchkit describe --markdown > operators.md"}));
  verb->callback([options, &action] { action = [options] { return describe(*options); }; });
}

}  // namespace researchkit::tool
