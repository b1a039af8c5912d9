#include "researchkit/core/arbitrary.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace researchkit {
namespace {

/// The integers of an interval, cut to [low, high].
std::pair<std::int64_t, std::int64_t> integers_in(const std::optional<Interval>& interval,
                                                  const SymbolTable& symbols, std::int64_t low,
                                                  std::int64_t high) {
  if (!interval) return {low, high};
  const double bottom = interval->lower().value(symbols).value_or(static_cast<double>(low));
  const double top = interval->upper().value(symbols).value_or(static_cast<double>(high));
  if (std::isfinite(bottom))
    low = static_cast<std::int64_t>(bottom) + (interval->lower().open ? 1 : 0);
  high = std::max(high, low);
  if (top <= static_cast<double>(high)) {
    high = static_cast<std::int64_t>(std::ceil(top)) - (interval->upper().open ? 1 : 0);
  }
  return {low, high};
}

}  // namespace

Arbitrary::Arbitrary(const Schema& schema, std::uint64_t seed, std::int64_t largest)
    : schema_(schema), engine_(seed) {
  draw_sizes(largest);
  draw_attributes();
  draw_inputs();
}

std::int64_t Arbitrary::integer(std::int64_t low, std::int64_t high) {
  if (high <= low) return low;
  return low + static_cast<std::int64_t>(engine_() % static_cast<std::uint64_t>(high - low + 1));
}

bool Arbitrary::chance(double probability) {
  return static_cast<double>(engine_() >> 11) * 0x1p-53 < probability;
}

double Arbitrary::normal() {
  // The sum of twelve uniform numbers: the same on every platform, unlike std::normal_distribution.
  double sum = -6;
  for (int i = 0; i < 12; ++i) sum += static_cast<double>(engine_() >> 11) * 0x1p-53;
  return sum;
}

void Arbitrary::draw_sizes(std::int64_t largest) {
  // Large calls have one long axis and short ones beside it, so that tensors stay small.
  constexpr std::int64_t kSmall = 24;
  std::int64_t symbols = 0;
  for (const ArgumentSpec& spec : schema_.arguments) {
    symbols += spec.kind == ArgumentKind::input ? static_cast<std::int64_t>(spec.shape.size()) : 0;
  }
  std::int64_t until_long_axis =
      largest > kSmall ? integer(0, std::max<std::int64_t>(symbols / 2, 1)) : -1;
  for (const ArgumentSpec& spec : schema_.arguments) {
    if (spec.kind != ArgumentKind::input) continue;
    for (const Expression& expression : spec.shape) {
      // Every unknown symbol of an axis that has just one is given a size; others follow from
      // these.
      const auto unknown = expression.solve(sizes, 0);
      const auto named = unknown ? unknown : expression.solve(sizes, 1);
      if (!named || named->first == "_") continue;
      std::int64_t low = 0, high = largest;
      if (largest > kSmall && until_long_axis-- != 0) high = 4;
      for (const DimensionSpec& dimension : schema_.dimensions) {
        if (dimension.symbol != named->first) continue;
        std::tie(low, high) = integers_in(dimension.interval, sizes, low, high);
      }
      const std::int64_t pick = integer(0, 5);
      sizes.set(named->first, pick == 0   ? low
                              : pick == 1 ? std::min(high, std::max<std::int64_t>(low, 1))
                              : pick == 2 ? std::max(low, (high - 1) | 1)
                                          : integer(low, high));
    }
  }
}

void Arbitrary::draw_attributes() {
  for (const ArgumentSpec& spec : schema_.arguments) {
    if (spec.kind != ArgumentKind::attribute || chance(0.4)) continue;
    const auto [low, high] = integers_in(spec.interval, sizes, -8, 16);
    const auto real = [&] {
      const double bottom = spec.interval ? spec.interval->lower().value(sizes).value_or(-4) : -4;
      const double top = spec.interval ? spec.interval->upper().value(sizes).value_or(4) : 4;
      const double from = std::isfinite(bottom) ? bottom : -4;
      const double to = std::isfinite(top) ? top : std::max(from, 0.) + 4;
      return from + (to - from) * (static_cast<double>(integer(1, 63)) / 64);
    };
    const auto entries = integer(0, 3);
    AttributeValue value;
    switch (spec.type) {
      case AttributeType::boolean:
        value = chance(0.5);
        break;
      case AttributeType::int64:
        value = integer(low, high);
        break;
      case AttributeType::uint64:
        value = engine_();
        break;
      case AttributeType::real:
        value = real();
        break;
      case AttributeType::enumeration:
        value = spec.choices[static_cast<std::size_t>(
            integer(0, static_cast<std::int64_t>(spec.choices.size()) - 1))];
        break;
      case AttributeType::boolean_list: {
        std::vector<bool> list;
        for (std::int64_t i = 0; i < entries; ++i) list.push_back(chance(0.5));
        value = list;
        break;
      }
      case AttributeType::int64_list: {
        std::vector<std::int64_t> list;
        for (std::int64_t i = 0; i < entries; ++i) list.push_back(integer(low, high));
        value = list;
        break;
      }
      case AttributeType::real_list: {
        std::vector<double> list;
        for (std::int64_t i = 0; i < entries; ++i) list.push_back(real());
        value = list;
        break;
      }
      case AttributeType::string:
      case AttributeType::string_list:
      case AttributeType::json:
        continue;  // only the operator knows what makes sense
    }
    call.attributes[spec.name] = value;
    if (const auto* extent = std::get_if<std::int64_t>(&value)) sizes.set(spec.name, *extent);
  }
}

Tensor Arbitrary::draw_tensor(const ArgumentSpec& spec) {
  Shape shape;
  if (spec.any_rank()) {
    for (auto rank = integer(0, 3); rank > 0; --rank) shape.push_back(integer(0, 24));
  }
  for (const Expression& expression : spec.shape) {
    shape.push_back(expression.text() == "_"
                        ? integer(0, 4)
                        : std::max<std::int64_t>(0, expression.evaluate(sizes).value_or(1)));
  }
  Tensor tensor(spec.dtype, shape);
  const auto [low, high] = integers_in(spec.interval, sizes, 0, 3);
  visit_dtype(spec.dtype, [&, low = low, high = high]<class T>(T) {
    T previous{};
    for (T& value : tensor.values<T>()) {
      if constexpr (std::is_floating_point_v<T>) {
        value = chance(0.1) ? previous : static_cast<T>(normal());
      } else {
        value = static_cast<T>(integer(low, high));
      }
      previous = value;
    }
  });
  return tensor;
}

void Arbitrary::draw_inputs(std::string_view only_with_symbol) {
  for (const ArgumentSpec& spec : schema_.arguments) {
    if (spec.kind != ArgumentKind::input) continue;
    if (!only_with_symbol.empty()) {
      const bool has_it =
          call.inputs.contains(spec.name) &&
          std::any_of(spec.shape.begin(), spec.shape.end(), [&](const Expression& axis) {
            return axis.text().find(only_with_symbol) != std::string::npos;
          });
      if (has_it) call.inputs.set(spec.name, draw_tensor(spec));
    } else if (spec.arity == Arity::list) {
      const std::int64_t count = integer(1, 3);
      for (std::int64_t i = 0; i < count; ++i) {
        call.inputs.set(spec.name + "_" + std::to_string(i), draw_tensor(spec));
      }
    } else if (spec.arity == Arity::single && !(spec.optional && chance(0.5))) {
      call.inputs.set(spec.name, draw_tensor(spec));
    }
  }
}

void Arbitrary::resize(std::string_view symbol, std::int64_t extent) {
  sizes.set(symbol, extent);
  draw_inputs(symbol);
}

}  // namespace researchkit
