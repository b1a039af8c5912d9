#pragma once

#include "researchkit/core/context.hpp"
#include "researchkit/core/view.hpp"

namespace researchkit::cuda {

/// Matrix product of tensors on a CUDA device, by cuBLAS: c = alpha a b + beta c.
///
///     cuda::gemm(ctx, 1.0f, x, transposed(weight), 0.0f, y);
///
/// `a` is [m, k], `b` [k, n], `c` [m, n], all on one CUDA device; the rows or the columns of `a` and
/// of `b` are without gaps, and so are the rows of `c`. The work is put on the stream of `ctx`. Full
/// precision: float32 is not rounded to TF32. Sums are ordered as cuBLAS orders them, so the bits
/// are not those of the CPU. With beta = 0, `c` is not read; extents of 0 are fine.
///
/// cuBLAS is loaded at the first call, and its handle lives in the context's reuse pool. Throws
/// Error if there is none, extents or devices do not fit, or cuBLAS reports an error.
void gemm(const Context& ctx, float alpha, In<float, 2> a, In<float, 2> b, float beta,
          Out<float, 2> c);
void gemm(const Context& ctx, double alpha, In<double, 2> a, In<double, 2> b, double beta,
          Out<double, 2> c);

}  // namespace researchkit::cuda
