#include "researchkit/graph/datasets.hpp"

#include <cmath>
#include <cstdlib>
#include <numeric>

#include "researchkit/core/io/file.hpp"
#include "researchkit/core/io/npy.hpp"
#include "researchkit/graph/splits.hpp"
#include "researchkit/graph/synthetic.hpp"
#include "support/catch.hpp"
#include "support/contains.hpp"
#include "support/skip.hpp"
#include "support/temporary_folder.hpp"

namespace {

using namespace researchkit;
using namespace researchkit::graph;
using test::contains;

TEST_CASE("the karate club has 34 members, 78 ties and two factions") {
  const NodeDataset club = karate_club(Context());
  const GraphFacts facts = facts_of(club);
  CHECK(facts.nodes == 34);
  CHECK(facts.undirected_edges == 78);
  CHECK(facts.max_degree == 17);
  CHECK(facts.isolated == 0);
  CHECK(std::accumulate(club.labels.begin(), club.labels.end(), 0) == 17);
  CHECK(club.adjacency.is_symmetric());
}

TEST_CASE("the stored data sets have the facts that their page states") {
  const char* data = std::getenv("RESEARCHKIT_DATA");
  if (data == nullptr) {
    test::skip("RESEARCHKIT_DATA does not name the data sets");
    return;
  }
  struct Row {
    const char* name;
    std::int64_t nodes, edges, features, classes, feature_entries;
    double edge_homophily;
    std::int64_t max_degree, isolated;
  };
  const Row rows[] = {{"cora", 2708, 5278, 1433, 7, 49216, .810, 168, 0},
                      {"citeseer", 3327, 4552, 3703, 6, 105165, .736, 99, 48},
                      {"pubmed", 19717, 44324, 500, 3, 988031, .802, 171, 0},
                      {"chameleon", 2277, 31371, 2325, 5, 29157, .230, 732, 0},
                      {"squirrel", 5201, 198353, 2089, 5, 93477, .222, 1903, 0},
                      {"chameleon_filtered", 890, 8854, 2325, 5, 9903, .236, 247, 0},
                      {"squirrel_filtered", 2223, 46998, 2089, 5, 32481, .207, 693, 0},
                      {"actor", 7600, 26659, 932, 5, 40977, .217, 1303, 0},
                      {"cornell", 183, 277, 1703, 5, 17240, .123, 94, 0},
                      {"texas", 183, 279, 1703, 5, 15266, .061, 104, 0},
                      {"wisconsin", 251, 450, 1703, 5, 24057, .178, 122, 0}};
  const Context ctx;
  for (const Row& row : rows) {
    INFO(row.name);
    const auto folder = std::filesystem::path(data) / "graphs" / row.name;
    const NodeDataset set = load_dataset(ctx, folder);
    const GraphFacts facts = facts_of(set);
    CHECK(set.name == row.name);
    CHECK(facts.nodes == row.nodes);
    CHECK(facts.undirected_edges == row.edges);
    CHECK(set.features.columns() == row.features);
    CHECK(set.classes == row.classes);
    CHECK(set.features.entries() == row.feature_entries);
    CHECK(std::fabs(facts.edge_homophily - row.edge_homophily) < 0.0006);
    CHECK(facts.max_degree == row.max_degree);
    CHECK(facts.isolated == row.isolated);
    CHECK(set.fixed_splits.size() == 10);
    CHECK(set.adjacency.is_symmetric());
    if (set.name == "cora") {
      CHECK(std::fabs(facts.node_homophily - 0.8252) < 0.0001);
      const auto count = [&](Role role) {
        return std::count(set.fixed_splits[0].begin(), set.fixed_splits[0].end(), role);
      };
      CHECK(count(Role::train) == 1192);
      CHECK(count(Role::validation) == 796);
      CHECK(count(Role::test) == 497);
      CHECK(std::count(set.public_split.begin(), set.public_split.end(), Role::train) == 140);
    }
    if (set.name == "chameleon") CHECK(std::fabs(facts.node_homophily - 0.2471) < 0.0001);
    if (set.name == "texas") CHECK(std::fabs(facts.node_homophily - 0.0567) < 0.0001);
  }
}

/// A small legal data set on disk, of which a test breaks one file.
struct Stored {
  test::TemporaryFolder folder;
  Stored() {
    write("labels", Tensor::from<std::int32_t>({0, 1, 1}, {3}));
    write("edges", Tensor::from<std::int32_t>({0, 1, 1, 2, 2, 2}, {3, 2}));
    write("feat_indptr", Tensor::from<std::int32_t>({0, 2, 2, 3}, {4}));
    write("feat_indices", Tensor::from<std::int32_t>({0, 4, 1}, {3}));
    write("feat_values", Tensor::from<float>({2, 6, 0.5f}, {3}));
    write("splits", Tensor::from<std::uint8_t>({1, 2, 3}, {1, 3}));
  }
  void write(const std::string& name, const Tensor& tensor) const {
    write_npy(folder / (name + ".npy"), tensor);
  }
  std::string refusal() const {
    try {
      load_dataset(Context(), folder.path());
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  }
};

TEST_CASE("a stored data set: loops dropped, edges mirrored, rows divided by max(sum, 1)") {
  const Stored stored;
  const NodeDataset set = load_dataset(Context(), stored.folder.path());
  CHECK(set.adjacency.entries() == 4);
  CHECK(set.classes == 2);
  const auto values = set.features.values();
  CHECK(std::vector<float>(values.begin(), values.end()) == std::vector<float>{.25f, .75f, .5f});
  CHECK(set.fixed_splits[0][2] == Role::test);
  CHECK(load_dataset(Context(), stored.folder.path(), {.directed = true}).adjacency.entries() == 2);
}

TEST_CASE("stored data sets that lie are refused, naming the file") {
  const auto broken = [](const std::string& name, const Tensor& tensor) {
    const Stored stored;
    stored.write(name, tensor);
    const std::string message = stored.refusal();
    CHECK_THAT(message, contains(name + ".npy"));
    return message;
  };
  CHECK(Stored().refusal().empty());
  CHECK_THAT(broken("edges", Tensor::from<std::int32_t>({0, 3}, {1, 2})), contains("node 3"));
  CHECK_THAT(broken("edges", Tensor::from<std::int32_t>({0, -1}, {1, 2})), contains("node -1"));
  CHECK_THAT(broken("edges", Tensor::from<std::int32_t>({0, 1, 2}, {1, 3})), contains("3 columns"));
  CHECK_THAT(broken("edges", Tensor::from<float>({0, 1}, {1, 2})), contains("int32"));
  CHECK_THAT(broken("labels", Tensor::from<std::int32_t>({0, -1, 0}, {3})), contains("label -1"));
  CHECK_THAT(broken("feat_values", Tensor::from<float>({1, std::nanf(""), 1}, {3})),
             contains("finite"));
  broken("feat_indptr", Tensor::from<std::int32_t>({0, 2, 1, 3}, {4}));
  broken("feat_indptr", Tensor::from<std::int32_t>({0, 3}, {2}));
  const Stored stored;
  write_file(stored.folder / "meta.json", "{\"num_features\": -1}");
  CHECK_THAT(stored.refusal(), contains("meta.json: num_features"));
  broken("splits", Tensor::from<std::uint8_t>({1, 2, 4}, {1, 3}));
  broken("splits", Tensor::from<std::uint8_t>({1, 2}, {1, 2}));
}

TEST_CASE("a balanced split takes as many of each class, all of a small one, and none twice") {
  std::vector<std::int32_t> labels;  // the class sizes of texas
  const int sizes[] = {33, 1, 18, 101, 30};
  for (int c = 0; c < 5; ++c) labels.insert(labels.end(), static_cast<std::size_t>(sizes[c]), c);
  const Split split = balanced_split(labels, 5, 0.6, 0.2, 7);
  std::vector<int> trained(5);
  for (std::size_t i = 0; i < labels.size(); ++i) {
    if (split[i] == Role::train) ++trained[static_cast<std::size_t>(labels[i])];
  }
  CHECK(trained == std::vector<int>{22, 1, 18, 22, 22});
  CHECK(std::count(split.begin(), split.end(), Role::validation) == 37);
  CHECK(split == balanced_split(labels, 5, 0.6, 0.2, 7));
  CHECK(split != balanced_split(labels, 5, 0.6, 0.2, 8));
  // 79 of the 98 nodes that are not for training are of the largest class.
  CHECK(std::fabs(majority_accuracy(labels, 5, split, Role::test) - 79. / 98) < 0.1);
  const Split plain = uniform_split(11, 0.5, 0.25, 1);
  CHECK(std::count(plain.begin(), plain.end(), Role::train) == 5);
  CHECK(std::count(plain.begin(), plain.end(), Role::validation) == 2);
  CHECK_THROWS_AS(uniform_split(5, 0.9, 0.2, 0), Error);
}

TEST_CASE("synthetic graphs follow their formulas and their seed alone") {
  const Context ctx;
  const Csr<float> uniform = uniform_graph(ctx, 1000, 4000, 3);
  CHECK(uniform.is_symmetric());
  CHECK(uniform.entries() > 7800);
  CHECK(uniform.entries() <= 8000);
  const Csr<float> skewed = rmat_graph(ctx, 10, 8, 1);
  std::int64_t largest = 0;
  for (std::int64_t i = 0; i < skewed.rows(); ++i) largest = std::max(largest, skewed.degree(i));
  CHECK(largest > 10 * skewed.entries() / skewed.rows());
  for (const double phi : {0.75, -0.75}) {
    const NodeDataset data =
        csbm(ctx, {.nodes = 2000, .average_degree = 10, .features = 4, .phi = phi});
    const GraphFacts facts = facts_of(data);
    // Degrees are Poisson of mean 10; (1 + lambda / sqrt(d)) / 2 of the edges lie within a class.
    const double lambda = std::sqrt(4.25) * std::sin(3.14159265 * phi / 2);
    CHECK(std::fabs(static_cast<double>(facts.undirected_edges) / 10'000 - 1) < 0.05);
    CHECK(std::fabs(facts.edge_homophily - (1 + lambda / std::sqrt(10.)) / 2) < 0.02);
  }
  CHECK_THROWS_AS(csbm(ctx, {.nodes = 0}), Error);
}

TEST_CASE("splits are chosen by kind, and what a data set does not have is refused") {
  const Context ctx;
  NodeDataset club = open_dataset(ctx, {}, "karate_club");
  CHECK(describe(club).starts_with("karate_club: 34 nodes, 78 edges, 34 features, 2 classes"));
  CHECK(split_of(club, "random", 2, 5) == balanced_split(club.labels, 2, 0.6, 0.2, 7));
  CHECK(split_of(club, "random", 2, 5, 0.1, 0.3) == balanced_split(club.labels, 2, 0.1, 0.3, 7));
  CHECK_THROWS_AS(split_of(club, "public", 0, 0), Error);
  CHECK_THROWS_AS(split_of(club, "fixed", 0, 0), Error);
  CHECK_THROWS_AS(split_of(club, "other", 0, 0), Error);
  club.public_split = Split(34, Role::test);
  club.fixed_splits = {Split(34, Role::train), Split(34, Role::validation)};
  CHECK(split_of(club, "public", 3, 0) == club.public_split);
  CHECK(split_of(club, "fixed", 1, 9) == club.fixed_splits[1]);
  CHECK_THROWS_AS(split_of(club, "fixed", 2, 0), Error);
  CHECK_THROWS_AS(open_dataset(ctx, {}, "cora"), Error);
}

}  // namespace
