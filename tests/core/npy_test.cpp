#include "researchkit/core/io/npy.hpp"

#include <algorithm>
#include <cstring>
#include <limits>

#include "researchkit/core/error.hpp"
#include "researchkit/core/io/file.hpp"
#include "support/catch.hpp"
#include "support/contains.hpp"
#include "support/temporary_folder.hpp"

namespace {

using namespace researchkit;

/// A `.npy` of format `major`.0 with this dictionary and data.
std::string npy(std::string dictionary, const std::string& data, int major = 1) {
  dictionary += '\n';
  std::string file = "\x93NUMPY";
  file += static_cast<char>(major);
  file += '\0';
  for (int i = 0; i < (major == 1 ? 2 : 4); ++i) {
    file += static_cast<char>((dictionary.size() >> (8 * i)) & 0xff);
  }
  return file + dictionary + data;
}

Tensor parse(const std::string& file) {
  return parse_npy(std::as_bytes(std::span(file)), "memory.npy");
}

std::string refusal(const std::string& file) {
  try {
    parse(file);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

template <class T>
std::string raw(std::initializer_list<T> values, bool swapped = false) {
  std::string bytes;
  for (const T& value : values) {
    std::string one(sizeof(T), '\0');
    std::memcpy(one.data(), &value, sizeof(T));
    if (swapped) std::reverse(one.begin(), one.end());
    bytes += one;
  }
  return bytes;
}

template <class T>
std::vector<T> list(const Tensor& tensor) {
  const auto values = tensor.values<T>();
  return {values.begin(), values.end()};
}

TEST_CASE("npy: every element type comes back as it was written") {
  test::TemporaryFolder folder;
  const auto path = folder / "a.npy";
  const auto round_trip = [&](const Tensor& tensor) {
    write_npy(path, tensor);
    const Tensor back = read_npy(path);
    REQUIRE(back.dtype() == tensor.dtype());
    REQUIRE(back.shape() == tensor.shape());
    REQUIRE(back.is_contiguous());
    if (tensor.size() > 0) REQUIRE(std::memcmp(back.data(), tensor.data(), back.bytes()) == 0);
  };
  round_trip(Tensor::from<float>({1.5f, -0.0f, std::numeric_limits<float>::infinity()}, {3}));
  round_trip(Tensor::from<double>({1e-300, 2, 3, 4, 5, 6}, {1, 2, 3}));
  round_trip(Tensor::from<std::int32_t>({-1, 2}, {2, 1}));
  round_trip(Tensor::from<std::int64_t>({std::numeric_limits<std::int64_t>::min(), 7}, {2}));
  round_trip(Tensor::from<std::uint8_t>({0, 255}, {2}));
  round_trip(Tensor::from<bool>({true, false, true}, {3}));
  round_trip(Tensor::from<Half>({Half{0x3c00}, Half{0x7e01}}, {2}));
  round_trip(Tensor::scalar(2.5));
  round_trip(Tensor(DType::f32, {0, 3}));
  round_trip(Tensor(DType::f32, {2, 0, 5}));
  CHECK(folder.entries() == 1);  // no temporary files stay
}

TEST_CASE("npy: the bytes are those that NumPy writes") {
  test::TemporaryFolder folder;
  write_npy(folder / "a.npy", Tensor::from<std::int32_t>({1, 2, 3, 4, 5, 6}, {2, 3}));
  const auto file = read_file(folder / "a.npy");
  std::string header = "{'descr': '<i4', 'fortran_order': False, 'shape': (2, 3), }";
  header.resize(117, ' ');
  const std::string wanted = npy(header, raw<std::int32_t>({1, 2, 3, 4, 5, 6}));
  REQUIRE(wanted.size() == 128 + 24);
  CHECK(std::string(reinterpret_cast<const char*>(file.bytes.data()), file.bytes.size()) == wanted);
}

TEST_CASE("npy: strided tensors are written in row-major order") {
  test::TemporaryFolder folder;
  const Tensor all = Tensor::from<float>({0, 1, 2, 3, 4, 5}, {2, 3});
  write_npy(folder / "a.npy", all.slice(1, 0, 3, 2));
  CHECK(list<float>(read_npy(folder / "a.npy")) == std::vector<float>{0, 2, 3, 5});
}

TEST_CASE("npy: formats 1, 2 and 3, both byte orders, C and Fortran order") {
  const std::string c = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }";
  const std::string data = raw<float>({0, 1, 2, 3, 4, 5});
  for (const int major : {1, 2, 3}) {
    CHECK(list<float>(parse(npy(c, data, major))) == std::vector<float>{0, 1, 2, 3, 4, 5});
  }
  const std::string fortran = "{'descr': '>f4', 'fortran_order': True, 'shape': (2, 3), }";
  const Tensor columns = parse(npy(fortran, raw<float>({0, 1, 2, 3, 4, 5}, true)));
  CHECK(columns.shape() == Shape{2, 3});
  CHECK(list<float>(columns) == std::vector<float>{0, 2, 4, 1, 3, 5});

  CHECK(list<std::int64_t>(parse(npy("{'descr': '>i8', 'fortran_order': False, 'shape': (1,)}",
                                     raw<std::int64_t>({-2}, true)))) ==
        std::vector<std::int64_t>{-2});
  // Keys in another order, double quotes, Python 2's long integers, rank 0.
  CHECK(list<double>(parse(npy("{ \"shape\":(1L,) ,\"descr\":\"=f8\",'fortran_order':False}",
                               raw<double>({7})))) == std::vector<double>{7});
  CHECK(parse(npy("{'descr': '<f8', 'fortran_order': False, 'shape': ()}", raw<double>({7})))
            .rank() == 0);
}

TEST_CASE("npy: a boolean is 0 or 1 whatever the file says") {
  const Tensor t = parse(npy("{'descr': '|b1', 'fortran_order': False, 'shape': (3,)}",
                             std::string("\x00\x07\x01", 3)));
  const auto* bytes = static_cast<const unsigned char*>(t.data());
  CHECK(std::vector<int>{bytes[0], bytes[1], bytes[2]} == std::vector<int>{0, 1, 1});
}

TEST_CASE("npy: broken files are refused, and the message says why") {
  using test::contains;
  const std::string ok = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }";
  const std::string data = raw<float>({1, 2});
  const auto with_shape = [&](const std::string& shape) {
    return npy("{'descr': '<f4', 'fortran_order': False, 'shape': " + shape + "}", data);
  };
  const auto with_type = [&](const std::string& descr) {
    return npy("{'descr': " + descr + ", 'fortran_order': False, 'shape': (2,)}", data);
  };
  REQUIRE(refusal(npy(ok, data)) == "");
  CHECK_THAT(refusal(""), contains("memory.npy: not a .npy file"));
  CHECK_THAT(refusal("P5 12 12 255"), contains("not a .npy file"));
  CHECK_THAT(refusal(npy(ok, data, 4)), contains("format 4.0"));
  CHECK_THAT(refusal(npy(ok, data).substr(0, 40)), contains("truncated .npy header"));
  CHECK_THAT(refusal(npy(ok, raw<float>({1}))),
             contains("truncated: float32 of shape [2] needs 8"));
  CHECK_THAT(refusal(npy(ok, raw<float>({1, 2, 3}))), contains("trailing bytes"));
  CHECK_THAT(refusal(with_type("'<i2'")), contains("'<i2' is not supported"));
  CHECK_THAT(refusal(with_type("'|O'")), contains("'|O' is not supported"));
  CHECK_THAT(refusal(with_type("[('a', '<f4')]")), contains("structure"));
  CHECK_THAT(refusal(with_type("4")), contains("wanted a string"));
  CHECK_THAT(refusal(with_shape("(-2,)")), contains("not an extent"));
  CHECK_THAT(refusal(with_shape("(2)")), contains("not a tuple"));
  CHECK_THAT(refusal(with_shape("(2,")), contains("not an extent"));
  CHECK_THAT(refusal(with_shape("(9223372036854775807, 3)")), contains("too large"));
  CHECK_THAT(refusal(with_shape("(0, 9223372036854775807, 3)")), contains("too large"));
  CHECK_THAT(refusal(with_shape("(99999999999999999999,)")), contains("not an extent"));
  CHECK_THAT(refusal(with_shape("(4611686018427387904,)")), contains("too large"));
  CHECK_THAT(refusal(with_shape("(1099511627776,)")), contains("truncated"));
  CHECK_THAT(refusal(npy("{'descr': '<f4', 'shape': (2,)}", data)),
             contains("lacks 'fortran_order'"));
  CHECK_THAT(refusal(npy("{'descr': '<f4', 'descr': '<f4'}", data)), contains("twice"));
  CHECK_THAT(refusal(npy("{'descr': '<f4', 'x': 1}", data)), contains("unknown key 'x'"));
  CHECK_THAT(refusal(npy(ok + " x", data)), contains("after its closing brace"));
  CHECK_THAT(refusal(with_shape("(" + std::string(100, '1') + ")")), contains("not an extent"));
  std::string deep = "(";
  for (int i = 0; i < 40; ++i) deep += "1,";
  CHECK_THAT(refusal(with_shape(deep + ")")), contains("rank above 32"));
}

TEST_CASE("npy: what cannot be written is refused and leaves no file") {
  test::TemporaryFolder folder;
  CHECK_THROWS_AS(write_npy(folder / "a.npy", Tensor(DType::bf16, {2})), Error);
  CHECK_THROWS_AS(write_npy(folder / "a.npy", Tensor()), Error);
  CHECK_THROWS_AS(write_npy(folder / "missing/a.npy", Tensor(DType::f32, {2})), Error);
  CHECK_THROWS_AS(write_npy(folder.path(), Tensor(DType::f32, {2})), Error);
  CHECK(folder.entries() == 0);
  CHECK_THROWS_AS(read_npy(folder / "a.npy"), Error);
  CHECK_THROWS_AS(read_npy(folder.path()), Error);
}

TEST_CASE("files: a written link keeps pointing, its target has the new content") {
  test::TemporaryFolder folder;
  write_file(folder / "target", "old");
  std::filesystem::create_symlink(folder / "target", folder / "link");
  write_file(folder / "link", "new content");
  CHECK(std::filesystem::is_symlink(folder / "link"));
  CHECK(read_file(folder / "target").bytes.size() == 11);
  CHECK(folder.entries() == 2);
  write_file("/dev/null", "gone");
  CHECK(std::filesystem::is_character_file("/dev/null"));
}

}  // namespace
