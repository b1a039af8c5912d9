#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "researchkit/core/registry.hpp"

namespace researchkit::autograd {

namespace detail {
/// What a tape knows of a value without holding it.
struct Slot {
  Tensor gradient;
  bool requires_gradient = false;
  bool is_leaf = true;
  std::uint64_t version = 0;  // counts changes of the value in place
};
struct ByteCounter {
  std::size_t live = 0, peak = 0;
};
}  // namespace detail

/// A tensor whose gradient may be asked for. Copies are the same variable.
///
///     Variable weight = parameter(Tensor::from<float>({1, 2}, {2}));
class Variable {
 public:
  Variable() = default;
  Variable(Tensor value, bool requires_gradient);

  const Tensor& value() const { return *value_; }
  /// The value, to be changed in place. A tape that still needs what it was refuses to go backward.
  Tensor& mutable_value();
  bool requires_gradient() const { return slot_->requires_gradient; }
  /// The gradient of the last backward calls, added up; not defined before the first.
  const Tensor& gradient() const { return slot_->gradient; }
  void set_gradient(Tensor gradient) { slot_->gradient = std::move(gradient); }
  void clear_gradient() { slot_->gradient = Tensor(); }

 private:
  friend class Tape;
  std::shared_ptr<Tensor> value_;
  std::shared_ptr<detail::Slot> slot_;
};

/// A variable that is trained.
inline Variable parameter(Tensor value) { return {std::move(value), true}; }
/// A variable that is not.
inline Variable constant(Tensor value) { return {std::move(value), false}; }

/// Records calls of operators and differentiates them.
///
///     Tape tape(ctx);
///     auto y = tape.apply("nn.linear", {{"x", x}, {"w", w}, {"b", b}}).at("y");
///     auto loss = tape.apply("graph.log_softmax_nll", {{"logits", y}, {"labels", labels}, ...}).at("loss");
///     tape.backward(loss);
///     w.gradient();
///
/// By the naming convention of operators nothing needs to be said of their derivatives: the gradient of
/// `f` is the operator `f_backward`, which takes inputs and outputs of `f` by name and `d_<output>`, and
/// gives `d_<input>`. The tape keeps what that backward takes and nothing else, and lets go of it as it
/// goes backward. Gradients add up in the reverse order of the calls, so they have the same bits on any
/// number of threads.
class Tape {
 public:
  using Inputs = std::vector<std::pair<std::string, Variable>>;
  using Outputs = std::map<std::string, Variable, std::less<>>;

  /// The gradients of a function's inputs, in their order, from that of its result. Each has memory of
  /// its own, but one of them may be `d_result`; one that is not defined is 0.
  using Gradient = std::function<std::vector<Tensor>(const Tensor& d_result)>;

  explicit Tape(Context ctx, const Registry& registry = default_registry());
  /// A tape that computes and records nothing: its results want no gradient.
  static Tape without_gradients(Context ctx, const Registry& registry = default_registry());

  const Context& context() const { return ctx_; }

  /// Runs an operator. Throws Error as it does; and if an input wants a gradient and the operator has no
  /// backward.
  Outputs apply(std::string_view name, const Inputs& inputs, AttributeMap attributes = {});

  /// Puts the result of a function on the tape that is no operator, where a kernel has what operators
  /// cannot be given: a cached transpose, values of the forward that nobody else sees.
  ///
  ///     Variable y = tape.record(result, {x}, [=](const Tensor& d_y) { return std::vector{...}; });
  ///
  /// `gradient` is called at most once, and not at all if no input wants a gradient. No input may be
  /// changed in place before.
  Variable record(Tensor result, std::vector<Variable> inputs, Gradient gradient);

  /// Adds d loss / d v to the gradient of every variable v that wants one. `upstream` has the shape of
  /// the loss; ones when left out. The tape is empty afterwards. Throws Error if a value that a backward
  /// needs was changed in place since it was used.
  void backward(const Variable& loss, Tensor upstream = {});
  /// The same for several results at once.
  void backward(std::span<const Variable> results, std::span<const Tensor> upstream);

  /// Most bytes of outputs and gradients alive at one time, of this tape's calls.
  std::size_t peak_bytes() const { return bytes_->peak; }
  std::size_t live_bytes() const { return bytes_->live; }

 private:
  struct Saved {
    std::string name;
    Tensor tensor;
    std::shared_ptr<detail::Slot> slot;
    std::uint64_t version;
  };
  struct Record {
    const Operator* forward = nullptr;  // null: a function
    const Operator* backward = nullptr;
    Gradient gradient = {};
    AttributeMap attributes = {};
    std::vector<Saved> saved = {};
    std::vector<std::pair<std::string, std::shared_ptr<detail::Slot>>> inputs = {};
    struct Result {
      std::string name;
      std::shared_ptr<detail::Slot> slot;
      DType dtype;
      Shape shape;
    };
    std::vector<Result> outputs = {};
  };
  Tensor counted(Tensor tensor) const;
  void record_call(const Operator& op, const Operator& backward, const Inputs& inputs,
                   const AttributeMap& attributes, const Outputs& outputs);
  void backward_of(Record& record);
  void backward_of_function(Record& record);
  void accumulate(detail::Slot& slot, const Tensor& gradient) const;

  Context ctx_;
  const Registry& registry_;
  bool recording_ = true;
  std::vector<Record> records_;
  std::shared_ptr<detail::ByteCounter> bytes_;
};

}  // namespace researchkit::autograd
