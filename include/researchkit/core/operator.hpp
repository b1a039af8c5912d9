#pragma once

#include <concepts>
#include <string_view>
#include <typeindex>
#include <typeinfo>
#include <utility>
#include <vector>

#include "researchkit/core/compare.hpp"
#include "researchkit/core/context.hpp"
#include "researchkit/core/cost.hpp"
#include "researchkit/core/description.hpp"
#include "researchkit/core/device_kernels.hpp"
#include "researchkit/core/error.hpp"
#include "researchkit/core/schema.hpp"

/// The operator interface. An operator is a plain struct whose members are its arguments and whose
/// `describe` says everything about them; `docs/writing-an-operator.md` walks through one.
namespace researchkit {

/// The extents of one call, for an operator's `infer` hook.
class Extents {
 public:
  explicit Extents(SymbolTable& symbols) : symbols_(symbols) {}
  /// Gives a symbol of the output shapes its value.
  void set(std::string_view symbol, std::int64_t extent) { symbols_.set(symbol, extent); }

 private:
  SymbolTable& symbols_;
};

/// Lets an operator's `validate` hook refuse a call, in the operator's name.
class Check {
 public:
  explicit Check(std::string_view operator_name) : operator_name_(operator_name) {}
  /// Throws the Error that names operator and argument, what was wanted and what came.
  [[noreturn]] void refuse(std::string_view argument, std::string_view wanted,
                           std::string_view got) const {
    throw Error(operator_name_, argument, wanted, got);
  }

 private:
  std::string_view operator_name_;
};

class Arbitrary;  // core/arbitrary.hpp: random legal calls for the conformance suite

// What an operator struct must have, each with a name that the compiler can blame.
template <class Op>
concept HasName = requires {
  { Op::name } -> std::convertible_to<std::string_view>;
  { Op::summary } -> std::convertible_to<std::string_view>;
};
template <class Op>
concept HasDescribe = requires(Op op, Description& io) {
  op.describe(io);
};
template <class Op>
concept HasCost = requires(const Op op) {
  { op.cost() } -> std::same_as<Cost>;
};
template <class Op>
concept HasRun = requires(const Op op, const Context& ctx) {
  op.run(ctx);
};
template <class Op>
concept HasReference = requires(const Op op) {
  op.reference();
};

/// An operator: default-constructible and copyable, with
///
///     static constexpr std::string_view name;      // "<namespace>.<operator>"
///     static constexpr std::string_view summary;   // one sentence
///     void describe(Description& io);              // the single source of truth
///     Cost cost() const;                           // from the bound shapes
///     void run(const Context& ctx) const;          // the fast path
///     void reference() const;                      // plain loops: the oracle
///
/// and, where symbols cannot say it,
///
///     void infer(Extents&) const;                  // extents of outputs, after validation
///     void validate(const Check&) const;           // refusals beyond ranges and shapes
///     Cost measured_cost() const;                  // the exact cost, known after the run
///     static void arbitrary(Arbitrary&);           // makes a random call legal
///     static constexpr Tolerance tolerance;        // of run() from reference(); exact without
template <class Op>
concept OperatorStruct = std::default_initializable<Op> && std::copyable<Op> && HasName<Op> &&
    HasDescribe<Op> && HasCost<Op> && HasRun<Op> && HasReference<Op>;

namespace detail {

/// The members of an operator type as plain functions on an operator object.
struct OperatorHooks {
  const Schema* schema;
  std::type_index type;                            // what a backend's kernels are found by
  void (*infer)(const void* op, Extents&);         // null if the operator has none
  void (*validate)(const void* op, const Check&);  // null if the operator has none
  void (*run)(const void* op, const Context&);     // null where only the reference exists
  void (*reference)(const void* op);
  Cost (*cost)(const void* op);
  Cost (*measured_cost)(const void* op);  // null if cost() is all there is
};

/// Throws Error if an argument refers to another one that does not exist.
void check_schema(const Schema& schema);

/// The schema of an operator type, made once.
template <class Op>
const Schema& schema_of() {
  static const Schema schema = [] {
    Schema result;
    result.operator_name = Op::name;
    result.summary = Op::summary;
    Description description(&result);
    Op op{};
    op.describe(description);
    check_schema(result);
    return result;
  }();
  return schema;
}

/// `Runs` is false for the instantiation that only counts flops, which has no kernels.
template <class Op, bool Runs = true>
const OperatorHooks& hooks_of() {
  static const OperatorHooks hooks = [] {
    OperatorHooks h{&schema_of<Op>(), typeid(Op), nullptr, nullptr,
                    nullptr,          nullptr,    nullptr, nullptr};
    if constexpr (requires(const Op op, Extents& extents) { op.infer(extents); }) {
      h.infer = [](const void* op, Extents& extents) {
        static_cast<const Op*>(op)->infer(extents);
      };
    }
    if constexpr (requires(const Op op, const Check& check) { op.validate(check); }) {
      h.validate = [](const void* op, const Check& check) {
        static_cast<const Op*>(op)->validate(check);
      };
    }
    if constexpr (Runs) {
      h.run = [](const void* op, const Context& ctx) { static_cast<const Op*>(op)->run(ctx); };
    }
    h.reference = [](const void* op) { static_cast<const Op*>(op)->reference(); };
    h.cost = [](const void* op) { return static_cast<const Op*>(op)->cost(); };
    if constexpr (requires(const Op op) { op.measured_cost(); }) {
      h.measured_cost = [](const void* op) { return static_cast<const Op*>(op)->measured_cost(); };
    }
    return h;
  }();
  return hooks;
}

enum class Path : std::uint8_t { run, reference };

/// One checked call of one operator object: construction validates everything and allocates the
/// outputs that the caller did not provide; execute() runs it, as often as wanted.
class Invocation {
 public:
  /// `op` is an object of the hooks' type with its inputs and attributes set, `ports` its members.
  /// Throws Error, with no output touched, if the call is illegal.
  Invocation(const Context& ctx, const OperatorHooks& hooks, void* op,
             const std::vector<Port>& ports);
  ~Invocation();
  Invocation(const Invocation&) = delete;
  Invocation& operator=(const Invocation&) = delete;

  void execute(Path path = Path::run);
  Cost cost();  ///< the exact one after execute(), where the operator has it
  /// The outputs by name: entries of lists and maps as in a call.
  TensorMap outputs() const;
  /// Points the operator object at the outputs, cut to their true extents.
  std::vector<Tensor> release();

 private:
  struct Argument;
  void check_attributes() const;
  void collect_tensors();
  void unify();
  bool unify_axis(const Argument& argument, const std::string& label, const Tensor& tensor,
                  std::size_t axis);
  void check_values() const;
  void place_outputs();
  void check_overlap() const;
  void bind_row_major();
  void find_device();
  void read_on_host(ArgumentKind kind);
  void check_values(const Argument& argument, const std::string& label, const Tensor& tensor) const;
  [[noreturn]] void refuse(std::string_view argument, std::string_view wanted,
                           std::string_view got) const;

  Context ctx_;
  const OperatorHooks& hooks_;
  void* op_;
  Device device_;  // where the call runs
  const DeviceKernels::Run* device_run_ = nullptr;
  std::vector<Argument> arguments_;
  SymbolTable symbols_;
  bool executed_ = false;
};

}  // namespace detail

/// The operator after its call: its outputs are views of memory that the result owns.
template <class Op>
struct Result : Op {
  std::vector<Tensor> memory;  ///< what the outputs point at
};

/// Validates a call, allocates its outputs, and runs it.
///
///     auto sample = run(ctx, fusefps::FusedFarthestPointSample<float>{.points = cloud, .k =
///     1024}); sample.indices(0, 3);
///
/// Outputs that already point at memory are written there. Throws Error before any output is
/// touched if the call is illegal.
template <OperatorStruct Op>
Result<Op> run(const Context& ctx, Op op) {
  Result<Op> result{std::move(op), {}};
  Description description;
  result.describe(description);
  detail::Invocation call(ctx, detail::hooks_of<Op>(), static_cast<Op*>(&result),
                          description.ports());
  call.execute();
  result.memory = call.release();
  return result;
}

/// The free function of an operator that is a template over its Real type.
///
///     inline constexpr Function<FusedFarthestPointSample> fused_farthest_point_sample;
///     auto sample = fused_farthest_point_sample(ctx, {.points = cloud, .k = 1024});
template <template <class> class Op>
struct Function {
  auto operator()(const Context& ctx, Op<float> op) const { return run(ctx, std::move(op)); }
  auto operator()(const Context& ctx, Op<double> op) const { return run(ctx, std::move(op)); }
};

/// The same for operators that are templates over Real and the type of their indices.
template <template <class, class> class Op>
struct IndexedFunction {
  auto operator()(const Context& ctx, Op<float, std::int32_t> op) const {
    return run(ctx, std::move(op));
  }
  auto operator()(const Context& ctx, Op<float, std::int64_t> op) const {
    return run(ctx, std::move(op));
  }
  auto operator()(const Context& ctx, Op<double, std::int32_t> op) const {
    return run(ctx, std::move(op));
  }
  auto operator()(const Context& ctx, Op<double, std::int64_t> op) const {
    return run(ctx, std::move(op));
  }
};

}  // namespace researchkit
