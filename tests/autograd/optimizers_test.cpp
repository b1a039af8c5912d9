#include "researchkit/autograd/optimizers.hpp"

#include <cmath>
#include <functional>

#include "researchkit/autograd/training.hpp"
#include "researchkit/core/io/safetensors.hpp"
#include "support/catch.hpp"
#include "support/contains.hpp"
#include "support/temporary_folder.hpp"

namespace {

using namespace researchkit;
using namespace researchkit::autograd;

/// One parameter p = (1, -2) whose gradient the test sets.
struct Toy {
  Variable p = parameter(Tensor::from<double>({1, -2}, {2}));
  void set_gradient(double a, double b) { p.set_gradient(Tensor::from<double>({a, b}, {2})); }
  std::vector<ParameterGroup> groups(double lr, double decay) const {
    return {{.parameters = {{"p", p}}, .lr = lr, .weight_decay = decay}};
  }
  double operator[](std::size_t i) const { return p.value().values<double>()[i]; }
};

TEST_CASE("Sgd: plain, momentum and Nesterov take the steps of their formulas") {
  const Context ctx;
  const auto run = [&](const SgdOptions& options) {
    Toy toy;
    Sgd sgd(toy.groups(0.1, 0.5), options);
    for (int step = 0; step < 2; ++step) {
      toy.set_gradient(1, 0);
      sgd.step(ctx);
    }
    return toy[0];
  };
  // g = 1 + 0.5 p
  CHECK(std::fabs(run({}) - (0.85 - 0.1 * 1.425)) < 1e-15);
  CHECK(std::fabs(run({.momentum = 0.9}) - (0.85 - 0.1 * (0.9 * 1.5 + 1.425))) < 1e-15);
  const double first = 1 - 0.1 * (1.5 + 0.9 * 1.5), g2 = 1 + 0.5 * first, u2 = 0.9 * 1.5 + g2;
  CHECK(std::fabs(run({.momentum = 0.9, .nesterov = true}) - (first - 0.1 * (g2 + 0.9 * u2))) <
        1e-15);
  CHECK_THROWS_AS(Sgd({}, {.nesterov = true}), Error);
}

TEST_CASE("Adam's first step is lr against the sign; AdamW decays the parameter") {
  const Context ctx;
  Toy toy;
  Adam adam(toy.groups(0.01, 0));
  toy.set_gradient(3, -0.5);
  adam.step(ctx);
  CHECK(std::fabs(toy[0] - 0.99) < 1e-7);
  CHECK(std::fabs(toy[1] + 1.99) < 1e-7);
  Toy decayed;
  Adam adamw(decayed.groups(0.01, 0.1), {.decoupled = true});
  decayed.set_gradient(3, -0.5);
  adamw.step(ctx);
  CHECK(std::fabs(decayed[0] - (1 * (1 - 0.001) - 0.01)) < 1e-7);
}

TEST_CASE("groups have their own rates, and a factor scales them all") {
  const Context ctx;
  Toy a, b;
  Sgd sgd({{.parameters = {{"a", a.p}}, .lr = 1}, {.parameters = {{"b", b.p}}, .lr = 10}});
  a.set_gradient(1, 1);
  b.set_gradient(1, 1);
  sgd.step(ctx, 0.5);
  CHECK(a[0] == 0.5);
  CHECK(b[0] == -4);
  CHECK_THROWS_AS(Sgd({{.parameters = {{"a", a.p}, {"a", b.p}}}}), Error);
}

TEST_CASE("clipping scales all gradients to the norm wanted, and only if they exceed it") {
  Toy a, b;
  Sgd sgd({{.parameters = {{"a", a.p}, {"b", b.p}}}});
  a.set_gradient(3, 0);
  b.set_gradient(0, 4);
  CHECK(clip_gradients(sgd, 10) == 5);
  CHECK(a.p.gradient().values<double>()[0] == 3);
  CHECK(clip_gradients(sgd, 1) == 5);
  CHECK(std::fabs(gradient_norm(sgd) - 1) < 1e-15);
}

TEST_CASE("a checkpoint in the middle continues bit for bit") {
  const Context ctx;
  const test::TemporaryFolder folder;
  const auto step = [&](Toy& toy, Optimizer& optimizer, int i) {
    toy.set_gradient(std::sin(i) + toy[0], std::cos(3 * i));
    optimizer.step(ctx, 1 / (1.0 + i));
  };
  Toy whole, before, after;
  Adam first(whole.groups(0.1, 0.01)), second(before.groups(0.1, 0.01)),
      third(after.groups(0.1, 0.01));
  for (int i = 0; i < 9; ++i) step(whole, first, i);
  for (int i = 0; i < 4; ++i) step(before, second, i);
  save_checkpoint(folder / "a.safetensors", second, {{"epoch", "4"}});
  CHECK(load_checkpoint(folder / "a.safetensors", third).at("epoch") == "4");
  CHECK(third.steps() == 4);
  for (int i = 4; i < 9; ++i) step(after, third, i);
  CHECK(after[0] == whole[0]);
  CHECK(after[1] == whole[1]);
}

TEST_CASE("a checkpoint that does not fit changes nothing") {
  const test::TemporaryFolder folder;
  Toy toy;
  Adam adam(toy.groups(0.1, 0));
  auto state = adam.state();
  state.at("p").values<double>()[0] = 77;
  state.erase("p.v");
  write_safetensors(folder / "a.safetensors", state);
  CHECK_THROWS_AS(load_checkpoint(folder / "a.safetensors", adam), Error);
  CHECK(toy[0] == 1);
}

TEST_CASE("schedules") {
  CHECK(step_decay(10, 0.5)(25) == 0.25);
  CHECK(cosine_decay(100)(0) == 1);
  CHECK(std::fabs(cosine_decay(100, 0.2)(50) - 0.6) < 1e-15);
  CHECK(cosine_decay(100, 0.2)(1000) == 0.2);
  CHECK(warm_up(4)(0) == 0.25);
  CHECK(warm_up(4, step_decay(1, 0.5))(5) == 0.5);
}

TEST_CASE("the window rule compares with the mean of the losses before, after the window") {
  WindowStop stop(2);
  CHECK_FALSE(stop.stop_after(3));
  CHECK_FALSE(stop.stop_after(9));  // worse, but within the window
  CHECK_FALSE(stop.stop_after(9));
  CHECK_FALSE(stop.stop_after(9));  // epoch 3 > 2: 9 > (9 + 9) / 2 does not hold
  CHECK(stop.stop_after(9.5));
  CHECK(stop.best_epoch() == 0);
}

TEST_CASE("patience counts epochs without a better score, ties by loss") {
  PatienceStop stop(2);
  CHECK_FALSE(stop.stop_after(0.5, 1.0));
  CHECK_FALSE(stop.stop_after(0.5, 0.9));
  CHECK(stop.improved());
  CHECK_FALSE(stop.stop_after(0.4, 0.1));
  CHECK(stop.stop_after(0.5, 0.9));
  CHECK(stop.best_epoch() == 1);
}

}  // namespace
