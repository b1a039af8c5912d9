#include "researchkit/core/io/safetensors.hpp"

#include <cstring>

#include "researchkit/core/error.hpp"
#include "researchkit/core/io/file.hpp"
#include "support/catch.hpp"
#include "support/contains.hpp"
#include "support/temporary_folder.hpp"

namespace {

using namespace researchkit;
using test::contains;

std::string file_of(const std::string& header, const std::string& data) {
  std::string file;
  for (int i = 0; i < 8; ++i) file += static_cast<char>((header.size() >> (8 * i)) & 0xff);
  return file + header + data;
}

SafeTensors parse(const std::string& file) {
  return parse_safetensors(std::as_bytes(std::span(file)), "memory.safetensors");
}

std::string refusal(const std::string& file) {
  try {
    parse(file);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST_CASE("safetensors: every element type and the metadata come back as they were written") {
  test::TemporaryFolder folder;
  const std::map<std::string, Tensor> tensors = {
      {"f32", Tensor::from<float>({1.5f, -2}, {2, 1})},
      {"f64", Tensor::from<double>({1e-300}, {1})},
      {"f16", Tensor::from<Half>({Half{0x3c00}}, {1})},
      {"bf16", Tensor::from<BFloat16>({BFloat16{0x3f80}, BFloat16{1}}, {2})},
      {"i32", Tensor::from<std::int32_t>({-5, 6, 7}, {3})},
      {"i64", Tensor::from<std::int64_t>({-5}, {1, 1})},
      {"u8", Tensor::from<std::uint8_t>({1, 2, 255}, {3})},
      {"bool", Tensor::from<bool>({true, false}, {2})},
      {"scalar", Tensor::scalar(3.0f)},
      {"empty", Tensor(DType::f64, {3, 0})},
      {"name with \"quotes\" and \xc3\xa4", Tensor::scalar(1.0f)}};
  const std::map<std::string, std::string> metadata = {{"format", "pt"}, {"step", "17"}};
  write_safetensors(folder / "a.safetensors", tensors, metadata);
  const SafeTensors back = read_safetensors(folder / "a.safetensors");
  CHECK(back.metadata == metadata);
  REQUIRE(back.tensors.size() == tensors.size());
  for (const auto& [name, tensor] : tensors) {
    REQUIRE(back.tensors.contains(name));
    const Tensor& got = back.tensors.at(name);
    CHECK(got.dtype() == tensor.dtype());
    CHECK(got.shape() == tensor.shape());
    if (tensor.size() > 0) CHECK(std::memcmp(got.data(), tensor.data(), got.bytes()) == 0);
    CHECK(reinterpret_cast<std::uintptr_t>(got.data()) % size_of(got.dtype()) == 0);
  }
  write_safetensors(folder / "b.safetensors", {});
  CHECK(read_safetensors(folder / "b.safetensors").tensors.empty());
  CHECK(folder.entries() == 2);
}

TEST_CASE("safetensors: a file by hand, with data that are not aligned") {
  const float values[] = {1, 2};
  std::string data = "\x07";
  data.append(reinterpret_cast<const char*>(values), sizeof values);
  const auto parsed = parse(file_of(
      R"({"x":{"dtype":"F32","shape":[2],"data_offsets":[1,9]},"y":{"dtype":"U8","shape":[],"data_offsets":[0,1]}} )",
      data));
  CHECK(parsed.tensors.at("x").values<float>()[1] == 2);
  CHECK(parsed.tensors.at("y").values<std::uint8_t>()[0] == 7);
}

TEST_CASE("safetensors: broken files are refused, and the message says why") {
  const auto entry = [](const std::string& rest) { return file_of("{" + rest + "}", "12345678"); };
  const std::string x = R"("x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]})";
  REQUIRE(refusal(entry(x)) == "");
  CHECK_THAT(refusal("1234"), contains("memory.safetensors: not a .safetensors file"));
  CHECK_THAT(refusal(std::string(8, '\x7f')), contains("more than 100000000"));
  CHECK_THAT(refusal(entry(x).substr(0, 30)), contains("truncated .safetensors header"));
  CHECK_THAT(refusal(entry(x).substr(0, 8 + x.size() + 2 + 5)), contains("truncated: the tensors"));
  CHECK_THAT(refusal(entry(x) + "9"), contains("trailing bytes"));
  CHECK_THAT(refusal(file_of("[1]", "")), contains("does not begin with '{'"));
  CHECK_THAT(refusal(file_of("{", "")), contains("not JSON"));
  CHECK_THAT(refusal(file_of("{}{}", "")), contains("not JSON"));
  CHECK_THAT(refusal(file_of("{\"\xff\":1}", "")), contains("not JSON"));
  CHECK_THAT(refusal(file_of("{\"a\":" + std::string(100000, '['), "")), contains("too deeply"));
  CHECK_THAT(refusal(entry(x + "," + x)), contains("'x' occurs twice"));
  CHECK_THAT(refusal(entry(R"("x":{"dtype":"F32","dtype":"F32"})")),
             contains("'dtype' occurs twice"));
  CHECK_THAT(refusal(entry(x + R"(,"y":{"dtype":"F32","shape":[1],"data_offsets":[4,8]})")),
             contains("overlap"));
  CHECK_THAT(refusal(entry(R"("x":{"dtype":"F32","shape":[1],"data_offsets":[4,8]})")),
             contains("leave a hole"));
  CHECK_THAT(refusal(entry(R"("x":{"dtype":"F32","shape":[3],"data_offsets":[0,8]})")),
             contains("needs 12 bytes"));
  CHECK_THAT(refusal(entry(R"("x":{"dtype":"F32","shape":[2],"data_offsets":[8,0]})")),
             contains("needs 8 bytes"));
  CHECK_THAT(refusal(entry(R"("x":{"dtype":"F8_E4M3","shape":[8],"data_offsets":[0,8]})")),
             contains("'F8_E4M3' is not supported"));
  CHECK_THAT(refusal(entry(R"("x":{"dtype":4,"shape":[8],"data_offsets":[0,8]})")),
             contains("'4' is not supported"));
  CHECK_THAT(refusal(entry(R"("x":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]})")),
             contains("not a natural number"));
  CHECK_THAT(refusal(entry(R"("x":{"dtype":"F32","shape":[2.0],"data_offsets":[0,8]})")),
             contains("not a natural number"));
  CHECK_THAT(
      refusal(entry(R"("x":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8]})")),
      contains("too large"));
  CHECK_THAT(
      refusal(entry(R"("x":{"dtype":"F32","shape":[18446744073709551615],"data_offsets":[0,8]})")),
      contains("not a natural number"));
  CHECK_THAT(refusal(entry(R"("x":{"dtype":"F32","shape":[2],"data_offsets":[0]})")),
             contains("not a pair"));
  CHECK_THAT(refusal(entry(R"("x":{"dtype":"F32","shape":[2]})")), contains("dtype, shape and"));
  CHECK_THAT(refusal(entry(R"("x":{"dtype":"F32","shape":[2],"offsets":[0,8]})")),
             contains("lacks 'data_offsets'"));
  CHECK_THAT(refusal(entry(x + R"(,"__metadata__":{"a":1})")), contains("'a' is not a string"));
  CHECK_THAT(refusal(entry(x + R"(,"__metadata__":[])")), contains("__metadata__ is not"));
}

TEST_CASE("safetensors: what cannot be written is refused and leaves no file") {
  test::TemporaryFolder folder;
  const auto write = [&](const std::string& name, const Tensor& tensor) {
    write_safetensors(folder / "a", {{name, tensor}});
  };
  CHECK_THROWS_AS(write("__metadata__", Tensor(DType::f32, {1})), Error);
  CHECK_THROWS_AS(write("\xff", Tensor(DType::f32, {1})), Error);
  CHECK_THROWS_AS(write("a", Tensor()), Error);
  CHECK_THROWS_AS(write_safetensors(folder / "a", {}, {{"key", "\xff"}}), Error);
  CHECK(folder.entries() == 0);
}

}  // namespace
