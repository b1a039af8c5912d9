#include "researchkit/autograd/gradcheck.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "researchkit/core/random.hpp"

namespace researchkit::autograd {
namespace {

std::vector<Variable> variables(const std::vector<Tensor>& tensors, bool trained) {
  std::vector<Variable> result;
  result.reserve(tensors.size());
  for (const Tensor& tensor : tensors) result.emplace_back(tensor, trained);
  return result;
}

double combine(const std::vector<Variable>& results, const std::vector<Tensor>& weights) {
  double sum = 0;
  for (std::size_t r = 0; r < results.size(); ++r) {
    const Tensor value = results[r].value().contiguous();
    const auto values = std::as_const(value).values<double>();
    const auto factors = weights[r].values<double>();
    for (std::size_t i = 0; i < values.size(); ++i) sum += values[i] * factors[i];
  }
  return sum;
}

}  // namespace

GradcheckReport gradcheck(const Context& ctx, const Function& function, std::vector<Tensor> inputs,
                          const GradcheckOptions& options, const Registry& registry) {
  for (Tensor& input : inputs) {
    if (input.dtype() != DType::f64) throw Error("gradcheck: inputs of float64 wanted");
    input = input.clone();
  }
  GradcheckReport report;
  report.tolerance = options.tolerance;
  Tape tape(ctx, registry);
  const auto trained = variables(inputs, true);
  const auto results = function(tape, trained);
  const Philox random(options.seed);
  std::vector<Tensor> weights;
  std::uint64_t draw = 0;
  for (const Variable& result : results) {
    Tensor& weight = weights.emplace_back(DType::f64, result.value().shape());
    for (double& entry : weight.values<double>()) entry = random.normal(draw++);
  }
  tape.backward(results, weights);
  const auto loss = [&] {
    Tape forward(ctx, registry);
    return combine(function(forward, variables(inputs, false)), weights);
  };
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const Tensor& gradient = trained[i].gradient();
    const std::int64_t size = inputs[i].size();
    const std::int64_t stride = std::max<std::int64_t>(1, size / options.most_entries);
    for (std::int64_t at = 0; at < size; at += stride) {
      double& entry = inputs[i].values<double>()[static_cast<std::size_t>(at)];
      const double before = entry, step = options.step * std::max(1.0, std::fabs(before));
      entry = before + step;
      const double above = loss();
      entry = before - step;
      const double below = loss();
      entry = before;
      const double expected = (above - below) / (2 * step);
      const double got =
          gradient.defined() ? gradient.values<double>()[static_cast<std::size_t>(at)] : 0;
      const double distance = std::fabs(got - expected) / (1 + std::fabs(expected));
      const double error = std::isnan(distance) ? HUGE_VAL : distance;
      ++report.checked;
      if (error > report.worst_error) {
        report.worst_error = error;
        report.worst =
            fmt::format("input {} entry {}: {}, differences give {}", i, at, got, expected);
      }
    }
  }
  return report;
}

GradcheckReport gradcheck(const Context& ctx, std::string_view operator_name,
                          const Arguments& arguments, const GradcheckOptions& options,
                          const Registry& registry) {
  const Operator& op = registry.at(operator_name);
  const Operator& backward = registry.at(op.name() + "_backward");
  std::vector<Tensor> moved;
  for (const auto& [name, tensor] : arguments.inputs) {
    const ArgumentSpec* gradient = backward.schema().find("d_" + name);
    const bool has_gradient = gradient != nullptr && gradient->kind == ArgumentKind::output;
    if (tensor.dtype() == DType::f64 && has_gradient) moved.push_back(tensor);
  }
  const Function function = [&](Tape& tape, std::span<const Variable> x) {
    Tape::Inputs inputs;
    std::size_t next = 0;
    for (const auto& [name, tensor] : arguments.inputs) {
      const ArgumentSpec* gradient = backward.schema().find("d_" + name);
      const bool has_gradient = gradient != nullptr && gradient->kind == ArgumentKind::output;
      const bool is_moved = tensor.dtype() == DType::f64 && has_gradient;
      inputs.emplace_back(name, is_moved ? x[next++] : constant(tensor));
    }
    std::vector<Variable> results;
    for (const auto& [name, output] : tape.apply(op.name(), inputs, arguments.attributes)) {
      const ArgumentSpec* upstream = backward.schema().find("d_" + name);
      const bool taken = upstream != nullptr && upstream->kind == ArgumentKind::input;
      if (taken && output.value().dtype() == DType::f64) results.push_back(output);
    }
    return results;
  };
  return gradcheck(ctx, function, moved, options, registry);
}

}  // namespace researchkit::autograd
