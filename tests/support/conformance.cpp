#include "support/conformance.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "researchkit/core/arbitrary.hpp"
#include "researchkit/core/compare.hpp"
#include "researchkit/core/simd.hpp"

namespace researchkit::conformance {
namespace {

struct LegalCall {
  Arguments arguments;
  std::string label;  // enough to make the call again
};

/// Random calls of one instantiation that are not refused.
std::vector<LegalCall> legal_calls(const Operator& op, std::size_t variant, std::size_t count,
                                   std::int64_t largest) {
  std::vector<LegalCall> calls;
  const Context ctx;
  for (std::uint64_t seed = 1; calls.size() < count && seed <= 60 * count; ++seed) {
    Arbitrary random(op.schema(variant), seed, largest);
    op.arbitrary(random);
    try {
      op.prepare(ctx, random.call);
    } catch (const Error&) {
      continue;
    }
    std::string label = fmt::format("seed {} of size {}, variant {}:", seed, largest, variant);
    for (const auto& [name, value] : random.call.attributes) {
      label += fmt::format(" {}={}", name, to_string(value));
    }
    for (const auto& [name, tensor] : random.call.inputs) {
      label += fmt::format(" {}{}", name, to_string(tensor.shape()));
    }
    calls.push_back({std::move(random.call), std::move(label)});
  }
  return calls;
}

/// Runs `check(call, failures)` on legal calls of every instantiation, small and large.
template <class Check>
Failures for_legal_calls(const Operator& op, std::size_t small, std::size_t large, Check&& check) {
  Failures failures;
  for (std::size_t variant = 0; variant < op.variant_count(); ++variant) {
    auto calls = legal_calls(op, variant, small, 24);
    if (calls.empty()) {
      failures.push_back(op.name() + ": no random call is legal; it needs arbitrary()");
    }
    for (LegalCall& call : legal_calls(op, variant, large, 5000)) calls.push_back(std::move(call));
    for (const LegalCall& call : calls) {
      try {
        check(call, failures);
      } catch (const std::exception& error) {
        failures.push_back(fmt::format("{}: {}: {}", op.name(), call.label, error.what()));
      }
    }
  }
  return failures;
}

void compare_outputs(const Operator& op, const std::string& label, const TensorMap& got,
                     const TensorMap& want, const Tolerance& tolerance, Failures& failures) {
  if (got.size() != want.size()) {
    failures.push_back(
        fmt::format("{}: {}: {} outputs instead of {}", op.name(), label, got.size(), want.size()));
    return;
  }
  for (const auto& [name, expected] : want) {
    if (const auto words = difference(got.at(name), expected, tolerance)) {
      failures.push_back(fmt::format("{}: {}: {}: {}", op.name(), label, name, *words));
    }
  }
}

/// Memory of the tensor's shape with gaps between all entries and an offset, filled with 0x5a.
struct Gapped {
  Tensor memory, entries;
};
Gapped gapped_like(const Tensor& tensor) {
  Shape shape = tensor.shape();
  for (auto& extent : shape) extent = 2 * extent + 1;
  Gapped gapped{Tensor(tensor.dtype(), shape), {}};
  std::memset(gapped.memory.data(), 0x5a, gapped.memory.bytes());
  gapped.entries = gapped.memory;
  for (int axis = 0; axis < tensor.rank(); ++axis) {
    gapped.entries = gapped.entries.slice(axis, 1, 2 * tensor.extent(axis) + 1, 2);
  }
  return gapped;
}

bool same_bytes(const Tensor& a, const Tensor& b) {
  return a.bytes() == b.bytes() &&
         (a.bytes() == 0 || std::memcmp(a.data(), b.data(), a.bytes()) == 0);
}

}  // namespace

Failures run_equals_reference(const Operator& op) {
  return for_legal_calls(op, 40, 0, [&](const LegalCall& call, Failures& failures) {
    const Context ctx;
    compare_outputs(op, call.label, op.run(ctx, call.arguments).outputs,
                    op.reference(ctx, call.arguments).outputs, op.tolerance(), failures);
  });
}

Failures threads_do_not_matter(const Operator& op) {
  return for_legal_calls(op, 10, 6, [&](const LegalCall& call, Failures& failures) {
    const TensorMap one = op.run(Context({.threads = 1}), call.arguments).outputs;
    for (const int threads : {2, 3, 7}) {
      compare_outputs(op, fmt::format("{} threads, {}", threads, call.label),
                      op.run(Context({.threads = threads}), call.arguments).outputs, one, {},
                      failures);
    }
  });
}

Failures instruction_sets_do_not_matter(const Operator& op) {
  struct Automatic {
    ~Automatic() { force_simd_target(""); }
  } automatic;
  return for_legal_calls(op, 15, 3, [&](const LegalCall& call, Failures& failures) {
    force_simd_target("");
    const TensorMap best = op.run(Context(), call.arguments).outputs;
    for (const std::string& target : simd_targets()) {
      force_simd_target(target);
      compare_outputs(op, target + ", " + call.label, op.run(Context(), call.arguments).outputs,
                      best, {}, failures);
    }
  });
}

Failures strides_do_not_matter(const Operator& op) {
  return for_legal_calls(op, 15, 0, [&](const LegalCall& call, Failures& failures) {
    const TensorMap plain = op.run(Context(), call.arguments).outputs;
    Arguments strided = call.arguments;
    strided.inputs.clear();
    for (const auto& [name, tensor] : call.arguments.inputs) {
      Tensor entries = gapped_like(tensor).entries;
      entries.copy_from(tensor);
      strided.inputs.set(name, entries);
    }
    std::vector<Gapped> outputs;
    // Outputs that the run cuts short are left to the operator: their memory has the bound's shape.
    const bool has_extent =
        std::any_of(op.schema().arguments.begin(), op.schema().arguments.end(),
                    [](const auto& a) { return a.kind == ArgumentKind::extent; });
    if (!has_extent) {
      for (const auto& [name, tensor] : plain) {
        outputs.push_back(gapped_like(tensor));
        strided.outputs.set(name, outputs.back().entries);
      }
    }
    compare_outputs(op, "strided, " + call.label, op.run(Context(), strided).outputs, plain, {},
                    failures);
    for (const Gapped& output : outputs) {
      Gapped untouched = gapped_like(output.entries);
      untouched.entries.copy_from(output.entries);
      if (!same_bytes(untouched.memory, output.memory)) {
        failures.push_back(
            fmt::format("{}: {}: wrote between an output's entries", op.name(), call.label));
      }
    }
  });
}

Failures device_equals_host(const Operator& op, Device device, const Tolerance& tolerance) {
  return for_legal_calls(op, 25, 0, [&](const LegalCall& call, Failures& failures) {
    Arguments there = call.arguments;
    for (auto& [name, tensor] : there.inputs) tensor = tensor.to(device);
    TensorMap got = op.run(Context({.device = device}), there).outputs;
    for (auto& [name, tensor] : got) tensor = tensor.to(Device::host());
    compare_outputs(op, to_string(device) + ", " + call.label, got,
                    op.run(Context(), call.arguments).outputs, tolerance, failures);
  });
}

Failures calls_leave_no_trace(const Operator& op) {
  return for_legal_calls(op, 15, 2, [&](const LegalCall& call, Failures& failures) {
    const Context ctx;
    TensorMap inputs_before;
    for (const auto& [name, tensor] : call.arguments.inputs)
      inputs_before.set(name, tensor.clone());
    PreparedCall prepared = op.prepare(ctx, call.arguments);
    prepared.execute();
    TensorMap first;
    for (const auto& [name, tensor] : prepared.outputs()) first.set(name, tensor.clone());
    prepared.execute();
    compare_outputs(op, "same memory again, " + call.label, prepared.outputs(), first, {},
                    failures);
    compare_outputs(op, "same context again, " + call.label, op.run(ctx, call.arguments).outputs,
                    first, {}, failures);
    compare_outputs(op, "inputs after the call, " + call.label, call.arguments.inputs,
                    inputs_before, {}, failures);
  });
}

Failures gradients_match_differences(const Registry& registry, const Operator& op) {
  const Operator* backward = registry.find(op.name() + "_backward");
  if (backward == nullptr) return {};
  Failures failures;
  std::size_t checked = 0;
  const Context ctx;
  const std::size_t variant = op.variant_count() - 1;  // double comes last
  for (LegalCall& call : legal_calls(op, variant, 60, 12)) {
    // Ties are kinks, where a difference sees no derivative: every entry is moved a little.
    Arbitrary random(op.schema(variant), 7, 2);
    for (auto& [name, tensor] : call.arguments.inputs) {
      if (tensor.dtype() != DType::f64) continue;
      for (double& value : tensor.values<double>()) value += 0.01 * random.normal();
    }
    TensorMap outputs;
    try {
      outputs = op.run(ctx, call.arguments).outputs;
    } catch (const Error&) {
      continue;  // the move made it illegal
    }
    Arguments gradient_call;
    TensorMap upstream;
    bool complete = true;
    for (const ArgumentSpec& spec : backward->schema(backward->variant_count() - 1).arguments) {
      if (spec.kind == ArgumentKind::attribute && call.arguments.attributes.count(spec.name) != 0) {
        gradient_call.attributes[spec.name] = call.arguments.attributes.at(spec.name);
      }
      if (spec.kind != ArgumentKind::input) continue;
      const std::string_view name = spec.name;
      if (const Tensor* tensor = call.arguments.inputs.find(name)) {
        gradient_call.inputs.set(spec.name, *tensor);
      } else if (const Tensor* output = outputs.find(name)) {
        gradient_call.inputs.set(spec.name, *output);
      } else if (name.starts_with("d_") && outputs.contains(name.substr(2))) {
        Tensor weights(DType::f64, outputs.at(name.substr(2)).shape());
        for (double& weight : weights.values<double>()) weight = random.normal();
        gradient_call.inputs.set(spec.name, weights);
        upstream.set(std::string(name.substr(2)), weights);
      } else {
        complete = complete && spec.optional;
      }
    }
    if (!complete || upstream.empty()) continue;
    const auto loss = [&] {
      double sum = 0;
      const TensorMap now = op.run(ctx, call.arguments).outputs;
      for (const auto& [name, weights] : upstream) {
        const Tensor values = now.at(name).contiguous();
        for (std::int64_t i = 0; i < weights.size(); ++i) {
          const auto at = static_cast<std::size_t>(i);
          sum += weights.values<double>()[at] * std::as_const(values).values<double>()[at];
        }
      }
      return sum;
    };
    const TensorMap gradients = backward->run(ctx, gradient_call).outputs;
    for (const auto& [name, gradient] : gradients) {
      Tensor* input = call.arguments.inputs.find(std::string_view(name).substr(2));
      if (input == nullptr || input->size() == 0) continue;
      for (int probe = 0; probe < 12; ++probe) {
        const auto at = static_cast<std::size_t>(random.integer(0, input->size() - 1));
        double& entry = input->values<double>()[at];
        const double before = entry, step = 1e-6 * std::max(1.0, std::fabs(before));
        entry = before + step;
        const double above = loss();
        entry = before - step;
        const double below = loss();
        entry = before;
        const double expected = (above - below) / (2 * step);
        if (!std::isfinite(expected)) continue;  // an output is infinite there
        const double got = gradient.contiguous().values<double>()[at];
        if (!(std::fabs(got - expected) <= 1e-6 + 1e-6 * std::fabs(expected))) {
          failures.push_back(fmt::format("{}: {}: {} entry {} is {}, differences give {}",
                                         backward->name(), call.label, name, at, got, expected));
        }
        ++checked;
      }
    }
  }
  if (checked == 0)
    failures.push_back(backward->name() + ": no random call could be differentiated");
  return failures;
}

namespace {

/// A call with one offence, and the argument that its refusal must name.
struct Offence {
  Arguments arguments;
  std::string argument;
  std::string what;
  bool certain = true;  // false: the operator may also find it legal
};

template <class T>
void overwrite_last(Tensor& tensor, T value) {
  tensor = tensor.clone();
  tensor.values<T>().back() = value;
}

/// Puts an integer into the last entry, if the dtype can hold it.
bool put_integer(Tensor& tensor, std::int64_t value) {
  switch (tensor.dtype()) {
    case DType::i32:
      overwrite_last(tensor, static_cast<std::int32_t>(value));
      return true;
    case DType::i64:
      overwrite_last(tensor, value);
      return true;
    default:
      return false;
  }
}

void add_input_offences(const ArgumentSpec& spec, const LegalCall& call, const SymbolTable& sizes,
                        std::vector<Offence>& offences) {
  const Tensor* tensor = call.arguments.inputs.find(spec.name);
  if (tensor == nullptr) return;
  const auto add = [&](std::string what, Tensor replacement) {
    Offence offence{call.arguments, spec.name, std::move(what)};
    if (replacement.defined()) {
      offence.arguments.inputs.set(spec.name, std::move(replacement));
    } else {
      offence.arguments.inputs.erase(spec.name);
    }
    offences.push_back(std::move(offence));
  };
  if (!spec.optional) add("left out", {});
  add("of another dtype", Tensor(DType::boolean, tensor->shape()));
  Shape deeper = tensor->shape();
  deeper.push_back(1);
  if (!spec.any_rank()) add("of another rank", tensor->reshape(deeper));
  if (tensor->size() == 0) return;
  const DType dtype = tensor->dtype();  // the instantiation's, not the schema's first
  // Whether these are legal only the operator knows; it must not crash, nor write if it refuses.
  for (const std::int64_t value : {-7, 1000000007}) {
    Tensor odd = *tensor;
    if (put_integer(odd, value)) {
      add(fmt::format("holding {}", value), odd);
      offences.back().certain = spec.interval && !spec.interval->contains(value, sizes);
    }
  }
  if (dtype == DType::f32 || dtype == DType::f64) {
    for (const double value : {std::nan(""), HUGE_VAL}) {
      Tensor bad = *tensor;
      if (dtype == DType::f32) {
        overwrite_last(bad, static_cast<float>(value));
      } else {
        overwrite_last(bad, value);
      }
      add(fmt::format("holding {}", value), bad);
      offences.back().certain = spec.finite;
    }
  }
  if (!spec.interval) return;
  for (const auto* bound : {&spec.interval->lower(), &spec.interval->upper()}) {
    const auto value = bound->value(sizes);
    if (!value || !std::isfinite(*value)) continue;
    const bool is_lower = bound == &spec.interval->lower();
    const auto outside = static_cast<std::int64_t>(*value) + (bound->open ? 0 : is_lower ? -1 : 1);
    Tensor bad = *tensor;
    if (put_integer(bad, outside)) add(fmt::format("holding {}", outside), bad);
  }
}

void add_attribute_offences(const ArgumentSpec& spec, const LegalCall& call,
                            const SymbolTable& sizes, std::vector<Offence>& offences) {
  const auto add = [&](const AttributeValue& value) {
    Offence offence{call.arguments, spec.name, to_string(value)};
    offence.arguments.attributes[spec.name] = value;
    offences.push_back(std::move(offence));
  };
  const bool takes_text = spec.type == AttributeType::string;
  if (!takes_text) add(std::string("no such choice"));
  if (spec.type != AttributeType::json) add(Json{"{}"});
  if (!spec.interval) return;
  if (spec.type == AttributeType::real) add(std::nan(""));
  for (const auto* bound : {&spec.interval->lower(), &spec.interval->upper()}) {
    const auto value = bound->value(sizes);
    if (!value) continue;
    const bool is_lower = bound == &spec.interval->lower();
    if (spec.type == AttributeType::real && (bound->open || std::isfinite(*value))) {
      add(bound->open ? *value : *value + (is_lower ? -1 : 1));
    }
    if (spec.type == AttributeType::int64 && std::isfinite(*value)) {
      add(static_cast<std::int64_t>(*value) + (bound->open ? 0 : is_lower ? -1 : 1));
    }
  }
}

enum class Answer { accepted, refused, blamed_another };

Answer answer_to(const Operator& op, const Offence& offence, std::string& message) {
  try {
    op.run(Context(), offence.arguments);
  } catch (const Error& error) {
    message = error.what();
    const bool right = error.argument() == offence.argument && error.operator_name() == op.name();
    return right ? Answer::refused : Answer::blamed_another;
  }
  message = "was not refused";
  return Answer::accepted;
}

}  // namespace

Failures illegal_calls_are_refused(const Operator& op) {
  return for_legal_calls(op, 8, 0, [&](const LegalCall& call, Failures& failures) {
    const Schema& schema = op.schema();
    SymbolTable sizes;
    for (const ArgumentSpec& spec : schema.arguments) {
      const Tensor* tensor = call.arguments.inputs.find(spec.name);
      if (spec.kind != ArgumentKind::input || tensor == nullptr) continue;
      for (std::size_t axis = 0; axis < spec.shape.size(); ++axis) {
        const auto solution = spec.shape[axis].solve(sizes, tensor->extent(static_cast<int>(axis)));
        if (solution) sizes.set(solution->first, solution->second);
      }
    }
    std::vector<Offence> offences;
    Offence unknown_input{call.arguments, "no_such_argument", "an unknown input"};
    unknown_input.arguments.inputs.set("no_such_argument", Tensor(DType::f64, {1}));
    Offence unknown_attribute{call.arguments, "no_such_argument", "an unknown attribute"};
    unknown_attribute.arguments.attributes["no_such_argument"] = true;
    const bool takes_any_name = std::any_of(schema.arguments.begin(), schema.arguments.end(),
                                            [](const auto& a) { return a.arity == Arity::map; });
    if (!takes_any_name) offences.push_back(unknown_input);
    offences.push_back(unknown_attribute);
    for (const ArgumentSpec& spec : schema.arguments) {
      if (spec.kind == ArgumentKind::input && spec.arity == Arity::single) {
        add_input_offences(spec, call, sizes, offences);
      } else if (spec.kind == ArgumentKind::attribute) {
        add_attribute_offences(spec, call, sizes, offences);
      }
    }
    const TensorMap legal_outputs = op.run(Context(), call.arguments).outputs;
    for (Offence& offence : offences) {
      std::vector<Gapped> memory;
      const bool switches_outputs =
          std::any_of(schema.arguments.begin(), schema.arguments.end(),
                      [&](const ArgumentSpec& a) { return a.when == offence.argument; });
      for (const auto& [name, tensor] : legal_outputs) {
        if (switches_outputs) break;
        memory.push_back({Tensor(tensor.dtype(), tensor.shape()), {}});
        std::memset(memory.back().memory.data(), 0x5a, memory.back().memory.bytes());
        offence.arguments.outputs.set(name, memory.back().memory);
      }
      std::string message;
      const Answer answer = answer_to(op, offence, message);
      if (answer != Answer::refused && offence.certain) {
        failures.push_back(fmt::format("{}: {}: '{}' {}: {}", op.name(), call.label,
                                       offence.argument, offence.what, message));
      }
      if (answer == Answer::accepted) continue;
      for (const Gapped& output : memory) {
        Tensor untouched(output.memory.dtype(), output.memory.shape());
        std::memset(untouched.data(), 0x5a, untouched.bytes());
        if (!same_bytes(untouched, output.memory)) {
          failures.push_back(fmt::format("{}: {}: '{}' {}: an output was touched", op.name(),
                                         call.label, offence.argument, offence.what));
        }
      }
    }
  });
}

Failures cost_matches_counted_flops(const Operator& op) {
  Failures failures;
  const Context ctx;
  const std::size_t variant = op.variant_count() - 1;
  for (const LegalCall& call : legal_calls(op, variant, 25, 24)) {
    const auto counted = op.count_flops(ctx, call.arguments);
    if (!counted) return failures;
    const Cost cost = op.prepare(ctx, call.arguments).cost();
    const bool right = cost.upper_bound || *counted == cost.flops;
    if (!right) {
      failures.push_back(fmt::format("{}: {}: the plain loops do {} operations, the cost says {}",
                                     op.name(), call.label, *counted, cost.flops));
    }
  }
  return failures;
}

}  // namespace researchkit::conformance
