#pragma once

#include "researchkit/graph/build.hpp"
#include "researchkit/graph/checks.hpp"
#include "researchkit/graph/reference_build.hpp"

namespace researchkit::graph {

/// An edge list as compressed rows with ascending columns and without duplicates.
///
///     auto graph = coo_to_csr(ctx, {.rows = from, .cols = to, .num_rows = n, .num_cols = n,
///                                   .undirected = true, .duplicates = Duplicates::first});
///
/// Self loops are dropped first if asked; then `undirected` appends the mirror of each entry off the
/// diagonal, after all originals; then equal places are merged. O(E + n + m), two counting sorts.
template <class Real, class Index>
struct CooToCsr {
  static constexpr std::string_view name = "graph.coo_to_csr";
  static constexpr std::string_view summary = "An edge list as a sparse matrix.";

  In<Index, 1> rows = {};             // [e]
  In<Index, 1> cols = {};             // [e]
  Optional<In<Real, 1>> values = {};  // [e]
  Out<Index, 1> indptr = {};          // [num_rows+1]
  Out<Index, 1> indices = {};         // [nnz]
  Out<Real, 1> merged = {};           // [nnz]
  std::int64_t num_rows = 0;
  std::int64_t num_cols = 0;
  bool undirected = false;
  bool remove_self_loops = false;
  Duplicates duplicates = Duplicates::sum;
  Extent nnz;

  void describe(Description& io) {
    io.input(rows, "rows", "e", "row of each entry", {.in = "[0, num_rows)", .contiguous = true});
    io.input(cols, "cols", "e", "column of each entry",
             {.in = "[0, num_cols)", .contiguous = true});
    io.input(values, "values", "e", "entries, all ones when absent", {.contiguous = true});
    io.extent(nnz, "nnz", "2*e", "entries left");
    io.output(indptr, "indptr", "num_rows+1", "where each row begins", {.contiguous = true});
    io.output(indices, "indices", "nnz", "columns, ascending in each row", {.contiguous = true});
    io.output(merged, "values", "nnz", "entries", {.contiguous = true});
    io.attribute(num_rows, "num_rows", "rows of the matrix", {.in = "[0, 2147483647)"});
    io.attribute(num_cols, "num_cols", "columns of the matrix", {.in = "[0, 2147483647)"});
    io.attribute(undirected, "undirected", "add the mirror of each entry");
    io.attribute(remove_self_loops, "remove_self_loops", "drop the diagonal");
    io.attribute(duplicates, "duplicates", "what becomes of entries at one place");
  }
  void validate(const Check& check) const {
    if (undirected && num_rows != num_cols) {
      check.refuse("undirected", "false, or as many rows as columns",
                   "true with " + std::to_string(num_rows) + " rows and " +
                       std::to_string(num_cols) + " columns");
    }
  }
  Cost cost() const {
    const auto entries = static_cast<double>(rows.size());
    return {2 * entries, 4 * entries * (2 * sizeof(Index) + sizeof(Real)), true};
  }
  void run(const Context& ctx) const {
    const auto e = static_cast<std::size_t>(rows.size());
    write(kernels::coo_to_csr<Real, Index>(ctx, {rows.data_handle(), e}, {cols.data_handle(), e},
                                           values ? values->data_handle() : nullptr, options()));
  }
  void reference() const {
    write(reference::coo_to_csr<Real, Index>(rows, cols, values ? values->data_handle() : nullptr,
                                             options()));
  }
  static void arbitrary(Arbitrary& random) {
    const auto n = random.integer(1, 12), m = random.chance(0.5) ? n : random.integer(1, 12);
    random.call.attributes["num_rows"] = n;
    random.call.attributes["num_cols"] = m;
    for (const auto& [name, bound] : {std::pair{"rows", n}, std::pair{"cols", m}}) {
      const auto limit = bound;
      Tensor tensor = random.call.inputs.at(name).clone();
      visit_dtype(tensor.dtype(), [&]<class T>(T) {
        for (T& index : tensor.values<T>()) index = static_cast<T>(random.integer(0, limit - 1));
      });
      random.call.inputs.set(name, tensor);
    }
  }

 private:
  EdgeListOptions options() const {
    return {num_rows, num_cols, undirected, remove_self_loops, duplicates};
  }
  void write(const CsrArrays<Real, Index>& csr) const {
    nnz.set(static_cast<std::int64_t>(csr.indices.size()));
    std::copy(csr.indptr.begin(), csr.indptr.end(), indptr.data_handle());
    std::copy(csr.indices.begin(), csr.indices.end(), indices.data_handle());
    std::copy(csr.values.begin(), csr.values.end(), merged.data_handle());
  }
};

static_assert(OperatorStruct<CooToCsr<float, std::int32_t>>);
inline constexpr IndexedFunction<CooToCsr> coo_to_csr;

/// The propagation operator of a graph: its adjacency matrix with its own diagonal dropped,
/// `self_loop` put there, and both degrees divided out as `mode` says (Kipf and Welling; for "cheb"
/// the Laplacian 2 L / lambda_max - I with lambda_max = 2).
///
///     auto p = graph_norm(ctx, {.indptr = a.indptr, .indices = a.indices, .values = a.merged});
///
/// Degrees are row sums, in double. A node of degree 0 gets an empty row or zeros, never infinity.
/// Columns ascend and duplicates are merged.
template <class Real, class Index>
struct GraphNorm {
  static constexpr std::string_view name = "graph.graph_norm";
  static constexpr std::string_view summary = "Normalised propagation operator of a graph.";

  In<Index, 1> indptr = {};           // [n+1]
  In<Index, 1> indices = {};          // [e]
  Optional<In<Real, 1>> values = {};  // [e]
  Out<Index, 1> out_indptr = {};      // [n+1]
  Out<Index, 1> out_indices = {};     // [nnz]
  Out<Real, 1> out_values = {};       // [nnz]
  Normalization mode = Normalization::sym;
  double self_loop = 1;
  Extent nnz;

  void describe(Description& io) {
    describe_pattern(io, indptr, indices, "[0, n)", "e");
    io.input(values, "values", "e", "edge weights, all ones when absent", {.contiguous = true});
    io.extent(nnz, "nnz", "e+n", "entries of the operator");
    io.output(out_indptr, "indptr", "n+1", "where each row begins", {.contiguous = true});
    io.output(out_indices, "indices", "nnz", "columns, ascending in each row",
              {.contiguous = true});
    io.output(out_values, "values", "nnz", "entries of the operator", {.contiguous = true});
    io.attribute(mode, "mode", "how degrees are divided out");
    io.attribute(self_loop, "self_loop", "weight put on the diagonal; 0: none", {.in = "[0, inf)"});
  }
  void validate(const Check& check) const { require_csr(check, indptr, indices.extent(0)); }
  Cost cost() const {
    const auto entries = static_cast<double>(indices.size() + indptr.size());
    return {6 * entries, 2 * entries * (sizeof(Index) + sizeof(Real)), true};
  }
  void run(const Context& ctx) const {
    write(kernels::graph_norm<Real, Index>(ctx, view(), mode, self_loop));
  }
  void reference() const { write(reference::graph_norm<Real, Index>(view(), mode, self_loop)); }
  static void arbitrary(Arbitrary& random) { arbitrary_square_csr(random); }

 private:
  CsrView<Real, Index> view() const {
    return csr_view<Real>(indptr, indices, values ? values->data_handle() : nullptr,
                          indptr.extent(0) - 1);
  }
  void write(const CsrArrays<Real, Index>& csr) const {
    nnz.set(static_cast<std::int64_t>(csr.indices.size()));
    std::copy(csr.indptr.begin(), csr.indptr.end(), out_indptr.data_handle());
    std::copy(csr.indices.begin(), csr.indices.end(), out_indices.data_handle());
    std::copy(csr.values.begin(), csr.values.end(), out_values.data_handle());
  }
};

static_assert(OperatorStruct<GraphNorm<float, std::int32_t>>);
inline constexpr IndexedFunction<GraphNorm> graph_norm;

/// Divides the entries of each row by max(their sum, clamp_min): rows that sum to less than that
/// stay as they are in proportion, rows of zeros stay zero.
///
///     auto features = row_normalize(ctx, {.indptr = x.indptr(), .indices = x.indices(),
///                                         .values = x.values()}).normalized;
template <class Real, class Index>
struct RowNormalize {
  static constexpr std::string_view name = "graph.row_normalize";
  static constexpr std::string_view summary = "Rows divided by their sums.";

  In<Index, 1> indptr = {};      // [n+1]
  In<Index, 1> indices = {};     // [nnz]
  In<Real, 1> values = {};       // [nnz]
  Out<Real, 1> normalized = {};  // [nnz]
  double clamp_min = 1;

  void describe(Description& io) {
    describe_pattern(io, indptr, indices, "[0, inf)");
    io.input(values, "values", "nnz", "entries", {.contiguous = true});
    io.output(normalized, "values", "nnz", "entries divided", {.contiguous = true});
    io.attribute(clamp_min, "clamp_min", "the least divisor", {.in = "(0, inf)"});
  }
  void validate(const Check& check) const { require_csr(check, indptr, indices.extent(0)); }
  Cost cost() const {
    const auto entries = static_cast<double>(values.size());
    return {2 * entries, 2 * entries * sizeof(Real) + sizeof(Index) * indptr.extent(0), true};
  }
  void run(const Context& ctx) const {
    kernels::row_normalize(ctx, view(), clamp_min, normalized.data_handle());
  }
  void reference() const { reference::row_normalize(view(), clamp_min, normalized); }
  static void arbitrary(Arbitrary& random) {
    random.sizes.set("columns", 9);
    arbitrary_csr(random, "columns");
  }

 private:
  CsrView<Real, Index> view() const {
    return csr_view<Real>(indptr, indices, values.data_handle(), 0);
  }
};

static_assert(OperatorStruct<RowNormalize<float, std::int32_t>>);
inline constexpr IndexedFunction<RowNormalize> row_normalize;

}  // namespace researchkit::graph
