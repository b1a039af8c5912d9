#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string_view>
#include <vector>

#include "researchkit/graph/csr.hpp"

namespace researchkit::graph {

/// The entries of a graph or matrix as a file lists them.
struct EdgeList {
  std::int64_t num_rows = 0;
  std::int64_t num_cols = 0;
  std::vector<std::int32_t> rows;
  std::vector<std::int32_t> cols;
  std::vector<double> values;  // all ones where the file has none

  /// The entries as a matrix; `options` are those of coo_to_csr, its sizes are this list's.
  template <class Real>
  Csr<Real> to_csr(const Context& ctx, EdgeListOptions options = {}) const {
    options.num_rows = num_rows;
    options.num_cols = num_cols;
    if (options.undirected && num_rows != num_cols) {
      throw Error("an undirected graph has as many rows as columns");
    }
    const std::vector<Real> converted(values.begin(), values.end());
    return {kernels::coo_to_csr<Real, std::int32_t>(ctx, rows, cols, converted.data(), options),
            num_cols};
  }
};

enum class GraphFormat : std::uint8_t {
  edge_list,      ///< lines of two node numbers from 0 and, in all or in none, a weight
  matrix_market,  ///< `%%MatrixMarket matrix coordinate`; symmetric ones get both triangles
  npz,            ///< SciPy's csr_matrix (indptr, indices, data, shape), or `edges` [e, 2]
};

/// Reads a graph; the format is that of the extension: .mtx, .npz, else an edge list.
///
///     const auto graph = read_graph("roads.mtx").to_csr<float>(ctx, {.undirected = true});
///
/// Edge lists separate numbers by blanks, commas or semicolons; lines that begin with # or % are
/// comments. The graph has as many nodes as the largest number says.
/// Throws Error, naming the file and what is wrong with it, where indices are negative, out of range
/// or above 2^31 - 2, counts do not fit, numbers are none or not finite, or the file is cut off.
/// Memory stays in proportion to the file.
EdgeList read_graph(const std::filesystem::path& path);

/// The same from memory; `name` stands for the file in messages.
EdgeList parse_graph(std::span<const std::byte> bytes, GraphFormat format, std::string_view name);

}  // namespace researchkit::graph
