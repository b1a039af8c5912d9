#include <algorithm>
#include <map>

#include "researchkit/graph/splits.hpp"
#include "researchkit/graph/synthetic.hpp"
#include "support/catch.hpp"

namespace {

using namespace researchkit;
using namespace researchkit::graph;

}  // namespace

TEST_CASE("motif graphs are a tree with a ring or a star each, and nothing between them") {
  const Context ctx;
  const MotifOptions options{.graphs = 40, .base_nodes = 8, .motif_nodes = 7, .seed = 11};
  const GraphDataset data = motif_graphs(ctx, options);
  REQUIRE(data.graphs() == 40);
  CHECK(data.members.columns() == data.adjacency.rows());
  CHECK(data.features.rows() == data.adjacency.rows());
  CHECK(data.adjacency.is_symmetric());
  const auto members = data.members.view();
  std::int64_t nodes = 0;
  for (std::int64_t g = 0; g < 40; ++g) {
    const std::int64_t first = members.column(members.begin(g)),
                       last = first + members.end(g) - members.begin(g);
    CHECK(first == nodes);
    nodes = last;
    CHECK(last - first >= 15);
    CHECK(last - first <= 23);
    std::int64_t ends = 0, most = 0;
    for (std::int64_t i = first; i < last; ++i) {
      most = std::max(most, data.adjacency.degree(i));
      for (std::int64_t e = data.adjacency.view().begin(i); e < data.adjacency.view().end(i); ++e) {
        const std::int64_t j = data.adjacency.view().column(e);
        CHECK((j >= first && j < last));
        ++ends;
      }
    }
    const bool ring = data.labels[static_cast<std::size_t>(g)] == 0;
    CHECK(ring == (g % 2 == 0));
    CHECK(ends / 2 == last - first - (ring ? 0 : 1));  // a tree has one edge less than nodes
    CHECK((most >= 6) == !ring);                       // the star's middle
  }
  CHECK(nodes == data.adjacency.rows());
}

TEST_CASE("hints are types that tell the class, and only as many as asked for") {
  const Context ctx;
  const auto told = [&](double hint) {
    const GraphDataset data =
        motif_graphs(ctx, {.graphs = 300, .motif_nodes = 6, .types = 4, .hint = hint, .seed = 2});
    std::map<std::int32_t, double> counts;
    double all = 0;
    for (std::int64_t g = 0; g < 300; ++g) {
      for (std::int64_t e = data.members.view().end(g) - 6; e < data.members.view().end(g); ++e) {
        const auto node = data.members.view().column(e);
        const auto type = data.features.view().column(data.features.view().begin(node));
        counts[data.labels[static_cast<std::size_t>(g)] == type ? 1 : 0] += 1;
        ++all;
      }
    }
    return counts[1] / all;
  };
  CHECK(told(1) == 1);
  CHECK(told(0) == Approx(0.25).margin(0.05));
  CHECK(told(0.5) == Approx(0.625).margin(0.05));
}

TEST_CASE("the observed part leaves out the hidden test nodes") {
  const Context ctx;
  const NodeDataset data = karate_club(ctx);
  const Split split = balanced_split(data.labels, data.classes, 0.3, 0.2, 4);
  const ObservedPart part = observed_part(data, split, 0.5, 9);
  const auto nodes = observed_nodes(split, 0.5, 9);
  CHECK(part.data.nodes() == static_cast<std::int64_t>(nodes.size()));
  CHECK(part.split == induced(split, nodes));
  for (std::int32_t i = 0; i < 34; ++i) {
    const bool observed = std::binary_search(nodes.begin(), nodes.end(), i);
    const auto at = static_cast<std::size_t>(i);
    CHECK((part.hidden[at] != 0) == !observed);
    if (!observed) CHECK(split[at] == Role::test);
  }
}
