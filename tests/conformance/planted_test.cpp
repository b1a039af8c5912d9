// The suite must be able to fail: each operator here has one fault, and the check that exists for
// it must find it. A sound operator beside them must pass everything.
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "researchkit/core/io/npy.hpp"
#include "researchkit/core/parallel.hpp"
#include "researchkit/core/simd.hpp"
#include "researchkit/core/verify.hpp"
#include "support/catch.hpp"
#include "support/conformance.hpp"
#include "support/temporary_folder.hpp"

using namespace researchkit;
using namespace researchkit::conformance;

namespace {

enum class Fault {
  none,
  odd_tail,         // the last entry is wrong when n is odd
  threads,          // the number of threads shows in the result
  instruction_set,  // the instruction set shows in the result
  strides,          // reads as if the input were row-major
  memory,           // remembers how often it was called
  early_write,      // writes before it refuses
  input,            // writes to its input
  undercounted,     // says too few operations
  gradient          // the backward is off by a factor
};

template <Fault fault, class Real>
struct Square {
  static constexpr std::string_view name = "planted.square";
  static constexpr std::string_view summary = "Squares and scales.";

  In<Real, 1> x = {};
  Out<Real, 1> y = {};
  double scale = 1;

  void describe(Description& io) {
    io.input(x, "x", "n", "numbers", {.finite = fault != Fault::early_write});
    io.output(y, "y", "n", "scale x^2");
    io.attribute(scale, "scale", "factor", {.in = "[0, 4]"});
  }
  void validate(const Check& check) const {
    if constexpr (fault == Fault::early_write) {
      using std::isfinite;
      for (std::int64_t i = 0; i < x.extent(0); ++i) {
        if (!isfinite(x(i))) check.refuse("x", "finite values", "another");
        if (y.data_handle() != nullptr) y(i) = x(i);
      }
    }
  }
  Cost cost() const {
    const auto n = static_cast<double>(x.extent(0));
    return {(fault == Fault::undercounted ? 1 : 2) * n, 2 * sizeof(Real) * n, false};
  }
  void run(const Context& ctx) const {
    for (std::int64_t i = 0; i < x.extent(0); ++i) {
      const Real value = fault == Fault::strides ? x.data_handle()[i] : x(i);
      y(i) = Real(scale) * (value * value);
      if (fault == Fault::input) const_cast<Real&>(x(i)) = 0;
    }
    static int calls = 0;
    const std::int64_t n = y.extent(0);
    const bool spoilt =
        (fault == Fault::odd_tail && n % 2 == 1) ||
        (fault == Fault::threads && ctx.threads() == 3) ||
        (fault == Fault::instruction_set && simd_target() == simd_targets().back()) ||
        (fault == Fault::memory && ++calls % 2 == 0);
    if (spoilt && n > 0) y(n - 1) += Real(1);
  }
  void reference() const {
    for (std::int64_t i = 0; i < x.extent(0); ++i) y(i) = Real(scale) * (x(i) * x(i));
  }
};

template <Fault fault, class Real>
struct SquareBackward {
  static constexpr std::string_view name = "planted.square_backward";
  static constexpr std::string_view summary = "Gradient of the square.";

  In<Real, 1> x = {};
  In<Real, 1> d_y = {};
  Out<Real, 1> d_x = {};
  double scale = 1;

  void describe(Description& io) {
    io.input(x, "x", "n", "numbers");
    io.input(d_y, "d_y", "n", "upstream gradient");
    io.output(d_x, "d_x", "n", "2 scale x d_y");
    io.attribute(scale, "scale", "factor", {.in = "[0, 4]"});
  }
  Cost cost() const { return {3 * static_cast<double>(x.extent(0)), 0, false}; }
  void run(const Context&) const { reference(); }
  void reference() const {
    const Real factor = Real((fault == Fault::gradient ? 1.0 : 2.0) * scale);
    for (std::int64_t i = 0; i < x.extent(0); ++i) d_x(i) = factor * x(i) * d_y(i);
  }
};

template <Fault fault>
struct With {
  template <class Real>
  using Forward = Square<fault, Real>;
  template <class Real>
  using Backward = SquareBackward<fault, Real>;
  static Registry registry() {
    Registry registry;
    registry.add<Forward>();
    registry.add<Backward>();
    return registry;
  }
};

template <Fault fault, class Check>
bool finds(Check&& check) {
  const Registry registry = With<fault>::registry();
  return !check(registry.at("planted.square")).empty();
}

/// A golden case of planted.square whose expected output is 9 or `wanted`.
void write_case(const std::filesystem::path& folder, float wanted) {
  std::filesystem::create_directories(folder);
  write_npy(folder / "x.npy", Tensor::from<float>({3}, {1}));
  write_npy(folder / "y.npy", Tensor::from<float>({wanted}, {1}));
  std::ofstream(folder / "case.json")
      << R"({"operator": "square", "attributes": {}, "inputs": {"x": "x.npy"},
             "outputs": {"y": "y.npy"}, "tolerance": "exact"})";
}

}  // namespace

TEST_CASE("a sound operator passes every check") {
  const Registry registry = With<Fault::none>::registry();
  for (const auto& [name, op] : registry.operators()) {
    for (const auto& check :
         {run_equals_reference, threads_do_not_matter, instruction_sets_do_not_matter,
          strides_do_not_matter, calls_leave_no_trace, illegal_calls_are_refused}) {
      const Failures failures = check(op);
      for (const std::string& failure : failures) UNSCOPED_INFO(failure);
      CHECK(failures.empty());
    }
  }
  CHECK(gradients_match_differences(registry, registry.at("planted.square")).empty());
  CHECK(cost_matches_counted_flops(registry.at("planted.square")).empty());
}

TEST_CASE("a planted fault is found by the check that is there for it") {
  CHECK(finds<Fault::odd_tail>(run_equals_reference));
  CHECK(finds<Fault::threads>(threads_do_not_matter));
  if (simd_targets().size() > 1)
    CHECK(finds<Fault::instruction_set>(instruction_sets_do_not_matter));
  CHECK(finds<Fault::strides>(strides_do_not_matter));
  CHECK(finds<Fault::memory>(calls_leave_no_trace));
  CHECK(finds<Fault::input>(calls_leave_no_trace));
  CHECK(finds<Fault::undercounted>(cost_matches_counted_flops));
  const Registry wrong_gradient = With<Fault::gradient>::registry();
  CHECK_FALSE(
      gradients_match_differences(wrong_gradient, wrong_gradient.at("planted.square")).empty());
}

TEST_CASE("an output written before the refusal is found") {
  // The refusal itself comes from validate, so the schema's rules alone do not provoke it.
  const Registry registry = With<Fault::early_write>::registry();
  const Tensor y = Tensor::from<float>({7, 7}, {2});
  CHECK_THROWS_AS(registry.at("planted.square")
                      .run(Context(), {.inputs = {{"x", Tensor::from<float>({1, INFINITY}, {2})}},
                                       .attributes = {},
                                       .outputs = {{"y", y}}}),
                  Error);
  CHECK(y.values<float>()[0] == 1.f);  // what illegal_calls_are_refused looks for
  CHECK(finds<Fault::early_write>(illegal_calls_are_refused));
}

TEST_CASE("verify tells right cases from wrong ones and refused calls from accepted ones") {
  const test::TemporaryFolder folder;
  const Registry registry = With<Fault::none>::registry();
  write_case(folder.path() / "planted" / "right", 9);
  write_case(folder.path() / "planted" / "wrong", 8);
  std::filesystem::create_directories(folder.path() / "planted" / "broken");
  std::ofstream(folder.path() / "planted" / "broken" / "case.json") << "{\"operator\": ";
  std::ofstream(folder.path() / "planted" / "errors.json") << R"([
    {"operator": "square", "attributes": {"scale": 5.0}, "argument": "scale", "why": "scale > 4",
     "inputs": {"x": {"dtype": "float32", "shape": [2]}}},
    {"operator": "square", "attributes": {"scale": 4.0}, "argument": "scale", "why": "nothing is wrong",
     "inputs": {"x": {"dtype": "float32", "shape": [2], "fill": 1.0}}},
    {"operator": "square", "attributes": {"scale": "nan"}, "argument": "x", "why": "blames another",
     "inputs": {"x": {"dtype": "float32", "shape": [2], "values": [0.0, "inf"]}}}])";
  std::vector<std::string> failed;
  const auto results = verify(registry, folder.path(), Context());
  for (const CaseResult& result : results) {
    if (!result.passed()) failed.push_back(result.name);
  }
  CHECK(results.size() == 6);
  CHECK(failed == std::vector<std::string>{"planted/broken", "planted/errors.json[1]",
                                           "planted/errors.json[2]", "planted/wrong"});
  CHECK_THROWS_AS(verify(registry, folder.path() / "none", Context()), Error);
}
