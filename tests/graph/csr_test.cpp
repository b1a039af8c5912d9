#include "researchkit/graph/csr.hpp"

#include "researchkit/core/random.hpp"
#include "researchkit/graph/datasets.hpp"
#include "researchkit/graph/operators.hpp"
#include "researchkit/graph/synthetic.hpp"
#include "support/catch.hpp"
#include "support/contains.hpp"

namespace {

using namespace researchkit;
using namespace researchkit::graph;
using test::contains;

std::string refusal(CsrArrays<float> arrays, std::int64_t columns) {
  try {
    Csr<float>(std::move(arrays), columns);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

Array<float, 2> random_matrix(std::int64_t rows, std::int64_t columns, std::uint64_t seed) {
  Array<float, 2> x({rows, columns});
  const Philox random(seed);
  for (std::int64_t i = 0; i < x.size(); ++i) {
    x.data_handle()[i] = static_cast<float>(random.normal(static_cast<std::uint64_t>(i)));
  }
  return x;
}

TEST_CASE("a matrix checks its structure once, when it is made") {
  CHECK(refusal({{0, 1, 2}, {1, 0}, {1, 1}}, 2).empty());
  CHECK(refusal({}, 0).empty());
  CHECK_THAT(refusal({{0, 2, 1}, {1, 0}, {1, 1}}, 2), contains("offsets ascend"));
  CHECK_THAT(refusal({{1, 2}, {1, 0}, {1, 1}}, 2), contains("begin with 0"));
  CHECK_THAT(refusal({{0, 1}, {2}, {1}}, 2), contains("columns ascend within"));
  CHECK_THAT(refusal({{0, 1}, {-1}, {1}}, 2), contains("columns ascend within"));
  CHECK_THAT(refusal({{0, 2}, {1, 1}, {1, 1}}, 2), contains("columns ascend within"));
  CHECK_THAT(refusal({{0, 1}, {0}, {1, 2}}, 2), contains("one value for each entry"));
}

TEST_CASE("the transpose of the transpose is the matrix; a symmetric one is its own") {
  const Context ctx;
  const Csr<float> a({{0, 2, 2, 3}, {0, 3, 1}, {1, 2, 3}}, 4);
  CHECK_FALSE(a.is_symmetric());
  const Csr<float> t = a.transposed();
  CHECK(t.rows() == 4);
  CHECK(t.columns() == 3);
  CHECK(std::vector<float>(t.values().begin(), t.values().end()) == std::vector<float>{1, 3, 2});
  const Csr<float> back = t.transposed();
  CHECK(std::equal(back.indices().begin(), back.indices().end(), a.indices().begin()));
  CHECK(std::equal(back.values().begin(), back.values().end(), a.values().begin()));
  const Csr<float> club = karate_club(ctx).adjacency;
  CHECK(club.is_symmetric());
  CHECK(club.transposed().indices().data() == club.indices().data());
}

TEST_CASE("a product over a graph with hubs has the same bits for any number of threads") {
  const Csr<float> graph = rmat_graph(Context(), 12, 16, 5);
  for (const std::int64_t d : {1, 7, 8, 33}) {
    const auto x = random_matrix(graph.columns(), d, 3);
    Array<float, 2> expected({graph.rows(), d});
    multiply<float>(Context({.threads = 1}), graph, x, expected);
    for (const int threads : {2, 3, 7}) {
      Array<float, 2> y({graph.rows(), d});
      multiply<float>(Context({.threads = threads}), graph, x, y);
      CHECK(std::equal(y.data_handle(), y.data_handle() + y.size(), expected.data_handle()));
    }
  }
}

TEST_CASE("pieces of rows cover all rows once, hubs and empty rows too") {
  const Context ctx({.threads = 3});
  std::vector<std::int32_t> indptr = {0};
  for (int i = 0; i < 500; ++i) {
    indptr.push_back(indptr.back() + (i == 7 ? 100'000 : i == 300 ? 9000 : i % 3));
  }
  std::vector<int> visits(500);
  for_row_pieces(ctx, indptr.data(), 500, 100, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) ++visits[static_cast<std::size_t>(i)];
  });
  CHECK(visits == std::vector<int>(500, 1));
}

TEST_CASE("NaN in z does not leak when beta is 0") {
  const Context ctx;
  const Csr<float> club = karate_club(ctx).adjacency;
  const auto x = random_matrix(34, 5, 1);
  Array<float, 2> z({34, 5});
  std::fill_n(z.data_handle(), z.size(), std::nanf(""));
  const auto indptr = Tensor::from<std::int32_t>(club.indptr(), {35});
  const auto indices = Tensor::from<std::int32_t>(club.indices(), {club.entries()});
  const auto values = Tensor::from<float>(club.values(), {club.entries()});
  const auto result =
      graph::spmm(ctx, Spmm<float, std::int32_t>{.indptr = indptr.view<std::int32_t, 1>(),
                                                 .indices = indices.view<std::int32_t, 1>(),
                                                 .x = x,
                                                 .values = values.view<float, 1>(),
                                                 .z = In<float, 2>(z)});
  CHECK(std::all_of(result.y.data_handle(), result.y.data_handle() + result.y.size(),
                    [](float value) { return std::isfinite(value); }));
}

TEST_CASE("normalised operators: rows of rw sum to 1, sym keeps the constant vector's scale") {
  const Context ctx;
  const Csr<float> club = karate_club(ctx).adjacency;
  Array<float, 2> ones({34, 1}), y({34, 1});
  std::fill_n(ones.data_handle(), 34, 1.f);
  multiply<float>(ctx, normalized(ctx, club, Normalization::rw, 1), ones, y);
  for (std::int64_t i = 0; i < 34; ++i) CHECK(std::fabs(y(i, 0) - 1) < 1e-6f);
  // sqrt(degree) is an eigenvector of sym with eigenvalue 1, and of cheb without loops with -1.
  const Csr<float> sym = normalized(ctx, club, Normalization::sym, 1);
  const Csr<float> cheb = normalized(ctx, club, Normalization::cheb, 0);
  CHECK(sym.is_symmetric());
  CHECK(cheb.entries() == club.entries());
  Array<float, 2> root({34, 1});
  for (std::int64_t i = 0; i < 34; ++i) {
    root(i, 0) = std::sqrt(static_cast<float>(club.degree(i)));
  }
  multiply<float>(ctx, cheb, root, y);
  for (std::int64_t i = 0; i < 34; ++i) CHECK(std::fabs(y(i, 0) + root(i, 0)) < 1e-5f);
}

TEST_CASE("an isolated node normalises to an empty row, never to infinity") {
  const Context ctx;
  const Csr<float> graph({{0, 1, 2, 2}, {1, 0}, {1, 1}}, 3);
  for (const auto mode : {Normalization::sym, Normalization::rw, Normalization::cheb}) {
    const Csr<float> p = normalized(ctx, graph, mode, 0);
    CHECK(p.degree(2) == 0);
    for (const float value : p.values()) CHECK(std::fabs(value) == 1.f);
  }
}

TEST_CASE("dropout keeps what Philox says, for any number of threads") {
  Array<float, 1> x({70'001});
  std::fill_n(x.data_handle(), x.size(), 3.f);
  const auto one =
      graph::dropout(Context({.threads = 1}), Dropout<float>{.x = x, .p = 0.25, .seed = 9});
  const auto many =
      graph::dropout(Context({.threads = 7}), Dropout<float>{.x = x, .p = 0.25, .seed = 9});
  const Philox random(9, 0);
  std::int64_t kept = 0;
  for (std::int64_t i = 0; i < x.size(); ++i) {
    const bool expected = random.word(static_cast<std::uint64_t>(i)) >= (std::uint32_t{1} << 30);
    REQUIRE(one.y.data_handle()[i] == (expected ? 4.f : 0.f));
    REQUIRE(many.y.data_handle()[i] == one.y.data_handle()[i]);
    kept += expected ? 1 : 0;
  }
  CHECK(std::fabs(static_cast<double>(kept) / 70'001 - 0.75) < 0.01);
}

}  // namespace
