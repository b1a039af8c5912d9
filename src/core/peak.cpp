#include "researchkit/core/peak.hpp"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <mutex>

#include "researchkit/core/blas.hpp"
#include "researchkit/core/parallel.hpp"
#include "researchkit/core/tensor.hpp"

namespace researchkit {
namespace {

constexpr double kBudget = 0.12;  // seconds per quantity
constexpr int kLeastRounds = 3;   // the first warms up caches, clocks and BLAS

/// The shortest of as many rounds as the budget allows.
template <class Round>
double best_seconds(Round&& round) {
  using Clock = std::chrono::steady_clock;
  double best = std::numeric_limits<double>::infinity(), total = 0;
  for (int rounds = 0; rounds < kLeastRounds || total < kBudget; ++rounds) {
    const auto start = Clock::now();
    round();
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    best = std::min(best, seconds);
    total += seconds;
  }
  return best;
}

/// Numbers per array: three arrays together are four times the last-level cache, as far as 768 MiB.
std::int64_t triad_length() {
  std::int64_t cache = 0;
#ifdef _SC_LEVEL3_CACHE_SIZE
  cache = std::max<std::int64_t>(::sysconf(_SC_LEVEL3_CACHE_SIZE), 0);
#endif
  constexpr std::int64_t kMiB = std::int64_t{1} << 20;
  const std::int64_t bytes = std::clamp(4 * cache / 3, 32 * kMiB, 256 * kMiB);
  return bytes / static_cast<std::int64_t>(sizeof(double));
}

double measure_bandwidth(const Context& ctx) {
  const std::int64_t n = triad_length();
  // Left uninitialised here, so that each page is first touched, and placed, by a worker.
  const std::unique_ptr<double[]> memory(new double[static_cast<std::size_t>(3 * n)]);
  double* const a = memory.get();
  double* const b = a + n;
  double* const c = b + n;
  const std::int64_t grain = (n + ctx.threads() - 1) / ctx.threads();
  parallel_for(ctx, n, grain, [&](std::int64_t begin, std::int64_t end) {
    std::fill(a + begin, a + end, 0.0);
    std::fill(b + begin, b + end, 1.0);
    std::fill(c + begin, c + end, 2.0);
  });
  const double seconds = best_seconds([&] {
    parallel_for(ctx, n, grain, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) a[i] = b[i] + 3.0 * c[i];
    });
  });
  return static_cast<double>(3 * n) * sizeof(double) / seconds;
}

template <class Real>
double measure_gemm(const Context& ctx) {
  constexpr std::int64_t n = 768;
  Array<Real, 2> a({n, n}), b({n, n}), c({n, n});
  for (std::int64_t i = 0; i < n * n; ++i) {
    a.data_handle()[i] = static_cast<Real>(i % 7 - 3);
    b.data_handle()[i] = static_cast<Real>(i % 5 - 2);
  }
  const double seconds = best_seconds([&] { gemm(ctx, Real{1}, a, b, Real{0}, c); });
  return 2.0 * n * n * n / seconds;
}

}  // namespace

MachinePeak measure_machine_peak(int threads) {
  const Context ctx({.threads = threads});
  return {ctx.threads(), measure_bandwidth(ctx), measure_gemm<float>(ctx),
          measure_gemm<double>(ctx)};
}

const MachinePeak& machine_peak(int threads) {
  static std::mutex mutex;
  static std::map<int, MachinePeak> known;
  const int key = threads > 0 ? threads : default_thread_count();
  const std::lock_guard lock(mutex);
  const auto found = known.find(key);
  if (found != known.end()) return found->second;
  return known.emplace(key, measure_machine_peak(key)).first->second;
}

}  // namespace researchkit
