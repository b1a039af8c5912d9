#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace researchkit {

/// JSON as text: the value of an attribute that is a program or a search space. The operator parses
/// it; the interface only checks that it is well-formed.
struct Json {
  std::string text;
  friend bool operator==(const Json&, const Json&) = default;
};

/// The value of an attribute, whatever its type. Enumerations travel as their name.
using AttributeValue =
    std::variant<bool, std::int64_t, std::uint64_t, double, std::string, std::vector<bool>,
                 std::vector<std::int64_t>, std::vector<double>, std::vector<std::string>, Json>;

/// Attributes by name.
using AttributeMap = std::map<std::string, AttributeValue, std::less<>>;

/// The value as it would be written in JSON, with nan, inf and -inf as bare words.
std::string to_string(const AttributeValue& value);

enum class AttributeType : std::uint8_t {
  boolean,
  int64,
  uint64,
  real,
  string,
  enumeration,
  boolean_list,
  int64_list,
  real_list,
  string_list,
  json
};

/// "integer", "one of", "list of real", ...: how an attribute's type is told to people.
std::string_view to_string(AttributeType type);

/// Reads `text` as a value of `type` ("1024", "0.5", "inf", "true", "[2, 3]" or "2,3", any string).
/// Nothing if it is not one.
std::optional<AttributeValue> parse_attribute(AttributeType type, std::string_view text);

/// An enumeration that attributes may have: a function `names_of` beside it gives the names of its
/// enumerators, which count from 0.
///
///     enum class Fill { minus1, first };
///     constexpr std::array<std::string_view, 2> names_of(Fill) { return {"minus1", "first"}; }
template <class E>
concept NamedEnum = std::is_enum_v<E> && requires(E e) {
  { *std::begin(names_of(e)) } -> std::convertible_to<std::string_view>;
};

template <NamedEnum E>
constexpr std::string_view name_of(E value) {
  return names_of(value)[static_cast<std::size_t>(value)];
}
/// The enumerator of that name, if there is one.
template <NamedEnum E>
constexpr std::optional<E> value_named(std::string_view name) {
  const auto names = names_of(E{});
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (names[i] == name) return static_cast<E>(i);
  }
  return std::nullopt;
}

namespace detail {

template <class T>
struct AttributeTraits;  // specialised below for every type that an attribute may have

template <>
struct AttributeTraits<bool> {
  static constexpr auto type = AttributeType::boolean;
};
template <>
struct AttributeTraits<std::int64_t> {
  static constexpr auto type = AttributeType::int64;
};
template <>
struct AttributeTraits<std::uint64_t> {
  static constexpr auto type = AttributeType::uint64;
};
template <>
struct AttributeTraits<double> {
  static constexpr auto type = AttributeType::real;
};
template <>
struct AttributeTraits<std::string> {
  static constexpr auto type = AttributeType::string;
};
template <>
struct AttributeTraits<Json> {
  static constexpr auto type = AttributeType::json;
};
template <>
struct AttributeTraits<std::vector<bool>> {
  static constexpr auto type = AttributeType::boolean_list;
};
template <>
struct AttributeTraits<std::vector<std::int64_t>> {
  static constexpr auto type = AttributeType::int64_list;
};
template <>
struct AttributeTraits<std::vector<double>> {
  static constexpr auto type = AttributeType::real_list;
};
template <>
struct AttributeTraits<std::vector<std::string>> {
  static constexpr auto type = AttributeType::string_list;
};
template <NamedEnum E>
struct AttributeTraits<E> {
  static constexpr auto type = AttributeType::enumeration;
};

// Conversions that lose nothing: an integer is a real number, a non-negative one is unsigned.
bool convert(const AttributeValue& from, bool& to);
bool convert(const AttributeValue& from, std::int64_t& to);
bool convert(const AttributeValue& from, std::uint64_t& to);
bool convert(const AttributeValue& from, double& to);
bool convert(const AttributeValue& from, std::string& to);
bool convert(const AttributeValue& from, Json& to);
bool convert(const AttributeValue& from, std::vector<bool>& to);
bool convert(const AttributeValue& from, std::vector<std::int64_t>& to);
bool convert(const AttributeValue& from, std::vector<double>& to);
bool convert(const AttributeValue& from, std::vector<std::string>& to);

template <NamedEnum E>
bool convert(const AttributeValue& from, E& to) {
  const auto* name = std::get_if<std::string>(&from);
  if (name == nullptr) return false;
  const std::optional<E> value = value_named<E>(*name);
  if (value) to = *value;
  return value.has_value();
}

template <class T>
AttributeValue to_value(const T& value) {
  if constexpr (NamedEnum<T>) {
    return std::string(name_of(value));
  } else {
    return value;
  }
}

}  // namespace detail
}  // namespace researchkit
