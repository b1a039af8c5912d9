#include "src/fusefps/point_formats.hpp"

namespace researchkit::fusefps {
namespace {

constexpr bool is_separator(char c) { return c == ',' || c == ';'; }

std::string_view trim(std::string_view text) {
  while (!text.empty() && is_blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_blank(text.back())) text.remove_suffix(1);
  return text;
}

/// Calls `use(field)` for each field of a trimmed line that is not empty: fields are apart by
/// blanks or by one comma or semicolon with blanks around it, so `1,,2` has an empty one.
template <class Use>
void for_each_field(std::string_view line, Use&& use) {
  while (true) {
    std::size_t end = 0;
    while (end < line.size() && !is_blank(line[end]) && !is_separator(line[end])) ++end;
    use(line.substr(0, end));
    line = trim(line.substr(end));
    if (line.empty()) return;
    if (!is_separator(line.front())) continue;
    line = trim(line.substr(1));
    if (line.empty()) return use(line);
  }
}

std::size_t count_fields(std::string_view line) {
  std::size_t fields = 0;
  for_each_field(line, [&](std::string_view) { ++fields; });
  return fields;
}

bool is_header(std::string_view line) {
  bool first = true, header = false;
  for_each_field(line, [&](std::string_view field) {
    if (first) header = !field.empty() && !parse_float(field);
    first = false;
  });
  return header;
}

}  // namespace

Tensor parse_text_points(io::Bytes bytes, std::string_view file) {
  std::string_view text = io::as_text(bytes);
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);  // a byte order mark

  std::vector<float> values;
  std::size_t columns = 0, rows = 0, number = 0;
  bool seen_content = false;
  std::string_view line;
  while (take_line(text, line)) {
    ++number;
    line = trim(line);
    if (line.empty() || line.starts_with('#') || line.starts_with("//")) continue;
    if (!seen_content) {
      seen_content = true;
      columns = count_fields(line);
      if (is_header(line)) continue;
    }
    std::size_t fields = 0;
    for_each_field(line, [&](std::string_view field) {
      const auto value = parse_float(field);
      if (!value) {
        io::fail(file, "line {}: '{}' is not a number that a float holds", number,
                 io::printable(field));
      }
      ++fields;
      values.push_back(*value);
    });
    if (fields != columns) {
      io::fail(file, "line {}: {} numbers, the first row has {}", number, fields, columns);
    }
    ++rows;
  }
  if (!seen_content) io::fail(file, "there are no points in it");
  return Tensor::from(std::span<const float>(values),
                      {static_cast<std::int64_t>(rows), static_cast<std::int64_t>(columns)});
}

}  // namespace researchkit::fusefps
