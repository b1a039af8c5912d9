// Golden cases: folders of a case.json and .npy files, and lists of calls that must be refused.
#include "researchkit/core/verify.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "researchkit/core/arbitrary.hpp"
#include "researchkit/core/compare.hpp"
#include "researchkit/core/io/npy.hpp"

namespace researchkit {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

json read_json(const fs::path& path) {
  std::ifstream file(path);
  if (!file) throw Error(fmt::format("cannot open {}", path.string()));
  json content = json::parse(file, nullptr, false);
  if (content.is_discarded()) throw Error(fmt::format("{} is not JSON", path.string()));
  return content;
}

/// JSON has no way to write these three, so cases have them as strings.
std::optional<double> non_finite(const json& value) {
  if (!value.is_string()) return std::nullopt;
  const auto& text = value.get_ref<const std::string&>();
  if (text == "nan") return std::numeric_limits<double>::quiet_NaN();
  if (text == "inf") return std::numeric_limits<double>::infinity();
  if (text == "-inf") return -std::numeric_limits<double>::infinity();
  return std::nullopt;
}

bool is_real_list(const json& value) {
  return std::any_of(value.begin(), value.end(), [](const json& entry) {
    return entry.is_number_float() || non_finite(entry).has_value();
  });
}

double number(const json& value) {
  const auto special = non_finite(value);
  return special ? *special : value.get<double>();
}

/// `type` is the attribute's, nothing if the operator has no such attribute.
AttributeValue attribute_value(const json& value, std::optional<AttributeType> type) {
  if (type == AttributeType::json) return Json{value.dump()};
  const bool is_text = type == AttributeType::string || type == AttributeType::enumeration;
  if (const auto special = non_finite(value); special && !is_text) return *special;
  switch (value.type()) {
    case json::value_t::boolean:
      return value.get<bool>();
    case json::value_t::number_integer:
      return value.get<std::int64_t>();
    case json::value_t::number_unsigned:
      if (value.get<std::uint64_t>() <= std::uint64_t{std::numeric_limits<std::int64_t>::max()}) {
        return value.get<std::int64_t>();
      }
      return value.get<std::uint64_t>();
    case json::value_t::number_float:
      return value.get<double>();
    case json::value_t::string:
      return value.get<std::string>();
    case json::value_t::array:
      if (is_real_list(value)) {
        std::vector<double> list;
        for (const json& entry : value) list.push_back(number(entry));
        return list;
      }
      if (value.empty() || value.front().is_number_integer()) {
        return value.get<std::vector<std::int64_t>>();
      }
      if (value.front().is_boolean()) return value.get<std::vector<bool>>();
      if (value.front().is_string()) return value.get<std::vector<std::string>>();
      break;
    default:
      break;
  }
  return Json{value.dump()};
}

AttributeMap read_attributes(const json& holder, const Schema& schema) {
  AttributeMap attributes;
  const auto found = holder.find("attributes");
  if (found == holder.end()) return attributes;
  for (const auto& [name, value] : found->items()) {
    const ArgumentSpec* spec = schema.find(name);
    attributes[name] = attribute_value(
        value, spec == nullptr ? std::nullopt : std::optional<AttributeType>(spec->type));
  }
  return attributes;
}

/// A file name, or a list of them for a list of tensors.
void read_tensor(const fs::path& folder, const std::string& name, const json& file,
                 TensorMap& into) {
  if (file.is_array()) {
    for (std::size_t i = 0; i < file.size(); ++i) {
      into.set(fmt::format("{}_{}", name, i), read_npy(folder / file[i].get<std::string>()));
    }
  } else {
    into.set(name, read_npy(folder / file.get<std::string>()));
  }
}

TensorMap read_tensors(const fs::path& folder, const json& holder, const char* key) {
  TensorMap tensors;
  const auto found = holder.find(key);
  if (found == holder.end()) return tensors;
  for (const auto& [name, file] : found->items()) read_tensor(folder, name, file, tensors);
  return tensors;
}

Tolerance read_tolerance(const json& rule) {
  Tolerance tolerance;
  if (rule.is_string() && rule == "exact") return tolerance;
  if (!rule.is_object()) throw Error(fmt::format("'{}' is not a tolerance", rule.dump()));
  tolerance.rtol = rule.value("rtol", 0.0);
  tolerance.atol = rule.value("atol", 0.0);
  tolerance.max_fraction_off_by_one = rule.value("max_fraction_off_by_one", 0.0);
  return tolerance;
}

Tolerance tolerance_of(const json& test_case, const std::string& tensor) {
  const auto found = test_case.find("tolerance");
  if (found == test_case.end()) throw Error("the case states no tolerance");
  if (found->is_object() && found->contains("per_tensor")) {
    const json& overrides = (*found)["per_tensor"];
    if (overrides.contains(tensor)) return read_tolerance(overrides[tensor]);
  }
  return read_tolerance(*found);
}

const Operator& find_operator(const Registry& registry, const fs::path& folder,
                              const std::string& name) {
  const std::string space = folder.filename().string();
  if (const Operator* op = registry.find(space + "." + name)) return *op;
  const Operator* only = nullptr;
  for (const auto& [full_name, op] : registry.operators()) {
    if (!full_name.ends_with("." + name)) continue;
    if (only != nullptr) throw Error(fmt::format("several namespaces have an operator '{}'", name));
    only = &op;
  }
  if (only == nullptr) throw Error(fmt::format("there is no operator '{}.{}'", space, name));
  return *only;
}

/// Compares what came with what the case expects; words for the first that differs.
std::string compare_all(const json& test_case, const TensorMap& got, const TensorMap& want) {
  for (const auto& [name, expected] : want) {
    const Tensor* tensor = got.find(name);
    if (tensor == nullptr) return fmt::format("{}: the operator gave no such tensor", name);
    if (const auto words = difference(*tensor, expected, tolerance_of(test_case, name))) {
      return fmt::format("{}: {}", name, *words);
    }
  }
  return "";
}

TensorMap moved(const TensorMap& tensors, Device device) {
  TensorMap there;
  for (const auto& [name, tensor] : tensors) there.set(name, tensor.to(device));
  return there;
}

/// What a case stands for when its operator has no kernel on the device.
struct HasNoKernel {};

/// The outcome on the host of a call on the device of `ctx`.
Outcome call(const Operator& op, const Context& ctx, const Arguments& arguments,
             detail::Path path) {
  if (!op.runs_on(ctx.device())) throw HasNoKernel();
  Arguments there = arguments;
  there.inputs = moved(arguments.inputs, ctx.device());
  Outcome outcome = path == detail::Path::run ? op.run(ctx, there) : op.reference(ctx, there);
  outcome.outputs = moved(outcome.outputs, Device::host());
  return outcome;
}

/// The arguments of the backward: inputs and outputs of the forward by name, the upstream
/// gradients, and zeros for outputs that have none.
Arguments backward_arguments(const Schema& backward, const Arguments& forward,
                             const TensorMap& forward_outputs, const TensorMap& grads) {
  Arguments arguments;
  for (const ArgumentSpec& spec : backward.arguments) {
    if (spec.kind == ArgumentKind::attribute) {
      const auto attribute = forward.attributes.find(spec.name);
      if (attribute != forward.attributes.end()) arguments.attributes.insert(*attribute);
    }
    if (spec.kind != ArgumentKind::input) continue;
    if (spec.arity == Arity::map) {
      for (const auto& [name, tensor] : forward.inputs) {
        if (backward.find(name) == nullptr) arguments.inputs.set(name, tensor);
      }
    } else if (const Tensor* input = forward.inputs.find(spec.name)) {
      arguments.inputs.set(spec.name, *input);
    } else if (const Tensor* output = forward_outputs.find(spec.name)) {
      arguments.inputs.set(spec.name, *output);
    } else if (const Tensor* upstream = grads.find(spec.name)) {
      arguments.inputs.set(spec.name, *upstream);
    } else if (spec.name.starts_with("d_") && !spec.optional) {
      if (const Tensor* output_of = forward_outputs.find(std::string_view(spec.name).substr(2))) {
        arguments.inputs.set(spec.name, Tensor(output_of->dtype(), output_of->shape()));
      }
    }
  }
  return arguments;
}

std::string run_case(const Registry& registry, const fs::path& file, const Context& ctx,
                     detail::Path path) {
  const json test_case = read_json(file);
  const fs::path folder = fs::absolute(file).parent_path();
  const Operator& op = find_operator(registry, folder.parent_path(), test_case.at("operator"));
  const Arguments arguments{.inputs = read_tensors(folder, test_case, "inputs"),
                            .attributes = read_attributes(test_case, op.schema())};
  const TensorMap want = read_tensors(folder, test_case, "outputs");
  const TensorMap grads = read_tensors(folder, test_case, "grads");
  if (want.empty() && grads.empty()) return "the case expects nothing";
  const Outcome forward = call(op, ctx, arguments, path);
  std::string failure = compare_all(test_case, forward.outputs, want);
  if (!failure.empty() || grads.empty()) return failure;
  const Operator& backward = registry.at(op.name() + "_backward");
  // Which d_ are upstream gradients is the backward's word: those that are its inputs.
  const Outcome gradient =
      call(backward, ctx, backward_arguments(backward.schema(), arguments, forward.outputs, grads),
           path);
  TensorMap want_gradients;
  for (const auto& [name, tensor] : grads) {
    const ArgumentSpec* spec = backward.schema().find(name);
    const bool is_upstream = spec != nullptr && spec->kind == ArgumentKind::input;
    if (!is_upstream) want_gradients.set(name, tensor);
  }
  return compare_all(test_case, gradient.outputs, want_gradients);
}

/// A tensor of a bad call: `values`, `fill`, or random finite numbers.
Tensor described_tensor(const json& description, std::uint64_t seed) {
  const auto dtype = dtype_from_string(description.at("dtype").get<std::string>());
  if (!dtype) throw Error(fmt::format("unknown dtype {}", description.at("dtype").dump()));
  Tensor tensor(*dtype, description.at("shape").get<Shape>());
  Schema schema;
  ArgumentSpec& spec = schema.arguments.emplace_back();
  spec.name = "x";
  spec.dtype = *dtype;
  for (const auto extent : tensor.shape()) spec.shape.emplace_back(fmt::format("{}", extent));
  spec.rank = tensor.rank();
  if (!description.contains("values") && !description.contains("fill")) {
    return Arbitrary(schema, seed, 1).call.inputs.at("x");
  }
  const bool has_values = visit_dtype(*dtype, [&]<class T>(T) {
    const auto entries = tensor.values<T>();
    for (std::size_t i = 0; i < entries.size(); ++i) {
      const json& value =
          description.contains("fill") ? description.at("fill") : description.at("values").at(i);
      if constexpr (std::is_floating_point_v<T>) {
        entries[i] = static_cast<T>(number(value));
      } else {
        entries[i] = static_cast<T>(value.get<std::int64_t>());
      }
    }
  });
  if (!has_values) throw Error(fmt::format("a bad call holds a tensor of {}", to_string(*dtype)));
  return tensor;
}

/// Runs a call that must be refused with a message that names its operator and its argument.
std::string run_bad_call(const Registry& registry, const fs::path& folder, const json& bad_call,
                         const Context& ctx, detail::Path path) {
  const Operator& op = find_operator(registry, folder, bad_call.at("operator"));
  Arguments arguments{.attributes = read_attributes(bad_call, op.schema())};
  std::uint64_t seed = 0;
  for (const auto& [name, description] : bad_call.at("inputs").items()) {
    arguments.inputs.set(name, described_tensor(description, ++seed));
  }
  const json& argument = bad_call.at("argument");
  try {
    call(op, ctx, arguments, path);
  } catch (const Error& error) {
    const std::string_view message = error.what();
    if (message.find(op.name()) == std::string_view::npos) {
      return fmt::format("the message does not name the operator: {}", message);
    }
    if (argument.is_string() && error.argument() != argument.get<std::string>()) {
      return fmt::format("the message does not name '{}': {}", argument.get<std::string>(),
                         message);
    }
    return "";
  }
  return fmt::format("was not refused: {}", bad_call.value("why", ""));
}

std::string failure_of(const std::function<std::string()>& body) {
  try {
    return body();
  } catch (const std::exception& error) {
    return error.what();
  }
}

}  // namespace

std::vector<CaseResult> verify(const Registry& registry, const fs::path& folder, const Context& ctx,
                               const VerifyOptions& options) {
  std::vector<fs::path> files;
  std::error_code error;
  for (fs::recursive_directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (name == "case.json" || name == "errors.json") files.push_back(entry->path());
  }
  if (error) throw Error(fmt::format("cannot read {}: {}", folder.string(), error.message()));
  std::sort(files.begin(), files.end());

  std::vector<CaseResult> results;
  const auto add = [&](std::string name, const std::function<std::string()>& body) {
    CaseResult result{std::move(name), "", true};
    try {
      result.failure = failure_of(body);
    } catch (const HasNoKernel&) {
      result.ran = false;
    }
    results.push_back(std::move(result));
    if (options.on_case) options.on_case(results.back());
  };
  for (const fs::path& file : files) {
    const std::string below = file.lexically_relative(folder).string();
    if (file.filename() == "case.json") {
      const std::string name = file.parent_path().lexically_relative(folder).string();
      add(name, [&] { return run_case(registry, file, ctx, options.path); });
      continue;
    }
    json calls;
    try {
      calls = read_json(fs::absolute(file));
    } catch (const Error& broken) {
      add(below, [&] { return std::string(broken.what()); });
      continue;
    }
    for (std::size_t i = 0; i < calls.size(); ++i) {
      add(fmt::format("{}[{}]", below, i), [&] {
        return run_bad_call(registry, fs::absolute(file).parent_path(), calls[i], ctx,
                            options.path);
      });
    }
  }
  return results;
}

}  // namespace researchkit
