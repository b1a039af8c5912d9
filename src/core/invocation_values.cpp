// What a call reads of its inputs before it runs: the rules for their values, on the host and on a
// device, and the copies that a device call needs on the host.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "src/core/invocation.hpp"

namespace researchkit::detail {
namespace {

std::string position_text(const Shape& shape, std::int64_t flat) {
  Shape position(shape.size());
  for (std::size_t axis = shape.size(); axis-- > 0;) {
    position[axis] = flat % shape[axis];
    flat /= shape[axis];
  }
  return to_string(position);
}

/// The row-major position of the first entry that `is_bad`, or -1.
template <class T, class IsBad>
std::int64_t find_bad(const Tensor& tensor, IsBad&& is_bad) {
  const Tensor row_major = tensor.contiguous();
  const T* values = static_cast<const T*>(row_major.data());
  const T* end = values + row_major.size();
  const T* bad = std::find_if(values, end, is_bad);
  return bad == end ? -1 : bad - values;
}

/// The rules for the entries of an input as numbers. A bound with unknown symbols does not bind.
ValueRange range_of(const ArgumentSpec& spec, const SymbolTable& symbols) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  ValueRange range{-kInfinity, kInfinity, false, false, spec.finite};
  if (!spec.interval) return range;
  const Interval::Bound &lower = spec.interval->lower(), &upper = spec.interval->upper();
  if (const auto value = lower.value(symbols)) {
    range.lower = *value;
    range.lower_is_open = lower.open;
  }
  if (const auto value = upper.value(symbols)) {
    range.upper = *value;
    range.upper_is_open = upper.open;
  }
  return range;
}

}  // namespace

/// A device call needs the backend's kernel for the operator.
void Invocation::find_device() {
  if (device_.is_host()) return;
  device_run_ = device_.backend->kernels().find(hooks_.type);
  if (device_run_ != nullptr) return;
  for (const Argument& argument : arguments_) {
    if (argument.tensors.empty() || !argument.is(ArgumentKind::input)) continue;
    refuse(argument.label(argument.tensors.begin()->first), "a tensor on cpu",
           fmt::format("one on {}, where this operator has no kernel", to_string(device_)));
  }
  throw Error(
      fmt::format("{} has no kernel for {}", hooks_.schema->operator_name, to_string(device_)));
}

/// Points the described members of the operator object at copies on the host.
void Invocation::read_on_host(ArgumentKind kind) {
  if (device_.is_host()) return;
  for (Argument& argument : arguments_) {
    if (!argument.is(kind) || !argument.spec->host || argument.tensors.empty()) continue;
    argument.on_host.clear();
    for (const auto& [key, tensor] : argument.tensors) {
      argument.on_host.set(key, tensor.to(Device::host()));
    }
    argument.port.tensors->assign(argument.port.member, argument.on_host);
  }
}

void Invocation::check_values() const {
  for (const Argument& argument : arguments_) {
    const ArgumentSpec& spec = *argument.spec;
    if (!argument.is(ArgumentKind::input) || (!spec.finite && !spec.interval)) continue;
    for (const auto& [key, tensor] : argument.tensors) {
      const Tensor* on_host = argument.on_host.find(key);
      check_values(argument, argument.label(key), on_host != nullptr ? *on_host : tensor);
    }
  }
}

void Invocation::check_values(const Argument& argument, const std::string& label,
                              const Tensor& tensor) const {
  const ArgumentSpec& spec = *argument.spec;
  std::int64_t bad = -1;
  std::string got;
  if (tensor.device().is_host()) {
    // Bounds are worked out once, not for each entry. Integers that a double does not hold are left
    // to the interval.
    const auto low = spec.interval ? spec.interval->lower().value(symbols_) : std::nullopt;
    const auto high = spec.interval ? spec.interval->upper().value(symbols_) : std::nullopt;
    const bool low_open = spec.interval && spec.interval->lower().open;
    const bool high_open = spec.interval && spec.interval->upper().open;
    const auto inside = [&](double value) {
      return (!low || (low_open ? value > *low : value >= *low)) &&
             (!high || (high_open ? value < *high : value <= *high));
    };
    visit_dtype(spec.dtype, [&]<class T>(T) {
      bad = find_bad<T>(tensor, [&](T value) {
        if constexpr (std::is_floating_point_v<T>) {
          if (spec.finite && !std::isfinite(value)) return true;
          return spec.interval && (std::isnan(value) || !inside(static_cast<double>(value)));
        } else {
          constexpr auto kExact = std::int64_t{1} << 53;
          const auto integer = static_cast<std::int64_t>(value);
          if (integer > -kExact && integer < kExact) {
            return spec.interval && !inside(static_cast<double>(integer));
          }
          return spec.interval && !spec.interval->contains(integer, symbols_);
        }
      });
    });
  } else {
    bad = device_.backend->kernels().find_outside(ctx_, tensor.contiguous(),
                                                  range_of(spec, symbols_));
  }
  if (bad < 0) return;
  const Tensor flat = tensor.contiguous().reshape({tensor.size()});
  const Tensor entry = flat.slice(0, bad, bad + 1).to(Device::host());
  visit_dtype(spec.dtype,
              [&]<class T>(T) { got = fmt::format("{}", *static_cast<const T*>(entry.data())); });
  std::string wanted = "finite values";
  if (spec.interval) {
    const std::string symbols = symbols_.explain(spec.interval->text());
    wanted = fmt::format("{}values in {}{}{}", spec.finite ? "finite " : "", spec.interval->text(),
                         symbols.empty() ? "" : " with ", symbols);
  }
  refuse(label, wanted, fmt::format("{} at {}", got, position_text(tensor.shape(), bad)));
}

}  // namespace researchkit::detail
