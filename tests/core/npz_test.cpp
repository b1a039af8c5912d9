#include <cstring>

#include "researchkit/core/error.hpp"
#include "researchkit/core/io/file.hpp"
#include "researchkit/core/io/npy.hpp"
#include "support/catch.hpp"
#include "support/contains.hpp"
#include "support/temporary_folder.hpp"

namespace {

using namespace researchkit;
using test::contains;

std::map<std::string, Tensor> example() {
  Tensor ramp(DType::f64, {50, 40});
  auto values = ramp.values<double>();
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<double>(i % 17);
  return {{"ramp", ramp},
          {"layer.0.weight", Tensor::from<float>({1, 2, 3}, {3})},
          {"empty", Tensor(DType::i32, {0, 4})},
          {"flag", Tensor::scalar(true)}};
}

std::string file_text(const std::filesystem::path& path) {
  const auto file = read_file(path);
  return {reinterpret_cast<const char*>(file.bytes.data()), file.bytes.size()};
}

std::string refusal(const std::string& archive) {
  try {
    parse_npz(std::as_bytes(std::span(archive)), "memory.npz");
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST_CASE("npz: stored and deflated archives come back as they were written") {
  test::TemporaryFolder folder;
  for (const auto compression : {NpzCompression::stored, NpzCompression::deflated}) {
    write_npz(folder / "a.npz", example(), compression);
    const auto back = read_npz(folder / "a.npz");
    REQUIRE(back.size() == 4);
    for (const auto& [name, tensor] : example()) {
      REQUIRE(back.contains(name));
      const Tensor& got = back.at(name);
      CHECK(got.dtype() == tensor.dtype());
      CHECK(got.shape() == tensor.shape());
      if (tensor.size() > 0) CHECK(std::memcmp(got.data(), tensor.data(), got.bytes()) == 0);
    }
  }
  CHECK(file_text(folder / "a.npz").size() < 3000);  // 16,000 bytes of ramp, deflated
  write_npz(folder / "none.npz", {});
  CHECK(read_npz(folder / "none.npz").empty());
  CHECK(folder.entries() == 2);
}

TEST_CASE("npy and npz: files that NumPy made are read") {
  const std::filesystem::path corpus =
      std::filesystem::path(RESEARCHKIT_TEST_SOURCE_DIR) / "tests/fuzz/corpus";
  for (const std::string name : {"stored.npz", "deflated.npz"}) {
    const auto tensors = read_npz(corpus / "npz" / name);
    REQUIRE(tensors.size() == 2);
    CHECK(tensors.at("a").values<float>()[4] == 4);
    CHECK(tensors.at("b.c").shape() == Shape{40, 5});
  }
  const Tensor columns = read_npy(corpus / "npy/float64_fortran_big.npy");
  REQUIRE(columns.shape() == Shape{2, 3});
  for (std::size_t i = 0; i < 6; ++i) CHECK(columns.values<double>()[i] == static_cast<double>(i));
  CHECK(read_npy(corpus / "npy/int64_v2.npy").values<std::int64_t>()[2] == 2);
  CHECK(read_npy(corpus / "npy/bool_v3_scalar.npy").rank() == 0);
}

TEST_CASE("npz: any truncation and any damaged byte of the data is noticed") {
  test::TemporaryFolder folder;
  write_npz(folder / "a.npz", {{"a", Tensor::from<float>({1, 2, 3}, {3})}});
  const std::string archive = file_text(folder / "a.npz");
  REQUIRE(refusal(archive) == "");
  for (std::size_t size = 0; size < archive.size(); ++size) {
    CHECK(refusal(archive.substr(0, size)) != "");
  }
  for (std::size_t at = 35; at < 35 + 128 + 12; ++at) {  // behind the header and the name
    std::string damaged = archive;
    damaged[at] = static_cast<char>(damaged[at] ^ 4);
    CHECK_THAT(refusal(damaged), contains("CRC-32 of member 'a.npy' is wrong"));
  }
}

TEST_CASE("npz: hostile directories are refused, and the message says why") {
  test::TemporaryFolder folder;
  write_npz(folder / "a.npz", {{"a", Tensor::from<float>({1, 2, 3}, {3})},
                               {"b", Tensor::from<float>({1, 2, 3}, {3})}});
  const std::string archive = file_text(folder / "a.npz");
  const std::size_t directory = archive.find("PK\x01\x02");
  const auto damaged = [&](std::size_t at, const std::string& bytes) {
    std::string copy = archive;
    copy.replace(at, bytes.size(), bytes);
    return refusal(copy);
  };
  const std::size_t second = archive.find("PK\x01\x02", directory + 4);
  REQUIRE(second != std::string::npos);
  CHECK_THAT(refusal("no archive at all, but long enough"), contains("not a .npz file"));
  CHECK_THAT(damaged(directory + 8, "\x01"), contains("encrypted"));
  CHECK_THAT(damaged(directory + 10, "\x0c"), contains("compression method 12"));
  CHECK_THAT(damaged(directory + 24, "\x01"), contains("sizes of the stored member"));
  CHECK_THAT(damaged(directory + 10, "\x08"), contains("does not unpack"));
  CHECK_THAT(damaged(directory + 20, "\xff\xff\xff\x7f\xff\xff\xff\x7f"), contains("truncated"));
  CHECK_THAT(damaged(directory + 24, std::string("\x00\x00\x00\x7f", 4)), contains("disagree"));
  CHECK_THAT(damaged(directory + 46, "c"), contains("disagree about the name"));
  CHECK_THAT(damaged(archive.size() - 12, "\x09"), contains("members in a directory of"));
  CHECK_THAT(damaged(archive.size() - 6, "\xf0\xff\xff\x7f"), contains("reaches past the end"));
  {
    // A deflated member that claims more than any code can hold.
    std::string copy = archive;
    copy[directory + 10] = 8;
    copy.replace(directory + 24, 4, std::string("\x00\x00\x00\x7f", 4));
    CHECK_THAT(refusal(copy), contains("cannot unpack to"));
  }
  {
    // Both entries name the first member.
    std::string copy = archive;
    copy.replace(second, 47, archive.substr(directory, 47));
    CHECK_THAT(refusal(copy), contains("overlap"));
  }
  {
    std::string copy = archive;
    for (std::size_t at = copy.find("b.npy"); at != std::string::npos; at = copy.find("b.npy")) {
      copy[at] = 'a';
    }
    CHECK_THAT(refusal(copy), contains("'a.npy' occurs twice"));
  }
  {
    std::string copy = archive;
    for (std::size_t at = copy.find("b.npy"); at != std::string::npos; at = copy.find("b.npy")) {
      copy[at + 4] = 'x';
    }
    CHECK_THAT(refusal(copy), contains("'b.npx' is not a .npy file"));
  }
}

TEST_CASE("npz: what cannot be written is refused and leaves no file") {
  test::TemporaryFolder folder;
  const auto write = [&](const std::string& name, const Tensor& tensor) {
    write_npz(folder / "a.npz", {{name, tensor}});
  };
  CHECK_THROWS_WITH(write("a", Tensor(DType::bf16, {2})), contains("bfloat16"));
  CHECK_THROWS_AS(write("a", Tensor()), Error);
  CHECK_THROWS_AS(write("", Tensor(DType::f32, {2})), Error);
  CHECK_THROWS_AS(write(std::string(60001, 'n'), Tensor(DType::f32, {2})), Error);
  CHECK(folder.entries() == 0);
}

}  // namespace
