#include "researchkit/core/blas.hpp"

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "researchkit/core/error.hpp"
#include "researchkit/core/random.hpp"
#include "researchkit/core/tensor.hpp"
#include "support/catch.hpp"
#include "support/contains.hpp"
#include "support/emulator/emulated_backend.hpp"

namespace {

using namespace researchkit;
using std::int64_t;
using test::contains;

template <class Real, int Rank>
Array<Real, Rank> random_array(const std::array<int64_t, Rank>& extents, std::uint64_t seed) {
  Array<Real, Rank> array(extents);
  const Philox random(seed);
  for (int64_t i = 0; i < array.size(); ++i) {
    array.data_handle()[i] =
        static_cast<Real>(2 * random.uniform(static_cast<std::uint64_t>(i)) - 1);
  }
  return array;
}

/// The largest difference to three loops in double, over the error that rounding may cause there.
template <class Real>
double worst_error(Real alpha, In<Real, 2> a, In<Real, 2> b, Real beta, In<Real, 2> before,
                   In<Real, 2> after) {
  double worst = 0;
  for (int64_t i = 0; i < after.extent(0); ++i) {
    for (int64_t j = 0; j < after.extent(1); ++j) {
      double sum = beta == 0 ? 0.0 : double{beta} * before(i, j);
      double magnitude = std::abs(sum);
      for (int64_t l = 0; l < a.extent(1); ++l) {
        sum += double{alpha} * a(i, l) * b(l, j);
        magnitude += std::abs(double{alpha} * a(i, l) * b(l, j));
      }
      const double allowed =
          std::numeric_limits<Real>::epsilon() * static_cast<double>(a.extent(1) + 2) * magnitude;
      const double error = std::abs(static_cast<double>(after(i, j)) - sum);
      if (!(error <= allowed)) worst = std::max(worst, error / std::max(allowed, 1e-300));
    }
  }
  return worst;
}

template <class Real>
void check_shape(int64_t m, int64_t n, int64_t k, Real alpha, Real beta) {
  CAPTURE(m, n, k, alpha, beta);
  const Context ctx({.threads = 2});
  // Each operand by rows, by columns, or with gaps in both axes.
  for (int layout = 0; layout < 27; ++layout) {
    const auto view_of = [](const Array<Real, 2>& memory, int64_t rows, int64_t columns, int how) {
      Real* const data = memory.data_handle();
      return how == 0   ? Out<Real, 2>(data, {rows, columns}, {columns + 3, 1})
             : how == 1 ? Out<Real, 2>(data, {rows, columns}, {1, rows + 2})
                        : Out<Real, 2>(data, {rows, columns}, {2 * columns + 1, 2});
    };
    const auto memory = [](int64_t rows, int64_t columns, std::uint64_t seed) {
      return random_array<Real, 2>({rows + 3, 2 * columns + 3}, seed);
    };
    const auto a_memory = memory(m, k, 1), b_memory = memory(k, n, 2), c_memory = memory(m, n, 3);
    const auto a = view_of(a_memory, m, k, layout % 3);
    const auto b = view_of(b_memory, k, n, layout / 3 % 3);
    const auto c = view_of(c_memory, m, n, layout / 9);
    const Array<Real, 2> before(c_memory.tensor().clone());
    gemm(ctx, alpha, a, b, beta, c);
    CHECK(worst_error<Real>(alpha, a, b, beta, view_of(before, m, n, layout / 9), c) == 0);
    // Nothing beside c was written.
    std::vector<char> inside(static_cast<std::size_t>(before.size()));
    for (int64_t i = 0; i < m; ++i) {
      for (int64_t j = 0; j < n; ++j) {
        inside[static_cast<std::size_t>(&c(i, j) - c_memory.data_handle())] = 1;
      }
    }
    int64_t touched = 0;
    for (int64_t i = 0; i < before.size(); ++i) {
      touched += inside[static_cast<std::size_t>(i)] == 0 &&
                 c_memory.data_handle()[i] != before.data_handle()[i];
    }
    CHECK(touched == 0);
  }
}

TEMPLATE_TEST_CASE("gemm equals three loops for odd shapes and every layout", "", float, double) {
  using Real = TestType;
  check_shape<Real>(1, 1, 1, 2, 0);
  check_shape<Real>(3, 5, 7, 1, 0);
  check_shape<Real>(17, 1, 33, -0.5, 1);
  check_shape<Real>(1, 31, 2, 1, 0.25);
  check_shape<Real>(65, 63, 64, 1, 1);
  check_shape<Real>(4, 6, 0, 1, 0.5);
  check_shape<Real>(4, 6, 0, 1, 0);
  check_shape<Real>(0, 6, 3, 1, 0);
  check_shape<Real>(4, 0, 3, 1, 0);
}

TEMPLATE_TEST_CASE("gemm equals three loops where it is cut into tiles and parts", "", float,
                   double) {
  using Real = TestType;
  const Context ctx({.threads = 2});
  for (const auto& [m, n, k] : {std::array<int64_t, 3>{300, 270, 40},
                                {1100, 5, 130},
                                {3, 1500, 200},
                                {20, 30, 5000},
                                {300, 20, 2100}}) {
    CAPTURE(m, n, k);
    const auto a = random_array<Real, 2>({m, k}, 1), b = random_array<Real, 2>({k, n}, 2);
    for (const Real beta : {Real{0}, Real{0.5}}) {
      const auto c = random_array<Real, 2>({m, n}, 3);
      const Array<Real, 2> before(c.tensor().clone());
      gemm(ctx, Real{1.5}, a, b, beta, c);
      CHECK(worst_error<Real>(Real{1.5}, a, b, beta, before, c) == 0);
    }
  }
}

TEST_CASE("gemm gives the same bits for any number of threads") {
  for (const auto& [m, n, k] : {std::array<int64_t, 3>{700, 530, 300}, {64, 48, 9000}, {5, 5, 5}}) {
    const auto a = random_array<float, 2>({m, k}, 1), b = random_array<float, 2>({k, n}, 2);
    const Array<float, 2> first({m, n});
    gemm(Context({.threads = 1}), 1, a, b, 0, first);
    for (const int threads : {2, 3, 7}) {
      const Array<float, 2> again({m, n});
      gemm(Context({.threads = threads}), 1, a, b, 0, again);
      CHECK(std::memcmp(first.data_handle(), again.data_handle(), first.tensor().bytes()) == 0);
    }
  }
}

TEST_CASE("gemm does not read c when beta is 0") {
  const Context ctx;
  const auto a = random_array<float, 2>({20, 3000}, 1), b = random_array<float, 2>({3000, 30}, 2);
  for (const int64_t k : {3, 3000, 0}) {  // small, cut and empty
    const Array<float, 2> c({20, 30});
    for (int64_t i = 0; i < c.size(); ++i) c.data_handle()[i] = std::nanf("");
    gemm(ctx, 1, In<float, 2>(a.data_handle(), {20, k}, {3000, 1}),
         In<float, 2>(b.data_handle(), {k, 30}, {30, 1}), 0, c);
    CHECK(std::isfinite(c(0, 0)));
    CHECK(std::isfinite(c(19, 29)));
  }
}

TEST_CASE("gemm: a batch and a group equal their products one by one") {
  const Context ctx({.threads = 2});
  const auto a = random_array<double, 3>({40, 9, 17}, 1),
             b = random_array<double, 3>({40, 17, 8}, 2);
  const Array<double, 3> c({40, 9, 8}), shared({40, 9, 8});
  gemm(ctx, 1, a, b, 0, c);
  // One b for all: a leading stride of 0.
  gemm(ctx, 1, a, In<double, 3>(b.data_handle(), {40, 17, 8}, {0, 8, 1}), 0, shared);
  for (int64_t i = 0; i < 40; ++i) {
    const Array<double, 2> one({9, 8});
    gemm(ctx, 1, a[i], b[i], 0, one);
    CHECK(std::memcmp(one.data_handle(), c[i].data_handle(), 9 * 8 * sizeof(double)) == 0);
    gemm(ctx, 1, a[i], b[0], 0, one);
    CHECK(std::memcmp(one.data_handle(), shared[i].data_handle(), 9 * 8 * sizeof(double)) == 0);
  }
  std::vector<Gemm<double>> group;
  std::vector<Array<double, 2>> memory;
  for (int64_t i = 0; i < 30; ++i) {
    const auto& left = memory.emplace_back(random_array<double, 2>({9 + i % 3, 4}, 5));
    group.push_back({.a = left, .b = {}, .beta = 0, .c = {}});
    group.back().b = memory.emplace_back(random_array<double, 2>({4, i}, 6));
    group.back().c = memory.emplace_back(std::array<int64_t, 2>{9 + i % 3, i});
  }
  gemm(ctx, std::span<const Gemm<double>>(group));
  for (const auto& one : group) {
    CHECK(worst_error<double>(1, one.a, one.b, 0, one.c, one.c) == 0);
  }
}

TEST_CASE("gemm refuses what does not fit, before c is touched") {
  const Context ctx;
  const Array<float, 2> a({2, 3}), b({4, 5}), c({2, 5});
  CHECK_THROWS_WITH(gemm(ctx, 1, a, b, 0, c), contains("gemm: argument 'b'"));
  const Array<float, 2> fits({3, 5}), wrong({5, 2});
  CHECK_THROWS_WITH(gemm(ctx, 1, a, fits, 0, wrong), contains("argument 'c': wanted [2, 5]"));
  float value = 7;
  CHECK_THROWS_WITH(gemm(ctx, 1, a, fits, 0, Out<float, 2>(&value, {2, 5}, {0, 0})),
                    contains("stride 0"));
  CHECK(value == 7);
  CHECK_THROWS_WITH(gemm(ctx, 1, In<float, 2>(&value, {2, 3}, emulated_device()), fits, 0, c),
                    contains("one on emulated:0"));
  CHECK_THROWS_WITH(gemm(ctx, 1, Array<float, 3>({2, 2, 3}), Array<float, 3>({1, 3, 5}), 0,
                         Array<float, 3>({2, 2, 5})),
                    contains("a batch of 2"));
}

TEST_CASE("blas_info names the library") {
  const BlasInfo info = blas_info();
  CHECK(info.vendor != "");
  CHECK((info.vendor == "unknown" || info.version != ""));
}

}  // namespace
