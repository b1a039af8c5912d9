// One small operator for each thing that an operator may need of the interface.
#include <fmt/format.h>

#include <array>
#include <numeric>

#include "researchkit/core/registry.hpp"
#include "support/catch.hpp"

using namespace researchkit;

namespace {

enum class Order { ascending, descending };
constexpr std::array<std::string_view, 2> names_of(Order) { return {"ascending", "descending"}; }

/// y = alpha x + bias, with an optional input and a switched output.
template <class Real>
struct Affine {
  static constexpr std::string_view name = "test.affine";
  static constexpr std::string_view summary = "Scales and shifts.";

  In<Real, 2> x = {};
  Optional<In<Real, 1>> bias = {};
  Out<Real, 2> y = {};
  Optional<Out<Real, 0>> total = {};
  double alpha = 1;
  bool return_total = false;

  void describe(Description& io) {
    io.dimension("d", "[1, 8]", "columns");
    io.input(x, "x", "n d", "rows", {.finite = true});
    io.input(bias, "bias", "d", "added to each row, nothing when absent", {.in = "[-100, 100)"});
    io.output(y, "y", "n d", "the result");
    io.output(total, "total", "", "sum of y", {.when = "return_total"});
    io.attribute(alpha, "alpha", "factor", {.in = "(0, 2]"});
    io.attribute(return_total, "return_total", "also sum");
  }
  Cost cost() const {
    const auto entries = static_cast<double>(x.size());
    return {entries * (bias ? 2 : 1) + (return_total ? entries : 0), 2 * sizeof(Real) * entries,
            false};
  }
  void run(const Context&) const { reference(); }
  void reference() const {
    Real sum = 0;
    for (std::int64_t i = 0; i < x.extent(0); ++i) {
      for (std::int64_t j = 0; j < x.extent(1); ++j) {
        Real value = Real(alpha) * x(i, j);
        if (bias) value += (*bias)(j);
        y(i, j) = value;
        if (total) sum += value;
      }
    }
    if (total) (*total)() = sum;
  }
};
inline constexpr Function<Affine> affine;

/// Shapes with arithmetic, values of integers, an attribute whose range names a dimension.
struct Windows {
  static constexpr std::string_view name = "test.windows";
  static constexpr std::string_view summary = "Differences at a lag.";

  In<std::int64_t, 1> offsets = {};
  In<std::int32_t, 1> picks = {};
  Out<std::int64_t, 1> sizes = {};
  Out<std::int32_t, 2> doubled = {};
  std::optional<std::int64_t> lag = {};
  Order order = Order::ascending;
  std::vector<std::int64_t> extra = {};
  std::uint64_t seed = 0;

  void describe(Description& io) {
    io.input(offsets, "offsets", "b+1", "boundaries");
    io.input(picks, "picks", "b", "positions", {.in = "[-1, b)", .contiguous = true});
    io.output(sizes, "sizes", "b", "differences");
    io.output(doubled, "doubled", "2*b (b+1)/2", "filled with the lag", {.contiguous = true});
    io.attribute(lag, "lag", "distance, 1 when not given", {.in = "[0, b]"});
    io.attribute(order, "order", "direction");
    io.attribute(extra, "extra", "unused numbers", {.in = "[1, inf)"});
    io.attribute(seed, "seed", "unused");
  }
  void validate(const Check& check) const {
    if (offsets(0) != 0)
      check.refuse("offsets", "a first entry of 0", fmt::format("{}", offsets(0)));
  }
  Cost cost() const { return {}; }
  void run(const Context&) const { reference(); }
  void reference() const {
    for (std::int64_t i = 0; i < sizes.extent(0); ++i) sizes(i) = offsets(i + 1) - offsets(i);
    for (std::int64_t i = 0; i < doubled.size(); ++i) {
      doubled.data_handle()[i] = static_cast<std::int32_t>(lag.value_or(1));
    }
  }
};

/// An output whose length depends on the data, and one whose extent `infer` knows.
template <class Real>
struct Positive {
  static constexpr std::string_view name = "test.positive";
  static constexpr std::string_view summary = "Keeps what is above 0.";

  In<Real, 1> x = {};
  Out<Real, 1> kept = {};
  Out<Real, 1> padded = {};
  Extent m = {};

  void describe(Description& io) {
    io.input(x, "x", "n", "numbers");
    io.extent(m, "m", "n", "how many are above 0");
    io.output(kept, "kept", "m", "those");
    io.output(padded, "padded", "p", "all, to an even number");
  }
  void infer(Extents& extents) const { extents.set("p", (x.extent(0) + 1) / 2 * 2); }
  Cost cost() const { return {}; }
  void run(const Context&) const { reference(); }
  void reference() const {
    std::int64_t count = 0;
    for (std::int64_t i = 0; i < x.extent(0); ++i) {
      if (x(i) > Real(0)) kept(count++) = x(i);
      padded(i) = x(i);
    }
    m.set(count);
  }
};

/// Lists and maps.
template <class Real>
struct Gathered {
  static constexpr std::string_view name = "test.gathered";
  static constexpr std::string_view summary = "Joins pieces and mirrors weights.";

  InList<Real, 2> pieces = {};
  InMap<Real> weights = {};
  Out<Real, 1> row_counts = {};
  OutList<Real, 1> halves = {};
  OutMap<Real> d_weights = {};
  std::int64_t copies = 2;

  void describe(Description& io) {
    io.input(pieces, "x", "_ d", "pieces of any number of rows");
    io.input(weights, "weights", "", "parameters by name");
    io.output(row_counts, "row_counts", "r", "rows of each piece");
    io.output(halves, "halves", "d", "copies of the first row", {.count = "copies"});
    io.output(d_weights, "d_weights", "", "twice the weights", {.like = "weights", .prefix = "d_"});
    io.attribute(copies, "copies", "how many copies", {.in = "[0, 4]"});
  }
  void infer(Extents& extents) const { extents.set("r", static_cast<std::int64_t>(pieces.size())); }
  Cost cost() const { return {}; }
  void run(const Context&) const { reference(); }
  void reference() const {
    for (std::size_t i = 0; i < pieces.size(); ++i) {
      row_counts(static_cast<std::int64_t>(i)) = Real(static_cast<double>(pieces[i].extent(0)));
    }
    for (const auto& half : halves) {
      for (std::int64_t j = 0; j < half.extent(0); ++j) half(j) = pieces[0](0, j);
    }
    for (const auto& [key, tensor] : weights) {
      auto out = Tensor(d_weights.at(key)).values<Real>();
      const auto in = tensor.template values<Real>();
      for (std::size_t i = 0; i < in.size(); ++i) out[i] = in[i] + in[i];
    }
  }
};

Registry test_registry() {
  Registry registry;
  registry.add<Affine>();
  registry.add<Windows>();
  registry.add<Positive>();
  registry.add<Gathered>();
  return registry;
}

/// The message of the Error that `call` throws, which must blame `argument`.
template <class F>
std::string refusal(const std::string& argument, F&& call) {
  try {
    call();
  } catch (const Error& error) {
    CHECK(error.argument() == argument);
    return error.what();
  }
  FAIL("was not refused");
  return "";
}

}  // namespace

TEST_CASE("the typed call allocates outputs and the input's type picks the instantiation") {
  const Context ctx;
  Array<float, 2> x({2, 3});
  std::iota(x.data_handle(), x.data_handle() + 6, 0.f);
  const auto result = affine(ctx, {.x = x, .alpha = 2, .return_total = true});
  CHECK(result.y(1, 2) == 10.f);
  CHECK((*result.total)() == 30.f);
  static_assert(std::is_same_v<decltype(affine(ctx, {.x = Array<double, 2>()}).y), Out<double, 2>>);
  CHECK_FALSE(affine(ctx, {.x = x}).total.has_value());
}

TEST_CASE("the erased call gives the same as the typed one") {
  const Registry registry = test_registry();
  const Context ctx;
  const Tensor x = Tensor::from<double>({1, 2, 3, 4}, {2, 2});
  const Tensor bias = Tensor::from<double>({10, 20}, {2});
  const Outcome outcome =
      registry.at("test.affine")
          .run(ctx, {.inputs = {{"x", x}, {"bias", bias}}, .attributes = {{"alpha", 0.5}}});
  CHECK(outcome.outputs.size() == 1);
  const auto y = outcome.outputs.at("y").values<double>();
  CHECK(std::vector(y.begin(), y.end()) == std::vector{10.5, 21., 11.5, 22.});
  CHECK(outcome.cost.flops == 8);
  CHECK(registry.at("test.affine").count_flops(ctx, {.inputs = {{"x", x}, {"bias", bias}}}) == 8.);
}

TEST_CASE("outputs that the caller provides are written, strided ones too") {
  const Registry registry = test_registry();
  const Tensor x = Tensor::from<double>({1, 2, 3, 4}, {2, 2});
  const Tensor memory = Tensor(DType::f64, {2, 4});
  const Outcome outcome = registry.at("test.affine")
                              .run(Context(), {.inputs = {{"x", x}},
                                               .attributes = {},
                                               .outputs = {{"y", memory.slice(1, 0, 4, 2)}}});
  const auto values = memory.values<double>();
  CHECK(std::vector(values.begin(), values.end()) == std::vector<double>{1, 0, 2, 0, 3, 0, 4, 0});
  CHECK(outcome.outputs.at("y").data() == memory.data());

  const Tensor doubled = Tensor(DType::i32, {8, 2}).slice(0, 0, 8, 2);
  const Tensor picks = Tensor::from<std::int32_t>({0, 9, 1, 9}, {4}).slice(0, 0, 4, 2);
  registry.at("test.windows")
      .run(Context(),
           {.inputs = {{"offsets", Tensor::from<std::int64_t>({0, 2, 5}, {3})}, {"picks", picks}},
            .attributes = {{"lag", std::int64_t{2}}},
            .outputs = {{"doubled", Tensor(DType::i32, {8, 2}).slice(0, 0, 8, 2).slice(1, 0, 1)}}});
  CHECK(doubled.extent(0) == 4);
}

TEST_CASE("symbols unify, also through arithmetic") {
  const Registry registry = test_registry();
  const Operator& windows = registry.at("test.windows");
  const auto call = [&](std::initializer_list<std::int64_t> offsets,
                        std::initializer_list<std::int32_t> picks, AttributeMap attributes = {}) {
    return windows.run(
        Context(),
        {.inputs = {{"offsets", Tensor::from(offsets, {static_cast<std::int64_t>(offsets.size())})},
                    {"picks", Tensor::from(picks, {static_cast<std::int64_t>(picks.size())})}},
         .attributes = std::move(attributes)});
  };
  const Outcome outcome = call({0, 2, 5}, {0, 1});
  CHECK(outcome.outputs.at("sizes").values<std::int64_t>()[1] == 3);
  CHECK(outcome.outputs.at("doubled").shape() == Shape{4, 1});
  CHECK(call({0}, {}).outputs.at("sizes").size() == 0);

  CHECK(refusal("picks", [&] {
          call({0, 2, 5}, {0});
        }) == "test.windows: argument 'picks': wanted shape [b] with b = 2, got shape [1]");
  CHECK(refusal("picks", [&] {
          call({0, 2, 5}, {0, 2});
        }) == "test.windows: argument 'picks': wanted values in [-1, b) with b = 2, got 2 at [1]");
  CHECK(refusal("offsets", [&] { call({}, {}); }).find("b >= 0") != std::string::npos);
  CHECK(refusal("offsets", [&] {
          call({1, 2}, {0});
        }).find("first entry of 0") != std::string::npos);
  CHECK(refusal("lag", [&] {
          call({0, 2}, {0}, {{"lag", std::int64_t{2}}});
        }) == "test.windows: argument 'lag': wanted in [0, b] with b = 1, got 2");
  CHECK(refusal("order",
                [&] {
                  call({0, 2}, {0}, {{"order", "sideways"}});
                }) ==
        "test.windows: argument 'order': wanted one of ascending, descending, got \"sideways\"");
  CHECK(refusal("extra", [&] {
          call({0, 2}, {0}, {{"extra", std::vector<std::int64_t>{3, 0}}});
        }).find("[1, inf)") != std::string::npos);
  CHECK(refusal("lag", [&] {
          call({0, 2}, {0}, {{"lag", 0.5}});
        }).find("integer") != std::string::npos);
  CHECK(refusal("seed", [&] {
          call({0, 2}, {0}, {{"seed", std::int64_t{-1}}});
        }).find("integer >= 0") != std::string::npos);
  CHECK(refusal("colour", [&] {
          call({0, 2}, {0}, {{"colour", true}});
        }).find("attributes lag, order") != std::string::npos);
}

TEST_CASE("an extent that only the run knows cuts the outputs") {
  const Registry registry = test_registry();
  const Tensor x = Tensor::from<float>({1, -1, 2}, {3});
  const Outcome outcome = registry.at("test.positive").run(Context(), {.inputs = {{"x", x}}});
  CHECK(outcome.outputs.at("kept").shape() == Shape{2});
  CHECK(outcome.outputs.at("padded").shape() == Shape{4});
  const auto typed = run(Context(), Positive<float>{.x = x.view<float, 1>()});
  CHECK(typed.kept.extent(0) == 2);
  CHECK(typed.kept(1) == 2.f);
}

TEST_CASE("lists and maps of tensors go by name") {
  const Registry registry = test_registry();
  const Arguments call{.inputs = {{"x_0", Tensor::from<float>({1, 2}, {1, 2})},
                                  {"x_1", Tensor(DType::f32, {3, 2})},
                                  {"layer.0.weight", Tensor::from<float>({5}, {1})}}};
  const Outcome outcome = registry.at("test.gathered").run(Context(), call);
  CHECK(outcome.outputs.at("row_counts").values<float>()[1] == 3.f);
  CHECK(outcome.outputs.at("halves_1").values<float>()[1] == 2.f);
  CHECK(outcome.outputs.at("d_layer.0.weight").values<float>()[0] == 10.f);
  CHECK(refusal("x_1", [&] {
          Arguments bad = call;
          bad.inputs.set("x_1", Tensor(DType::f32, {3, 3}));
          registry.at("test.gathered").run(Context(), bad);
        }).find("d = 2") != std::string::npos);
}

TEST_CASE("illegal calls are refused in the operator's name before an output is touched") {
  const Registry registry = test_registry();
  const Operator& op = registry.at("test.affine");
  const Tensor x = Tensor::from<float>({1, 2, 3, 4}, {2, 2});
  const auto call = [&](const Arguments& arguments) { op.run(Context(), arguments); };
  CHECK(refusal("x", [&] { call({}); }) ==
        "test.affine: argument 'x': wanted a float32 tensor of shape [n d], got none");
  CHECK(refusal("x", [&] {
          call({.inputs = {{"x", Tensor(DType::i32, {2, 2})}}});
        }) == "test.affine: argument 'x': wanted float32 or float64, got int32");
  CHECK(refusal("x", [&] {
          call({.inputs = {{"x", Tensor(DType::f32, {2})}}});
        }).find("[n d]") != std::string::npos);
  CHECK(refusal("x", [&] {
          call({.inputs = {{"x", Tensor(DType::f32, {2, 9})}}});
        }).find("[1, 8]") != std::string::npos);
  CHECK(refusal("bias", [&] {
          call({.inputs = {{"x", x}, {"bias", Tensor(DType::f64, {2})}}});
        }).find("float32") != std::string::npos);
  CHECK(refusal("bias", [&] {
          call({.inputs = {{"x", x}, {"bias", Tensor::from<float>({1, 100}, {2})}}});
        }) == "test.affine: argument 'bias': wanted values in [-100, 100), got 100 at [1]");
  CHECK(refusal("z", [&] {
          call({.inputs = {{"x", x}, {"z", x}}});
        }).find("inputs x, bias") != std::string::npos);
  CHECK(refusal("alpha", [&] {
          call({.inputs = {{"x", x}}, .attributes = {{"alpha", std::nan("")}}});
        }).find("(0, 2]") != std::string::npos);
  CHECK(refusal("x", [&] {
          call({.inputs = {{"x", Tensor::from<float>({1, INFINITY}, {1, 2})}}});
        }) == "test.affine: argument 'x': wanted finite values, got inf at [0, 1]");
  CHECK(refusal("y", [&] {
          call({.inputs = {{"x", x}}, .attributes = {}, .outputs = {{"y", x}}});
        }).find("overlaps 'x'") != std::string::npos);
  CHECK(refusal("total", [&] {
          call({.inputs = {{"x", x}},
                .attributes = {},
                .outputs = {{"total", Tensor(DType::f32, {})}}});
        }).find("return_total") != std::string::npos);
  const Tensor y = Tensor::from<float>({7, 7, 7}, {3, 1});
  refusal("y", [&] { call({.inputs = {{"x", x}}, .attributes = {}, .outputs = {{"y", y}}}); });
  CHECK(y.values<float>()[0] == 7.f);
}

TEST_CASE("an unknown operator is answered with the nearest name") {
  const Registry registry = test_registry();
  CHECK(registry.find("test.afine") == nullptr);
  CHECK_THROWS_AS(registry.at("test.afine"), Error);
  try {
    registry.at("test.afine");
  } catch (const Error& error) {
    CHECK(std::string(error.what()).find("did you mean 'test.affine'") != std::string::npos);
  }
}
