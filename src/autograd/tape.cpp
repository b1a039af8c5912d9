#include "researchkit/autograd/tape.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace researchkit::autograd {
namespace {

/// to += from, both row-major and of one floating dtype.
void add(Tensor& to, const Tensor& from) {
  visit_dtype(to.dtype(), [&]<class T>(T) {
    if constexpr (std::is_floating_point_v<T>) {
      const Tensor rows = from.contiguous();
      const auto terms = rows.values<T>();
      const auto sums = to.values<T>();
      std::transform(sums.begin(), sums.end(), terms.begin(), sums.begin(), std::plus<>());
    }
  });
}

Tensor ones_like(const Tensor& tensor) {
  Tensor ones(tensor.dtype(), tensor.shape());
  visit_dtype(ones.dtype(), [&]<class T>(T) {
    const auto values = ones.values<T>();
    std::fill(values.begin(), values.end(), T{1});
  });
  return ones;
}

}  // namespace

Variable::Variable(Tensor value, bool requires_gradient)
    : value_(std::make_shared<Tensor>(std::move(value))), slot_(std::make_shared<detail::Slot>()) {
  slot_->requires_gradient = requires_gradient;
}

Tensor& Variable::mutable_value() {
  ++slot_->version;
  return *value_;
}

Tape::Tape(Context ctx, const Registry& registry)
    : ctx_(std::move(ctx)), registry_(registry), bytes_(std::make_shared<detail::ByteCounter>()) {}

Tape Tape::without_gradients(Context ctx, const Registry& registry) {
  Tape tape(std::move(ctx), registry);
  tape.recording_ = false;
  return tape;
}

/// The same memory, whose bytes count as alive until the last user lets go of it.
Tensor Tape::counted(Tensor tensor) const {
  const std::size_t bytes = tensor.bytes();
  bytes_->live += bytes;
  bytes_->peak = std::max(bytes_->peak, bytes_->live);
  void* const data = tensor.data();
  std::shared_ptr<void> owner(
      data, [bytes, counter = bytes_, keep = tensor](void*) { counter->live -= bytes; });
  return {tensor.dtype(), tensor.shape(),   tensor.strides(),
          data,           std::move(owner), tensor.device()};
}

Tape::Outputs Tape::apply(std::string_view name, const Inputs& inputs, AttributeMap attributes) {
  const Operator& op = registry_.at(name);
  Arguments arguments{.attributes = attributes};
  bool wants_gradient = false;
  for (const auto& [key, variable] : inputs) {
    arguments.inputs.set(key, variable.value());
    wants_gradient = wants_gradient || variable.requires_gradient();
  }
  wants_gradient = wants_gradient && recording_;
  const Operator* backward = registry_.find(op.name() + "_backward");
  if (wants_gradient && backward == nullptr) {
    throw Error(fmt::format("{} has no backward, and an input wants a gradient", op.name()));
  }
  Outputs outputs;
  for (const auto& [key, tensor] : op.run(ctx_, arguments).outputs) {
    Variable output(counted(tensor), wants_gradient && is_floating(tensor.dtype()));
    output.slot_->is_leaf = false;
    outputs.emplace(key, std::move(output));
  }
  if (wants_gradient) record_call(op, *backward, inputs, attributes, outputs);
  return outputs;
}

void Tape::record_call(const Operator& op, const Operator& backward, const Inputs& inputs,
                       const AttributeMap& attributes, const Outputs& outputs) {
  Record record{.forward = &op, .backward = &backward};
  const auto save_if_taken = [&](const std::string& name, const Variable& variable) {
    const ArgumentSpec* spec = backward.schema().find(name);
    const bool taken_by_map = std::any_of(
        backward.schema().arguments.begin(), backward.schema().arguments.end(),
        [](const auto& a) { return a.kind == ArgumentKind::input && a.arity == Arity::map; });
    const bool taken = spec != nullptr ? spec->kind == ArgumentKind::input : taken_by_map;
    if (!taken) return;
    record.saved.push_back({name, variable.value(), variable.slot_, variable.slot_->version});
  };
  for (const auto& [name, variable] : inputs) {
    save_if_taken(name, variable);
    if (variable.requires_gradient()) record.inputs.emplace_back(name, variable.slot_);
  }
  for (const auto& [name, variable] : outputs) {
    // A map of inputs would take outputs too; it never needs them.
    if (backward.schema().find(name) != nullptr) save_if_taken(name, variable);
    record.outputs.push_back(
        {name, variable.slot_, variable.value().dtype(), variable.value().shape()});
  }
  for (const auto& [name, value] : attributes) {
    const ArgumentSpec* spec = backward.schema().find(name);
    if (spec != nullptr && spec->kind == ArgumentKind::attribute) {
      record.attributes.emplace(name, value);
    }
  }
  records_.push_back(std::move(record));
}

Variable Tape::record(Tensor result, std::vector<Variable> inputs, Gradient gradient) {
  const bool wants_gradient =
      recording_ && std::any_of(inputs.begin(), inputs.end(),
                                [](const Variable& v) { return v.requires_gradient(); });
  Variable output(counted(std::move(result)), wants_gradient);
  output.slot_->is_leaf = false;
  if (!wants_gradient) return output;
  Record record{.gradient = std::move(gradient)};
  for (const Variable& input : inputs) {
    record.saved.push_back({"", Tensor(), input.slot_, input.slot_->version});
    record.inputs.emplace_back("", input.slot_);
  }
  record.outputs.push_back({"", output.slot_, output.value().dtype(), output.value().shape()});
  records_.push_back(std::move(record));
  return output;
}

void Tape::backward(const Variable& loss, Tensor upstream) {
  if (!upstream.defined()) upstream = ones_like(loss.value());
  backward({&loss, 1}, {&upstream, 1});
}

void Tape::backward(std::span<const Variable> results, std::span<const Tensor> upstream) {
  if (results.size() != upstream.size()) {
    throw Error("backward: one upstream gradient for each result wanted");
  }
  for (std::size_t i = 0; i < results.size(); ++i) {
    const Tensor& value = results[i].value();
    if (upstream[i].shape() != value.shape() || upstream[i].dtype() != value.dtype()) {
      throw Error(fmt::format("backward: upstream of shape {} for a result of shape {}",
                              to_string(upstream[i].shape()), to_string(value.shape())));
    }
    detail::Slot& slot = *results[i].slot_;
    if (slot.gradient.defined()) {
      add(slot.gradient, upstream[i]);
    } else {
      slot.gradient = upstream[i].clone();
    }
  }
  std::vector<Record> records = std::move(records_);
  records_.clear();
  while (!records.empty()) {
    backward_of(records.back());
    records.pop_back();
  }
}

void Tape::backward_of(Record& record) {
  const bool reached = std::any_of(record.outputs.begin(), record.outputs.end(),
                                   [](const auto& o) { return o.slot->gradient.defined(); });
  if (!reached) return;
  if (record.forward == nullptr) return backward_of_function(record);
  Arguments arguments{.attributes = record.attributes};
  for (const Saved& saved : record.saved) {
    if (saved.slot->version != saved.version) {
      throw Error(fmt::format("backward of {}: '{}' was changed in place after it was used",
                              record.forward->name(), saved.name));
    }
    arguments.inputs.set(saved.name, saved.tensor);
  }
  for (const auto& output : record.outputs) {
    const std::string name = "d_" + output.name;
    const ArgumentSpec* spec = record.backward->schema().find(name);
    const bool taken = spec != nullptr && spec->kind == ArgumentKind::input;
    if (output.slot->gradient.defined() && !taken) {
      throw Error(
          fmt::format("{} takes no gradient of '{}'", record.backward->name(), output.name));
    }
    if (output.slot->gradient.defined()) {
      arguments.inputs.set(name, output.slot->gradient);
    } else if (taken && !spec->optional) {
      arguments.inputs.set(name, Tensor(output.dtype, output.shape));
    }
  }
  const TensorMap gradients = record.backward->run(ctx_, arguments).outputs;
  for (const auto& output : record.outputs) output.slot->gradient = Tensor();
  arguments = {};
  record.saved.clear();
  for (const auto& [name, slot] : record.inputs) {
    const Tensor* gradient = gradients.find("d_" + name);
    if (gradient != nullptr) accumulate(*slot, *gradient);  // else it does not depend on this input
  }
}

void Tape::backward_of_function(Record& record) {
  for (const Saved& saved : record.saved) {
    if (saved.slot->version != saved.version) {
      throw Error("backward of a function: an input was changed in place after it was used");
    }
  }
  detail::Slot& result = *record.outputs.front().slot;
  const std::vector<Tensor> gradients = record.gradient(result.gradient);
  result.gradient = Tensor();
  record.gradient = {};  // what it holds is not needed any more
  if (gradients.size() != record.inputs.size()) {
    throw Error(fmt::format("backward of a function: {} gradients for {} inputs", gradients.size(),
                            record.inputs.size()));
  }
  for (std::size_t i = 0; i < gradients.size(); ++i) {
    detail::Slot& slot = *record.inputs[i].second;
    if (slot.requires_gradient && gradients[i].defined()) accumulate(slot, gradients[i]);
  }
}

void Tape::accumulate(detail::Slot& slot, const Tensor& gradient) const {
  if (slot.gradient.defined()) {
    add(slot.gradient, gradient);
  } else {
    slot.gradient = slot.is_leaf ? gradient : counted(gradient);
  }
}

}  // namespace researchkit::autograd
