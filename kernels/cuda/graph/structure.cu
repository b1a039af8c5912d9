// What reads a sparse structure alone: checking it, the rows of its entries, and transposing it.
// Bound by memory bandwidth: 8 or 16 bytes for each entry, and the sort for a transpose.
#include <limits>
#include <span>
#include <utility>

#include "kernels/cuda/graph/sparse.hpp"
#include "researchkit/graph/checks.hpp"

namespace researchkit::graph::RESEARCHKIT_DEVICE {
namespace {

using namespace device;

constexpr std::int64_t kNone = std::numeric_limits<std::int64_t>::max();

/// The first place at which the numbers do not ascend from 0 to `entries`.
template <class Index>
RESEARCHKIT_KERNEL(256)
void check_indptr(Global<const Index> indptr, std::int64_t entries,
                  Global<std::int64_t> first_bad) {
  for (std::int64_t i = grid_thread(); i < indptr.size; i += grid_threads()) {
    const std::int64_t here = indptr[i], before = i == 0 ? 0 : indptr[i - 1];
    const bool is_bad =
        here < before || (i == 0 && here != 0) || (i == indptr.size - 1 && here != entries);
    if (is_bad) atomic_min(first_bad[0], i);
  }
}

/// A warp for each row.
template <class Index>
RESEARCHKIT_KERNEL(256)
void name_rows(Global<const Index> indptr, Global<std::int64_t> row_of) {
  const std::int64_t warps = grid_threads() / kWarp;
  for (std::int64_t row = grid_thread() / kWarp; row < indptr.size - 1; row += warps) {
    const std::int64_t end = indptr[row + 1];
    for (std::int64_t e = indptr[row] + lane(); e < end; e += kWarp) row_of[e] = row;
  }
}

template <class Index>
RESEARCHKIT_KERNEL(256)
void widen_indices(Global<const Index> indices, Global<std::int64_t> wide) {
  for (std::int64_t e = grid_thread(); e < indices.size; e += grid_threads()) wide[e] = indices[e];
}

/// Entries of the transpose from where they stand in the original.
template <class Real>
RESEARCHKIT_KERNEL(256)
void gather_entries(Global<const std::int64_t> positions, Global<const std::int64_t> row_of,
                    Global<const Real> values, Global<std::int64_t> rows, Global<Real> moved) {
  for (std::int64_t t = grid_thread(); t < positions.size; t += grid_threads()) {
    rows[t] = row_of[positions[t]];
    if (moved.size > 0) moved[t] = values[positions[t]];
  }
}

}  // namespace

template <class Index>
void require_csr(const Context& ctx, std::string_view operator_name, In<Index, 1> indptr,
                 std::int64_t entries) {
  const DeviceArray<std::int64_t> first_bad(ctx, indptr.device(), std::span(&kNone, 1));
  launch(ctx, indptr.device(), "check_indptr", check_indptr<Index>, for_entries(indptr.size()),
         global(indptr), entries, first_bad.global());
  if (first_bad.read()[0] == kNone) return;
  const Tensor on_host = row_major(indptr).to(Device::host());
  graph::require_csr(Check(operator_name), In<Index, 1>(Tensor(on_host).view<Index, 1>()), entries);
}

template <class Index>
DeviceArray<std::int64_t> rows_of_entries(const Context& ctx, Device device,
                                          Global<const Index> indptr, std::int64_t entries) {
  DeviceArray<std::int64_t> row_of(ctx, device, entries);
  if (entries == 0) return row_of;
  launch(ctx, device, "name_rows", name_rows<Index>, for_entries((indptr.size - 1) * kWarp), indptr,
         row_of.global());
  return row_of;
}

template <class Real, class Index>
DeviceTranspose<Real> transpose(const Context& ctx, Device device,
                                const DeviceCsr<Real, Index>& a) {
  const std::int64_t entries = a.entries();
  const DeviceArray<std::int64_t> columns(ctx, device, entries);
  if (entries > 0) {
    launch(ctx, device, "widen_indices", widen_indices<Index>, for_entries(entries), a.indices,
           columns.global());
  }
  auto groups =
      researchkit::RESEARCHKIT_DEVICE::group_by_row(ctx, device, columns.global(), a.columns);
  const auto row_of = rows_of_entries(ctx, device, a.indptr, entries);
  DeviceArray<std::int64_t> rows(ctx, device, entries);
  DeviceArray<Real> values(ctx, device, a.values.size);
  if (entries > 0) {
    launch(ctx, device, "gather_entries", gather_entries<Real>, for_entries(entries),
           groups.entries.global(), row_of.global(), a.values, rows.global(), values.global());
  }
  return {std::move(groups), std::move(rows), std::move(values), a.columns, a.rows};
}

#define RESEARCHKIT_INSTANTIATE(Index)                                                            \
  template void require_csr(const Context&, std::string_view, In<Index, 1>, std::int64_t);        \
  template DeviceArray<std::int64_t> rows_of_entries(const Context&, Device, Global<const Index>, \
                                                     std::int64_t);                               \
  template DeviceTranspose<float> transpose(const Context&, Device,                               \
                                            const DeviceCsr<float, Index>&);                      \
  template DeviceTranspose<double> transpose(const Context&, Device,                              \
                                             const DeviceCsr<double, Index>&)
RESEARCHKIT_INSTANTIATE(std::int32_t);
RESEARCHKIT_INSTANTIATE(std::int64_t);
#undef RESEARCHKIT_INSTANTIATE

}  // namespace researchkit::graph::RESEARCHKIT_DEVICE
