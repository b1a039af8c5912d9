#pragma once

// Sparse operators on a device, for the kernels of this namespace and of those that build on it.

#include <cstdint>
#include <string_view>

#include "kernels/cuda/core/group_by_row.hpp"
#include "researchkit/core/cuda/launch.cuh"
#include "researchkit/core/view.hpp"

namespace researchkit::graph::RESEARCHKIT_DEVICE {

/// A sparse operator on a device: CsrView with extents. Without `values` all are one.
template <class Real, class Index>
struct DeviceCsr {
  device::Global<const Index> indptr, indices;
  device::Global<const Real> values;
  std::int64_t rows = 0, columns = 0;

  std::int64_t entries() const { return indices.size; }
};

template <class Real, class Index>
DeviceCsr<Real, Index> device_csr(In<Index, 1> indptr, In<Index, 1> indices,
                                  device::Global<const Real> values, std::int64_t columns) {
  return {device::global(indptr), device::global(indices), values, indptr.extent(0) - 1, columns};
}

/// Refuses, in the operator's name, an `indptr` that does not ascend from 0 to `entries`; what
/// require_csr does on the host. One pass over it and one number read back.
template <class Index>
void require_csr(const Context& ctx, std::string_view operator_name, In<Index, 1> indptr,
                 std::int64_t entries);

/// The row of every entry. Workspace of the call; 8 bytes for each entry.
template <class Index>
device::DeviceArray<std::int64_t> rows_of_entries(const Context& ctx, Device device,
                                                  device::Global<const Index> indptr,
                                                  std::int64_t entries);

/// A sparse operator with its columns for rows; entries keep the order that they have in the
/// original. 24 bytes and a value for each entry.
template <class Real>
struct DeviceTranspose {
  researchkit::RESEARCHKIT_DEVICE::RowGroups groups;  // `entries`: places in the original
  device::DeviceArray<std::int64_t> indices;          // rows of the original
  device::DeviceArray<Real> values;                   // empty where the original has none
  std::int64_t rows, columns;

  DeviceCsr<Real, std::int64_t> view() const {
    return {groups.first.global(), indices.global(), values.global(), rows, columns};
  }
};

/// Transposes by a stable counting sort (kernels/cuda/core/group_by_row.cu).
template <class Real, class Index>
DeviceTranspose<Real> transpose(const Context& ctx, Device device, const DeviceCsr<Real, Index>& a);

/// What a product computes: y = alpha A x + beta z - subtract, row-major with d columns. Without
/// `subtract` nothing is subtracted, with beta = 0 `z` is not read. y may be z or `subtract`.
template <class Real>
struct Product {
  device::Global<const Real> x;
  device::Global<Real> y;
  std::int64_t d = 0;
  Real alpha = 1, beta = 0;
  device::Global<const Real> z = {};
  device::Global<const Real> subtract = {};
};

/// The product, with the bits of kernels/cpu/graph/spmm.cpp: every entry of y is summed in the stored
/// order of the row's entries.
template <class Real, class Index>
void spmm(const Context& ctx, Device device, const DeviceCsr<Real, Index>& a,
          const Product<Real>& product);

}  // namespace researchkit::graph::RESEARCHKIT_DEVICE
