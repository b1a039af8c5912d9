#include "researchkit/autograd/tape.hpp"

#include "researchkit/autograd/gradcheck.hpp"
#include "researchkit/core/random.hpp"
#include "support/catch.hpp"
#include "support/contains.hpp"

namespace {

using namespace researchkit;
using namespace researchkit::autograd;
using test::contains;

Tensor random_tensor(Shape shape, std::uint64_t seed) {
  Tensor tensor(DType::f64, std::move(shape));
  const Philox random(seed);
  std::uint64_t i = 0;
  for (double& value : tensor.values<double>()) value = random.normal(i++);
  return tensor;
}

/// Two layers whose first output is used twice.
std::vector<Variable> two_layers(Tape& tape, std::span<const Variable> x) {
  const auto h = tape.apply("nn.linear", {{"x", x[0]}, {"w", x[1]}, {"b", x[2]}}).at("y");
  const auto act = tape.apply("nn.activate", {{"x", h}}, {{"kind", std::string("tanh")}}).at("y");
  const auto again = tape.apply("nn.linear", {{"x", act}, {"w", x[3]}}).at("y");
  const auto twice = tape.apply("nn.linear", {{"x", h}, {"w", x[3]}}).at("y");
  return {tape.apply("nn.log_softmax", {{"x", again}}).at("y"), twice};
}

TEST_CASE("a composed function has the gradient of its differences, values used twice too") {
  const auto report = gradcheck(Context(), two_layers,
                                {random_tensor({4, 3}, 1), random_tensor({3, 5}, 2),
                                 random_tensor({5}, 3), random_tensor({5, 2}, 4)});
  INFO(report.worst);
  CHECK(report.checked == 4 * 3 + 3 * 5 + 5 + 5 * 2);
  CHECK(report.passed());
}

TEST_CASE("gradcheck of an operator finds a wrong derivative") {
  const Arguments call{.inputs = {{"x", random_tensor({3, 4}, 1)},
                                  {"scale", random_tensor({4}, 2)},
                                  {"shift", random_tensor({4}, 3)}}};
  const auto report = gradcheck(Context(), "nn.layer_norm", call);
  INFO(report.worst);
  CHECK(report.passed());
  // relu at a kink has a difference that no derivative has.
  const Arguments kink{.inputs = {{"x", Tensor(DType::f64, {3})}}};
  CHECK_FALSE(gradcheck(Context(), "nn.activate", kink).passed());
}

TEST_CASE("gradients add up over several backward calls") {
  const Context ctx;
  const Variable w = parameter(Tensor::from<float>({3}, {1, 1}));
  for (int call = 0; call < 2; ++call) {
    Tape tape(ctx);
    const Variable x = constant(Tensor::from<float>({5}, {1, 1}));
    tape.backward(tape.apply("nn.linear", {{"x", x}, {"w", w}}).at("y"));
    CHECK_FALSE(x.gradient().defined());
  }
  CHECK(w.gradient().values<float>()[0] == 10.f);
}

TEST_CASE("a value changed in place after it was used is noticed") {
  Tape tape{Context()};
  Variable w = parameter(Tensor::from<float>({3}, {1, 1}));
  const Variable x = constant(Tensor::from<float>({5}, {1, 1}));
  const Variable y = tape.apply("nn.linear", {{"x", x}, {"w", w}}).at("y");
  w.mutable_value().values<float>()[0] = 4;
  std::string message;
  try {
    tape.backward(y);
  } catch (const Error& error) {
    message = error.what();
  }
  CHECK_THAT(message, contains("'w' was changed in place"));
}

TEST_CASE("the tape keeps what the backward takes and lets go of the rest") {
  const Context ctx;
  Tape tape(ctx);
  Variable x = parameter(Tensor(DType::f32, {100, 10}));
  {
    Variable h = x;
    // The backward of log_softmax takes y alone: each step's input is free as soon as nobody holds it.
    for (int step = 0; step < 5; ++step) h = tape.apply("nn.log_softmax", {{"x", h}}).at("y");
    CHECK(tape.live_bytes() == 5 * 4000);
    tape.backward(h);
    CHECK(tape.live_bytes() == 4000);  // h itself
  }
  CHECK(tape.live_bytes() == 0);
  CHECK(tape.peak_bytes() <= 7 * 4000);
}

TEST_CASE("an input that wants a gradient needs a backward") {
  Tape tape{Context()};
  const Variable g = parameter(Tensor(DType::f32, {2}));
  CHECK_THROWS_AS(tape.apply("graph.adam_step", {{"p", g}, {"g", g}, {"m", g}, {"v", g}}), Error);
}

TEST_CASE("a function on the tape is differentiated by what it gives for it") {
  const Context ctx;
  const Variable x = parameter(Tensor::from<double>({3, -2}, {2}));
  const auto square = [](Tape& tape, const Variable& v) {
    Tensor y(DType::f64, {2});
    const Tensor at = v.value();
    for (std::size_t i = 0; i < 2; ++i)
      y.values<double>()[i] = at.values<double>()[i] * at.values<double>()[i];
    return tape.record(y, {v}, [at](const Tensor& d) {
      Tensor gradient = d.clone();
      for (std::size_t i = 0; i < 2; ++i)
        gradient.values<double>()[i] *= 2 * at.values<double>()[i];
      return std::vector{gradient};
    });
  };
  Tape tape(ctx);
  tape.backward(square(tape, square(tape, x)));
  CHECK(x.gradient().values<double>()[0] == 108);
  CHECK(x.gradient().values<double>()[1] == -32);
  CHECK(tape.live_bytes() == 0);

  Variable changed = parameter(Tensor::from<double>({1, 1}, {2}));
  const Variable y = square(tape, changed);
  changed.mutable_value().values<double>()[0] = 5;
  CHECK_THROWS_AS(tape.backward(y), Error);
}

TEST_CASE("a tape without gradients records nothing") {
  Tape tape = Tape::without_gradients(Context());
  const Variable x = parameter(Tensor(DType::f32, {4, 2}));
  const Variable y = tape.apply("nn.log_softmax", {{"x", x}}).at("y");
  CHECK_FALSE(y.requires_gradient());
  const Variable z =
      tape.record(Tensor(DType::f32, {1}), {x},
                  [](const Tensor&) -> std::vector<Tensor> { throw Error("not to be called"); });
  CHECK_FALSE(z.requires_gradient());
  tape.backward(z);
  CHECK_FALSE(x.gradient().defined());
}

}  // namespace
