#pragma once

#include <span>
#include <string>

#include "researchkit/core/context.hpp"
#include "researchkit/core/view.hpp"

namespace researchkit {

/// One product c = alpha a b + beta c of a group.
template <class Real>
struct Gemm {
  Real alpha = 1;
  In<Real, 2> a;  // [m, k]
  In<Real, 2> b;  // [k, n]
  Real beta = 0;
  Out<Real, 2> c;  // [m, n]
};

/// Matrix product c = alpha a b + beta c.
///
///     gemm(ctx, 1.0f, x, transposed(weight), 0.0f, y);
///
/// `a` is [m, k], `b` [k, n], `c` [m, n]; any strides. Rows or columns without gaps go to BLAS as
/// they are, other operands are copied first. `c` must not share elements with `a`, `b` or itself.
/// With beta = 0, `c` is not read; extents of 0 are fine (k = 0 gives beta c).
///
/// The product is cut into tiles whose bounds depend on the shapes alone, each computed by one call
/// of a single-threaded BLAS, so the result has the same bits for any number of threads. With few
/// tiles and a long k, k is cut as well and the parts are added in ascending order.
/// OpenBLAS, MKL and BLIS are told to use one thread, for the whole process, at each call.
///
/// Throws Error if the extents do not fit, a view is not on the host, an extent or stride exceeds
/// BLAS's 32-bit integers, or neighbours of `c` share memory.
void gemm(const Context& ctx, float alpha, In<float, 2> a, In<float, 2> b, float beta,
          Out<float, 2> c);
void gemm(const Context& ctx, double alpha, In<double, 2> a, In<double, 2> b, double beta,
          Out<double, 2> c);

/// One product per entry of the leading axis: c[i] = alpha a[i] b[i] + beta c[i], in one parallel
/// loop. A leading stride of 0 uses one matrix for all.
void gemm(const Context& ctx, float alpha, In<float, 3> a, In<float, 3> b, float beta,
          Out<float, 3> c);
void gemm(const Context& ctx, double alpha, In<double, 3> a, In<double, 3> b, double beta,
          Out<double, 3> c);

/// Products of any shapes in one parallel loop. No `c` may share elements with another matrix.
void gemm(const Context& ctx, std::span<const Gemm<float>> group);
void gemm(const Context& ctx, std::span<const Gemm<double>> group);

/// A matrix view with its axes exchanged; same memory.
template <class T>
constexpr TensorView<T, 2> transposed(const TensorView<T, 2>& view) {
  return {view.data_handle(),
          {view.extent(1), view.extent(0)},
          {view.stride(1), view.stride(0)},
          view.device()};
}

/// Which BLAS is linked.
struct BlasInfo {
  std::string vendor;   // "OpenBLAS", "MKL", "BLIS", or "unknown"
  std::string version;  // "0.3.21"; empty if it does not tell
  std::string core;     // the processor its kernels are chosen for, "Haswell"; empty likewise
};
BlasInfo blas_info();

}  // namespace researchkit
