#include <nlohmann/json.hpp>

#include "researchkit/core/registry.hpp"
#include "support/catch.hpp"
#include "support/contains.hpp"
#include "tests/tool/tool_process.hpp"

using namespace researchkit;
using namespace researchkit::test;

TEST_CASE("a command line that makes no sense gives status 2 and a line on standard error") {
  const TemporaryFolder folder;
  for (const std::string arguments :
       {"bogus", "ops --bogus", "run", "run --repeat 0 x", "ops --json --markdown", "verify",
        "run fusefps.lidar_scan --threads -1", "run fusefps.lidar_scan --seed pi", "ops extra"}) {
    INFO(arguments);
    const ToolRun run = run_tool(folder, arguments);
    CHECK(run.status == 2);
    CHECK(run.output.empty());
    CHECK(run.error_lines().size() == 1);
    CHECK_THAT(run.errors, contains("--help` tells how"));
  }
  CHECK(run_tool(folder, "").status == 2);
}

TEST_CASE("help and version go to standard output with status 0") {
  const TemporaryFolder folder;
  for (const std::string arguments : {"--help", "run --help", "verify --help", "demo --help"}) {
    const ToolRun run = run_tool(folder, arguments);
    CHECK(run.status == 0);
    CHECK(run.errors.empty());
    CHECK_THAT(run.output, contains("Examples:"));
  }
  CHECK(run_tool(folder, "--version").output == RESEARCHKIT_VERSION "\n");
}

TEST_CASE("ops lists every operator, as text, JSON and Markdown") {
  const TemporaryFolder folder;
  const std::size_t count = default_registry().operators().size();
  CHECK(run_tool(folder, "ops").output_lines().size() == count);
  CHECK(run_tool(folder, "ops --markdown").output_lines().size() == count + 2);
  const auto list = nlohmann::json::parse(run_tool(folder, "ops --json").output);
  REQUIRE(list.size() == count);
  for (const auto& entry : list) {
    const Operator& op = default_registry().at(entry.at("operator").get<std::string>());
    CHECK(entry.at("inputs").size() + entry.at("outputs").size() + entry.at("attributes").size() +
              entry.at("extents").size() ==
          op.schema().arguments.size());
  }
}

TEST_CASE("describe tells of one operator and answers an unknown one with the nearest") {
  const TemporaryFolder folder;
  const ToolRun text = run_tool(folder, "describe fusefps.farthest_point_sample");
  CHECK(text.status == 0);
  CHECK_THAT(text.output, contains("points"));
  CHECK_THAT(text.output, contains("float32 or float64"));
  const auto json =
      nlohmann::json::parse(run_tool(folder, "describe --json fusefps.ball_query").output);
  CHECK(json.at("operator") == "fusefps.ball_query");
  CHECK(json.at("T") == nlohmann::json({"float32", "float64"}));
  const ToolRun unknown = run_tool(folder, "describe fusefps.bal_query");
  CHECK(unknown.status == 1);
  CHECK_THAT(unknown.errors, contains("did you mean 'fusefps.ball_query'?"));
}

TEST_CASE("output that cannot be written is a failure") {
  const TemporaryFolder folder;
  // What run_tool puts behind the arguments is a comment for the shell.
  CHECK(run_tool(folder, "ops >/dev/full 2>/dev/null #").status == 1);
}

TEST_CASE("doctor tells what the machine has") {
  const TemporaryFolder folder;
  const ToolRun run = run_tool(folder, "doctor --threads 1");
  CHECK(run.status == 0);
  for (const std::string what : {"instruction sets", "BLAS", "threads", "CUDA", "MPI", "GB/s"}) {
    CHECK_THAT(run.output, contains(what));
  }
}

TEST_CASE("the demo of fusefps sees all methods agree") {
  const TemporaryFolder folder;
  const ToolRun run = run_tool(folder, "demo fusefps");
  CHECK(run.status == 0);
  CHECK_THAT(run.output, contains("identical index sequence: yes"));
  CHECK(run_tool(folder, "demo bogus").status == 1);
}
