#pragma once

// Private: one parser per point format, and what they share.

#include <charconv>
#include <cmath>
#include <limits>
#include <optional>
#include <string_view>

#include "src/core/io/bytes.hpp"

namespace researchkit::fusefps {

Tensor parse_text_points(io::Bytes bytes, std::string_view file);
Tensor parse_ply(io::Bytes bytes, std::string_view file);
Tensor parse_pcd(io::Bytes bytes, std::string_view file);

/// A binary scalar of a file.
enum class Scalar { i8, u8, i16, u16, i32, u32, i64, u64, f32, f64 };

constexpr std::size_t size_of(Scalar type) {
  switch (type) {
    case Scalar::i8:
    case Scalar::u8:
      return 1;
    case Scalar::i16:
    case Scalar::u16:
      return 2;
    case Scalar::i32:
    case Scalar::u32:
    case Scalar::f32:
      return 4;
    case Scalar::i64:
    case Scalar::u64:
    case Scalar::f64:
      return 8;
  }
  return 0;
}

/// The nearest float; infinite beyond its range, which a plain cast would leave undefined.
inline float narrow(double value) {
  if (std::abs(value) > std::numeric_limits<float>::max()) {
    return std::copysign(std::numeric_limits<float>::infinity(),
                         static_cast<float>(value > 0) - 0.5f);
  }
  return static_cast<float>(value);
}

inline float load_float(const std::byte* from, Scalar type, std::endian order) {
  switch (type) {
    case Scalar::i8:
      return io::load<std::int8_t>(from, order);
    case Scalar::u8:
      return io::load<std::uint8_t>(from, order);
    case Scalar::i16:
      return io::load<std::int16_t>(from, order);
    case Scalar::u16:
      return io::load<std::uint16_t>(from, order);
    case Scalar::i32:
      return static_cast<float>(io::load<std::int32_t>(from, order));
    case Scalar::u32:
      return static_cast<float>(io::load<std::uint32_t>(from, order));
    case Scalar::i64:
      return static_cast<float>(io::load<std::int64_t>(from, order));
    case Scalar::u64:
      return static_cast<float>(io::load<std::uint64_t>(from, order));
    case Scalar::f32:
      return io::load<float>(from, order);
    case Scalar::f64:
      return narrow(io::load<double>(from, order));
  }
  return 0;
}

/// The number that is all of `token`, rounded once to float. Nothing if it is no number or beyond
/// float's range.
inline std::optional<float> parse_float(std::string_view token) {
  if (token.starts_with('+')) token.remove_prefix(1);
  const char* const end = token.data() + token.size();
  float value = 0;
  const auto parsed = std::from_chars(token.data(), end, value);
  if (parsed.ec == std::errc() && parsed.ptr == end) return value;
  if (parsed.ec != std::errc::result_out_of_range || parsed.ptr != end) return std::nullopt;
  // Too small or too large for a float; the former is 0.
  double wide = 0;
  if (std::from_chars(token.data(), end, wide).ec != std::errc()) return std::nullopt;
  if (std::abs(wide) >= 1) return std::nullopt;
  return static_cast<float>(wide);
}

template <class Integer>
std::optional<Integer> parse_integer(std::string_view token) {
  Integer value = 0;
  const char* const end = token.data() + token.size();
  const auto parsed = std::from_chars(token.data(), end, value);
  if (parsed.ec != std::errc() || parsed.ptr != end) return std::nullopt;
  return value;
}

constexpr bool is_blank(char c) {
  return c == ' ' || c == '\t' || c == '\r' || c == '\v' || c == '\f';
}

/// Takes the next word off `text`, where words are apart by blanks and, with `lines`, by line ends;
/// empty at the end.
inline std::string_view take_word(std::string_view& text, bool lines = false) {
  const auto apart = [&](char c) { return is_blank(c) || (lines && c == '\n'); };
  std::size_t begin = 0;
  while (begin < text.size() && apart(text[begin])) ++begin;
  std::size_t end = begin;
  while (end < text.size() && !apart(text[end])) ++end;
  const auto word = text.substr(begin, end - begin);
  text.remove_prefix(end);
  return word;
}

/// Takes the next line off `text`, without its end. False at the end of the text.
inline bool take_line(std::string_view& text, std::string_view& line) {
  if (text.empty()) return false;
  const auto end = text.find('\n');
  line = text.substr(0, end);
  text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  if (line.ends_with('\r')) line.remove_suffix(1);
  return true;
}

}  // namespace researchkit::fusefps
