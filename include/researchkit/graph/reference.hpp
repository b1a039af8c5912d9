#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "researchkit/core/view.hpp"
#include "researchkit/graph/attributes.hpp"
#include "researchkit/graph/csr_view.hpp"
#include "researchkit/graph/sparse.hpp"

/// Plain loops of the graph operators: what their fast paths are held against. Views are row-major.
namespace researchkit::graph::reference {

/// y = alpha A x + beta z; `z` is not read where beta is 0.
template <class Real, class Index>
void spmm(const CsrView<Real, Index>& a, Real alpha, In<Real, 2> x, Real beta, const Real* z,
          Out<Real, 2> y) {
  const std::int64_t d = x.extent(1);
  for (std::int64_t i = 0; i < a.rows; ++i) {
    for (std::int64_t c = 0; c < d; ++c) {
      Real sum = 0;
      for (std::int64_t e = a.begin(i); e < a.end(i); ++e) sum += a.value(e) * x(a.column(e), c);
      if (alpha != Real(1)) sum = alpha * sum;
      if (beta != Real(0)) sum += beta * z[i * d + c];
      y(i, c) = sum;
    }
  }
}

/// x = alpha A^T y.
template <class Real, class Index>
void spmm_transposed(const CsrView<Real, Index>& a, Real alpha, In<Real, 2> y, Out<Real, 2> x) {
  const std::int64_t d = y.extent(1);
  for (std::int64_t j = 0; j < a.columns; ++j) {
    for (std::int64_t c = 0; c < d; ++c) x(j, c) = Real(0);
  }
  for (std::int64_t i = 0; i < a.rows; ++i) {
    for (std::int64_t e = a.begin(i); e < a.end(i); ++e) {
      for (std::int64_t c = 0; c < d; ++c) x(a.column(e), c) += a.value(e) * y(i, c);
    }
  }
  if (alpha == Real(1)) return;
  for (std::int64_t j = 0; j < a.columns; ++j) {
    for (std::int64_t c = 0; c < d; ++c) x(j, c) = alpha * x(j, c);
  }
}

template <class Real, class Index>
void sddmm(const CsrView<Real, Index>& a, Real alpha, In<Real, 2> u, In<Real, 2> v,
           Out<Real, 1> values) {
  const std::int64_t d = u.extent(1);
  for (std::int64_t i = 0; i < a.rows; ++i) {
    for (std::int64_t e = a.begin(i); e < a.end(i); ++e) {
      const Real* left = u.data_handle() + i * d;
      const Real dot = interleaved_dot(left, v.data_handle() + a.column(e) * d, d);
      values(e) = alpha == Real(1) ? dot : alpha * dot;
    }
  }
}

/// log sum exp(row) - row[label] of n > 0 logits, relative to the largest so that nothing overflows.
template <class Real>
Real nll(const Real* row, std::int64_t n, std::int64_t label) {
  using std::exp, std::log;
  const Real largest = *std::max_element(row, row + n);
  Real sum = 0;
  for (std::int64_t c = 0; c < n; ++c) sum += exp(row[c] - largest);
  return log(sum) - (row[label] - largest);
}
inline double nll_flops(std::int64_t n) { return 3 * static_cast<double>(n) + 3; }

/// (softmax(row) - onehot(label)) scale.
template <class Real>
void nll_gradient(const Real* row, std::int64_t n, std::int64_t label, Real scale, Real* to) {
  using std::exp;
  const Real largest = *std::max_element(row, row + n);
  Real sum = 0;
  for (std::int64_t c = 0; c < n; ++c) {
    to[c] = exp(row[c] - largest);
    sum += to[c];
  }
  const Real factor = scale / sum;
  for (std::int64_t c = 0; c < n; ++c) to[c] = to[c] * factor;
  to[label] -= scale;
}
inline double nll_gradient_flops(std::int64_t n) { return 4 * static_cast<double>(n) + 2; }

}  // namespace researchkit::graph::reference
