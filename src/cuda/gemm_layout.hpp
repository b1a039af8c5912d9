#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <string_view>

#include "researchkit/core/backend.hpp"
#include "researchkit/core/error.hpp"
#include "researchkit/core/view.hpp"

namespace researchkit::cuda {

/// A matrix as cuBLAS takes it: column-major with a leading dimension, or the transpose of one.
struct GemmOperand {
  bool is_transposed = false;
  std::int64_t leading = 1;
};

/// A product of row-major matrices as one of column-major ones: c^T = b^T a^T, whose columns are our
/// rows. `first` is b and `second` is a.
struct GemmLayout {
  std::int64_t rows = 0, columns = 0, depth = 0;  // of the column-major product
  GemmOperand first, second;
  std::int64_t result_leading = 1;
};

namespace detail {

template <class View>
GemmOperand gemm_operand(const View& matrix, std::string_view name) {
  const std::int64_t rows = matrix.extent(0), columns = matrix.extent(1);
  const auto fits = [](std::int64_t unit_stride, std::int64_t unit_extent, std::int64_t stride,
                       std::int64_t extent) {
    return (unit_stride == 1 || unit_extent == 1) && (stride >= unit_extent || extent == 1);
  };
  if (fits(matrix.stride(1), columns, matrix.stride(0), rows)) {
    return {false, std::max(matrix.stride(0), columns)};
  }
  if (fits(matrix.stride(0), rows, matrix.stride(1), columns)) {
    return {true, std::max(matrix.stride(1), rows)};
  }
  throw Error("cuda::gemm", name, "rows or columns without gaps",
              fmt::format("strides [{}, {}]", matrix.stride(0), matrix.stride(1)));
}

}  // namespace detail

/// How to compute c = a b. Throws Error if extents do not fit, the matrices are not on one device of
/// `backend`, or their memory has gaps where cuBLAS allows none.
template <class Real>
GemmLayout gemm_layout(const In<Real, 2>& a, const In<Real, 2>& b, const Out<Real, 2>& c,
                       const Backend* backend) {
  const auto require = [](bool fits, std::string_view name, std::string_view wanted,
                          const auto& got) {
    if (!fits) throw Error("cuda::gemm", name, wanted, got);
  };
  const auto shape = [](const auto& m) {
    return fmt::format("[{}, {}]", m.extent(0), m.extent(1));
  };
  const std::int64_t m = c.extent(0), n = c.extent(1), k = a.extent(1);
  require(a.extent(0) == m, "a", fmt::format("{} rows", m), shape(a));
  require(b.extent(0) == k && b.extent(1) == n, "b", fmt::format("[{}, {}]", k, n), shape(b));
  const Device device = c.device();
  require(!device.is_host() && device.backend == backend, "c", "a matrix on a CUDA device",
          "one on " + to_string(device));
  require(a.device() == device, "a", "a matrix on " + to_string(device), to_string(a.device()));
  require(b.device() == device, "b", "a matrix on " + to_string(device), to_string(b.device()));
  GemmLayout layout{n, m, k, {}, {}, 1};
  if (m == 0 || n == 0) return layout;
  // With k = 0 only beta counts, but cuBLAS still wants leading dimensions that fit.
  layout.first = k == 0 ? GemmOperand{false, n} : detail::gemm_operand(b, "b");
  layout.second = k == 0 ? GemmOperand{false, 1} : detail::gemm_operand(a, "a");
  const GemmOperand result = detail::gemm_operand(c, "c");
  require(!result.is_transposed, "c", "rows without gaps",
          fmt::format("strides [{}, {}]", c.stride(0), c.stride(1)));
  layout.result_leading = result.leading;
  return layout;
}

}  // namespace researchkit::cuda
