// The command line tool: lists, runs, verifies and demonstrates every operator.
#include <fmt/format.h>

#include <cstdio>
#include <exception>
#include <new>

#include "researchkit/core/error.hpp"
#include "researchkit/core/version.hpp"
#include "src/tool/tool.hpp"

namespace researchkit::tool {
namespace {

/// One line, whatever the message holds.
void complain(std::string message) {
  for (char& c : message) {
    if (c == '\n' || c == '\r') c = ' ';
  }
  fmt::print(stderr, "researchkit: {}\n", message);
}

int parse_and_act(int argc, char** argv) {
  CLI::App app("researchkit: research kernels from the command line", "researchkit");
  app.set_version_flag("--version", std::string(version()), "print the version");
  app.require_subcommand(0, 1);
  app.fallthrough(false);
  app.footer(examples({"researchkit ops", "researchkit describe fusefps.farthest_point_sample",
                       "researchkit demo fusefps"}) +
             "\n`researchkit VERB --help` tells more. Exit status: 0 it worked, 1 refused or "
             "failed, 2 wrong command line.");
  Action action;
  add_ops(app, action);
  add_describe(app, action);
  add_run(app, action);
  add_verify(app, action);
  add_demo(app, action);
  add_doctor(app, action);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& request) {  // --help, --version
    return app.exit(request);
  } catch (const CLI::ParseError& error) {
    const auto verbs = app.get_subcommands();
    const std::string verb = verbs.empty() ? "" : " " + verbs.front()->get_name();
    complain(fmt::format("{} (`researchkit{} --help` tells how)", error.what(), verb));
    return kUsage;
  }
  if (!action) {
    fmt::print(stderr, "{}", app.help());
    return kUsage;
  }
  return action();
}

}  // namespace
}  // namespace researchkit::tool

int main(int argc, char** argv) {
  using namespace researchkit::tool;
  int status = kFailure;
  try {
    status = parse_and_act(argc, argv);
  } catch (const std::bad_alloc&) {
    complain("out of memory");
  } catch (const std::exception& error) {
    complain(error.what());
  }
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) {
    complain("standard output could not be written");
    return kFailure;
  }
  return status;
}
