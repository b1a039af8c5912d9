#include <algorithm>
#include <array>
#include <cstring>

#include "src/fusefps/point_formats.hpp"

// Source: "The PCD (Point Cloud Data) file format", version 0.7, Point Cloud Library.

namespace researchkit::fusefps {
namespace {

constexpr std::size_t kMaxColumns = 1 << 16;

struct Field {
  std::string name;
  Scalar type = Scalar::f32;
  std::size_t count = 1;
  std::size_t column = 0;  // the first of `count`; meaningless for padding
  bool padding() const { return name == "_"; }
};

struct Header {
  std::vector<Field> fields;
  std::size_t columns = 0;
  std::size_t row_bytes = 0;
  std::uint64_t points = 0;
  std::string data;
};

std::vector<std::string_view> words_of(std::string_view line) {
  std::vector<std::string_view> words;
  for (auto word = take_word(line); !word.empty(); word = take_word(line)) words.push_back(word);
  return words;
}

std::optional<Scalar> scalar_of(std::string_view type, std::string_view size) {
  if (type == "F") {
    if (size == "4") return Scalar::f32;
    if (size == "8") return Scalar::f64;
    return std::nullopt;
  }
  if (type != "I" && type != "U") return std::nullopt;
  const bool is_signed = type == "I";
  if (size == "1") return is_signed ? Scalar::i8 : Scalar::u8;
  if (size == "2") return is_signed ? Scalar::i16 : Scalar::u16;
  if (size == "4") return is_signed ? Scalar::i32 : Scalar::u32;
  if (size == "8") return is_signed ? Scalar::i64 : Scalar::u64;
  return std::nullopt;
}

/// Gives each field its columns: x, y, z first, then the file's order, padding none.
void assign_columns(Header& header, std::string_view file) {
  for (const std::string_view name : {"x", "y", "z"}) {
    std::size_t found = 0;
    for (auto& field : header.fields) {
      if (field.name != name) continue;
      if (field.count != 1) io::fail(file, "field '{}' has COUNT {}", name, field.count);
      field.column = header.columns;
      ++found;
    }
    if (found != 1) io::fail(file, "there are {} fields '{}', wanted 1", found, name);
    ++header.columns;
  }
  for (auto& field : header.fields) {
    header.row_bytes += size_of(field.type) * field.count;
    if (field.name == "x" || field.name == "y" || field.name == "z" || field.padding()) continue;
    field.column = header.columns;
    header.columns += field.count;
  }
}

std::uint64_t natural(const std::vector<std::string_view>& words, std::string_view file) {
  const auto value = words.size() == 2 ? parse_integer<std::uint64_t>(words[1]) : std::nullopt;
  if (!value) io::fail(file, "{} is not followed by one natural number", words[0]);
  return *value;
}

/// Takes the header off `text`.
Header parse_header(std::string_view& text, std::string_view file) {
  Header header;
  std::vector<std::string_view> names, sizes, types, counts;
  std::optional<std::uint64_t> width, height, points;
  std::string_view line;
  while (header.data.empty()) {
    if (!take_line(text, line)) io::fail(file, "not a .pcd file, or truncated: no DATA line");
    const auto words = words_of(line);
    if (words.empty() || words[0].starts_with('#')) continue;
    const auto list = [&] { return std::vector(words.begin() + 1, words.end()); };
    const auto key = words[0];
    if (key == "FIELDS" || key == "COLUMNS") {
      names = list();
    } else if (key == "SIZE") {
      sizes = list();
    } else if (key == "TYPE") {
      types = list();
    } else if (key == "COUNT") {
      counts = list();
    } else if (key == "WIDTH") {
      width = natural(words, file);
    } else if (key == "HEIGHT") {
      height = natural(words, file);
    } else if (key == "POINTS") {
      points = natural(words, file);
    } else if (key == "DATA") {
      if (words.size() != 2) io::fail(file, "DATA is not followed by one word");
      header.data = words[1];
    } else if (key != "VERSION" && key != "VIEWPOINT") {
      io::fail(file, "not a .pcd file: header line '{}'", io::printable(line));
    }
  }
  if (names.size() != sizes.size() || names.size() != types.size() ||
      (!counts.empty() && counts.size() != names.size())) {
    io::fail(file, "FIELDS, SIZE, TYPE and COUNT differ in length");
  }
  std::size_t columns = 0;
  for (std::size_t i = 0; i < names.size(); ++i) {
    const auto type = scalar_of(types[i], sizes[i]);
    const auto count = counts.empty() ? std::size_t{1} : parse_integer<std::size_t>(counts[i]);
    if (!type || !count || *count == 0 || *count > kMaxColumns) {
      io::fail(file, "field '{}' has type '{}', size '{}', count '{}'", io::printable(names[i]),
               io::printable(types[i]), io::printable(sizes[i]),
               io::printable(counts.empty() ? "1" : counts[i]));
    }
    columns += *count;
    if (columns > kMaxColumns) io::fail(file, "more than {} columns", kMaxColumns);
    header.fields.push_back({std::string(names[i]), *type, *count});
  }
  assign_columns(header, file);

  std::uint64_t product = 0;
  if (width && __builtin_mul_overflow(*width, height.value_or(1), &product)) {
    io::fail(file, "WIDTH times HEIGHT is too large");
  }
  if (!width && !points) io::fail(file, "header has neither WIDTH nor POINTS");
  if (width && points && product != *points) {
    io::fail(file, "WIDTH times HEIGHT is {}, POINTS is {}", product, *points);
  }
  header.points = points.value_or(product);
  return header;
}

/// Throws if `points` rows of `row` bytes or more are not in `size` bytes.
void require_rows(const Header& header, std::size_t size, std::size_t row, std::string_view file) {
  // A header has x, y and z, so that row is not 0.
  if (header.points > size / row) {  // NOLINT(clang-analyzer-core.DivideZero)
    io::fail(file, "truncated: {} points need {} bytes each, {} bytes are left", header.points, row,
             size);
  }
}

Tensor make_points(const Header& header) {
  return Tensor(DType::f32, {static_cast<std::int64_t>(header.points),
                             static_cast<std::int64_t>(header.columns)});
}

Tensor from_ascii(const Header& header, std::string_view text, std::string_view file) {
  std::size_t words = 0;
  for (const auto& field : header.fields) words += field.count;
  require_rows(header, text.size() + 1, 2 * words, file);
  Tensor points = make_points(header);
  float* row = points.values<float>().data();
  for (std::uint64_t i = 0; i < header.points; ++i, row += header.columns) {
    for (const auto& field : header.fields) {
      for (std::size_t c = 0; c < field.count; ++c) {
        const auto word = take_word(text, true);
        if (word.empty()) io::fail(file, "truncated: point {} is not complete", i);
        if (field.padding()) continue;
        const auto value = parse_float(word);
        if (!value) io::fail(file, "'{}' is not a number that a float holds", io::printable(word));
        row[field.column + c] = *value;
      }
    }
  }
  return points;
}

/// The points from binary data, where value c of field f of point i is at
/// `start[f] + (i * field.count + c) * size` (by_field), or in rows one after the other.
Tensor from_binary(const Header& header, io::Bytes data, bool by_field) {
  Tensor points = make_points(header);
  float* const values = points.values<float>().data();
  const auto rows = static_cast<std::size_t>(header.points);
  std::size_t start = 0;
  for (const auto& field : header.fields) {
    const std::size_t size = size_of(field.type);
    const std::size_t step = by_field ? size * field.count : header.row_bytes;
    for (std::size_t i = 0; i < rows && !field.padding(); ++i) {
      for (std::size_t c = 0; c < field.count; ++c) {
        values[i * header.columns + field.column + c] =
            load_float(&data[start + i * step + c * size], field.type, std::endian::little);
      }
    }
    start += by_field ? size * field.count * rows : size * field.count;
  }
  return points;
}

/// Unpacks LZF (Marc Lehmann's liblzf): a control byte below 32 is followed by that many literals
/// plus one; any other says how many bytes to repeat and from how far back.
std::vector<std::byte> unpack_lzf(io::Bytes packed, std::size_t size, std::string_view file) {
  const auto corrupted = [&]() { io::fail(file, "corrupted: the compressed data do not unpack"); };
  std::vector<std::byte> out(size);
  std::size_t from = 0, to = 0;
  const auto next = [&]() -> std::size_t {
    if (from == packed.size()) corrupted();
    return std::to_integer<std::size_t>(packed[from++]);
  };
  while (from < packed.size()) {
    const std::size_t control = next();
    if (control < 32) {
      const std::size_t length = control + 1;
      if (length > packed.size() - from || length > size - to) corrupted();
      std::memcpy(&out[to], &packed[from], length);
      from += length;
      to += length;
      continue;
    }
    std::size_t length = control >> 5;
    if (length == 7) length += next();
    length += 2;
    const std::size_t distance = ((control & 31) << 8 | next()) + 1;
    if (distance > to || length > size - to) corrupted();
    for (std::size_t i = 0; i < length; ++i, ++to) out[to] = out[to - distance];  // may overlap
  }
  if (to != size) corrupted();
  return out;
}

Tensor from_compressed(const Header& header, io::Bytes data, std::string_view file) {
  constexpr std::size_t kMaxRatio = 88;  // 264 bytes from 3
  if (data.size() < 8) io::fail(file, "truncated: the compressed data have no sizes");
  const std::size_t packed = io::load<std::uint32_t>(data.data());
  const std::size_t unpacked = io::load<std::uint32_t>(&data[4]);
  if (packed > data.size() - 8) io::fail(file, "truncated: the compressed data end too early");
  if (unpacked / header.row_bytes != header.points || unpacked % header.row_bytes != 0) {
    io::fail(file, "{} points of {} bytes do not make {} bytes", header.points, header.row_bytes,
             unpacked);
  }
  if (unpacked / kMaxRatio > packed) {
    io::fail(file, "corrupted: {} bytes cannot unpack to {}", packed, unpacked);
  }
  return from_binary(header, unpack_lzf(data.subspan(8, packed), unpacked, file), true);
}

}  // namespace

Tensor parse_pcd(io::Bytes bytes, std::string_view file) {
  std::string_view text = io::as_text(bytes);
  const Header header = parse_header(text, file);
  const io::Bytes data = bytes.subspan(bytes.size() - text.size());
  if (header.data == "ascii") return from_ascii(header, text, file);
  if (header.data == "binary") {
    require_rows(header, data.size(), header.row_bytes, file);
    return from_binary(header, data, false);
  }
  if (header.data == "binary_compressed") return from_compressed(header, data, file);
  io::fail(file, "DATA '{}' is not known", io::printable(header.data));
}

}  // namespace researchkit::fusefps
