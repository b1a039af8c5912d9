#include "researchkit/core/attribute.hpp"

#include <fmt/format.h>

#include <charconv>
#include <limits>
#include <nlohmann/json.hpp>

namespace researchkit {
namespace {

std::string text_of(bool value) { return value ? "true" : "false"; }
std::string text_of(std::int64_t value) { return fmt::format("{}", value); }
std::string text_of(std::uint64_t value) { return fmt::format("{}", value); }
std::string text_of(double value) { return fmt::format("{}", value); }
std::string text_of(const std::string& value) { return nlohmann::json(value).dump(); }
std::string text_of(const Json& value) { return value.text; }
template <class T>
std::string text_of(const std::vector<T>& list) {
  std::string text;
  for (const T& entry : list) text += (text.empty() ? "" : ", ") + text_of(entry);
  return "[" + text + "]";
}

template <class T>
bool is_empty_list(const T& value) {
  if constexpr (requires { value.size(); } && !std::is_same_v<T, std::string>) {
    return value.empty();
  } else {
    return false;
  }
}

/// An exact match of the type, or an empty list, which has no type of its own.
template <class List>
bool convert_list(const AttributeValue& from, List& to) {
  if (const auto* list = std::get_if<List>(&from)) {
    to = *list;
    return true;
  }
  if (!std::visit([](const auto& value) { return is_empty_list(value); }, from)) return false;
  to.clear();
  return true;
}

template <class T>
std::optional<AttributeValue> parse_number(std::string_view text) {
  T value{};
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc{} || stop != text.data() + text.size())
    return std::nullopt;
  return value;
}

template <class T>
std::optional<AttributeValue> parse_list(AttributeType entry_type, std::string_view text) {
  if (text.size() >= 2 && text.front() == '[' && text.back() == ']') {
    text = text.substr(1, text.size() - 2);
  }
  std::vector<T> list;
  while (!text.empty()) {
    const std::size_t comma = std::min(text.find(','), text.size());
    std::string_view word = text.substr(0, comma);
    while (!word.empty() && word.front() == ' ') word.remove_prefix(1);
    while (!word.empty() && word.back() == ' ') word.remove_suffix(1);
    const auto entry = parse_attribute(entry_type, word);
    if (!entry) return std::nullopt;
    list.push_back(std::get<T>(*entry));
    text.remove_prefix(std::min(comma + 1, text.size()));
  }
  return list;
}

}  // namespace

std::string to_string(const AttributeValue& value) {
  return std::visit([](const auto& v) { return text_of(v); }, value);
}

std::string_view to_string(AttributeType type) {
  switch (type) {
    case AttributeType::boolean:
      return "true or false";
    case AttributeType::int64:
      return "integer";
    case AttributeType::uint64:
      return "integer >= 0";
    case AttributeType::real:
      return "number";
    case AttributeType::string:
      return "string";
    case AttributeType::enumeration:
      return "one of";
    case AttributeType::boolean_list:
      return "list of true or false";
    case AttributeType::int64_list:
      return "list of integers";
    case AttributeType::real_list:
      return "list of numbers";
    case AttributeType::string_list:
      return "list of strings";
    case AttributeType::json:
      return "JSON";
  }
  return "?";
}

std::optional<AttributeValue> parse_attribute(AttributeType type, std::string_view text) {
  switch (type) {
    case AttributeType::boolean:
      if (text == "true" || text == "1") return true;
      if (text == "false" || text == "0") return false;
      return std::nullopt;
    case AttributeType::int64:
      return parse_number<std::int64_t>(text);
    case AttributeType::uint64:
      return parse_number<std::uint64_t>(text);
    case AttributeType::real:
      return parse_number<double>(text);
    case AttributeType::string:
    case AttributeType::enumeration:
      return std::string(text);
    case AttributeType::boolean_list:
      return parse_list<bool>(AttributeType::boolean, text);
    case AttributeType::int64_list:
      return parse_list<std::int64_t>(AttributeType::int64, text);
    case AttributeType::real_list:
      return parse_list<double>(AttributeType::real, text);
    case AttributeType::string_list:
      return parse_list<std::string>(AttributeType::string, text);
    case AttributeType::json:
      if (!nlohmann::json::accept(text)) return std::nullopt;
      return Json{std::string(text)};
  }
  return std::nullopt;
}

namespace detail {

bool convert(const AttributeValue& from, bool& to) {
  const auto* value = std::get_if<bool>(&from);
  if (value != nullptr) to = *value;
  return value != nullptr;
}

bool convert(const AttributeValue& from, std::int64_t& to) {
  if (const auto* value = std::get_if<std::int64_t>(&from)) {
    to = *value;
    return true;
  }
  const auto* value = std::get_if<std::uint64_t>(&from);
  if (value == nullptr || *value > std::uint64_t{std::numeric_limits<std::int64_t>::max()}) {
    return false;
  }
  to = static_cast<std::int64_t>(*value);
  return true;
}

bool convert(const AttributeValue& from, std::uint64_t& to) {
  if (const auto* value = std::get_if<std::uint64_t>(&from)) {
    to = *value;
    return true;
  }
  const auto* value = std::get_if<std::int64_t>(&from);
  if (value == nullptr || *value < 0) return false;
  to = static_cast<std::uint64_t>(*value);
  return true;
}

bool convert(const AttributeValue& from, double& to) {
  if (const auto* value = std::get_if<double>(&from)) {
    to = *value;
  } else if (const auto* integer = std::get_if<std::int64_t>(&from)) {
    to = static_cast<double>(*integer);
  } else if (const auto* natural = std::get_if<std::uint64_t>(&from)) {
    to = static_cast<double>(*natural);
  } else {
    return false;
  }
  return true;
}

bool convert(const AttributeValue& from, std::string& to) {
  const auto* value = std::get_if<std::string>(&from);
  if (value != nullptr) to = *value;
  return value != nullptr;
}

bool convert(const AttributeValue& from, Json& to) {
  const auto* value = std::get_if<Json>(&from);
  if (value == nullptr || !nlohmann::json::accept(value->text)) return false;
  to = *value;
  return true;
}

bool convert(const AttributeValue& from, std::vector<bool>& to) { return convert_list(from, to); }
bool convert(const AttributeValue& from, std::vector<std::int64_t>& to) {
  return convert_list(from, to);
}
bool convert(const AttributeValue& from, std::vector<double>& to) {
  if (const auto* integers = std::get_if<std::vector<std::int64_t>>(&from)) {
    to.assign(integers->begin(), integers->end());
    return true;
  }
  return convert_list(from, to);
}
bool convert(const AttributeValue& from, std::vector<std::string>& to) {
  return convert_list(from, to);
}

}  // namespace detail
}  // namespace researchkit
