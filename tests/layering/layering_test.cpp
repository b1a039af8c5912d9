#include <filesystem>
#include <fstream>
#include <string>

#include "layering/include_rules.hpp"
#include "support/catch.hpp"
#include "support/temporary_folder.hpp"

namespace {

namespace fs = std::filesystem;
using researchkit::test::find_include_violations;
using researchkit::test::TemporaryFolder;

/// In a source tree of one file with one include.
std::size_t violations_of(const std::string& file, const std::string& include) {
  const TemporaryFolder tree;
  fs::create_directories((tree.path() / file).parent_path());
  std::ofstream(tree.path() / file) << "#pragma once\n#include " << include << "\n";
  return find_include_violations(tree.path()).size();
}

}  // namespace

TEST_CASE("no file of the project includes what lies above it") {
  for (const auto& violation : find_include_violations(RESEARCHKIT_TEST_SOURCE_DIR)) {
    FAIL_CHECK(violation.file << ":" << violation.line << " includes " << violation.include);
  }
}

TEST_CASE("an include that looks upwards or sideways is found") {
  CHECK(violations_of("include/researchkit/core/a.hpp", "\"researchkit/nn/b.hpp\"") == 1);
  CHECK(violations_of("include/researchkit/core/a.hpp", "<researchkit/fusefps/b.hpp>") == 1);
  CHECK(violations_of("include/researchkit/core/a.hpp", "\"researchkit/researchkit.hpp\"") == 1);
  CHECK(violations_of("include/researchkit/graph/a.hpp", "\"researchkit/nfgnn/b.hpp\"") == 1);
  CHECK(violations_of("include/researchkit/fusefps/a.hpp", "\"researchkit/nfgnn/b.hpp\"") == 1);
  CHECK(violations_of("include/researchkit/fusefps/a.hpp", "\"../nfgnn/b.hpp\"") == 1);
  CHECK(violations_of("src/core/a.cpp", "\"researchkit/fusefps/b.hpp\"") == 1);
  CHECK(violations_of("kernels/cpu/fusefps/a.cpp", "\"kernels/cpu/nfgnn/b.hpp\"") == 1);
}

TEST_CASE("an include that looks downwards is allowed") {
  CHECK(violations_of("include/researchkit/nn/a.hpp", "\"researchkit/core/b.hpp\"") == 0);
  CHECK(violations_of("include/researchkit/nn/a.hpp", "\"researchkit/autograd/b.hpp\"") == 0);
  CHECK(violations_of("include/researchkit/fusefps/a.hpp", "\"researchkit/nn/b.hpp\"") == 0);
  CHECK(violations_of("include/researchkit/fusefps/a.hpp", "\"researchkit/fusefps/b.hpp\"") == 0);
  CHECK(violations_of("include/researchkit/researchkit.hpp", "\"researchkit/fusefps/b.hpp\"") == 0);
  CHECK(violations_of("src/tool/main.cpp", "\"researchkit/fusefps/b.hpp\"") == 0);
  CHECK(violations_of("src/registry.cpp", "\"researchkit/fusefps/b.hpp\"") == 0);
}
