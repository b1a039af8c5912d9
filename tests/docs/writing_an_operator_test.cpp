// The code of docs/writing-an-operator.md, compiled and run; the last test compares the two.
#include <cmath>
#include <fstream>
#include <sstream>
#include <string>

#include "researchkit/core/parallel.hpp"
#include "researchkit/core/registry.hpp"
#include "support/catch.hpp"
#include "support/conformance.hpp"

#include "researchkit/core/operator.hpp"

namespace researchkit::example {

/// Sums the squares of each row, those above a threshold only (when it is given).
///
///     auto result = row_energy(ctx, {.x = x, .threshold = 0.5});
///     result.energy(3);
///
/// O(n d), no workspace.
template <class Real>
struct RowEnergy {
  static constexpr std::string_view name = "example.row_energy";
  static constexpr std::string_view summary = "Sum of squares of each row.";

  In<Real, 2> x = {};                        // [n, d]
  Optional<In<Real, 1>> weights = {};        // [d]
  Out<Real, 1> energy = {};                  // [n]
  Optional<Out<std::int32_t, 1>> used = {};  // [n], with return_used
  std::optional<double> threshold = {};
  bool return_used = false;

  void describe(Description& io) {
    io.dimension("d", "[1, 4096]", "columns");
    io.input(x, "x", "n d", "rows", {.finite = true});
    io.input(weights, "weights", "d", "factor of each square, 1 when absent", {.finite = true});
    io.output(energy, "energy", "n", "sum of weighted squares");
    io.output(used, "used", "n", "entries that counted", {.when = "return_used"});
    io.attribute(threshold, "threshold", "smaller entries do not count", {.in = "[0, inf)"});
    io.attribute(return_used, "return_used", "also give used");
  }
  Cost cost() const {
    const auto entries = static_cast<double>(x.size());
    return {(weights ? 3 : 2) * entries, sizeof(Real) * (entries + energy.extent(0)),
            threshold.has_value()};
  }
  void run(const Context& ctx) const {
    parallel_for(ctx, x.extent(0), 256,
                 [&](std::int64_t begin, std::int64_t end) { rows(begin, end); });
  }
  void reference() const { rows(0, x.extent(0)); }

 private:
  void rows(std::int64_t begin, std::int64_t end) const {
    using std::abs;
    for (std::int64_t i = begin; i < end; ++i) {
      Real sum = 0;
      std::int32_t count = 0;
      for (std::int64_t j = 0; j < x.extent(1); ++j) {
        if (threshold && abs(x(i, j)) < Real(*threshold)) continue;
        const Real square = x(i, j) * x(i, j);
        sum += weights ? (*weights)(j)*square : square;
        ++count;
      }
      energy(i) = sum;
      if (used) (*used)(i) = count;
    }
  }
};
static_assert(OperatorStruct<RowEnergy<float>>);
inline constexpr Function<RowEnergy> row_energy;

/// d_x = 2 weights x d_energy, for the entries that counted.
template <class Real>
struct RowEnergyBackward {
  static constexpr std::string_view name = "example.row_energy_backward";
  static constexpr std::string_view summary = "Gradient of row_energy.";

  In<Real, 2> x = {};
  Optional<In<Real, 1>> weights = {};
  In<Real, 1> d_energy = {};
  Out<Real, 2> d_x = {};
  std::optional<double> threshold = {};

  void describe(Description& io) {
    io.input(x, "x", "n d", "rows");
    io.input(weights, "weights", "d", "as in the forward");
    io.input(d_energy, "d_energy", "n", "upstream gradient");
    io.output(d_x, "d_x", "n d", "gradient with respect to x");
    io.attribute(threshold, "threshold", "as in the forward", {.in = "[0, inf)"});
  }
  Cost cost() const {
    const auto entries = static_cast<double>(x.size());
    return {(weights ? 3 : 2) * entries, 2 * sizeof(Real) * entries, threshold.has_value()};
  }
  void run(const Context&) const { reference(); }
  void reference() const {
    using std::abs;
    for (std::int64_t i = 0; i < x.extent(0); ++i) {
      for (std::int64_t j = 0; j < x.extent(1); ++j) {
        const bool counts = !threshold || !(abs(x(i, j)) < Real(*threshold));
        const Real slope = weights ? (*weights)(j)*x(i, j) : x(i, j);
        d_x(i, j) = counts ? Real(2) * slope * d_energy(i) : Real(0);
      }
    }
  }
};

void register_example(Registry& registry) {
  registry.add<RowEnergy>();
  registry.add<RowEnergyBackward>();
}

}  // namespace researchkit::example

using namespace researchkit;

TEST_CASE("the operator of the page answers as the page says") {
  const Context ctx;
  Array<float, 2> x({2, 3});
  x(0, 1) = 3;
  x(1, 2) = 4;
  const auto result = example::row_energy(ctx, {.x = x, .threshold = 0.5, .return_used = true});
  CHECK(result.energy(1) == 16.f);
  CHECK((*result.used)(0) == 1);

  Registry registry;
  example::register_example(registry);
  const Outcome outcome =
      registry.at("example.row_energy").run(ctx, {.inputs = {{"x", x.tensor()}}});
  CHECK(outcome.outputs.at("energy").values<float>()[0] == 9.f);

  const auto refused = [&](const Arguments& call) -> std::string {
    try {
      registry.at("example.row_energy").run(ctx, call);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  CHECK(refused({.inputs = {{"x", x.tensor()}}, .attributes = {{"threshold", -1.0}}}) ==
        "example.row_energy: argument 'threshold': wanted in [0, inf), got -1");
}

TEST_CASE("the operator of the page conforms") {
  Registry registry;
  example::register_example(registry);
  for (const auto& [name, op] : registry.operators()) {
    for (const auto& check :
         {conformance::run_equals_reference, conformance::threads_do_not_matter,
          conformance::strides_do_not_matter, conformance::calls_leave_no_trace,
          conformance::illegal_calls_are_refused, conformance::cost_matches_counted_flops}) {
      const auto failures = check(op);
      for (const std::string& failure : failures) UNSCOPED_INFO(failure);
      CHECK(failures.empty());
    }
    CHECK(conformance::gradients_match_differences(registry, op).empty());
  }
}

TEST_CASE("the page shows code that is compiled here") {
  const auto read = [](const std::string& path) {
    std::ifstream file(path);
    REQUIRE(file);
    std::stringstream text;
    text << file.rdbuf();
    return text.str();
  };
  const std::string source =
      read(RESEARCHKIT_TEST_SOURCE_DIR "/tests/docs/writing_an_operator_test.cpp");
  const std::string page = read(RESEARCHKIT_TEST_SOURCE_DIR "/docs/writing-an-operator.md");
  std::size_t blocks = 0;
  for (std::size_t at = 0; (at = page.find("```cpp\n", at)) != std::string::npos; ++blocks) {
    at += 7;
    const std::size_t end = page.find("```", at);
    REQUIRE(end != std::string::npos);
    const std::string block = page.substr(at, end - at);
    INFO(block);
    CHECK(source.find(block) != std::string::npos);
    at = end + 3;
  }
  CHECK(blocks >= 4);
}
