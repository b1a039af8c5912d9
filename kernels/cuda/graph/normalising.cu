// graph_norm and row_normalize. Degrees and row sums are added up in double in stored order by a warp
// for each row. graph_norm then sorts its entries and diagonal by column and by row with two stable
// counting sorts, and merges neighbours of one place: bound by the sorts (kernels/cuda/core/
// group_by_row.cu). Building a graph from a list of edges (coo_to_csr) stays on the host: it is done
// once for each graph, from what a file brought.
#include "kernels/cuda/graph/graph.hpp"
#include "kernels/cuda/graph/ordered_sum.cuh"
#include "kernels/cuda/graph/sparse.hpp"
#include "researchkit/graph/operators_build.hpp"

namespace researchkit::graph::RESEARCHKIT_DEVICE {
namespace {

/// out[e] = values[e] / max(sum of its row, clamp_min).
template <class Real, class Index>
RESEARCHKIT_KERNEL(256)
void divide_rows(Global<const Index> indptr, Global<const Real> values, double clamp_min,
                 Global<Real> out) {
  const std::int64_t warps = grid_threads() / kWarp;
  for (std::int64_t row = grid_thread() / kWarp; row < indptr.size - 1; row += warps) {
    const std::int64_t begin = indptr[row], end = indptr[row + 1];
    const double sum = ordered_sum(0.0, begin, end,
                                   [&](std::int64_t e) { return static_cast<double>(values[e]); });
    const double divisor = sum < clamp_min ? clamp_min : sum;
    for (std::int64_t e = begin + lane(); e < end; e += kWarp) {
      out[e] = static_cast<Real>(div_rn(static_cast<double>(values[e]), divisor));
    }
  }
}

/// An operator that is being normalised: entries 0 ... e - 1 are those of `a`, entry e + i is the
/// diagonal of row i.
template <class Real, class Index>
struct Normalizing {
  DeviceCsr<Real, Index> a;
  Global<const std::int64_t> row_of;  // [e]
  Global<double> factor;              // [n]
  Normalization mode;
  double self_loop;

  RESEARCHKIT_DEVICE_FUNCTION std::int64_t row(std::int64_t entry) const {
    return entry < a.indices.size ? row_of[entry] : entry - a.indices.size;
  }
  RESEARCHKIT_DEVICE_FUNCTION std::int64_t column(std::int64_t entry) const {
    return entry < a.indices.size ? a.indices[entry] : entry - a.indices.size;
  }
  RESEARCHKIT_DEVICE_FUNCTION bool is_kept(std::int64_t entry) const {
    return entry < a.indices.size ? row_of[entry] != a.indices[entry] : self_loop != 0;
  }
  RESEARCHKIT_DEVICE_FUNCTION double weight(std::int64_t entry) const {
    if (entry >= a.indices.size) return self_loop;
    return a.values.size > 0 ? static_cast<double>(a.values[entry]) : 1.0;
  }
  RESEARCHKIT_DEVICE_FUNCTION Real normalized(std::int64_t entry) const {
    const double value = weight(entry);
    if (mode == Normalization::none) return static_cast<Real>(value);
    const double scaled = mul_rn(factor[row(entry)], value);
    if (mode == Normalization::rw) return static_cast<Real>(scaled);
    const double both = mul_rn(scaled, factor[column(entry)]);
    return static_cast<Real>(mode == Normalization::cheb ? -both : both);
  }
};

template <class Real, class Index>
RESEARCHKIT_KERNEL(256)
void find_factors(RESEARCHKIT_SHARED_ARGUMENT Normalizing<Real, Index> norm) {
  const std::int64_t warps = grid_threads() / kWarp;
  for (std::int64_t row = grid_thread() / kWarp; row < norm.a.rows; row += warps) {
    const double degree =
        ordered_sum(0.0, norm.a.indptr[row], norm.a.indptr[row + 1],
                    [&](std::int64_t e) { return norm.is_kept(e) ? norm.weight(e) : 0.0; });
    const double sum = add_rn(degree, norm.self_loop);
    if (lane() != 0) continue;
    const double divisor = norm.mode == Normalization::rw ? sum : sqrt_rn(sum);
    norm.factor[row] = sum > 0 ? div_rn(1.0, divisor) : 0.0;
  }
}

template <class Real, class Index>
RESEARCHKIT_KERNEL(256)
void name_columns(RESEARCHKIT_SHARED_ARGUMENT Normalizing<Real, Index> norm,
                  Global<std::int64_t> column_of) {
  for (std::int64_t e = grid_thread(); e < column_of.size; e += grid_threads()) {
    column_of[e] = norm.is_kept(e) ? norm.column(e) : -1;
  }
}

/// The row of each entry in the order of columns; none of those that were dropped, at the end.
template <class Real, class Index>
RESEARCHKIT_KERNEL(256)
void name_sorted_rows(RESEARCHKIT_SHARED_ARGUMENT Normalizing<Real, Index> norm,
                      Global<const std::int64_t> by_column, Global<std::int64_t> row_of) {
  for (std::int64_t at = grid_thread(); at < row_of.size; at += grid_threads()) {
    row_of[at] = norm.is_kept(by_column[at]) ? norm.row(by_column[at]) : -1;
  }
}

/// Entries in the order of rows and columns.
struct SortedEntries {
  Global<const std::int64_t> by_column, by_row;
  Global<const std::int64_t> first;  // [n + 1]

  RESEARCHKIT_DEVICE_FUNCTION std::int64_t operator[](std::int64_t at) const {
    return by_column[by_row[at]];
  }
};

/// 1 where a place is met first, 0 where an entry is merged with the one before.
template <class Real, class Index>
RESEARCHKIT_KERNEL(256)
void mark_places(RESEARCHKIT_SHARED_ARGUMENT Normalizing<Real, Index> norm, SortedEntries sorted,
                 Global<std::int64_t> marks) {
  const std::int64_t kept = sorted.first[norm.a.rows];
  for (std::int64_t at = grid_thread(); at < kept; at += grid_threads()) {
    const bool is_first = at == 0 || norm.row(sorted[at]) != norm.row(sorted[at - 1]) ||
                          norm.column(sorted[at]) != norm.column(sorted[at - 1]);
    marks[at] = is_first ? 1 : 0;
  }
}

/// `place_of` counts the places before each entry.
template <class Real, class Index>
RESEARCHKIT_KERNEL(256)
void merge_places(RESEARCHKIT_SHARED_ARGUMENT Normalizing<Real, Index> norm, SortedEntries sorted,
                  Global<const std::int64_t> place_of, Global<Index> indptr, Global<Index> indices,
                  Global<Real> values) {
  const std::int64_t kept = sorted.first[norm.a.rows];
  for (std::int64_t row = grid_thread(); row < indptr.size; row += grid_threads()) {
    indptr[row] = static_cast<Index>(place_of[sorted.first[row]]);
  }
  for (std::int64_t at = grid_thread(); at < kept; at += grid_threads()) {
    const std::int64_t place = place_of[at];
    if (place_of[at + 1] == place) continue;  // merged with the one before
    Real sum = norm.normalized(sorted[at]);
    for (std::int64_t next = at + 1; next < kept && place_of[next + 1] == place + 1; ++next) {
      sum = add_rn(sum, norm.normalized(sorted[next]));
    }
    indices[place] = static_cast<Index>(norm.column(sorted[at]));
    values[place] = sum;
  }
}

template <class Real, class Index>
void run_row_normalize(const Context& ctx, const RowNormalize<Real, Index>& op) {
  require_csr(ctx, op.name, op.indptr, op.indices.extent(0));
  if (op.normalized.size() == 0) return;
  launch(ctx, op.normalized.device(), "row_normalize", divide_rows<Real, Index>,
         for_entries((op.indptr.extent(0) - 1) * kWarp), global(op.indptr), global(op.values),
         op.clamp_min, global(op.normalized));
}

template <class Real, class Index>
void run_graph_norm(const Context& ctx, const GraphNorm<Real, Index>& op) {
  require_csr(ctx, op.name, op.indptr, op.indices.extent(0));
  const Device device = op.out_indptr.device();
  const std::int64_t n = op.indptr.extent(0) - 1, entries = op.indices.extent(0) + n;
  const auto values = op.values ? global(*op.values) : Global<const Real>{};
  const auto a = device_csr<Real, Index>(op.indptr, op.indices, values, n);
  const auto row_of = rows_of_entries(ctx, device, a.indptr, a.entries());
  const DeviceArray<double> factor(ctx, device, n);
  const Normalizing<Real, Index> norm{a, row_of.global(), factor.global(), op.mode, op.self_loop};
  launch(ctx, device, "find_factors", find_factors<Real, Index>, for_entries(n * kWarp), norm);

  using researchkit::RESEARCHKIT_DEVICE::group_by_row;
  const DeviceArray<std::int64_t> key(ctx, device, entries);
  launch(ctx, device, "name_columns", name_columns<Real, Index>, for_entries(entries), norm,
         key.global());
  const auto by_column = group_by_row(ctx, device, key.global(), n);
  launch(ctx, device, "name_sorted_rows", name_sorted_rows<Real, Index>, for_entries(entries), norm,
         by_column.entries.global(), key.global());
  const auto by_row = group_by_row(ctx, device, key.global(), n);
  const SortedEntries sorted{by_column.entries.global(), by_row.entries.global(),
                             by_row.first.global()};

  const DeviceArray<std::int64_t> place_of(ctx, device, entries + 1);
  launch(ctx, device, "mark_places", mark_places<Real, Index>, for_entries(entries), norm, sorted,
         place_of.global());
  researchkit::RESEARCHKIT_DEVICE::exclusive_sums(ctx, device, place_of.global());
  launch(ctx, device, "graph_norm", merge_places<Real, Index>, for_entries(entries), norm, sorted,
         place_of.global(), global(op.out_indptr), global(op.out_indices), global(op.out_values));
  const Tensor last = detail::alias_of(op.out_indptr).slice(0, n, n + 1).to(Device::host());
  op.nnz.set(static_cast<std::int64_t>(*static_cast<const Index*>(last.data())));
}

template <class Real, class Index>
void add_for(DeviceKernels& kernels) {
  kernels.add<RowNormalize<Real, Index>>(run_row_normalize<Real, Index>);
  kernels.add<GraphNorm<Real, Index>>(run_graph_norm<Real, Index>);
}

}  // namespace

void register_normalising(DeviceKernels& kernels) {
  add_for<float, std::int32_t>(kernels);
  add_for<float, std::int64_t>(kernels);
  add_for<double, std::int32_t>(kernels);
  add_for<double, std::int64_t>(kernels);
}

}  // namespace researchkit::graph::RESEARCHKIT_DEVICE
