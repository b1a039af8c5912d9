// What the golden files say, and what the schema cannot say about calls.
#include "researchkit/core/verify.hpp"
#include "researchkit/dynapipe/dynapipe.hpp"
#include "support/catch.hpp"
#include "support/contains.hpp"

using namespace researchkit;
using namespace researchkit::dynapipe;

TEST_CASE("every golden case passes on both paths and every bad call is refused by name") {
  Registry registry;
  register_dynapipe(registry);
  for (const auto path : {researchkit::detail::Path::run, researchkit::detail::Path::reference}) {
    const auto results = verify(registry, std::string(RESEARCHKIT_TEST_GOLDEN_DIR) + "/dynapipe",
                                Context(), {path, {}});
    for (const CaseResult& result : results) {
      INFO(result.name << ": " << result.failure);
      CHECK(result.passed());
    }
    CHECK(results.size() == 138 + 36);
  }
}

TEST_CASE("a call that lacks the third axis is told so, and not that its table is odd") {
  const Context ctx;
  const Array<double, 4> table({1, 1, 1, 1});
  Array<std::int32_t, 1> grid({1});
  grid(0) = 1;
  const Array<std::int32_t, 2> query({1, 3});
  const Registry& registry = default_registry();
  try {
    registry.at("dynapipe.profile_interp")
        .run(ctx, {.inputs = {{"table", table.tensor()},
                              {"grid0", grid.tensor()},
                              {"grid1", grid.tensor()},
                              {"query", query.tensor()}}});
    FAIL("was not refused");
  } catch (const Error& error) {
    CHECK(error.argument() == "grid2");
  }
}

TEST_CASE("an incomplete list of transfers is not lowered") {
  const Context ctx;
  Array<std::int32_t, 2> order({2, 2}), comm({2, 4}), shapes({1, 3});
  for (const std::int64_t s : {0, 1}) order(s, 1) = 1;
  Array<std::int32_t, 1> offsets({3});
  offsets(1) = 1, offsets(2) = 2;
  // The activation goes right, its gradient never comes back.
  comm(0, 2) = 1, comm(0, 3) = 1;
  comm(1, 0) = 1;
  for (const std::int64_t c : {0, 1}) shapes(0, c) = 8;
  try {
    lower_plan(ctx, {.order = order,
                     .comm = comm,
                     .offsets = offsets,
                     .shapes = shapes,
                     .hidden = 4,
                     .n_enc_stages = 2});
    FAIL("was not refused");
  } catch (const Error& error) {
    CHECK(error.argument() == "comm");
    CHECK_THAT(error.what(), test::contains("1 of 2 transfers"));
  }
}
