#include <algorithm>
#include <vector>

#include "researchkit/graph/datasets.hpp"
#include "researchkit/graph/splits.hpp"
#include "support/catch.hpp"
#include "support/contains.hpp"

namespace {

using namespace researchkit;
using namespace researchkit::graph;

}  // namespace

TEST_CASE("an induced data set keeps the edges, features, labels and roles of its nodes") {
  const Context ctx;
  NodeDataset data = karate_club(ctx);
  data.fixed_splits = {balanced_split(data.labels, data.classes, 0.5, 0.2, 1)};
  const std::vector<std::int32_t> nodes = {0, 1, 2, 7, 19, 33};
  const NodeDataset part = induced(data, nodes);
  CHECK(part.nodes() == 6);
  CHECK(part.features.columns() == 34);
  CHECK(part.features.entries() == 6);
  const auto has = [](const Csr<float>& a, std::int64_t row, std::int64_t column) {
    for (std::int64_t e = a.view().begin(row); e < a.view().end(row); ++e) {
      if (a.view().column(e) == column) return true;
    }
    return false;
  };
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    CHECK(part.labels[i] == data.labels[static_cast<std::size_t>(nodes[i])]);
    CHECK(part.fixed_splits[0][i] == data.fixed_splits[0][static_cast<std::size_t>(nodes[i])]);
    CHECK(has(part.features, static_cast<std::int64_t>(i), nodes[i]));
    for (std::size_t j = 0; j < nodes.size(); ++j) {
      CHECK(has(part.adjacency, static_cast<std::int64_t>(i), static_cast<std::int64_t>(j)) ==
            has(data.adjacency, nodes[i], nodes[j]));
    }
  }
  CHECK(induced(data, {}).nodes() == 0);
  for (const std::vector<std::int32_t>& bad :
       {std::vector<std::int32_t>{34}, {-1}, {3, 3}, {3, 2}}) {
    CHECK_THROWS_WITH(induced(data, bad), test::contains("ascending in [0, 34)"));
  }
}

TEST_CASE("observed nodes are all but a part of the test nodes") {
  Split split(100, Role::train);
  std::fill(split.begin() + 20, split.begin() + 60, Role::test);
  const auto nodes = observed_nodes(split, 0.25, 3);
  CHECK(nodes.size() == 90);
  CHECK(std::is_sorted(nodes.begin(), nodes.end()));
  std::vector<std::uint8_t> seen(100, 0);
  for (const std::int32_t node : nodes) seen[static_cast<std::size_t>(node)] = 1;
  for (std::size_t i = 0; i < 100; ++i) CHECK((seen[i] == 1 || split[i] == Role::test));
  CHECK(observed_nodes(split, 0.25, 3) == nodes);
  CHECK(observed_nodes(split, 0.25, 4) != nodes);
  CHECK(observed_nodes(split, 0, 3).size() == 100);
  CHECK(observed_nodes(split, 1, 3).size() == 60);
  CHECK_THROWS_AS(observed_nodes(split, 1.5, 3), Error);
}
