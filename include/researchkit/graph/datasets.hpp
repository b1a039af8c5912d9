#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "researchkit/core/context.hpp"
#include "researchkit/graph/csr.hpp"

namespace researchkit::graph {

/// What a node is used for in one split; the numbers of the stored files.
enum class Role : std::uint8_t { none = 0, train = 1, validation = 2, test = 3 };
using Split = std::vector<Role>;

/// The rows of one role, as the mask that a loss takes.
std::vector<std::uint8_t> mask_of(const Split& split, Role role);

/// A graph whose nodes have features and classes.
struct NodeDataset {
  std::string name;
  Csr<float> adjacency;              ///< target rows, source columns, all ones
  Csr<float> features;               ///< [nodes, features], sparse
  std::vector<std::int32_t> labels;  ///< in [0, classes)
  std::int64_t classes = 0;
  std::vector<Split> fixed_splits;  ///< the published ones, may be none
  Split public_split;               ///< the planetoid one, may be empty

  std::int64_t nodes() const { return adjacency.rows(); }
};

/// Several graphs, each of a class, as one graph without edges between them.
struct GraphDataset {
  std::string name;
  Csr<float> adjacency;              ///< of all nodes
  Csr<float> features;               ///< [nodes, features], sparse
  Csr<float> members;                ///< [graphs, nodes]: 1 where the node is the graph's
  std::vector<std::int32_t> labels;  ///< of each graph, in [0, classes)
  std::int64_t classes = 0;

  std::int64_t graphs() const { return members.rows(); }
};

struct LoadOptions {
  bool directed = false;           ///< keep the direction of the stored pairs
  bool normalize_features = true;  ///< divide each row by max(its sum, 1)
};

/// Reads one folder of stored arrays (edges, feat_indptr, feat_indices, feat_values, labels and,
/// where present, splits, public_split and meta.json, which says how many features there are).
///
///     const NodeDataset cora = load_dataset(ctx, "../shared/data/graphs/cora");
///
/// Self loops are dropped, edges made undirected, duplicates merged. Throws Error, naming the file,
/// for arrays of other types or shapes, indices or labels out of range, and features that are not
/// finite.
NodeDataset load_dataset(const Context& ctx, const std::filesystem::path& folder,
                         const LoadOptions& options = {});

/// The data set `name` below `folder`, or karate_club, which needs no files.
NodeDataset open_dataset(const Context& ctx, const std::filesystem::path& folder,
                         const std::string& name, const LoadOptions& options = {});

/// Zachary's karate club: 34 nodes, 78 edges, the two factions after the split for classes. It has no
/// features of its own: these are the rows of the identity. Source: Zachary, "An information flow
/// model for conflict and fission in small groups", 1977.
NodeDataset karate_club(const Context& ctx);

/// The data set of some nodes, which ascend, and the edges among them; splits keep their roles. Throws
/// Error if a node is out of range or they do not ascend.
NodeDataset induced(const NodeDataset& data, std::span<const std::int32_t> nodes);
Split induced(const Split& split, std::span<const std::int32_t> nodes);

/// Counts that tell data sets apart.
struct GraphFacts {
  std::int64_t nodes = 0;
  std::int64_t undirected_edges = 0;  ///< pairs, loops apart
  std::int64_t isolated = 0;
  std::int64_t max_degree = 0;
  double edge_homophily = 0;  ///< fraction of edges within a class
  double node_homophily = 0;  ///< mean over nodes with neighbours of the fraction in their class
};
GraphFacts facts_of(const NodeDataset& data);
/// The same in a line for people.
std::string describe(const NodeDataset& data);

/// For each node the fraction of its neighbours in its class; -1 without neighbours.
std::vector<double> local_homophily(const NodeDataset& data);

}  // namespace researchkit::graph
