#include "researchkit/graph/row_groups.hpp"

#include <algorithm>

#include "researchkit/core/random.hpp"
#include "researchkit/core/simd.hpp"
#include "researchkit/graph/csr.hpp"
#include "support/catch.hpp"

namespace {

using namespace researchkit;
using namespace researchkit::graph;

/// A matrix of `n` rows: many short ones, empty ones, and a hub in every hundred.
Csr<float> uneven_matrix(std::int64_t n) {
  const Philox random(static_cast<std::uint64_t>(n));
  CsrArrays<float> arrays{{0}, {}, {}};
  std::uint64_t drawn = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    const bool hub = i % 100 == 41;
    const auto length = static_cast<std::int64_t>(random.below(drawn++, hub ? 600 : 7));
    std::int32_t column = -1;
    for (std::int64_t e = 0; e < length; ++e) {
      column += 1 + static_cast<std::int32_t>(random.below(drawn++, 2));
      if (column >= n) break;
      arrays.indices.push_back(column);
      arrays.values.push_back(static_cast<float>(random.normal(drawn++)));
    }
    arrays.indptr.push_back(static_cast<std::int32_t>(arrays.indices.size()));
  }
  return {std::move(arrays), n};
}

std::vector<float> random_values(std::int64_t count, std::uint64_t seed) {
  std::vector<float> values;
  for (std::int64_t i = 0; i < count; ++i) {
    values.push_back(static_cast<float>(Philox(seed).normal(static_cast<std::uint64_t>(i))));
  }
  return values;
}

/// y = alpha A x + beta z - subtract, entry by entry.
std::vector<float> plain_product(const CsrView<float>& a, float alpha, const std::vector<float>& x,
                                 std::int64_t d, float beta, const std::vector<float>& z,
                                 const std::vector<float>& subtract) {
  std::vector<float> y(static_cast<std::size_t>(a.rows * d));
  for (std::int64_t i = 0; i < a.rows; ++i) {
    for (std::int64_t c = 0; c < d; ++c) {
      float sum = 0;
      for (std::int64_t e = a.begin(i); e < a.end(i); ++e) {
        const float term = a.value(e) * x[static_cast<std::size_t>(a.column(e) * d + c)];
        sum += term;
      }
      const auto at = static_cast<std::size_t>(i * d + c);
      if (alpha != 1) sum *= alpha;
      const float mixed = beta * z[at];
      if (beta != 0) sum += mixed;
      y[at] = sum - subtract[at];
    }
  }
  return y;
}

TEST_CASE("groups hold every row once, and its first entries") {
  for (const std::int64_t n : {0, 1, 3, 4, 127, 128, 129, 1000}) {
    const Csr<float> matrix = uneven_matrix(n);
    const CsrView<float> a = matrix.view();
    const RowGroups<float, std::int32_t> groups(a);
    auto sorted = groups.order;
    std::sort(sorted.begin(), sorted.end());
    for (std::int64_t i = 0; i < n; ++i) {
      const auto row = static_cast<std::size_t>(i);
      REQUIRE(sorted[row] == i);
      CHECK(groups.order[row] / groups.kWindow == i / groups.kWindow);
    }
    std::size_t at = 0;
    for (std::size_t g = 0; g < groups.lengths.size(); ++g) {
      if (4 * g % groups.kWindow == 0) {
        CHECK(groups.window_begins[4 * g / groups.kWindow] == static_cast<std::int32_t>(at));
      }
      CHECK(groups.lengths[g] == matrix.degree(groups.order[4 * g]));
      for (std::int64_t e = 0; e < groups.lengths[g]; ++e) {
        for (std::size_t r = 0; r < 4; ++r, ++at) {
          const std::int64_t entry = a.begin(groups.order[4 * g + r]) + e;
          CHECK(groups.indices[at] == a.column(entry));
          CHECK(groups.values[at] == a.value(entry));
        }
      }
    }
    CHECK(at == groups.indices.size());
  }
}

TEST_CASE("a narrow product has the bits of the plain one: every width, instruction set, thread") {
  for (const std::int64_t n : {1, 6, 131, 6000}) {
    const Csr<float> matrix = uneven_matrix(n);
    for (std::int64_t d = 1; d <= 9; ++d) {
      const std::vector<float> x = random_values(n * d, 1), z = random_values(n * d, 2);
      const std::vector<float> subtract = random_values(n * d, 3);
      const auto expected = plain_product(matrix.view(), 2, x, d, 0.5f, z, subtract);
      for (const std::string& target : simd_targets()) {
        force_simd_target(target);
        for (const int threads : {1, 2, 7}) {
          const Context ctx({.threads = threads});
          for (const CsrView<float>& a : {matrix.view(), matrix.view_for(d)}) {
            CAPTURE(n, d, target, threads, a.groups != nullptr);
            std::vector<float> y = subtract;  // in place of what is subtracted
            kernels::spmm<float, std::int32_t>(ctx, a, 2, x.data(), d, 0.5f, z.data(), y.data(),
                                               y.data());
            CHECK((y == expected));
          }
        }
      }
      force_simd_target("");
    }
  }
}

TEST_CASE("only narrow products ask for groups") {
  const Csr<float> matrix = uneven_matrix(50);
  CHECK(matrix.view().groups == nullptr);
  CHECK(matrix.view_for(9).groups == nullptr);
  CHECK(matrix.view_for(8).groups != nullptr);
  CHECK(matrix.view_for(1).groups == matrix.view_for(8).groups);
}

}  // namespace
