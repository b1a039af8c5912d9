// Profiles from files.
#include <fstream>

#include "researchkit/core/io/npy.hpp"
#include "researchkit/dynapipe/profile.hpp"
#include "support/catch.hpp"
#include "support/contains.hpp"
#include "support/temporary_folder.hpp"

using namespace researchkit;
using namespace researchkit::dynapipe;

namespace {

void write(const std::filesystem::path& file, const std::string& text) {
  std::ofstream(file) << text;
}

const std::string kMeta =
    R"({"format":"researchkit-dynapipe-profile","version":1,"model":"tiny","hidden":8,"tp":[1,2],)"
    R"("recompute":["none","selective","full"],"mbs":[1,2],"seqlen":[16,32],"decoder_quantities":[]})";

void write_tables(const std::filesystem::path& folder) {
  Array<double, 5> encoder({2, 3, 6, 2, 2});
  encoder(1, 2, 4, 1, 0) = 7;
  write_npy(folder / "tiny_encoder.npy", encoder.tensor());
  Array<double, 3> params({2, 3, 3});
  params(1, 0, 1) = 3;
  write_npy(folder / "tiny_param_mb.npy", params.tensor());
}

}  // namespace

TEST_CASE("a measured profile is read for the tensor parallelism that is asked for") {
  const test::TemporaryFolder folder;
  write(folder.path() / "tiny.json", kMeta);
  write_tables(folder.path());
  const ModelProfile profile = load_profile(folder.path() / "tiny.json", 2);
  CHECK(profile.kind() == ModelKind::decoder);
  CHECK(profile.encoder[2](4, 1, 0) == 7);
  CHECK(profile.encoder_layer_mb == 3);
  CHECK_THROWS_WITH(load_profile(folder.path() / "tiny.json", 4), test::contains("tp 4"));
}

TEST_CASE("malformed profiles are refused with the file's name") {
  const test::TemporaryFolder folder;
  const auto file = folder.path() / "tiny.json";
  CHECK_THROWS_WITH(load_profile(file, 1), test::contains("tiny.json"));
  write_tables(folder.path());
  const auto refused = [&](const std::string& text) {
    write(file, text);
    CHECK_THROWS_WITH(load_profile(file, 1), test::contains("tiny.json"));
  };
  refused("{");
  refused("{}");
  const auto changed = [&](const std::string& from, const std::string& to) {
    std::string text = kMeta;
    text.replace(text.find(from), from.size(), to);
    return text;
  };
  refused(changed("\"version\":1", "\"version\":2"));
  refused(changed("\"mbs\":[1,2]", "\"mbs\":[2,1]"));
  refused(changed("\"mbs\":[1,2]", "\"mbs\":[]"));
  refused(changed("\"seqlen\":[16,32]", "\"seqlen\":\"16\""));
  refused(changed("\"full\"", "\"most\""));
  write(file, changed("\"mbs\":[1,2]", "\"mbs\":[1,2,4]"));
  CHECK_THROWS_WITH(load_profile(file, 1), test::contains("_encoder.npy"));
}

TEST_CASE("text profiles become tables, repeated shapes their maximum or their median") {
  const test::TemporaryFolder folder;
  std::vector<std::filesystem::path> files;
  for (const int run : {1, 2, 3}) {
    files.push_back(folder.path() / std::to_string(run));
    write(files.back(), "1 8 2 4 32 16 0 2 none\nforward_encoder " + std::to_string(run * run) +
                            "\nmodel_encoder 5\n");
  }
  files.push_back(folder.path() / "other");
  write(files.back(), "2 8 2 4 32 16 0 2 none\nforward_encoder 100\n");
  const ModelProfile largest = read_text_profiles(files, 1);
  CHECK(largest.mbs_grid == std::vector<std::int32_t>{2});
  CHECK(largest.encoder[0](0, 0, 0) == 9);
  CHECK(largest.encoder_layer_mb == 5);
  CHECK(std::isnan(largest.encoder[1](0, 0, 0)));
  CHECK(read_text_profiles(files, 1, Repeated::median).encoder[0](0, 0, 0) == 4);

  write(files[1], "1 8 2 4 32 16 0 2 none\nforward_encoder\n");
  CHECK_THROWS_WITH(read_text_profiles(files, 1), test::contains("2:2"));
  write(files[1], "1 8 2 4\n");
  CHECK_THROWS_WITH(read_text_profiles(files, 1), test::contains("2:1"));
}
