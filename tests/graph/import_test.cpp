#include "researchkit/graph/import.hpp"

#include <map>
#include <string>

#include "researchkit/core/io/file.hpp"
#include "researchkit/core/io/npy.hpp"
#include "support/catch.hpp"
#include "support/contains.hpp"
#include "support/temporary_folder.hpp"

namespace {

using namespace researchkit;
using namespace researchkit::graph;
using test::contains;

EdgeList parse(const std::string& text, GraphFormat format) {
  return parse_graph(std::as_bytes(std::span(text)), format, "memory");
}

std::string refusal(const std::string& text, GraphFormat format) {
  try {
    parse(text, format);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST_CASE("edge lists: comments, separators and weights") {
  const auto plain = parse("# nodes\n0 3\n\n% more\n2,1\r\n", GraphFormat::edge_list);
  CHECK(plain.num_rows == 4);
  CHECK(plain.rows == std::vector<std::int32_t>{0, 2});
  CHECK(plain.cols == std::vector<std::int32_t>{3, 1});
  CHECK(plain.values == std::vector<double>{1, 1});
  CHECK(parse("1 2 0.5", GraphFormat::edge_list).values == std::vector<double>{0.5});
  CHECK(parse("", GraphFormat::edge_list).num_rows == 0);
}

TEST_CASE("edge lists that lie are refused in their line") {
  CHECK_THAT(refusal("0 1\n0 -1\n", GraphFormat::edge_list), contains("line 2: -1 is not in"));
  CHECK_THAT(refusal("0 2147483647\n", GraphFormat::edge_list), contains("is not in"));
  CHECK_THAT(refusal("0 99999999999999999999\n", GraphFormat::edge_list), contains("not a number"));
  CHECK_THAT(refusal("0 1\n0 1 2\n", GraphFormat::edge_list), contains("3 fields where 2"));
  CHECK_THAT(refusal("0 1 nan\n", GraphFormat::edge_list), contains("'nan' is not a number"));
  CHECK_THAT(refusal("0\n", GraphFormat::edge_list), contains("1 fields"));
  CHECK_THAT(refusal("a b\n", GraphFormat::edge_list), contains("'a' is not a number"));
}

TEST_CASE("Matrix Market: general, symmetric, pattern") {
  const std::string banner = "%%MatrixMarket matrix coordinate ";
  const auto general = parse(banner + "real general\n% made by hand\n2 3 2\n1 3 1.5\n2 1 -2\n",
                             GraphFormat::matrix_market);
  CHECK(general.num_rows == 2);
  CHECK(general.num_cols == 3);
  CHECK(general.cols == std::vector<std::int32_t>{2, 0});
  CHECK(general.values == std::vector<double>{1.5, -2});
  const auto symmetric =
      parse(banner + "pattern symmetric\n2 2 2\n1 1\n2 1\n", GraphFormat::matrix_market);
  CHECK(symmetric.rows == std::vector<std::int32_t>{0, 1, 0});
  CHECK(symmetric.cols == std::vector<std::int32_t>{0, 0, 1});
  const auto skew =
      parse(banner + "integer skew-symmetric\n2 2 1\n2 1 3\n", GraphFormat::matrix_market);
  CHECK(skew.values == std::vector<double>{3, -3});
}

TEST_CASE("Matrix Market files that lie are refused") {
  const std::string banner = "%%MatrixMarket matrix coordinate ";
  const auto message = [&](const std::string& rest) {
    return refusal(banner + rest, GraphFormat::matrix_market);
  };
  CHECK_THAT(refusal("1 1 1\n1 1 1\n", GraphFormat::matrix_market),
             contains("does not begin with"));
  CHECK_THAT(message("complex general\n1 1 0\n"), contains("'complex'"));
  CHECK_THAT(message("real hermitian\n1 1 0\n"), contains("'hermitian'"));
  CHECK_THAT(message("real general\n2 2 9000000000\n"), contains("is not in"));
  CHECK_THAT(message("real general\n2 2 2\n1 1 1\n"), contains("1 entries where 2"));
  CHECK_THAT(message("real general\n2 2 1\n1 1 1\n2 2 1\n"), contains("more than the 1"));
  CHECK_THAT(message("real general\n2 2 1\n3 1 1\n"), contains("3 is not in [1, 2]"));
  CHECK_THAT(message("real general\n2 2 1\n0 1 1\n"), contains("0 is not in [1, 2]"));
  CHECK_THAT(message("real symmetric\n2 3 0\n"), contains("not square"));
  CHECK_THAT(message("real general\n2 2 1\n1 1 inf\n"), contains("'inf'"));
}

struct Archive {
  std::map<std::string, Tensor> arrays = {{"indptr", Tensor::from<std::int32_t>({0, 1, 2}, {3})},
                                          {"indices", Tensor::from<std::int32_t>({1, 0}, {2})},
                                          {"data", Tensor::from<double>({2, 3}, {2})},
                                          {"shape", Tensor::from<std::int64_t>({2, 2}, {2})}};

  std::string refusal() const {
    test::TemporaryFolder folder;
    write_npz(folder / "a.npz", arrays);
    try {
      read_graph(folder / "a.npz");
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  }
};

TEST_CASE("npz: SciPy's rows and lists of edges") {
  test::TemporaryFolder folder;
  write_npz(folder / "a.npz", Archive().arrays);
  const auto list = read_graph(folder / "a.npz");
  CHECK(list.rows == std::vector<std::int32_t>{0, 1});
  CHECK(list.cols == std::vector<std::int32_t>{1, 0});
  CHECK(list.values == std::vector<double>{2, 3});
  write_npz(folder / "b.npz", {{"edges", Tensor::from<std::int64_t>({0, 4, 2, 2}, {2, 2})}});
  CHECK(read_graph(folder / "b.npz").num_rows == 5);
}

TEST_CASE("npz archives that lie are refused") {
  const auto with = [](const std::string& name, const Tensor& tensor) {
    Archive archive;
    archive.arrays[name] = tensor;
    return archive.refusal();
  };
  CHECK(Archive().refusal().empty());
  CHECK_THAT(with("indices", Tensor::from<std::int32_t>({1, 2}, {2})),
             contains("index 2 is not in"));
  CHECK_THAT(with("indices", Tensor::from<std::int32_t>({1, -1}, {2})), contains("index -1"));
  CHECK_THAT(with("indptr", Tensor::from<std::int32_t>({0, 3, 2}, {3})), contains("'indptr'"));
  CHECK_THAT(with("indptr", Tensor::from<std::int32_t>({0, 1}, {2})), contains("'indptr'"));
  CHECK_THAT(with("indptr", Tensor::from<float>({0, 1, 2}, {3})), contains("not int32 or int64"));
  CHECK_THAT(with("data", Tensor::from<double>({1}, {1})), contains("1 values for 2"));
  CHECK_THAT(with("data", Tensor::from<double>({1, HUGE_VAL}, {2})), contains("finite"));
  CHECK_THAT(with("shape", Tensor::from<std::int64_t>({-2, 2}, {2})), contains("'shape'"));
  CHECK_THAT(with("edges", Tensor::from<std::int64_t>({0, 1, 2}, {1, 3})), contains("3 columns"));
  Archive incomplete;
  incomplete.arrays.erase("data");
  CHECK_THAT(incomplete.refusal(), contains("no array 'data'"));
}

TEST_CASE("an imported graph becomes a matrix") {
  const Context ctx;
  const auto list = parse("0 1\n1 0\n2 2\n", GraphFormat::edge_list);
  const auto graph = list.to_csr<float>(
      ctx, {.undirected = true, .remove_self_loops = true, .duplicates = Duplicates::first});
  CHECK(graph.rows() == 3);
  CHECK(graph.entries() == 2);
  CHECK(graph.is_symmetric());
}

}  // namespace
