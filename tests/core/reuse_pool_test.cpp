#include <vector>

#include "researchkit/core/context.hpp"
#include "researchkit/core/parallel.hpp"
#include "support/catch.hpp"

using namespace researchkit;

TEST_CASE("a leased object comes back with its memory and is never shared") {
  const Context ctx;
  const std::vector<int>* first = nullptr;
  {
    const auto lease = ctx.reuse_pool().take<std::vector<int>>();
    lease->assign(1000, 7);
    first = lease.get();
    const auto other = ctx.reuse_pool().take<std::vector<int>>();
    CHECK(other.get() != first);
    CHECK(ctx.reuse_pool().take<std::vector<double>>()->empty());
  }
  const auto second = ctx.reuse_pool().take<std::vector<int>>();
  const auto third = ctx.reuse_pool().take<std::vector<int>>();
  CHECK((second.get() == first || third.get() == first));
  CHECK(second->capacity() + third->capacity() >= 1000);
}

TEST_CASE("threads lease different objects") {
  const Context ctx({.threads = 4});
  std::vector<int> clean(64, 0);
  parallel_blocks(ctx, 64, [&](std::int64_t block) {
    const auto lease = ctx.reuse_pool().take<std::vector<std::int64_t>>();
    lease->assign(100, block);
    bool mine = true;
    for (const std::int64_t value : *lease) mine = mine && value == block;
    clean[static_cast<std::size_t>(block)] = mine ? 1 : 0;
  });
  CHECK(clean == std::vector<int>(64, 1));
}
