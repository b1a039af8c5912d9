#include <fmt/format.h>

#include "researchkit/bikt/builtin_hosts.hpp"
#include "researchkit/core/error.hpp"
#include "researchkit/core/io/safetensors.hpp"

namespace researchkit::bikt {

void save_derived(const std::filesystem::path& file, const BuiltinHost<float>& host,
                  std::int64_t features, std::int64_t classes) {
  std::map<std::string, Tensor> tensors;
  for (const auto& [name, variable] : host.parameters()) tensors.emplace(name, variable.value());
  const HostOptions& o = host.options();
  const auto kind = name_of(o.host);
  write_safetensors(file, tensors,
                    {{"model", "bikt derived"},
                     {"host", std::string(kind)},
                     {"features", std::to_string(features)},
                     {"classes", std::to_string(classes)},
                     {"hidden", std::to_string(o.hidden)},
                     {"layers", std::to_string(host.layers())},
                     {"heads", std::to_string(o.heads)},
                     {"output_heads", std::to_string(o.output_heads)}});
}

DerivedModel load_derived(const std::filesystem::path& file) {
  const SafeTensors stored = read_safetensors(file);
  const auto refuse = [&](const std::string& what) {
    throw Error(fmt::format("{}: {}", file.string(), what));
  };
  const auto text = [&](const char* key) {
    const auto found = stored.metadata.find(key);
    if (found == stored.metadata.end()) refuse(fmt::format("its metadata have no '{}'", key));
    return found->second;
  };
  const auto number = [&](const char* key) {
    const std::string digits = text(key);
    const bool plain = !digits.empty() && digits.size() < 10 &&
                       digits.find_first_not_of("0123456789") == std::string::npos;
    if (!plain) refuse(fmt::format("'{}' is no number: '{}'", key, digits));
    return std::int64_t{std::stol(digits)};
  };
  if (text("model") != "bikt derived") refuse("it is not a derived model");
  DerivedModel model;
  const auto kind = value_named<Host>(text("host"));
  if (!kind) refuse(fmt::format("no host '{}'", text("host")));
  model.options.host = *kind;
  model.options.hidden = number("hidden");
  model.options.layers = number("layers");
  model.options.heads = number("heads");
  model.options.output_heads = number("output_heads");
  model.features = number("features");
  model.classes = number("classes");
  // The file's own first layer says how much memory is right to take.
  std::size_t bytes = 0;
  for (const auto& [name, tensor] : stored.tensors) bytes += tensor.bytes();
  if (static_cast<double>(model.features) * static_cast<double>(model.options.hidden) * 4 >
      static_cast<double>(bytes)) {
    refuse("its tensors are smaller than its metadata say");
  }
  const auto host =
      std::make_shared<BuiltinHost<float>>(model.options, model.features, model.classes);
  std::vector<Variable> variables;
  for (const auto& [name, variable] : host->parameters()) {
    const auto found = stored.tensors.find(name);
    if (found == stored.tensors.end()) refuse(fmt::format("it has no tensor '{}'", name));
    variables.push_back(autograd::parameter(found->second));
  }
  try {
    host->set_parameters(variables);
  } catch (const Error& error) {
    refuse(error.what());
  }
  model.host = host;
  return model;
}

Tensor predict(const Context& ctx, const DerivableHost<float>& host, const HostGraph<float>& graph,
               const graph::Csr<float>& features, bool propagate) {
  Tape tape = Tape::without_gradients(ctx);
  HostInput<float> x(ctx, features, {});
  return host.forward(tape, graph, x, {.propagate = propagate}).logits.value();
}

}  // namespace researchkit::bikt
