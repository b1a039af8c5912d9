#pragma once

#include <cstdint>

#include "researchkit/graph/datasets.hpp"

/// Graphs by formula, the same for the same seed everywhere.
namespace researchkit::graph {

/// `edges` pairs of uniform nodes, loops dropped, made undirected, duplicates merged.
Csr<float> uniform_graph(const Context& ctx, std::int64_t nodes, std::int64_t edges,
                         std::uint64_t seed);

/// Quadrant probabilities of an R-MAT graph; the fourth is what is left.
struct RmatProbabilities {
  double a = 0.57, b = 0.19, c = 0.19;
};

/// A graph of 2^scale nodes with skewed degrees (Chakrabarti, Zhan, Faloutsos, "R-MAT", 2004):
/// 2^scale edge_factor draws, loops dropped, made undirected, duplicates merged.
Csr<float> rmat_graph(const Context& ctx, int scale, std::int64_t edge_factor, std::uint64_t seed,
                      const RmatProbabilities& probabilities = {});

/// Settings of the contextual stochastic block model (Deshpande et al., 2018).
struct CsbmOptions {
  std::int64_t nodes = 5000;
  double average_degree = 5;
  std::int64_t features = 2000;
  double phi = 0.5;  ///< in [-1, 1]: > 0 homophilic, < 0 heterophilic, 0: features alone tell
  double epsilon = 3.25;
  std::uint64_t seed = 0;
};

/// Two classes whose edges and dense features tell them apart in a proportion that `phi` sets. Edges
/// by geometric skipping: O(nodes + edges). Throws Error for settings out of range.
NodeDataset csbm(const Context& ctx, const CsbmOptions& options);

/// Settings of motif_graphs.
struct MotifOptions {
  std::int64_t graphs = 400;
  std::int64_t base_nodes = 8;  ///< of the tree, at least; it has up to twice as many
  std::int64_t motif_nodes = 10;
  std::int64_t types = 4;  ///< of nodes
  double hint = 0.25;      ///< fraction of motif nodes whose type tells the class
  std::uint64_t seed = 0;
};

/// Graphs that hold a ring (class 0) or a star (class 1): a random tree with at most three neighbours for
/// each node, and the motif, joined by one edge. Features are the node's type, one of `types`, in one-hot
/// form: random, but for the hinted nodes, whose type is their class. What the features do not tell, the
/// edges do. Throws Error for settings out of range.
GraphDataset motif_graphs(const Context& ctx, const MotifOptions& options = {});

}  // namespace researchkit::graph
