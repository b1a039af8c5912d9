#include "researchkit/graph/synthetic.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "researchkit/core/error.hpp"
#include "researchkit/core/random.hpp"

namespace researchkit::graph {
namespace {

Csr<float> undirected(const Context& ctx, const std::vector<std::int32_t>& from,
                      const std::vector<std::int32_t>& to, std::int64_t nodes) {
  const EdgeListOptions options{nodes, nodes, true, true, Duplicates::first};
  return {kernels::coo_to_csr<float, std::int32_t>(ctx, from, to, nullptr, options), nodes};
}

/// Calls use(i) for each i in [0, count) that an independent coin of this probability picks, by
/// drawing the gaps. `at` is the next random number of `random`.
template <class Use>
void pick(const Philox& random, std::uint64_t& at, std::int64_t count, double probability,
          Use&& use) {
  if (probability <= 0) return;
  const double log_miss = std::log1p(-std::min(probability, 1 - 1e-15));
  for (double i = 0;; ++i) {
    i += std::floor(std::log1p(-random.uniform64(at++)) / log_miss);
    if (!(i < static_cast<double>(count))) return;
    use(static_cast<std::int64_t>(i));
  }
}

/// The edges of motif_graphs, as they are drawn.
struct MotifEdges {
  static constexpr std::int64_t kMostNeighbours = 3;  // in a tree: no stars

  Philox random;
  std::uint64_t at = 0;
  std::vector<std::int32_t> from = {}, to = {};

  std::int64_t below(std::int64_t bound) {
    return static_cast<std::int64_t>(random.below(at++, static_cast<std::uint64_t>(bound)));
  }
  void connect(std::int64_t a, std::int64_t b) {
    from.push_back(static_cast<std::int32_t>(a));
    to.push_back(static_cast<std::int32_t>(b));
  }
  /// Nodes first, ..., first + count - 1, each joined to a random earlier one with room for it.
  void grow_tree(std::int64_t first, std::int64_t count) {
    std::vector<std::int64_t> open = {0};
    std::vector<std::int64_t> neighbours(static_cast<std::size_t>(count));
    for (std::int64_t i = 1; i < count; ++i) {
      const auto pick = static_cast<std::size_t>(below(static_cast<std::int64_t>(open.size())));
      const std::int64_t parent = open[pick];
      connect(first + i, first + parent);
      ++neighbours[static_cast<std::size_t>(i)];
      if (++neighbours[static_cast<std::size_t>(parent)] == kMostNeighbours) {
        open.erase(open.begin() + static_cast<std::ptrdiff_t>(pick));
      }
      open.push_back(i);
    }
  }
  void add_motif(std::int64_t first, std::int64_t count, bool ring) {
    for (std::int64_t i = 1; i < count; ++i) connect(first + i, ring ? first + i - 1 : first);
    if (ring) connect(first, first + count - 1);
  }
};

}  // namespace

Csr<float> uniform_graph(const Context& ctx, std::int64_t nodes, std::int64_t edges,
                         std::uint64_t seed) {
  if (nodes < 1 && edges > 0) throw Error("uniform_graph: there are no nodes to connect");
  const Philox random(seed);
  std::vector<std::int32_t> from, to;
  for (std::int64_t e = 0; e < edges; ++e) {
    const auto draw = static_cast<std::uint64_t>(2 * e);
    from.push_back(
        static_cast<std::int32_t>(random.below(draw, static_cast<std::uint64_t>(nodes))));
    to.push_back(
        static_cast<std::int32_t>(random.below(draw + 1, static_cast<std::uint64_t>(nodes))));
  }
  return undirected(ctx, from, to, nodes);
}

Csr<float> rmat_graph(const Context& ctx, int scale, std::int64_t edge_factor, std::uint64_t seed,
                      const RmatProbabilities& p) {
  if (scale < 0 || scale > 30) throw Error("rmat_graph: scale in [0, 30] wanted");
  const std::int64_t nodes = std::int64_t{1} << scale, edges = nodes * edge_factor;
  const Philox random(seed);
  std::vector<std::int32_t> from, to;
  std::uint64_t at = 0;
  for (std::int64_t e = 0; e < edges; ++e) {
    std::int32_t row = 0, column = 0;
    for (int bit = 0; bit < scale; ++bit) {
      const auto u = static_cast<double>(random.uniform(at++));
      const bool lower = u >= p.a + p.b;
      const bool right = lower ? u >= p.a + p.b + p.c : u >= p.a;
      row = 2 * row + (lower ? 1 : 0);
      column = 2 * column + (right ? 1 : 0);
    }
    from.push_back(row);
    to.push_back(column);
  }
  return undirected(ctx, from, to, nodes);
}

NodeDataset csbm(const Context& ctx, const CsbmOptions& o) {
  if (o.nodes < 1 || o.features < 1 || !(o.average_degree >= 0) || !(std::fabs(o.phi) <= 1) ||
      !(o.epsilon > -1)) {
    throw Error(
        "csbm: nodes and features of at least 1, average_degree >= 0, phi in [-1, 1] and "
        "epsilon > -1 wanted");
  }
  const auto n = static_cast<double>(o.nodes), f = static_cast<double>(o.features);
  const double lambda = std::sqrt(1 + o.epsilon) * std::sin(std::numbers::pi * o.phi / 2);
  const double mu = std::sqrt(n / f * (1 + o.epsilon)) * std::cos(std::numbers::pi * o.phi / 2);
  const double spread = lambda * std::sqrt(o.average_degree);
  const double within = std::clamp((o.average_degree + spread) / n, 0.0, 1.0);
  const double between = std::clamp((o.average_degree - spread) / n, 0.0, 1.0);
  NodeDataset data;
  data.name = "csbm";
  data.classes = 2;
  const std::int64_t half = (o.nodes + 1) / 2;
  for (std::int64_t i = 0; i < o.nodes; ++i) data.labels.push_back(i < half ? 0 : 1);

  const Philox coins(o.seed, 0), normals(o.seed, 1);
  std::uint64_t at = 0;
  std::vector<std::int32_t> from, to;
  for (std::int64_t i = 0; i < o.nodes; ++i) {
    const std::int64_t class_end = i < half ? half : o.nodes;
    const auto connect = [&](std::int64_t first) {
      return [&, first](std::int64_t offset) {
        from.push_back(static_cast<std::int32_t>(i));
        to.push_back(static_cast<std::int32_t>(first + offset));
      };
    };
    pick(coins, at, class_end - i - 1, within, connect(i + 1));
    pick(coins, at, o.nodes - class_end, between, connect(class_end));
  }
  data.adjacency = undirected(ctx, from, to, o.nodes);

  CsrArrays<float> features;
  auto draw = static_cast<std::uint64_t>(o.features);
  for (std::int64_t i = 0; i < o.nodes; ++i) {
    const double side = i < half ? 1 : -1;
    for (std::int64_t c = 0; c < o.features; ++c) {
      const double u = normals.normal(static_cast<std::uint64_t>(c)) / std::sqrt(f);
      const double z = normals.normal(draw++) / std::sqrt(f);
      features.indices.push_back(static_cast<std::int32_t>(c));
      features.values.push_back(static_cast<float>(std::sqrt(mu / n) * side * u + z));
    }
    features.indptr.push_back(static_cast<std::int32_t>(features.indices.size()));
  }
  data.features = Csr<float>(std::move(features), o.features);
  return data;
}

GraphDataset motif_graphs(const Context& ctx, const MotifOptions& o) {
  if (o.graphs < 0 || o.base_nodes < 1 || o.motif_nodes < 3 || o.types < 2 ||
      !(o.hint >= 0 && o.hint <= 1)) {
    throw Error(
        "motif_graphs: graphs of at least 0, base_nodes of 1, motif_nodes of 3, types of 2 and "
        "hint in "
        "[0, 1] wanted");
  }
  GraphDataset data;
  data.name = "ring vs star motif";
  data.classes = 2;
  MotifEdges edges{.random = Philox(o.seed)};
  CsrArrays<float> features, members;
  std::int64_t nodes = 0;
  for (std::int64_t g = 0; g < o.graphs; ++g) {
    const auto label = static_cast<std::int32_t>(g % 2);
    const std::int64_t tree = o.base_nodes + edges.below(o.base_nodes + 1), motif = nodes + tree;
    edges.grow_tree(nodes, tree);
    edges.add_motif(motif, o.motif_nodes, label == 0);
    edges.connect(nodes + edges.below(tree), motif + edges.below(o.motif_nodes));
    for (; nodes < motif + o.motif_nodes; ++nodes) {
      const bool hinted = edges.random.uniform64(edges.at++) < o.hint && nodes >= motif;
      const auto type = static_cast<std::int32_t>(edges.below(o.types));
      features.indices.push_back(hinted ? label : type);
      features.indptr.push_back(static_cast<std::int32_t>(features.indices.size()));
      members.indices.push_back(static_cast<std::int32_t>(nodes));
    }
    members.indptr.push_back(static_cast<std::int32_t>(members.indices.size()));
    data.labels.push_back(label);
  }
  features.values.assign(features.indices.size(), 1.f);
  members.values.assign(members.indices.size(), 1.f);
  data.adjacency = undirected(ctx, edges.from, edges.to, nodes);
  data.features = Csr<float>(std::move(features), o.types);
  data.members = Csr<float>(std::move(members), nodes);
  return data;
}

}  // namespace researchkit::graph
