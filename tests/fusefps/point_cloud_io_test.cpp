#include "researchkit/fusefps/point_cloud_io.hpp"

#include <bit>
#include <clocale>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "researchkit/core/error.hpp"
#include "researchkit/core/io/file.hpp"
#include "researchkit/core/io/npy.hpp"
#include "support/catch.hpp"
#include "support/contains.hpp"
#include "support/temporary_folder.hpp"

namespace {

using namespace researchkit;
using namespace researchkit::fusefps;
using test::contains;

Tensor parse(const std::string& text, PointFormat format) {
  return parse_points(std::as_bytes(std::span(text)), format, "memory");
}

std::string refusal(const std::string& text, PointFormat format) {
  try {
    parse(text, format);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

std::vector<float> list(const Tensor& tensor) {
  const auto values = tensor.values<float>();
  return {values.begin(), values.end()};
}

/// The bytes of numbers, in either order.
template <class... T>
std::string raw(std::endian order, T... values) {
  std::string bytes;
  const auto add = [&](auto value) {
    std::string one(sizeof value, '\0');
    std::memcpy(one.data(), &value, sizeof value);
    if (order != std::endian::native) one = std::string(one.rbegin(), one.rend());
    bytes += one;
  };
  (add(values), ...);
  return bytes;
}

TEST_CASE("point files: what is written is what is read") {
  test::TemporaryFolder folder;
  const Tensor cloud = Tensor::from<float>(
      {1.5f, -2.25f, 0.1f, 0.99f, 1e-30f, 3e38f, -0.0f, std::numeric_limits<float>::denorm_min()},
      {2, 4});
  for (const std::string name : {"a.npy", "a.ply", "a.csv", "a.xyz", "a.TXT", "a.bin"}) {
    write_points(folder / name, cloud);
    const Tensor back = read_points(folder / name);
    REQUIRE(back.shape() == cloud.shape());
    CHECK(std::memcmp(back.data(), cloud.data(), cloud.bytes()) == 0);
  }
  const Tensor wide = Tensor::from<double>({0.1, 0.2, 0.3}, {1, 3});
  write_points(folder / "wide.npy", wide);
  CHECK(read_points(folder / "wide.npy").dtype() == DType::f64);
  write_points(folder / "wide.ply", wide);
  CHECK(list(read_points(folder / "wide.ply")) == std::vector<float>{0.1f, 0.2f, 0.3f});
  const Tensor none(DType::f32, {0, 3});
  for (const std::string name : {"none.npy", "none.ply", "none.csv"}) {
    write_points(folder / name, none);
    CHECK(read_points(folder / name).shape() == Shape{0, 3});
  }
  CHECK(folder.entries() == 11);
}

TEST_CASE("point files: what cannot be written is refused and leaves no file") {
  test::TemporaryFolder folder;
  CHECK_THROWS_AS(write_points(folder / "a.obj", Tensor(DType::f32, {2, 3})), Error);
  CHECK_THROWS_AS(write_points(folder / "a.pcd", Tensor(DType::f32, {2, 3})), Error);
  CHECK_THROWS_AS(write_points(folder / "a.bin", Tensor(DType::f32, {2, 3})), Error);
  CHECK_THROWS_AS(write_points(folder / "a.bin", Tensor(DType::f64, {2, 4})), Error);
  CHECK_THROWS_AS(write_points(folder / "a.ply", Tensor(DType::f32, {2, 2})), Error);
  CHECK_THROWS_AS(write_points(folder / "a.npy", Tensor(DType::f32, {2})), Error);
  CHECK_THROWS_AS(write_points(folder / "a.npy", Tensor(DType::i32, {2, 3})), Error);
  CHECK(folder.entries() == 0);
  write_npy(folder / "line.npy", Tensor(DType::f32, {3}));
  CHECK_THROWS_WITH(read_points(folder / "line.npy"), contains("got float32 [3]"));
  CHECK_THROWS_WITH(read_points(folder / "a"), contains("no point format has the extension ''"));
  CHECK_THROWS_WITH(read_points(folder / "a.ply"), contains("a.ply: cannot open"));
}

TEST_CASE("text points: separators, comments, a header line, blank lines, line ends") {
  const auto text = [](const std::string& s) { return parse(s, PointFormat::text); };
  CHECK(list(text("1 2 3\n4\t5  6")) == std::vector<float>{1, 2, 3, 4, 5, 6});
  CHECK(list(text("# x\r\n// y\r\n\r\n+1, -2 ;3e0\r\n.5,1E2,-0.25\r\n")) ==
        std::vector<float>{1, -2, 3, .5f, 100, -.25f});
  CHECK(text("x,y,z\n1,2,3\n").shape() == Shape{1, 3});
  CHECK(text("x,y,z,\"time stamp\"\n").shape() == Shape{0, 5});  // quotes mean nothing
  CHECK(text("\xef\xbb\xbf"
             "1 2\n")
            .shape() == Shape{1, 2});
  CHECK(std::isnan(list(text("nan inf\n"))[0]));
  CHECK(list(text("1e-60 0.1"))[0] == 0);
}

TEST_CASE("text points: a locale with a decimal comma changes nothing") {
  const char* const found = std::setlocale(LC_ALL, "de_DE.UTF-8");
  const auto values = list(parse("1.5 2.5", PointFormat::text));
  if (found != nullptr) std::setlocale(LC_ALL, "C");
  CHECK(values == std::vector<float>{1.5f, 2.5f});
}

TEST_CASE("text points: broken files are refused with the line") {
  const auto why = [](const std::string& s) { return refusal(s, PointFormat::text); };
  CHECK_THAT(why(""), contains("no points"));
  CHECK_THAT(why("# only\n"), contains("no points"));
  CHECK_THAT(why("1 2 3\n4 5\n"), contains("line 2: 2 numbers, the first row has 3"));
  CHECK_THAT(why("1 2 3\n4 5 x\n"), contains("line 2: 'x' is not a number"));
  CHECK_THAT(why("x y z\na b c\n"), contains("line 2: 'a' is not a number"));
  CHECK_THAT(why("1,,3\n"), contains("line 1: '' is not a number"));
  CHECK_THAT(why("1,2,\n"), contains("line 1: '' is not a number"));
  CHECK_THAT(why("1 2 3f\n"), contains("'3f' is not a number"));
  CHECK_THAT(why("1 2 1e99\n"), contains("'1e99' is not a number that a float holds"));
  CHECK_THAT(why(std::string("1 2\0 3", 6)), contains("'2\\x00' is not a number"));
}

TEST_CASE("bin points: rows of four, no more and no less") {
  CHECK(list(parse(raw(std::endian::little, 1.f, 2.f, 3.f, .5f), PointFormat::bin)) ==
        std::vector<float>{1, 2, 3, .5f});
  CHECK(parse("", PointFormat::bin).shape() == Shape{0, 4});
  CHECK_THAT(refusal("12345678", PointFormat::bin), contains("truncated: 8 bytes"));
}

// A face element comes first, so that its lists must be passed over to find the vertices.
std::string ply_header(const std::string& format, const std::string& vertices = "2") {
  return "ply\nformat " + format +
         " 1.0\ncomment made by hand\nelement face 2\nproperty list uchar int vertex_indices\n"
         "property uchar flag\nelement vertex " +
         vertices +
         "\nproperty uchar red\nproperty float x\nproperty double y\nproperty short z\n"
         "property list ushort float extra\nelement edge 1\nproperty int a\nend_header\n";
}

std::string ply_data(std::endian order) {
  using std::int16_t, std::int32_t, std::uint8_t, std::uint16_t;
  return raw(order, uint8_t{3}, int32_t{0}, int32_t{1}, int32_t{2}, uint8_t{9}, uint8_t{0},
             uint8_t{8}) +
         raw(order, uint8_t{200}, 1.5f, 2.5, int16_t{-3}, uint16_t{1}, 7.f) +
         raw(order, uint8_t{100}, -1.5f, -2.5, int16_t{300}, uint16_t{0}) + raw(order, int32_t{4});
}

TEST_CASE("ply points: ascii and both byte orders give x, y, z and the other scalars") {
  const std::vector<float> wanted = {1.5f, 2.5f, -3, 200, -1.5f, -2.5f, 300, 100};
  const std::string ascii =
      ply_header("ascii") + "3 0 1 2 9\n0 8\n200 1.5 2.5 -3 1 7\n100 -1.5\n-2.5 300 0\n4\n";
  CHECK(list(parse(ascii, PointFormat::ply)) == wanted);
  CHECK(list(parse(ply_header("binary_little_endian") + ply_data(std::endian::little),
                   PointFormat::ply)) == wanted);
  const Tensor big =
      parse(ply_header("binary_big_endian") + ply_data(std::endian::big), PointFormat::ply);
  CHECK(list(big) == wanted);
  CHECK(big.shape() == Shape{2, 4});
  // Line ends of Windows in the header.
  CHECK(list(parse("ply\r\nformat ascii 1.0\r\nelement vertex 1\r\nproperty float z\r\n"
                   "property float y\r\nproperty float x\r\nend_header\r\n1 2 3\r\n",
                   PointFormat::ply)) == std::vector<float>{3, 2, 1});
}

TEST_CASE("ply points: every truncation before the last vertex ends is noticed") {
  for (const bool big : {false, true}) {
    const auto order = big ? std::endian::big : std::endian::little;
    const std::string file =
        ply_header(big ? "binary_big_endian" : "binary_little_endian") + ply_data(order);
    for (std::size_t size = 0; size < file.size() - 4; ++size) {
      CHECK_THAT(refusal(file.substr(0, size), PointFormat::ply), contains("memory: "));
    }
  }
}

TEST_CASE("ply points: broken files are refused, and the message says why") {
  const auto why = [](const std::string& s) { return refusal(s, PointFormat::ply); };
  const auto vertex = [&](const std::string& count, const std::string& properties,
                          const std::string& data) {
    return why("ply\nformat binary_little_endian 1.0\nelement vertex " + count + "\n" + properties +
               "end_header\n" + data);
  };
  const std::string xyz = "property float x\nproperty float y\nproperty float z\n";
  REQUIRE(vertex("1", xyz, std::string(12, '\0')) == "");
  CHECK_THAT(why("plz\n"), contains("not a .ply file"));
  CHECK_THAT(why("ply\nformat ascii 1.0\n"), contains("the header has no end"));
  CHECK_THAT(why("ply\nend_header\n"), contains("no format"));
  CHECK_THAT(why("ply\nformat ascii 2.0\n"), contains("'ascii 2.0' is not known"));
  CHECK_THAT(why("ply\nformat ascii 1.0\nend_header\n"), contains("no element 'vertex'"));
  CHECK_THAT(why("ply\nproperty float x\n"), contains("before the first element"));
  CHECK_THAT(vertex("1", "property float x\nproperty float y\n", ""), contains("0 properties 'z'"));
  CHECK_THAT(vertex("1", xyz + "property float x\n", ""), contains("2 properties 'x'"));
  CHECK_THAT(vertex("1", "property half x\n", ""), contains("bad property 'half x'"));
  CHECK_THAT(vertex("1", "property list float int x\n", ""), contains("bad list property"));
  CHECK_THAT(vertex("-1", xyz, ""), contains("bad header line 'element vertex -1'"));
  CHECK_THAT(vertex("18446744073709551615", xyz, "12345678"), contains("truncated"));
  CHECK_THAT(vertex("2", xyz, std::string(23, '\0')), contains("truncated"));
  CHECK_THAT(
      vertex("1", xyz + "property list int int l\n", std::string(12, '\0') + "\xff\xff\xff\xff"),
      contains("a list has the length -1"));
  CHECK_THAT(vertex("1", xyz + "property list uint double l\n",
                    std::string(12, '\0') + "\xff\xff\xff\xff" + std::string(80, '\0')),
             contains("truncated"));
  CHECK_THAT(why("ply\nformat ascii 1.0\nelement vertex 1\n" + xyz + "end_header\n1 two 3\n"),
             contains("'two' is not a number"));
  // An element without properties has no data, however many there are.
  CHECK(why("ply\nformat ascii 1.0\nelement void 18446744073709551615\nelement vertex 1\n" + xyz +
            "end_header\n1 2 3\n") == "");
}

std::string pcd_header(const std::string& points, const std::string& data) {
  return "# .PCD v0.7\nVERSION 0.7\nFIELDS intensity _ x y z normal\nSIZE 1 1 4 4 8 2\n"
         "TYPE U U F F F I\nCOUNT 1 3 1 1 1 2\nWIDTH " +
         points + "\nHEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\nPOINTS " + points + "\nDATA " + data + "\n";
}

const std::vector<float> kPcdPoints = {1, 2, 3, 250, -5, 6, 4, 5, 6, 7, 8, -9};

TEST_CASE("pcd points: ascii, binary and compressed give x, y, z and the other fields") {
  using std::int16_t, std::uint8_t;
  const auto little = std::endian::little;
  CHECK(list(parse(pcd_header("2", "ascii") + "250 0 0 0 1 2 3 -5 6\n7 0 0 0 4 5 6 8 -9\n",
                   PointFormat::pcd)) == kPcdPoints);
  const auto row = [&](uint8_t intensity, float x, float y, double z, int16_t a, int16_t b) {
    return raw(little, intensity, uint8_t{1}, uint8_t{1}, uint8_t{1}, x, y, z, a, b);
  };
  const std::string binary =
      pcd_header("2", "binary") + row(250, 1, 2, 3, -5, 6) + row(7, 4, 5, 6, 8, -9);
  CHECK(list(parse(binary, PointFormat::pcd)) == kPcdPoints);
  for (std::size_t size = 0; size < binary.size(); ++size) {
    CHECK(refusal(binary.substr(0, size), PointFormat::pcd) != "");
  }
  // Field by field: intensities and padding, x, y, z, normals. The padding of six ones is packed
  // as a literal and a repetition of length 5 from distance 1.
  const std::string packed = std::string("\x02\xfa\x07\x01", 4) + std::string("\x60\x00", 2) +
                             '\x0f' + raw(little, 1.f, 4.f, 2.f, 5.f) + '\x0f' +
                             raw(little, 3., 6.) + '\x07' +
                             raw(little, int16_t{-5}, int16_t{6}, int16_t{8}, int16_t{-9});
  const auto compressed = [&](std::uint32_t packed_size, std::uint32_t size,
                              const std::string& data) {
    return pcd_header("2", "binary_compressed") + raw(little, packed_size, size) + data;
  };
  const auto packed_size = static_cast<std::uint32_t>(packed.size());
  CHECK(list(parse(compressed(packed_size, 48, packed), PointFormat::pcd)) == kPcdPoints);

  const auto why = [](const std::string& s) { return refusal(s, PointFormat::pcd); };
  CHECK_THAT(why(compressed(packed_size + 1, 48, packed)), contains("truncated"));
  CHECK_THAT(why(compressed(packed_size, 47, packed)), contains("do not make 47 bytes"));
  CHECK_THAT(why(compressed(packed_size - 1, 48, packed)), contains("do not unpack"));
  CHECK_THAT(why(compressed(4, 48, "\x20\x05\x01\x01")), contains("do not unpack"));
  CHECK_THAT(why(compressed(1, 48, "\xff")), contains("do not unpack"));
  CHECK_THAT(why(compressed(0, 48, "")), contains("do not unpack"));
  CHECK_THAT(why(pcd_header("2", "binary_compressed") + "123"), contains("no sizes"));
  CHECK_THAT(why(pcd_header("100000000", "binary_compressed") +
                 raw(little, std::uint32_t{2}, std::uint32_t{2400000000u}) + "ab"),
             contains("2 bytes cannot unpack to 2400000000"));
}

TEST_CASE("pcd points: broken files are refused, and the message says why") {
  const auto why = [](const std::string& s) { return refusal(s, PointFormat::pcd); };
  const auto with = [&](const std::string& from, const std::string& to) {
    std::string file = pcd_header("1", "ascii") + "250 0 0 0 1 2 3 -5 6\n";
    const auto at = file.find(from);
    REQUIRE(at != std::string::npos);
    return why(file.replace(at, from.size(), to));
  };
  REQUIRE(with("WIDTH", "WIDTH") == "");
  CHECK_THAT(why("P6\n"), contains("not a .pcd file: header line 'P6'"));
  CHECK_THAT(why("VERSION 0.7\n"), contains("no DATA line"));
  CHECK_THAT(with("SIZE 1 1", "SIZE 1"), contains("differ in length"));
  CHECK_THAT(with("SIZE 1 1", "SIZE 3 1"), contains("field 'intensity' has type 'U', size '3'"));
  CHECK_THAT(with("COUNT 1 3", "COUNT 1 0"), contains("count '0'"));
  CHECK_THAT(with("COUNT 1 3", "COUNT 60000 60000"), contains("more than 65536 columns"));
  CHECK_THAT(with("COUNT 1 3 1", "COUNT 1 3 2"), contains("field 'x' has COUNT 2"));
  CHECK_THAT(with(" x ", " w "), contains("there are 0 fields 'x'"));
  CHECK_THAT(with("_ x", "x x"), contains("COUNT 3"));
  CHECK_THAT(with("intensity _ x", "x _ x"), contains("there are 2 fields 'x'"));
  CHECK_THAT(with("POINTS 1", "POINTS 2"), contains("WIDTH times HEIGHT is 1, POINTS is 2"));
  CHECK_THAT(with("WIDTH 1\nHEIGHT 1", "WIDTH 9999999999\nHEIGHT 9999999999"),
             contains("too large"));
  CHECK_THAT(with("WIDTH 1", "WIDTH -1"), contains("WIDTH is not followed by one natural number"));
  CHECK_THAT(with("DATA ascii", "DATA zip"), contains("'zip' is not known"));
  CHECK_THAT(with("1 2 3", "1 two 3"), contains("'two' is not a number"));
  CHECK_THAT(with(" -5 6", " -5"), contains("truncated: point 0 is not complete"));
  CHECK_THAT(why(pcd_header("9000000000000000000", "binary") + "123"), contains("truncated"));
  CHECK_THAT(why(pcd_header("9000000000000000000", "ascii") + "123"), contains("truncated"));
}

}  // namespace
