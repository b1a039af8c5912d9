#include <algorithm>
#include <array>
#include <utility>

#include "src/fusefps/point_formats.hpp"

// Source: Greg Turk, "The PLY Polygon File Format" (1994), and the type names that came later.

namespace researchkit::fusefps {
namespace {

enum class Encoding { ascii, little, big };

struct Property {
  std::string name;
  Scalar type = Scalar::f32;
  std::optional<Scalar> length_type;  // of a list
};

struct Element {
  std::string name;
  std::uint64_t count = 0;
  std::vector<Property> properties;
};

struct Header {
  Encoding encoding = Encoding::ascii;
  std::vector<Element> elements;
};

std::optional<Scalar> scalar_from_name(std::string_view name) {
  constexpr std::pair<std::string_view, Scalar> kNames[] = {
      {"char", Scalar::i8},    {"int8", Scalar::i8},     {"uchar", Scalar::u8},
      {"uint8", Scalar::u8},   {"short", Scalar::i16},   {"int16", Scalar::i16},
      {"ushort", Scalar::u16}, {"uint16", Scalar::u16},  {"int", Scalar::i32},
      {"int32", Scalar::i32},  {"uint", Scalar::u32},    {"uint32", Scalar::u32},
      {"float", Scalar::f32},  {"float32", Scalar::f32}, {"double", Scalar::f64},
      {"float64", Scalar::f64}};
  for (const auto& [known, type] : kNames) {
    if (known == name) return type;
  }
  return std::nullopt;
}

/// What a header line after the keyword `property` says.
Property parse_property(std::string_view rest, std::string_view file) {
  Property property;
  while (!rest.empty() && is_blank(rest.front())) rest.remove_prefix(1);
  const std::string shown = io::printable(rest);
  std::string_view word = take_word(rest);
  if (word == "list") {
    property.length_type = scalar_from_name(take_word(rest));
    if (!property.length_type || *property.length_type == Scalar::f32 ||
        *property.length_type == Scalar::f64) {
      io::fail(file, "bad list property '{}'", shown);
    }
    word = take_word(rest);
  }
  const auto type = scalar_from_name(word);
  property.name = take_word(rest);
  if (!type || property.name.empty() || !take_word(rest).empty()) {
    io::fail(file, "bad property '{}'", shown);
  }
  property.type = *type;
  return property;
}

/// Takes the header off `text`.
Header parse_header(std::string_view& text, std::string_view file) {
  std::string_view line;
  if (!take_line(text, line) || line != "ply") io::fail(file, "not a .ply file");
  Header header;
  bool has_format = false;
  while (take_line(text, line)) {
    std::string_view rest = line;
    const auto keyword = take_word(rest);
    if (keyword == "end_header") {
      if (!has_format) io::fail(file, "header has no format");
      return header;
    }
    if (keyword == "format") {
      const auto encoding = take_word(rest);
      const auto version = take_word(rest);
      constexpr std::array<std::string_view, 3> kEncodings = {"ascii", "binary_little_endian",
                                                              "binary_big_endian"};
      const auto* found = std::find(kEncodings.begin(), kEncodings.end(), encoding);
      if (found == kEncodings.end() || version != "1.0") {
        io::fail(file, "format '{} {}' is not known", io::printable(encoding),
                 io::printable(version));
      }
      header.encoding = static_cast<Encoding>(found - kEncodings.begin());
      has_format = true;
    } else if (keyword == "element") {
      Element element;
      element.name = take_word(rest);
      const auto count = parse_integer<std::uint64_t>(take_word(rest));
      if (!count || !take_word(rest).empty()) {
        io::fail(file, "bad header line '{}'", io::printable(line));
      }
      element.count = *count;
      header.elements.push_back(std::move(element));
    } else if (keyword == "property") {
      if (header.elements.empty()) io::fail(file, "a property comes before the first element");
      header.elements.back().properties.push_back(parse_property(rest, file));
    } else if (keyword != "comment" && keyword != "obj_info" && !keyword.empty()) {
      io::fail(file, "bad header line '{}'", io::printable(line));
    }
  }
  io::fail(file, "truncated: the header has no end");
}

std::int64_t load_length(const std::byte* from, Scalar type, std::endian order) {
  switch (type) {
    case Scalar::i8:
      return io::load<std::int8_t>(from, order);
    case Scalar::u8:
      return io::load<std::uint8_t>(from, order);
    case Scalar::i16:
      return io::load<std::int16_t>(from, order);
    case Scalar::u16:
      return io::load<std::uint16_t>(from, order);
    case Scalar::u32:
      return io::load<std::uint32_t>(from, order);
    default:
      return io::load<std::int32_t>(from, order);
  }
}

/// Takes scalars off the data, one after the other, never past their end.
class Data {
 public:
  Data(std::string_view rest, Encoding encoding, std::string_view file)
      : rest_(rest), encoding_(encoding), file_(file) {}

  float number(Scalar type) {
    if (encoding_ == Encoding::ascii) {
      const auto word = take_word(rest_, true);
      const auto value = parse_float(word);
      if (word.empty()) truncated();
      if (!value) io::fail(file_, "'{}' is not a number that a float holds", io::printable(word));
      return *value;
    }
    return load_float(take(size_of(type)), type, order());
  }

  /// The entries of a list, which are passed over.
  void skip_list(const Property& list) {
    if (encoding_ == Encoding::ascii) {
      const auto word = take_word(rest_, true);
      const auto length = parse_integer<std::uint64_t>(word);
      if (word.empty()) truncated();
      if (!length) io::fail(file_, "'{}' is not the length of a list", io::printable(word));
      for (std::uint64_t i = 0; i < *length; ++i) {
        if (take_word(rest_, true).empty()) truncated();
      }
      return;
    }
    const Scalar type = *list.length_type;
    const std::byte* const raw = take(size_of(type));
    const std::int64_t length = load_length(raw, type, order());
    if (length < 0) io::fail(file_, "a list has the length {}", length);
    skip(static_cast<std::uint64_t>(length), size_of(list.type));
  }

  void skip(std::uint64_t count, std::size_t size) {
    if (size != 0 && count > rest_.size() / size) truncated();
    rest_.remove_prefix(static_cast<std::size_t>(count) * size);
  }

  /// Throws if `count` rows of this element cannot be in what is left.
  void require_rows(const Element& element) {
    std::size_t least = 0;  // bytes of a row
    for (const auto& property : element.properties) {
      least += encoding_ == Encoding::ascii ? 2  // a digit and a blank, which the last row may lack
               : property.length_type       ? size_of(*property.length_type)
                                            : size_of(property.type);
    }
    if (least != 0 && element.count > (rest_.size() + 1) / least) truncated();
  }

  bool ascii() const { return encoding_ == Encoding::ascii; }
  [[noreturn]] void truncated() const { io::fail(file_, "truncated: the data end too early"); }

 private:
  std::endian order() const {
    return encoding_ == Encoding::big ? std::endian::big : std::endian::little;
  }
  const std::byte* take(std::size_t size) {
    if (size > rest_.size()) truncated();
    const auto* const at = reinterpret_cast<const std::byte*>(rest_.data());
    rest_.remove_prefix(size);
    return at;
  }

  std::string_view rest_;
  Encoding encoding_;
  std::string_view file_;
};

void skip_element(Data& data, const Element& element) {
  if (element.properties.empty()) return;
  data.require_rows(element);
  const bool fixed = std::none_of(element.properties.begin(), element.properties.end(),
                                  [](const Property& p) { return p.length_type.has_value(); });
  if (fixed && !data.ascii()) {
    std::size_t row = 0;
    for (const auto& property : element.properties) row += size_of(property.type);
    return data.skip(element.count, row);
  }
  for (std::uint64_t i = 0; i < element.count; ++i) {
    for (const auto& property : element.properties) {
      property.length_type ? data.skip_list(property) : void(data.number(property.type));
    }
  }
}

/// The column of each property: x, y, z first; none for a list.
std::vector<std::size_t> columns_of(const Element& vertex, std::size_t& columns,
                                    std::string_view file) {
  constexpr auto kNone = static_cast<std::size_t>(-1);
  std::vector<std::size_t> column(vertex.properties.size(), kNone);
  columns = 0;
  for (const std::string_view name : {"x", "y", "z"}) {
    std::size_t found = 0;
    for (std::size_t i = 0; i < column.size(); ++i) {
      if (vertex.properties[i].name != name || vertex.properties[i].length_type) continue;
      column[i] = columns;
      ++found;
    }
    if (found != 1) io::fail(file, "vertex has {} properties '{}', wanted 1", found, name);
    ++columns;
  }
  for (std::size_t i = 0; i < column.size(); ++i) {
    if (column[i] == kNone && !vertex.properties[i].length_type) column[i] = columns++;
  }
  return column;
}

}  // namespace

Tensor parse_ply(io::Bytes bytes, std::string_view file) {
  std::string_view text = io::as_text(bytes);
  const Header header = parse_header(text, file);
  const auto vertex = std::find_if(header.elements.begin(), header.elements.end(),
                                   [](const Element& e) { return e.name == "vertex"; });
  if (vertex == header.elements.end()) io::fail(file, "there is no element 'vertex'");
  std::size_t columns = 0;
  const auto column = columns_of(*vertex, columns, file);

  Data data(text, header.encoding, file);
  for (auto element = header.elements.begin(); element != vertex; ++element) {
    skip_element(data, *element);
  }
  data.require_rows(*vertex);
  Tensor points(DType::f32,
                {static_cast<std::int64_t>(vertex->count), static_cast<std::int64_t>(columns)});
  float* row = points.values<float>().data();
  for (std::uint64_t i = 0; i < vertex->count; ++i, row += columns) {
    for (std::size_t p = 0; p < column.size(); ++p) {
      const Property& property = vertex->properties[p];
      if (property.length_type) {
        data.skip_list(property);
      } else {
        row[column[p]] = data.number(property.type);
      }
    }
  }
  return points;
}

}  // namespace researchkit::fusefps
