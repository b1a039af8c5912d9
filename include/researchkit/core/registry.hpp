#pragma once

#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "researchkit/core/counted.hpp"
#include "researchkit/core/operator.hpp"

namespace researchkit {

/// A call in its erased form: everything by name.
struct Arguments {
  TensorMap inputs = {};
  AttributeMap attributes = {};
  /// Memory for outputs that the caller provides; all others are allocated.
  TensorMap outputs = {};
};

/// What a call gave.
struct Outcome {
  TensorMap outputs;
  Cost cost;
};

class Arbitrary;

namespace detail {

/// One instantiation of an operator, erased.
struct Variant {
  const OperatorHooks* hooks = nullptr;
  std::shared_ptr<void> (*make)() = nullptr;
  void (*describe)(void* op, Description& description) = nullptr;

  template <class Op, bool Runs = true>
  static Variant of() {
    return {&hooks_of<Op, Runs>(), [] { return std::shared_ptr<void>(std::make_shared<Op>()); },
            [](void* op, Description& io) { static_cast<Op*>(op)->describe(io); }};
  }
};

}  // namespace detail

/// A checked call that can be executed again and again (benchmarks, `run --repeat`).
class PreparedCall {
 public:
  void execute(detail::Path path = detail::Path::run) { call_->execute(path); }
  Cost cost() { return call_->cost(); }
  /// The outputs, cut to their true extents.
  TensorMap outputs() const { return call_->outputs(); }

 private:
  friend class Operator;
  Context ctx_;
  std::shared_ptr<void> op_;
  Arguments arguments_;  // keeps the inputs alive
  std::unique_ptr<detail::Invocation> call_;
};

/// A registered operator: found by name, called with named tensors.
///
///     Arguments call{.inputs = {{"points", points}}, .attributes = {{"k", std::int64_t{1024}}}};
///     Tensor indices = registry.at("fusefps.farthest_point_sample").run(ctx,
///     call).outputs.at("indices");
class Operator {
 public:
  const std::string& name() const { return schema().operator_name; }
  const std::string& summary() const { return schema().summary; }
  /// The schema of the first instantiation; others differ in dtypes or ranks alone.
  const Schema& schema() const { return *variants_.front().hooks->schema; }
  std::size_t variant_count() const { return variants_.size(); }
  const Schema& schema(std::size_t variant) const { return *variants_[variant].hooks->schema; }

  /// Throws Error, with nothing written, if the call is illegal.
  Outcome run(const Context& ctx, const Arguments& arguments) const;
  /// The same by the operator's plain loops.
  Outcome reference(const Context& ctx, const Arguments& arguments) const;
  /// Validates and allocates once, to execute often.
  PreparedCall prepare(const Context& ctx, Arguments arguments) const;
  /// Floating-point operations that the plain loops do in this call (its real inputs must be
  /// float64); nothing for operators that are not templates over Real.
  std::optional<double> count_flops(const Context& ctx, const Arguments& arguments) const;
  /// Whether calls with tensors on `device` can run.
  bool runs_on(Device device) const;
  /// How far run() may be from reference().
  const Tolerance& tolerance() const { return tolerance_; }
  /// Makes a random call legal; does nothing for an operator without `arbitrary`.
  void arbitrary(Arbitrary& call) const {
    if (arbitrary_ != nullptr) arbitrary_(call);
  }

 private:
  friend class Registry;
  const detail::Variant& variant_for(const Arguments& arguments) const;
  PreparedCall prepare(const Context& ctx, Arguments arguments,
                       const detail::Variant& variant) const;

  std::vector<detail::Variant> variants_;
  std::optional<detail::Variant> counted_;
  Tolerance tolerance_;
  void (*arbitrary_)(Arbitrary&) = nullptr;
};

/// Operators by name. Filled by one function per namespace; see default_registry().
class Registry {
 public:
  /// Registers an operator that is a template over Real, for float and double under one name.
  template <template <class> class Op>
  void add() {
    static_assert(OperatorStruct<Op<float>>);
    static_assert(OperatorStruct<Op<double>>);
    Operator op;
    op.variants_ = {detail::Variant::of<Op<float>>(), detail::Variant::of<Op<double>>()};
    op.counted_ = detail::Variant::of<Op<Counted>, false>();
    add_test_hooks<Op<float>>(op);
    insert(std::move(op));
  }
  /// Registers an operator that is a template over Real and the type of its indices: float and
  /// double, int32 and int64.
  template <template <class, class> class Op>
  void add() {
    using Narrow = std::int32_t;
    using Wide = std::int64_t;
    static_assert(OperatorStruct<Op<float, Narrow>>);
    static_assert(OperatorStruct<Op<double, Wide>>);
    Operator op;
    op.variants_ = {
        detail::Variant::of<Op<float, Narrow>>(), detail::Variant::of<Op<float, Wide>>(),
        detail::Variant::of<Op<double, Narrow>>(), detail::Variant::of<Op<double, Wide>>()};
    op.counted_ = detail::Variant::of<Op<Counted, Wide>, false>();
    add_test_hooks<Op<float, Narrow>>(op);
    insert(std::move(op));
  }
  /// Registers an operator without a Real type.
  template <class Op>
  void add() {
    static_assert(OperatorStruct<Op>);
    Operator op;
    op.variants_ = {detail::Variant::of<Op>()};
    add_test_hooks<Op>(op);
    insert(std::move(op));
  }

  /// Registers instantiations of one operator that differ in the ranks of their tensors.
  template <class First, class... Others>
  void add_ranks() {
    static_assert((OperatorStruct<First> && ... && OperatorStruct<Others>));
    static_assert(((First::name == Others::name) && ...));
    Operator op;
    op.variants_ = {detail::Variant::of<First>(), detail::Variant::of<Others>()...};
    add_test_hooks<First>(op);
    insert(std::move(op));
  }

  /// Null if there is none of that name.
  const Operator* find(std::string_view name) const;
  /// Throws Error, with the nearest names, if there is none.
  const Operator& at(std::string_view name) const;
  /// All of them, by name.
  const std::map<std::string, Operator, std::less<>>& operators() const { return operators_; }

 private:
  template <class Op>
  static void add_test_hooks(Operator& op) {
    if constexpr (requires { Tolerance(Op::tolerance); }) op.tolerance_ = Op::tolerance;
    if constexpr (requires(Arbitrary & call) { Op::arbitrary(call); })
      op.arbitrary_ = &Op::arbitrary;
  }
  void insert(Operator op);

  std::map<std::string, Operator, std::less<>> operators_;
};

/// Every operator of the library.
const Registry& default_registry();

}  // namespace researchkit
