#include "researchkit/core/reference_text.hpp"

#include <array>
#include <limits>
#include <nlohmann/json.hpp>

#include "support/catch.hpp"
#include "support/contains.hpp"

using namespace researchkit;
using researchkit::test::contains;

namespace {

enum class Edge { wrap, zero };
constexpr std::array<std::string_view, 2> names_of(Edge) { return {"wrap", "zero"}; }

/// Everything that a schema can say, in one operator.
template <class Real>
struct Everything {
  static constexpr std::string_view name = "test.everything";
  static constexpr std::string_view summary = "Says all | there is.";

  In<Real, 2> x = {};
  Optional<In<std::int32_t, 1>> picks = {};
  InMap<Real> weights = {};
  Out<Real, 1> kept = {};
  Optional<Out<double, 0>> total = {};
  OutList<Real, 1> parts = {};
  OutMap<Real> d_weights = {};
  Extent m = {};
  double limit = std::numeric_limits<double>::infinity();
  std::optional<std::int64_t> lag = {};
  Edge edge = Edge::zero;
  bool with_total = false;
  std::vector<double> factors = {1, -std::numeric_limits<double>::infinity()};
  Json plan = {R"({"a": [1]})"};

  void describe(Description& io) {
    io.dimension("d", "[1, 8]", "columns");
    io.input(x, "x", "n 2*d", "rows", {.finite = true});
    io.input(picks, "picks", "n-1", "positions", {.in = "[-1, n)"});
    io.input(weights, "weights", "", "parameters");
    io.extent(m, "m", "n", "how many stay");
    io.output(kept, "kept", "m", "what stays");
    io.output(total, "total", "", "their sum", {.when = "with_total"});
    io.output(parts, "parts", "d", "pieces", {.count = "2*d"});
    io.output(d_weights, "d_weights", "", "gradients", {.like = "weights", .prefix = "d_"});
    io.attribute(limit, "limit", "largest value", {.in = "(0, inf]"});
    io.attribute(lag, "lag", "a distance", {.in = "[0, n]"});
    io.attribute(edge, "edge", "what lies outside");
    io.attribute(with_total, "with_total", "also the sum");
    io.attribute(factors, "factors", "numbers", {.in = "[-inf, 2]"});
    io.attribute(plan, "plan", "a program");
  }
  Cost cost() const { return {}; }
  void run(const Context&) const {}
  void reference() const {}
};

const Operator& everything() {
  static const Registry registry = [] {
    Registry made;
    made.add<Everything>();
    return made;
  }();
  return registry.at("test.everything");
}

}  // namespace

TEST_CASE("the text of an operator has a line per argument and T for its floating type") {
  const std::string text = to_text(everything());
  for (const char* part :
       {"test.everything", "Says all | there is.", "T [n, 2*d], finite",
        "int32 [n-1], optional, values in [-1, n)", "float64 [], only with with_total",
        "list parts_0, parts_1, ... of T [d], 2*d of them", "at most n",
        "T tensors named like weights, with d_ in front", "number in (0, inf], default inf",
        "integer in [0, n], default not given", "wrap | zero, default zero",
        "list of numbers, each in [-inf, 2], default [1, -inf]", "float32 or float64",
        "in [1, 8]"}) {
    CHECK_THAT(text, contains(part));
  }
}

TEST_CASE("the text of one schema names its dtypes") {
  CHECK_THAT(to_text(everything().schema(0)), contains("float32 [n, 2*d], finite"));
  CHECK_THAT(to_text(everything().schema(1)), contains("float64 [n, 2*d], finite"));
}

TEST_CASE("the JSON of an operator holds the whole schema") {
  const auto json = nlohmann::json::parse(to_json(everything()));
  CHECK(json.at("operator") == "test.everything");
  CHECK(json.at("T") == nlohmann::json::array({"float32", "float64"}));
  const auto& inputs = json.at("inputs");
  REQUIRE(inputs.size() == 3);
  CHECK(inputs[0].at("dtype") == "T");
  CHECK(inputs[0].at("shape") == nlohmann::json::array({"n", "2*d"}));
  CHECK(inputs[0].at("finite") == true);
  CHECK(inputs[1].at("optional") == true);
  CHECK(inputs[1].at("in") == "[-1, n)");
  CHECK(inputs[2].at("arity") == "map");
  const auto& outputs = json.at("outputs");
  REQUIRE(outputs.size() == 4);
  CHECK(outputs[1].at("when") == "with_total");
  CHECK(outputs[1].at("dtype") == "float64");
  CHECK(outputs[2].at("count") == "2*d");
  CHECK(outputs[3].at("like") == "weights");
  const auto& attributes = json.at("attributes");
  REQUIRE(attributes.size() == 6);
  CHECK(attributes[0].at("default") == "inf");
  CHECK(attributes[1].at("default").is_null());
  CHECK(attributes[2].at("choices") == nlohmann::json::array({"wrap", "zero"}));
  CHECK(attributes[3].at("default") == false);
  CHECK(attributes[4].at("default") == nlohmann::json::array({1.0, "-inf"}));
  CHECK(attributes[5].at("default").at("a")[0] == 1);
  CHECK(json.at("extents")[0].at("at_most") == "n");
  CHECK(json.at("dimensions")[0].at("symbol") == "d");
  CHECK(nlohmann::json::parse(to_json(everything().schema())).count("T") == 0);
}

TEST_CASE("Markdown keeps a row a row") {
  CHECK_THAT(to_markdown(everything()), contains("| `edge` | attribute | wrap \\| zero |"));
  Registry registry;
  registry.add<Everything>();
  CHECK(markdown_table(registry) ==
        "| operator | what it does | inputs | outputs |\n|---|---|---|---|\n"
        "| `test.everything` | Says all \\| there is. | x, picks?, weights | kept, total?, parts, "
        "d_weights |\n");
}
