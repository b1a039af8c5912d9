#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace researchkit {

/// What is known of symbols ("n", "k", ...) while an operator call is being checked.
class SymbolTable {
 public:
  std::optional<std::int64_t> find(std::string_view name) const {
    for (const auto& [known, value] : values_) {
      if (known == name) return value;
    }
    return std::nullopt;
  }
  void set(std::string_view name, std::int64_t value) {
    for (auto& [known, old] : values_) {
      if (known == name) {
        old = value;
        return;
      }
    }
    values_.emplace_back(name, value);
  }
  /// "n = 8, d = 3" of those symbols that `text` mentions.
  std::string explain(std::string_view text) const;

 private:
  std::vector<std::pair<std::string, std::int64_t>> values_;
};

/// Integer arithmetic over symbols: `n`, `16`, `n-1`, `2*d`, `(n+1)/2` (division rounds down).
class Expression {
 public:
  /// Throws Error if `text` is not an expression.
  explicit Expression(std::string_view text);

  const std::string& text() const { return text_; }
  /// The value, nothing while a symbol is unknown. Throws Error on overflow and division by 0.
  std::optional<std::int64_t> evaluate(const SymbolTable& symbols) const;
  /// If exactly one symbol is unknown and the expression is linear in it with an integer solution
  /// of expression = value: that symbol and its value.
  std::optional<std::pair<std::string, std::int64_t>> solve(const SymbolTable& symbols,
                                                            std::int64_t value) const;

 private:
  struct Token {
    char kind;  // 'n' number, 's' symbol, or one of + - * /
    std::int64_t number = 0;
    std::string symbol;
  };
  struct Linear;  // slope * unknown + offset
  std::optional<Linear> linear_form(const SymbolTable& symbols) const;
  std::size_t parse_sum(std::size_t at);
  std::size_t parse_product(std::size_t at);
  std::size_t parse_atom(std::size_t at);

  std::string text_;
  std::vector<Token> postfix_;
};

/// "b n-1 2*d" as one Expression per axis.
std::vector<Expression> parse_shape(std::string_view text);

/// A range of numbers in the usual notation: "[0, n]", "(0, 1]", "[1, inf)".
class Interval {
 public:
  /// Throws Error if `text` is not an interval.
  explicit Interval(std::string_view text);

  const std::string& text() const { return text_; }
  /// Whether `value` lies inside; NaN never does. A bound whose symbols are unknown does not bind.
  bool contains(double value, const SymbolTable& symbols) const;
  bool contains(std::int64_t value, const SymbolTable& symbols) const;

  struct Bound {
    bool open = false;
    double number = 0;
    std::optional<Expression> expression;
    std::optional<double> value(const SymbolTable& symbols) const;
  };
  const Bound& lower() const { return lower_; }
  const Bound& upper() const { return upper_; }

 private:
  std::string text_;
  Bound lower_, upper_;
};

}  // namespace researchkit
