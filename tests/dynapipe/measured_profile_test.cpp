// Profiles measured here: complete, written and read back the same, and enough to plan with.
#include "researchkit/dynapipe/measured_profile.hpp"

#include <cmath>

#include "researchkit/dynapipe/planner.hpp"
#include "support/catch.hpp"
#include "support/temporary_folder.hpp"

using namespace researchkit;
using namespace researchkit::dynapipe;

namespace {

MeasureOptions small_grid() {
  MeasureOptions options;
  options.mbs_grid = {1, 4};
  options.seq_grid = {8, 32};
  options.repeats = 2;
  return options;
}

bool same(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && std::equal(a.values<double>().begin(), a.values<double>().end(),
                                              b.values<double>().begin());
}

}  // namespace

TEST_CASE("a measured profile is written and read back the same") {
  const test::TemporaryFolder folder;
  for (const bool encdec : {false, true}) {
    const TransformerModel model{{16, 2, 32}, 2, encdec ? 2 : 0, 50};
    const auto profile = measure_profile(Context({.threads = 1}), model, DType::f32, small_grid());
    CHECK(profile.kind() == (encdec ? ModelKind::encdec : ModelKind::decoder));
    save_profile(folder / "here.json", profile);
    const auto read = load_profile(folder / "here.json", 1);
    CHECK(read.hidden == 16);
    CHECK(read.mbs_grid == profile.mbs_grid);
    CHECK(read.seq_grid == profile.seq_grid);
    for (std::size_t mode = 0; mode < 3; ++mode) {
      CHECK(same(read.encoder[mode].tensor(), profile.encoder[mode].tensor()));
      if (encdec) CHECK(same(read.decoder[mode].tensor(), profile.decoder[mode].tensor()));
    }
    CHECK(read.decoder_layer_mb == profile.decoder_layer_mb);
    CHECK_THROWS_AS(load_profile(folder / "here.json", 2), Error);
  }
  CHECK_THROWS_AS(save_profile(folder / "no" / "such" / "folder.json", ModelProfile{}), Error);
}

TEST_CASE("a measured profile grows with the shape, and full recomputation keeps less") {
  const TransformerModel model{{32, 2, 64}, 2, 0, 50};
  const auto profile = measure_profile(Context({.threads = 1}), model, DType::f64, small_grid());
  const auto& none = profile.encoder[0];
  const auto& full = profile.encoder[2];
  for (int q : {0, 1, 4, 5}) {
    INFO("quantity " << q);
    CHECK(none(q, 0, 0) > 0);
    CHECK(none(q, 1, 1) > none(q, 0, 0));  // sixteen times the tokens
  }
  CHECK(full(4, 1, 1) * 5 < none(4, 1, 1));
  CHECK(full(1, 1, 1) > none(1, 1, 1) * 0.9);
}

TEST_CASE("a measured profile plans") {
  const TransformerModel model{{16, 2, 32}, 2, 2, 50};
  const auto profile = measure_profile(Context({.threads = 1}), model, DType::f32, small_grid());
  const auto samples = flan_lengths(3, 10, ModelKind::encdec, 24);
  const Cluster cluster{.stages = 4, .device_memory_mb = 100};
  const auto planned = plan(Context(), samples, {&profile, 2, 2}, cluster);
  CHECK(planned.iteration_ms() > 0);
  CHECK_FALSE(find_plan_fault(planned, 10, 100).has_value());
}

TEST_CASE("grids that cannot be measured are refused") {
  const TransformerModel model{{16, 2, 32}, 2, 0, 50};
  for (const auto& grid : {std::vector<std::int32_t>{}, {4, 4}, {0, 8}}) {
    MeasureOptions options = small_grid();
    options.mbs_grid = grid;
    CHECK_THROWS_AS(measure_profile(Context(), model, DType::f32, options), Error);
    options = small_grid();
    options.seq_grid = grid;
    CHECK_THROWS_AS(measure_profile(Context(), model, DType::f32, options), Error);
  }
}
