#include "src/tool/demo.hpp"

#include <fmt/format.h>

#include <memory>

#include "src/tool/tool.hpp"

namespace researchkit::tool {
namespace {

struct Demo {
  std::string_view name;
  std::string_view title;
  void (*run)(const Context& ctx);
};

/// Every namespace has a line here and its function in demo_<namespace>.cpp.
constexpr Demo kDemos[] = {
    {"dynapipe", "dynamic pipelines for a mixture of tasks", demo_dynapipe},
    {"fusefps", "farthest point sampling of a LiDAR scan", demo_fusefps},
};

struct Options {
  std::string name;
  int threads = 0;
};

int run_demos(const Options& options) {
  const Context ctx({.threads = options.threads});
  bool found = false;
  for (const Demo& demo : kDemos) {
    if (!options.name.empty() && options.name != demo.name) continue;
    found = true;
    fmt::print("{}: {}\n\n", demo.name, demo.title);
    demo.run(ctx);
  }
  if (found) return kSuccess;
  std::string names;
  for (const Demo& demo : kDemos) names += fmt::format(" {}", demo.name);
  throw Error(fmt::format("there is no demo of '{}'; there are:{}", options.name, names));
}

}  // namespace

void add_demo(CLI::App& app, Action& action) {
  auto options = std::make_shared<Options>();
  CLI::App* verb = app.add_subcommand("demo", "show what a namespace does, on data it has inside");
  verb->add_option("NAMESPACE", options->name, "which one; all if none is named");
  verb->add_option("--threads", options->threads, "threads; 0: OMP_NUM_THREADS or all processors")
      ->check(CLI::Range(0, 4096));
  verb->footer(examples({"researchkit demo", "researchkit demo fusefps"}));
  verb->callback([options, &action] { action = [options] { return run_demos(*options); }; });
}

}  // namespace researchkit::tool
