#include "src/nfgnn/filter_variables.hpp"

namespace researchkit::nfgnn {

void check_options(const char* model, const ModelOptions& options, std::int64_t classes) {
  const auto refuse = [&](const char* wanted) {
    throw Error(std::string(model) + ": " + wanted + " wanted");
  };
  if (classes < 1) refuse("at least one class");
  if (options.hidden < 1 || options.rank < 1 || options.K < 0 || options.K > 1024) {
    refuse("hidden and rank of at least 1 and K in [0, 1024]");
  }
  for (const double p : {options.dropout, options.filter_dropout}) {
    if (!(p >= 0 && p < 1)) refuse("dropout in [0, 1)");
  }
}

std::map<std::string, Tensor> values_of(std::span<const autograd::Parameter> parameters) {
  std::map<std::string, Tensor> values;
  for (const auto& [name, variable] : parameters) values.emplace(name, variable.value().clone());
  return values;
}

void load_values(const char* model, std::span<const autograd::Parameter> parameters,
                 const std::map<std::string, Tensor>& values) {
  for (const auto& [name, variable] : parameters) {
    const auto found = values.find(name);
    const Tensor& own = variable.value();
    if (found != values.end() && found->second.dtype() == own.dtype() &&
        found->second.shape() == own.shape()) {
      continue;
    }
    throw Error(
        model, name,
        "a " + std::string(to_string(own.dtype())) + " tensor of shape " + to_string(own.shape()),
        found == values.end() ? "none"
                              : std::string(to_string(found->second.dtype())) + " of shape " +
                                    to_string(found->second.shape()));
  }
  for (const auto& [name, variable] : parameters) {
    autograd::Variable to = variable;
    to.mutable_value().copy_from(values.at(name));
  }
}

}  // namespace researchkit::nfgnn
