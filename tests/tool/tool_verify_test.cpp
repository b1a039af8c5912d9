#include <filesystem>

#include "researchkit/core/io/file.hpp"
#include "support/catch.hpp"
#include "tests/tool/tool_process.hpp"

using namespace researchkit;
using namespace researchkit::test;

namespace {

const std::filesystem::path kGolden = RESEARCHKIT_TEST_GOLDEN_DIR "/fusefps";

std::filesystem::path copy_case(const TemporaryFolder& folder, const std::string& name) {
  const auto target = folder.path() / "fusefps" / name;
  std::filesystem::create_directories(target.parent_path());
  std::filesystem::copy(kGolden / name, target, std::filesystem::copy_options::recursive);
  return target;
}

}  // namespace

TEST_CASE("verify counts cases and fails if one fails") {
  const TemporaryFolder folder;
  copy_case(folder, "underflow_fused");
  const ToolRun good = run_tool(folder, "verify .");
  CHECK(good.status == 0);
  CHECK(good.output == "1 passed, 0 failed\n");

  // A case whose expected indices are those of another cloud.
  const auto broken = copy_case(folder, "underflow_bucket");
  std::filesystem::copy_file(kGolden / "split_median_bucket/out_indices.npy",
                             broken / "out_indices.npy",
                             std::filesystem::copy_options::overwrite_existing);
  const ToolRun bad = run_tool(folder, "verify .");
  CHECK(bad.status == 1);
  REQUIRE(bad.output_lines().size() == 2);
  CHECK(bad.output_lines()[0].find("underflow_bucket") != std::string::npos);
  CHECK(bad.output_lines()[1] == "1 passed, 1 failed");
}

TEST_CASE("verify runs calls that must be refused") {
  const TemporaryFolder folder;
  std::filesystem::create_directories(folder / "fusefps");
  const std::string call =
      R"({"operator": "farthest_point_sample", "attributes": {"k": K}, "argument": "k", "why": "",
          "inputs": {"points": {"dtype": "float32", "shape": [1, 4, 2]}}})";
  const auto write = [&](const std::string& k) {
    std::string text = call;
    text.replace(text.find('K'), 1, k);
    write_file(folder / "fusefps/errors.json", "[" + text + "]");
  };
  write("5");
  CHECK(run_tool(folder, "verify .").status == 0);
  write("4");
  const ToolRun legal = run_tool(folder, "verify .");
  CHECK(legal.status == 1);
  CHECK(legal.output_lines().back() == "0 passed, 1 failed");
}

TEST_CASE("verify fails where nothing ran") {
  const TemporaryFolder folder;
  const ToolRun empty = run_tool(folder, "verify .");
  CHECK(empty.status == 1);
  CHECK(empty.output == "0 passed, 0 failed\n");
  CHECK(run_tool(folder, "verify missing").status == 1);
}
