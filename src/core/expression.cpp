#include "researchkit/core/expression.hpp"

#include <fmt/format.h>

#include <cctype>
#include <charconv>
#include <cmath>
#include <limits>

#include "researchkit/core/error.hpp"

namespace researchkit {
namespace {

bool is_symbol_char(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; }

[[noreturn]] void bad_expression(std::string_view text) {
  throw Error(fmt::format("'{}' is not an expression", text));
}

std::string_view trim(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

std::int64_t floor_divide(std::int64_t a, std::int64_t b) {
  const std::int64_t quotient = a / b;
  return quotient - ((a % b != 0 && (a < 0) != (b < 0)) ? 1 : 0);
}

}  // namespace

std::string SymbolTable::explain(std::string_view text) const {
  std::string result;
  for (std::size_t i = 0; i < text.size();) {
    std::size_t end = i;
    while (end < text.size() && is_symbol_char(text[end])) ++end;
    if (const auto value = find(text.substr(i, end - i))) {
      result +=
          fmt::format("{}{} = {}", result.empty() ? "" : ", ", text.substr(i, end - i), *value);
    }
    i = std::max(end, i + 1);
  }
  return result;
}

Expression::Expression(std::string_view text) : text_(trim(text)) {
  if (parse_sum(0) != text_.size()) bad_expression(text_);
}

std::size_t Expression::parse_sum(std::size_t at) {
  at = parse_product(at);
  while (at < text_.size() && (text_[at] == '+' || text_[at] == '-')) {
    const char kind = text_[at];
    at = parse_product(at + 1);
    postfix_.push_back({kind, 0, {}});
  }
  return at;
}

std::size_t Expression::parse_product(std::size_t at) {
  at = parse_atom(at);
  while (at < text_.size() && (text_[at] == '*' || text_[at] == '/')) {
    const char kind = text_[at];
    at = parse_atom(at + 1);
    postfix_.push_back({kind, 0, {}});
  }
  return at;
}

std::size_t Expression::parse_atom(std::size_t at) {
  if (at < text_.size() && text_[at] == '(') {
    at = parse_sum(at + 1);
    if (at >= text_.size() || text_[at] != ')') bad_expression(text_);
    return at + 1;
  }
  std::size_t end = at;
  while (end < text_.size() && is_symbol_char(text_[end])) ++end;
  const std::string word = text_.substr(at, end - at);
  if (word.empty()) bad_expression(text_);
  if (std::isdigit(static_cast<unsigned char>(word[0])) != 0) {
    std::int64_t number = 0;
    const auto [stop, error] = std::from_chars(word.data(), word.data() + word.size(), number);
    if (error != std::errc{} || stop != word.data() + word.size()) bad_expression(text_);
    postfix_.push_back({'n', number, {}});
  } else {
    postfix_.push_back({'s', 0, word});
  }
  return end;
}

struct Expression::Linear {
  std::int64_t slope = 0;
  std::int64_t offset = 0;
  std::string unknown;  // empty when slope is 0
};

/// The expression as slope * unknown + offset; nothing if it has several unknowns or is not linear.
std::optional<Expression::Linear> Expression::linear_form(const SymbolTable& symbols) const {
  const auto fail = [&]() -> std::int64_t {
    throw Error(fmt::format("'{}' overflows or divides by 0", text_));
  };
  const auto add = [&](std::int64_t a, std::int64_t b) {
    std::int64_t r = 0;
    return __builtin_add_overflow(a, b, &r) ? fail() : r;
  };
  const auto subtract = [&](std::int64_t a, std::int64_t b) {
    std::int64_t r = 0;
    return __builtin_sub_overflow(a, b, &r) ? fail() : r;
  };
  const auto multiply = [&](std::int64_t a, std::int64_t b) {
    std::int64_t r = 0;
    return __builtin_mul_overflow(a, b, &r) ? fail() : r;
  };
  std::vector<Linear> stack;
  for (const Token& token : postfix_) {
    if (token.kind == 'n') {
      stack.push_back({0, token.number, {}});
      continue;
    }
    if (token.kind == 's') {
      const auto value = symbols.find(token.symbol);
      stack.push_back(value ? Linear{0, *value, {}} : Linear{1, 0, token.symbol});
      continue;
    }
    const Linear b = std::move(stack.back());
    stack.pop_back();
    Linear& a = stack.back();
    if (!a.unknown.empty() && !b.unknown.empty() && a.unknown != b.unknown) return std::nullopt;
    const bool add_or_subtract = token.kind == '+' || token.kind == '-';
    if (!add_or_subtract && !b.unknown.empty() && (token.kind == '/' || !a.unknown.empty())) {
      return std::nullopt;
    }
    if (token.kind == '+') {
      a = {add(a.slope, b.slope), add(a.offset, b.offset),
           a.unknown.empty() ? b.unknown : a.unknown};
    } else if (token.kind == '-') {
      a = {subtract(a.slope, b.slope), subtract(a.offset, b.offset),
           a.unknown.empty() ? b.unknown : a.unknown};
    } else if (token.kind == '*') {
      const std::int64_t factor = b.unknown.empty() ? b.offset : a.offset;
      const Linear& form = b.unknown.empty() ? a : b;
      a = {multiply(form.slope, factor), multiply(form.offset, factor), form.unknown};
    } else {
      if (!a.unknown.empty()) return std::nullopt;
      a.offset = b.offset == 0 ? fail() : floor_divide(a.offset, b.offset);
    }
    if (a.slope == 0) a.unknown.clear();
  }
  return stack.back();
}

std::optional<std::int64_t> Expression::evaluate(const SymbolTable& symbols) const {
  const auto form = linear_form(symbols);
  if (!form || !form->unknown.empty()) return std::nullopt;
  return form->offset;
}

std::optional<std::pair<std::string, std::int64_t>> Expression::solve(const SymbolTable& symbols,
                                                                      std::int64_t value) const {
  const auto form = linear_form(symbols);
  if (!form || form->unknown.empty()) return std::nullopt;
  std::int64_t rest = 0;
  if (__builtin_sub_overflow(value, form->offset, &rest) || rest % form->slope != 0) {
    return std::nullopt;
  }
  return std::pair{form->unknown, rest / form->slope};
}

std::vector<Expression> parse_shape(std::string_view text) {
  std::vector<Expression> axes;
  while (!(text = trim(text)).empty()) {
    const std::size_t end = std::min(text.find(' '), text.size());
    axes.emplace_back(text.substr(0, end));
    text.remove_prefix(end);
  }
  return axes;
}

Interval::Interval(std::string_view text) : text_(trim(text)) {
  const std::string_view all = text_;
  const std::size_t comma = all.find(',');
  if (all.size() < 5 || comma == std::string_view::npos ||
      (all.front() != '[' && all.front() != '(') || (all.back() != ']' && all.back() != ')')) {
    throw Error(fmt::format("'{}' is not an interval", all));
  }
  const auto parse = [](std::string_view word, Bound& bound) {
    word = trim(word);
    if (word == "inf" || word == "-inf") {
      bound.number = word == "inf" ? std::numeric_limits<double>::infinity()
                                   : -std::numeric_limits<double>::infinity();
      return;
    }
    const auto [stop, error] =
        std::from_chars(word.data(), word.data() + word.size(), bound.number);
    if (error != std::errc{} || stop != word.data() + word.size())
      bound.expression = Expression(word);
  };
  lower_.open = all.front() == '(';
  upper_.open = all.back() == ')';
  parse(all.substr(1, comma - 1), lower_);
  parse(all.substr(comma + 1, all.size() - comma - 2), upper_);
}

std::optional<double> Interval::Bound::value(const SymbolTable& symbols) const {
  if (!expression) return number;
  const auto integer = expression->evaluate(symbols);
  if (!integer) return std::nullopt;
  return static_cast<double>(*integer);
}

bool Interval::contains(double value, const SymbolTable& symbols) const {
  if (std::isnan(value)) return false;
  const auto low = lower_.value(symbols), high = upper_.value(symbols);
  if (low && (lower_.open ? !(value > *low) : !(value >= *low))) return false;
  return !high || (upper_.open ? value < *high : value <= *high);
}

bool Interval::contains(std::int64_t value, const SymbolTable& symbols) const {
  return contains(static_cast<double>(value), symbols);
}

}  // namespace researchkit
