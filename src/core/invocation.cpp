// The checks and allocations of one operator call, the same for every operator.
#include "src/core/invocation.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace researchkit::detail {

void check_schema(const Schema& schema) {
  for (const ArgumentSpec& argument : schema.arguments) {
    const ArgumentSpec* flag = schema.find(argument.when);
    const ArgumentSpec* map = schema.find(argument.like);
    if (argument.kind == ArgumentKind::output && argument.any_rank() &&
        (map == nullptr || map->kind != ArgumentKind::input || map->arity != Arity::single)) {
      throw Error(fmt::format("{}: '{}' says no input that it is like", schema.operator_name,
                              argument.name));
    }
    const bool flag_is_bool = flag != nullptr && flag->kind == ArgumentKind::attribute &&
                              flag->type == AttributeType::boolean;
    if (!argument.when.empty() && !flag_is_bool) {
      throw Error(fmt::format("{}: '{}' depends on '{}', which is no bool attribute",
                              schema.operator_name, argument.name, argument.when));
    }
    if (argument.kind == ArgumentKind::output && argument.arity == Arity::map &&
        (map == nullptr || map->arity != Arity::map)) {
      throw Error(fmt::format("{}: the map '{}' says no map of inputs that it is like",
                              schema.operator_name, argument.name));
    }
  }
}

Invocation::Invocation(const Context& ctx, const OperatorHooks& hooks, void* op,
                       const std::vector<Port>& ports)
    : ctx_(ctx), hooks_(hooks), op_(op) {
  for (std::size_t i = 0; i < ports.size(); ++i) {
    arguments_.push_back({&hooks.schema->arguments[i], ports[i], {}, {}, {}, true});
  }
  // Ranges that stand on attributes alone come first, so that a senseless attribute is not blamed
  // on a tensor whose shape it is part of.
  check_attributes();
  collect_tensors();
  find_device();
  read_on_host(ArgumentKind::input);
  unify();
  check_attributes();
  check_values();
  if (hooks_.validate != nullptr) hooks_.validate(op_, Check(hooks_.schema->operator_name));
  if (hooks_.infer != nullptr) {
    Extents extents(symbols_);
    hooks_.infer(op_, extents);
  }
  place_outputs();
  check_overlap();
  bind_row_major();
}

Invocation::~Invocation() = default;

void Invocation::refuse(std::string_view argument, std::string_view wanted,
                        std::string_view got) const {
  throw Error(hooks_.schema->operator_name, argument, wanted, got);
}

void Invocation::check_attributes() const {
  for (const Argument& argument : arguments_) {
    if (!argument.is(ArgumentKind::attribute) || !argument.spec->interval) continue;
    const auto value = argument.port.attribute->get(argument.port.member);
    if (!value) continue;
    const Interval& interval = *argument.spec->interval;
    const auto check = [&](auto number) {
      if (interval.contains(static_cast<double>(number), symbols_)) return;
      const std::string symbols = symbols_.explain(interval.text());
      refuse(argument.spec->name,
             fmt::format("in {}{}{}", interval.text(), symbols.empty() ? "" : " with ", symbols),
             to_string(AttributeValue(number)));
    };
    std::visit(
        [&](const auto& v) {
          using V = std::decay_t<decltype(v)>;
          if constexpr (std::is_same_v<V, std::vector<double>> ||
                        std::is_same_v<V, std::vector<std::int64_t>>) {
            for (const auto entry : v) check(entry);
          } else if constexpr (std::is_arithmetic_v<V> && !std::is_same_v<V, bool>) {
            check(v);
          }
        },
        *value);
  }
}

void Invocation::collect_tensors() {
  device_ = ctx_.device();
  bool device_is_known = false;
  for (Argument& argument : arguments_) {
    if (argument.port.tensors == nullptr) continue;
    const ArgumentSpec& spec = *argument.spec;
    argument.port.tensors->collect(argument.port.member, argument.tensors);
    if (argument.is(ArgumentKind::output)) {
      argument.provided = !argument.tensors.empty();
      continue;
    }
    if (argument.tensors.empty() && spec.arity == Arity::single && !spec.optional) {
      refuse(spec.name,
             fmt::format("a {} tensor of shape [{}]", to_string(spec.dtype), spec.shape_text),
             "none");
    }
    for (const auto& [key, tensor] : argument.tensors) {
      if (tensor.dtype() != spec.dtype) {
        refuse(argument.label(key), to_string(spec.dtype), to_string(tensor.dtype()));
      }
      if (device_is_known && tensor.device() != device_) {
        refuse(argument.label(key), "a tensor on " + to_string(device_),
               to_string(tensor.device()));
      }
      device_ = tensor.device();
      device_is_known = true;
    }
  }
}

/// Holds one axis against its expression and learns a symbol from it where it can. False if the
/// expression has unknowns that this axis does not settle.
bool Invocation::unify_axis(const Argument& argument, const std::string& label,
                            const Tensor& tensor, std::size_t axis) {
  const Expression& expression = argument.spec->shape[axis];
  const std::int64_t extent = tensor.extent(static_cast<int>(axis));
  const auto wanted = [&](std::string_view what) {
    refuse(label, fmt::format("shape [{}] with {}", argument.spec->shape_text, what),
           "shape " + to_string(tensor.shape()));
  };
  if (expression.text() == "_") return true;
  if (const auto known = expression.evaluate(symbols_)) {
    if (*known != extent) wanted(fmt::format("{} = {}", expression.text(), *known));
    return true;
  }
  const auto solution = expression.solve(symbols_, extent);
  if (!solution) return false;
  if (solution->second < 0) wanted(fmt::format("{} >= 0", solution->first));
  for (const DimensionSpec& dimension : hooks_.schema->dimensions) {
    if (dimension.symbol == solution->first &&
        !dimension.interval.contains(solution->second, symbols_)) {
      wanted(fmt::format("{} in {}", dimension.symbol, dimension.interval.text()));
    }
  }
  symbols_.set(solution->first, solution->second);
  return true;
}

void Invocation::unify() {
  for (const Argument& argument : arguments_) {
    if (!argument.is(ArgumentKind::attribute)) continue;
    const auto value = argument.port.attribute->get(argument.port.member);
    if (!value) continue;
    if (const auto* integer = std::get_if<std::int64_t>(&*value)) {
      symbols_.set(argument.spec->name, *integer);
    }
  }
  struct Axis {
    const Argument* argument;
    std::string label;
    const Tensor* tensor;
    std::size_t axis;
  };
  std::vector<Axis> open;
  for (const Argument& argument : arguments_) {
    if (!argument.is(ArgumentKind::input) || argument.spec->arity == Arity::map) continue;
    for (const auto& [key, tensor] : argument.tensors) {
      for (std::size_t axis = 0; axis < argument.spec->shape.size(); ++axis) {
        const std::string label = argument.label(key);
        if (!unify_axis(argument, label, tensor, axis))
          open.push_back({&argument, label, &tensor, axis});
      }
    }
  }
  // What one axis could not settle, later ones may have.
  for (std::size_t before = open.size() + 1; !open.empty() && open.size() < before;) {
    before = open.size();
    std::erase_if(
        open, [&](const Axis& a) { return unify_axis(*a.argument, a.label, *a.tensor, a.axis); });
  }
}

void Invocation::place_outputs() {
  const auto argument_named = [&](std::string_view name) -> const Argument& {
    return *std::find_if(arguments_.begin(), arguments_.end(),
                         [&](const Argument& a) { return a.spec->name == name; });
  };
  for (const Argument& argument : arguments_) {
    if (!argument.is(ArgumentKind::extent)) continue;
    if (const auto bound = argument.spec->at_most->evaluate(symbols_)) {
      symbols_.set(argument.spec->name, *bound);
    }
  }
  for (Argument& argument : arguments_) {
    if (!argument.is(ArgumentKind::output)) continue;
    const ArgumentSpec& spec = *argument.spec;
    bool wanted = true;
    if (!spec.when.empty()) {
      const Argument& flag = argument_named(spec.when);
      wanted = std::get<bool>(*flag.port.attribute->get(flag.port.member));
    }
    if (!wanted) {
      if (argument.provided) {
        refuse(spec.name, fmt::format("no such output unless {} is true", spec.when),
               "memory for it");
      }
      argument.port.tensors->assign(argument.port.member, {});
      continue;
    }
    // The shapes that the outputs must have, by key.
    std::vector<std::pair<std::string, Shape>> shapes;
    if (spec.arity == Arity::map) {
      for (const auto& [key, tensor] : argument_named(spec.like).tensors) {
        shapes.emplace_back(key, tensor.shape());
      }
    } else if (spec.any_rank()) {
      shapes.emplace_back("", argument_named(spec.like).tensors.at("").shape());
    } else {
      Shape shape;
      for (const Expression& expression : spec.shape) {
        const auto extent = expression.evaluate(symbols_);
        if (!extent || *extent < 0) {
          refuse(spec.name, fmt::format("an operator that says the extent {}", expression.text()),
                 extent ? fmt::format("{}", *extent) : "nothing");
        }
        shape.push_back(*extent);
      }
      if (spec.arity == Arity::list) {
        const auto count = spec.count ? spec.count->evaluate(symbols_) : std::nullopt;
        for (std::int64_t i = 0; i < count.value_or(0); ++i)
          shapes.emplace_back(std::to_string(i), shape);
      } else {
        shapes.emplace_back("", shape);
      }
    }
    if (argument.provided && argument.tensors.size() != shapes.size()) {
      refuse(spec.name, fmt::format("{} tensors", shapes.size()),
             fmt::format("{}", argument.tensors.size()));
    }
    for (const auto& [key, shape] : shapes) {
      if (!argument.provided) {
        argument.tensors.set(key, Tensor(spec.dtype, shape, device_, ctx_.stream()));
        continue;
      }
      const Tensor* tensor = argument.tensors.find(key);
      if (tensor == nullptr) refuse(argument.label(key), "memory for this output too", "none");
      if (tensor->dtype() != spec.dtype || tensor->shape() != shape ||
          tensor->device() != device_) {
        refuse(argument.label(key),
               fmt::format("{} of shape {} on {}", to_string(spec.dtype), to_string(shape),
                           to_string(device_)),
               fmt::format("{} of shape {} on {}", to_string(tensor->dtype()),
                           to_string(tensor->shape()), to_string(tensor->device())));
      }
    }
    argument.port.tensors->assign(argument.port.member, argument.tensors);
  }
}

/// Memory that the caller provides for an output must not be that of another argument.
void Invocation::check_overlap() const {
  for (std::size_t i = 0; i < arguments_.size(); ++i) {
    const Argument& output = arguments_[i];
    if (!output.is(ArgumentKind::output) || !output.provided) continue;
    for (const auto& [key, tensor] : output.tensors) {
      const auto [low, high] = tensor.byte_range();
      for (std::size_t j = 0; j < arguments_.size(); ++j) {
        // Each pair of outputs is looked at once, from its later member.
        if (arguments_[j].is(ArgumentKind::output) && j > i) continue;
        for (const auto& [other_key, other] : arguments_[j].tensors) {
          if (j == i && other_key == key) continue;
          const auto [other_low, other_high] = other.byte_range();
          // An empty tensor occupies nothing, wherever it points.
          const bool both_occupy = low < high && other_low < other_high;
          if (both_occupy && low < other_high && other_low < high) {
            refuse(output.label(key), "memory of its own",
                   fmt::format("memory that overlaps '{}'", arguments_[j].label(other_key)));
          }
        }
      }
    }
  }
}

void Invocation::bind_row_major() {
  for (Argument& argument : arguments_) {
    if (argument.port.tensors == nullptr || !argument.spec->contiguous) continue;
    if (!argument.on_host.empty()) continue;  // copies have no gaps
    bool strided = false;
    for (const auto& [key, tensor] : argument.tensors) {
      strided = strided || !tensor.is_contiguous();
      argument.row_major.set(key, tensor.contiguous());
    }
    if (strided) {
      argument.port.tensors->assign(argument.port.member, argument.row_major);
    } else {
      argument.row_major.clear();
    }
  }
}

void Invocation::execute(Path path) {
  if (path == Path::run && device_run_ != nullptr) {
    (*device_run_)(ctx_, op_);
  } else if (path == Path::run) {
    hooks_.run(op_, ctx_);
  } else if (!device_.is_host()) {
    throw Error(fmt::format("{}: the plain loops run on the host, not on {}",
                            hooks_.schema->operator_name, to_string(device_)));
  } else {
    hooks_.reference(op_);
  }
  executed_ = true;
  for (Argument& argument : arguments_) {
    if (argument.is(ArgumentKind::output)) {
      for (const auto& [key, copy] : argument.row_major)
        argument.tensors.find(key)->copy_from(copy);
    } else if (argument.is(ArgumentKind::extent)) {
      const std::int64_t extent = static_cast<const Extent*>(argument.port.member)->value();
      const auto bound = argument.spec->at_most->evaluate(symbols_);
      if (extent < 0 || (bound && extent > *bound)) {
        throw Error(fmt::format("{} set its extent {} to {}", hooks_.schema->operator_name,
                                argument.spec->name, extent));
      }
      symbols_.set(argument.spec->name, extent);
    }
  }
}

Cost Invocation::cost() {
  if (!executed_ || hooks_.measured_cost == nullptr) return hooks_.cost(op_);
  read_on_host(ArgumentKind::output);
  const Cost cost = hooks_.measured_cost(op_);
  for (const Argument& argument : arguments_) {
    if (argument.on_host.empty() || !argument.is(ArgumentKind::output)) continue;
    const bool strided = !argument.row_major.empty();
    argument.port.tensors->assign(argument.port.member,
                                  strided ? argument.row_major : argument.tensors);
  }
  return cost;
}

TensorMap Invocation::outputs() const {
  TensorMap result;
  for (const Argument& argument : arguments_) {
    if (!argument.is(ArgumentKind::output)) continue;
    for (const auto& [key, tensor] : argument.tensors) {
      Tensor cut = tensor;
      for (std::size_t axis = 0; axis < argument.spec->shape.size(); ++axis) {
        const auto extent = argument.spec->shape[axis].evaluate(symbols_);
        if (extent && *extent < cut.extent(static_cast<int>(axis))) {
          cut = cut.slice(static_cast<int>(axis), 0, *extent);
        }
      }
      result.set(argument.label(key), std::move(cut));
    }
  }
  return result;
}

std::vector<Tensor> Invocation::release() {
  std::vector<Tensor> memory;
  const TensorMap cut = outputs();
  for (Argument& argument : arguments_) {
    if (argument.port.tensors == nullptr) continue;
    TensorMap final_tensors;
    for (const auto& [key, tensor] : argument.tensors) {
      const bool is_output = argument.is(ArgumentKind::output);
      final_tensors.set(key, is_output ? cut.at(argument.label(key)) : tensor);
      if (is_output && !argument.provided) memory.push_back(tensor);
    }
    argument.port.tensors->assign(argument.port.member, final_tensors);
  }
  return memory;
}

}  // namespace researchkit::detail
