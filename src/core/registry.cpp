#include "researchkit/core/registry.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

namespace researchkit {
namespace {

using detail::Variant;

[[noreturn]] void refuse(const Schema& schema, std::string_view argument, std::string_view wanted,
                         std::string_view got) {
  throw Error(schema.operator_name, argument, wanted, got);
}

std::string names_of_kind(const Schema& schema, ArgumentKind kind) {
  std::string names;
  for (const ArgumentSpec& spec : schema.arguments) {
    if (spec.kind == kind) names += (names.empty() ? "" : ", ") + spec.name;
  }
  return names.empty() ? "none" : names;
}

/// The tensors of `from` that belong to `spec`, by their key in the operator, taken out of `rest`.
TensorMap claim(const Schema& schema, const ArgumentSpec& spec, const TensorMap& from,
                TensorMap& rest) {
  TensorMap claimed;
  const auto take = [&](const std::string& name, const std::string& key) {
    const Tensor* tensor = from.find(name);
    if (tensor == nullptr) return false;
    if (tensor->dtype() != spec.dtype || (spec.rank >= 0 && tensor->rank() != spec.rank)) {
      refuse(schema, name,
             spec.rank >= 0
                 ? fmt::format("{} of shape [{}]", to_string(spec.dtype), spec.shape_text)
                 : std::string(to_string(spec.dtype)),
             fmt::format("{} of shape {}", to_string(tensor->dtype()), to_string(tensor->shape())));
    }
    claimed.set(key, *tensor);
    rest.erase(name);
    return true;
  };
  if (spec.arity == Arity::single) {
    take(spec.name, "");
  } else if (spec.arity == Arity::list) {
    for (int i = 0; take(spec.name + "_" + std::to_string(i), std::to_string(i)); ++i) {
    }
  } else {
    // Maps come last and take what starts with their prefix. A copy, since take() removes from rest.
    const TensorMap unclaimed = rest;  // NOLINT(performance-unnecessary-copy-initialization)
    for (const auto& [name, tensor] : unclaimed) {
      if (name.starts_with(spec.prefix)) take(name, name.substr(spec.prefix.size()));
    }
  }
  return claimed;
}

void bind_tensors(const Schema& schema, ArgumentKind kind, const TensorMap& from,
                  const std::vector<detail::Port>& ports) {
  TensorMap rest = from;
  for (const bool maps : {false, true}) {
    for (std::size_t i = 0; i < ports.size(); ++i) {
      const ArgumentSpec& spec = schema.arguments[i];
      if (spec.kind != kind || (spec.arity == Arity::map) != maps) continue;
      const TensorMap claimed = claim(schema, spec, from, rest);
      if (!claimed.empty()) {
        ports[i].tensors->assign(ports[i].member, claimed);
      } else if (kind == ArgumentKind::input && spec.arity == Arity::single && !spec.optional) {
        refuse(schema, spec.name,
               fmt::format("a {} tensor of shape [{}]", to_string(spec.dtype), spec.shape_text),
               "none");
      }
    }
  }
  for (const auto& [name, tensor] : rest) {
    refuse(schema, name,
           fmt::format("one of the {} {}", kind == ArgumentKind::input ? "inputs" : "outputs",
                       names_of_kind(schema, kind)),
           "a tensor of another name");
  }
}

std::string wanted_of(const ArgumentSpec& spec) {
  std::string text(to_string(spec.type));
  if (spec.type == AttributeType::enumeration) {
    for (std::size_t i = 0; i < spec.choices.size(); ++i)
      text += (i == 0 ? " " : ", ") + spec.choices[i];
  }
  return text;
}

void bind_attributes(const Schema& schema, const AttributeMap& attributes,
                     const std::vector<detail::Port>& ports) {
  for (const auto& [name, value] : attributes) {
    const auto spec = std::find_if(schema.arguments.begin(), schema.arguments.end(),
                                   [&, &name = name](const auto& s) {
                                     return s.kind == ArgumentKind::attribute && s.name == name;
                                   });
    if (spec == schema.arguments.end()) {
      refuse(schema, name,
             "one of the attributes " + names_of_kind(schema, ArgumentKind::attribute),
             "an attribute of another name");
    }
    const detail::Port& port = ports[static_cast<std::size_t>(spec - schema.arguments.begin())];
    if (!port.attribute->set(port.member, value)) {
      refuse(schema, name, wanted_of(*spec), to_string(value));
    }
  }
}

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i + 1);
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t substitute = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({row[j] + 1, row[j + 1] + 1, substitute});
    }
  }
  return row.back();
}

/// How much of a tensor's shape is as `spec` says: its rank, and the axes that are plain numbers.
std::size_t fitting_axes(const ArgumentSpec& spec, const Tensor& tensor) {
  if (spec.rank != tensor.rank()) return 0;
  std::size_t fitting = 1;
  for (std::size_t axis = 0; axis < spec.shape.size(); ++axis) {
    const auto number = spec.shape[axis].evaluate({});
    fitting += number && *number == tensor.extent(static_cast<int>(axis)) ? 1 : 0;
  }
  return fitting;
}

}  // namespace

/// The instantiation whose dtypes and ranks are those of the inputs. If none has them all, the one
/// that has most: binding then blames the input that differs.
const Variant& Operator::variant_for(const Arguments& arguments) const {
  const Variant* nearest = &variants_.front();
  for (const auto& [name, tensor] : arguments.inputs) {
    std::string accepted;
    bool known = false, fits_one = false;
    for (const Variant& variant : variants_) {
      const ArgumentSpec* spec = variant.hooks->schema->find(name);
      if (spec == nullptr || spec->kind != ArgumentKind::input) continue;
      known = true;
      fits_one = fits_one || spec->dtype == tensor.dtype();
      if (accepted.find(to_string(spec->dtype)) == std::string::npos) {
        accepted += (accepted.empty() ? "" : " or ") + std::string(to_string(spec->dtype));
      }
    }
    if (known && !fits_one) refuse(schema(), name, accepted, to_string(tensor.dtype()));
  }
  std::size_t best = 0;
  for (const Variant& variant : variants_) {
    std::size_t fitting = 1;
    for (const ArgumentSpec& spec : variant.hooks->schema->arguments) {
      if (spec.kind != ArgumentKind::input) continue;
      const Tensor* tensor = arguments.inputs.find(spec.name);
      if (tensor == nullptr && spec.arity == Arity::map && !arguments.inputs.empty()) {
        tensor = &arguments.inputs.begin()->second;
      }
      if (tensor == nullptr) continue;
      if (tensor->dtype() != spec.dtype) break;
      fitting += 1 + fitting_axes(spec, *tensor);
    }
    if (fitting > best) {
      best = fitting;
      nearest = &variant;
    }
  }
  return *nearest;
}

bool Operator::runs_on(Device device) const {
  return device.is_host() ||
         device.backend->kernels().find(variants_.front().hooks->type) != nullptr;
}

PreparedCall Operator::prepare(const Context& ctx, Arguments arguments) const {
  const Variant& variant = variant_for(arguments);
  return prepare(ctx, std::move(arguments), variant);
}

PreparedCall Operator::prepare(const Context& ctx, Arguments arguments,
                               const Variant& variant) const {
  PreparedCall call;
  call.ctx_ = ctx;
  call.op_ = variant.make();
  call.arguments_ = std::move(arguments);
  Description description;
  variant.describe(call.op_.get(), description);
  const Schema& schema = *variant.hooks->schema;
  bind_attributes(schema, call.arguments_.attributes, description.ports());
  bind_tensors(schema, ArgumentKind::input, call.arguments_.inputs, description.ports());
  bind_tensors(schema, ArgumentKind::output, call.arguments_.outputs, description.ports());
  call.call_ = std::make_unique<detail::Invocation>(ctx, *variant.hooks, call.op_.get(),
                                                    description.ports());
  return call;
}

Outcome Operator::run(const Context& ctx, const Arguments& arguments) const {
  PreparedCall call = prepare(ctx, arguments);
  call.execute(detail::Path::run);
  return {call.outputs(), call.cost()};
}

Outcome Operator::reference(const Context& ctx, const Arguments& arguments) const {
  PreparedCall call = prepare(ctx, arguments);
  call.execute(detail::Path::reference);
  return {call.outputs(), call.cost()};
}

std::optional<double> Operator::count_flops(const Context& ctx, const Arguments& arguments) const {
  if (!counted_) return std::nullopt;
  PreparedCall call = prepare(ctx, arguments, *counted_);
  Counted::reset();
  call.execute(detail::Path::reference);
  return static_cast<double>(Counted::flops());
}

void Registry::insert(Operator op) {
  const std::string name = op.name();
  if (!operators_.emplace(name, std::move(op)).second) {
    throw Error(fmt::format("operator '{}' is registered twice", name));
  }
}

const Operator* Registry::find(std::string_view name) const {
  const auto found = operators_.find(name);
  return found == operators_.end() ? nullptr : &found->second;
}

const Operator& Registry::at(std::string_view name) const {
  if (const Operator* op = find(name)) return *op;
  std::string_view nearest;
  std::size_t distance = name.size() / 2 + 1;
  for (const auto& [known, op] : operators_) {
    const std::size_t d = edit_distance(name, known);
    if (d < distance) {
      distance = d;
      nearest = known;
    }
  }
  throw Error(fmt::format("there is no operator '{}'{}", name,
                          nearest.empty() ? "" : fmt::format("; did you mean '{}'?", nearest)));
}

}  // namespace researchkit
