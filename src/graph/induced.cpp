// Data sets of a part of the nodes.
#include <fmt/format.h>

#include "researchkit/core/error.hpp"
#include "researchkit/graph/datasets.hpp"

namespace researchkit::graph {
namespace {

void check_nodes(std::span<const std::int32_t> nodes, std::int64_t count) {
  std::int32_t last = -1;
  for (const std::int32_t node : nodes) {
    if (node <= last || node >= count) {
      throw Error("graph::induced", "nodes", fmt::format("ascending in [0, {})", count),
                  fmt::format("{} after {}", node, last));
    }
    last = node;
  }
}

/// The rows `nodes`; columns are renamed by `column_of`, those that it maps to -1 left out.
Csr<float> rows_of(const Csr<float>& matrix, std::span<const std::int32_t> nodes,
                   std::span<const std::int32_t> column_of, std::int64_t columns) {
  CsrArrays<float, std::int32_t> rows;
  for (const std::int32_t node : nodes) {
    for (std::int64_t e = matrix.view().begin(node); e < matrix.view().end(node); ++e) {
      const std::int64_t stored = matrix.view().column(e);
      const auto column = column_of.empty() ? static_cast<std::int32_t>(stored)
                                            : column_of[static_cast<std::size_t>(stored)];
      if (column < 0) continue;
      rows.indices.push_back(column);
      rows.values.push_back(matrix.values()[static_cast<std::size_t>(e)]);
    }
    rows.indptr.push_back(static_cast<std::int32_t>(rows.indices.size()));
  }
  return {std::move(rows), columns};
}

}  // namespace

NodeDataset induced(const NodeDataset& data, std::span<const std::int32_t> nodes) {
  check_nodes(nodes, data.nodes());
  const auto count = static_cast<std::int64_t>(nodes.size());
  std::vector<std::int32_t> number(static_cast<std::size_t>(data.nodes()), -1);
  NodeDataset part;
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    const auto node = static_cast<std::size_t>(nodes[i]);
    number[node] = static_cast<std::int32_t>(i);
    part.labels.push_back(data.labels[node]);
  }
  part.name = data.name;
  part.adjacency = rows_of(data.adjacency, nodes, number, count);
  part.features = rows_of(data.features, nodes, {}, data.features.columns());
  part.classes = data.classes;
  for (const Split& split : data.fixed_splits) part.fixed_splits.push_back(induced(split, nodes));
  if (!data.public_split.empty()) part.public_split = induced(data.public_split, nodes);
  return part;
}

Split induced(const Split& split, std::span<const std::int32_t> nodes) {
  check_nodes(nodes, static_cast<std::int64_t>(split.size()));
  Split part;
  for (const std::int32_t node : nodes) part.push_back(split[static_cast<std::size_t>(node)]);
  return part;
}

}  // namespace researchkit::graph
