// The emulated grid must see every rule broken that it is there to hold: a small kernel breaks each.
#include <functional>
#include <numeric>
#include <string>
#include <vector>

#include "researchkit/core/cuda/launch.cuh"
#include "researchkit/core/error.hpp"
#include "support/catch.hpp"
#include "support/emulator/emulated_backend.hpp"
#include "support/emulator/fiber.hpp"

using namespace researchkit;
using namespace researchkit::device;

namespace {

/// What the grid says of a kernel; empty if it finds nothing.
std::string verdict(const Launch& shape, const std::function<void()>& kernel) {
  try {
    emulator::run_grid("planted", shape, 2, kernel);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

void check_verdict(const std::string& verdict, const std::string& what) {
  INFO("the grid says: " << verdict);
  CHECK(verdict.find("kernel planted, block ") != std::string::npos);
  CHECK(verdict.find("emulator_test.cpp:") != std::string::npos);
  CHECK(verdict.find(what) != std::string::npos);
}

constexpr Launch kTwoWarps{.blocks = 3, .block_threads = 64, .shared_bytes = 1024};

}  // namespace

TEST_CASE("a correct kernel runs once as every thread of every block") {
  std::vector<int> seen(3 * 64);
  const Global<int> out{seen.data(), static_cast<std::int64_t>(seen.size())};
  const auto kernel = [&] {
    const Shared<int> reversed = dynamic_shared().take<int>(64);
    reversed[63 - thread_index()] = thread_index();
    block_barrier();
    out[block_index() * block_threads() + thread_index()] += reversed[thread_index()] + 1;
  };
  CHECK(verdict(kTwoWarps, kernel).empty());
  for (std::size_t i = 0; i < seen.size(); ++i) CHECK(seen[i] == 64 - static_cast<int>(i % 64));
}

TEST_CASE("warp operations give what the hardware gives") {
  std::vector<int> wrong(64);
  const auto kernel = [&] {
    int& bad = wrong[static_cast<std::size_t>(thread_index())];
    const int first = thread_index() / 32 * 32;
    bad += shuffle(thread_index(), (lane() + 5) % 32) != first + (lane() + 5) % 32;
    bad += shuffle(2.5 * thread_index(), 3) != 2.5 * (first + 3);
    bad += ballot(lane() % 3 == 0) != 0x49249249U;
    bad += any(thread_index() == 40) != (thread_index() >= 32);
    bad += warp_max(static_cast<std::uint32_t>(thread_index())) !=
           static_cast<std::uint32_t>(first + 31);
    bad += warp_reduce(lane(), [](int a, int b) { return a + b; }) != 496;
  };
  CHECK(verdict({.block_threads = 64}, kernel).empty());
  CHECK(std::accumulate(wrong.begin(), wrong.end(), 0) == 0);
}

TEST_CASE("a barrier that not all threads reach is divergence") {
  check_verdict(verdict(kTwoWarps,
                        [] {
                          if (thread_index() != 7) block_barrier();
                        }),
                "divergence: waits at block_barrier, but thread 7 has returned");
  check_verdict(verdict(kTwoWarps,
                        [] {
                          if (thread_index() < 32) {
                            block_barrier();
                          } else {
                            block_barrier();
                          }
                        }),
                "divergence: waits at block_barrier, but thread 32 waits at block_barrier");
}

TEST_CASE("a shuffle that not all lanes reach is divergence") {
  check_verdict(verdict(kTwoWarps,
                        [] {
                          if (lane() < 31) shuffle(1, 0);
                        }),
                "divergence: waits at shuffle, but thread 31 has returned");
  check_verdict(verdict(kTwoWarps,
                        [] {
                          if (lane() % 2 == 0) {
                            shuffle(1, 0);
                          } else {
                            ballot(true);
                          }
                          block_barrier();
                        }),
                "divergence: waits at shuffle, but thread 1 waits at warp_reduce");
}

TEST_CASE("shared memory that two threads touch without a barrier is a race") {
  const auto neighbours = [](bool with_barrier) {
    return [with_barrier] {
      const Shared<int> x = dynamic_shared().take<int>(64);
      x[thread_index()] = 0;
      block_barrier();
      x[thread_index()] = 1;
      if (with_barrier) block_barrier();
      const int other = x[(thread_index() + 1) % 64];
      if (other != 1) block_barrier();
    };
  };
  CHECK(verdict(kTwoWarps, neighbours(true)).empty());
  check_verdict(verdict(kTwoWarps, neighbours(false)), "race on byte ");

  // Reading before another thread overwrites, and writing twice, are races as well.
  check_verdict(verdict(kTwoWarps,
                        [] {
                          const Shared<float> x = dynamic_shared().take<float>(1);
                          if (thread_index() == 0) x[0] = 1.0f;
                          block_barrier();
                          const float own = x[0];
                          if (thread_index() == 5) x[0] = own + 1.0f;
                        }),
                "race on byte ");
  check_verdict(verdict(kTwoWarps, [] { dynamic_shared().take<int>(1)[0] = 3; }), "race on byte ");
}

TEST_CASE("a warp barrier orders the warp, and not the block") {
  const auto pass_on = [](int distance) {
    return [distance] {
      const Shared<int> x = dynamic_shared().take<int>(64);
      x[thread_index()] = thread_index();
      warp_barrier();
      const int other = x[thread_index() ^ distance];
      if (other != (thread_index() ^ distance)) x[100] = 0;  // out of bounds: the test would see it
    };
  };
  CHECK(verdict(kTwoWarps, pass_on(1)).empty());
  check_verdict(verdict(kTwoWarps, pass_on(32)), "shared memory");
}

TEST_CASE("atomic updates are no race, but reading beside them is") {
  const auto count = [](bool with_barrier) {
    return [with_barrier] {
      const Shared<int> x = dynamic_shared().take<int>(1);
      if (thread_index() == 0) x[0] = 0;
      block_barrier();
      atomic_add(x[0], 1);
      if (with_barrier) block_barrier();
      const int total = x[0];
      if (with_barrier && total != 64) x[1] = 0;
    };
  };
  CHECK(verdict(kTwoWarps, count(true)).empty());
  check_verdict(verdict(kTwoWarps, count(false)), "race on byte ");
}

TEST_CASE("shared memory that nobody wrote must not be read") {
  check_verdict(verdict(kTwoWarps,
                        [] {
                          const Shared<int> x = dynamic_shared().take<int>(64);
                          if (thread_index() < 63) x[thread_index()] = 1;
                          block_barrier();
                          const int own = x[thread_index()];
                          if (own != 1) block_barrier();
                        }),
                "which nobody has written");
}

TEST_CASE("accesses outside of device and shared memory are refused") {
  std::vector<float> memory(10);
  const Global<float> x{memory.data(), 10};
  check_verdict(verdict({.block_threads = 32}, [&] { x[thread_index() == 5 ? -1 : 0] = 1; }),
                "out of bounds: -1 of 10 device memory");
  check_verdict(verdict({.block_threads = 32}, [&] { x[thread_index() == 5 ? 10 : 0] = 1; }),
                "out of bounds: 10 of 10 device memory");
  check_verdict(verdict({.block_threads = 32}, [&] { (void)x.part(8, 3); }),
                "out of bounds: 11 of 10 a part of device memory");
  check_verdict(verdict({.block_threads = 32, .shared_bytes = 64},
                        [] {
                          const Shared<int> s = dynamic_shared().take<int>(16);
                          if (thread_index() == 5) s[16] = 0;
                        }),
                "out of bounds: 16 of 16 shared memory");
  check_verdict(verdict({.block_threads = 32, .shared_bytes = 60},
                        [] { (void)dynamic_shared().take<int>(16); }),
                "out of bounds: 64 of 60 bytes of shared memory of the launch");
}

TEST_CASE("blocks of a cluster see each other's shared memory across a cluster barrier") {
  std::vector<int> sums(8);
  const Global<int> out{sums.data(), 8};
  const auto exchange = [&](bool with_barrier) {
    return [&out, with_barrier] {
      const Shared<int> own = dynamic_shared().take<int>(1);
      if (thread_index() == 0) own[0] = 10 * cluster_rank() + 1;
      if (with_barrier) {
        cluster_barrier();
      } else {
        block_barrier();
      }
      if (thread_index() == 0) {
        for (int r = 0; r < cluster_blocks(); ++r) out[block_index()] += own.of_block(r)[0];
      }
      cluster_barrier();
    };
  };
  const Launch clusters{.blocks = 8, .block_threads = 32, .cluster_blocks = 4, .shared_bytes = 64};
  CHECK(verdict(clusters, exchange(true)).empty());
  for (const int sum : sums) CHECK(sum == 64);
  CHECK_FALSE(verdict(clusters, exchange(false)).empty());
}

TEST_CASE("launches that no device takes are refused") {
  const auto nothing = [] {};
  CHECK_FALSE(verdict({.block_threads = 48}, nothing).empty());
  CHECK_FALSE(verdict({.block_threads = 2048}, nothing).empty());
  CHECK_FALSE(verdict({.shared_bytes = 300000}, nothing).empty());
  CHECK_FALSE(verdict({.blocks = 3, .cluster_blocks = 2}, nothing).empty());
  CHECK_FALSE(verdict({.blocks = 0}, nothing).empty());
}

TEST_CASE("what leans on the order of threads in device memory differs from launch to launch") {
  const auto run = [](bool has_barrier) {
    std::vector<int> written(64, 0), read(64, 0);
    const Global<int> shared{written.data(), 64}, out{read.data(), 64};
    const auto kernel = [&] {
      shared[thread_index()] = 1;
      if (has_barrier) block_barrier();
      out[thread_index()] = shared[(thread_index() + 1) % 64];
    };
    CHECK(verdict({.block_threads = 64}, kernel).empty());
    return std::accumulate(read.begin(), read.end(), 0);
  };
  const int once = run(false), again = run(false);
  CHECK(once != again);
  CHECK(run(true) == 64);
  CHECK(run(true) == 64);
}

TEST_CASE("a grid can run again after a kernel broke a rule") {
  CHECK_FALSE(verdict(kTwoWarps, [] {
                if (lane() == 0) warp_max(1U);
              }).empty());
  CHECK(verdict(kTwoWarps, [] { block_barrier(); }).empty());
}
