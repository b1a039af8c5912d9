#pragma once

#include <algorithm>
#include <cmath>
#include <type_traits>
#include <vector>

#include "researchkit/core/view.hpp"
#include "researchkit/graph/csr_view.hpp"
#include "researchkit/nfgnn/attributes.hpp"

/// Plain loops of the nfgnn operators. Stacks are [orders, n, c].
namespace researchkit::nfgnn::reference {

/// A stack of matrices that a reference works on.
template <class Real>
struct Stack {
  std::int64_t orders, n, c;
  std::vector<Real> values;
  Stack(std::int64_t k, std::int64_t rows, std::int64_t columns)
      : orders(k), n(rows), c(columns), values(static_cast<std::size_t>(k * rows * columns)) {}
  Real& operator()(std::int64_t k, std::int64_t i, std::int64_t j) {
    return values[static_cast<std::size_t>((k * n + i) * c + j)];
  }
  Real operator()(std::int64_t k, std::int64_t i, std::int64_t j) const {
    return values[static_cast<std::size_t>((k * n + i) * c + j)];
  }
};

/// (N3)
template <class Real, class Index>
Stack<Real> propagate(const graph::CsrView<Real, Index>& a, In<Real, 2> x, std::int64_t orders,
                      Basis basis) {
  Stack<Real> t(orders, x.extent(0), x.extent(1));
  for (std::int64_t i = 0; i < t.n; ++i) {
    for (std::int64_t j = 0; j < t.c; ++j) t(0, i, j) = x(i, j);
  }
  for (std::int64_t k = 1; k < orders; ++k) {
    for (std::int64_t i = 0; i < t.n; ++i) {
      for (std::int64_t j = 0; j < t.c; ++j) {
        Real sum = 0;
        for (std::int64_t e = a.begin(i); e < a.end(i); ++e) {
          sum += a.value(e) * t(k - 1, a.column(e), j);
        }
        const bool three_terms = basis == Basis::chebyshev && k > 1;
        t(k, i, j) = three_terms ? Real(2) * sum - t(k - 2, i, j) : sum;
      }
    }
  }
  return t;
}

/// (N8): turns the gradients of all orders into that of x, left at order 0.
template <class Real, class Index>
void propagate_backward(const graph::CsrView<Real, Index>& a, Basis basis, Stack<Real>& d) {
  for (std::int64_t k = d.orders - 1; k >= 1; --k) {
    const bool three_terms = basis == Basis::chebyshev && k > 1;
    std::vector<Real> sums(static_cast<std::size_t>(d.n * d.c));
    for (std::int64_t i = 0; i < d.n; ++i) {
      for (std::int64_t e = a.begin(i); e < a.end(i); ++e) {
        for (std::int64_t j = 0; j < d.c; ++j) {
          sums[static_cast<std::size_t>(a.column(e) * d.c + j)] += a.value(e) * d(k, i, j);
        }
      }
    }
    for (std::int64_t i = 0; i < d.n; ++i) {
      for (std::int64_t j = 0; j < d.c; ++j) {
        const Real sum = sums[static_cast<std::size_t>(i * d.c + j)];
        d(k - 1, i, j) += three_terms ? Real(2) * sum : sum;
        if (three_terms) d(k - 2, i, j) -= d(k, i, j);
      }
    }
  }
}

template <class Real>
Real gate_of(Gate gate, Real a) {
  using std::exp;
  using std::tanh;
  if (gate == Gate::tanh) return tanh(a);
  if (gate == Gate::sigmoid) return Real(1) / (Real(1) + exp(-a));
  return a;
}
template <class Real>
Real gate_slope(Gate gate, Real h) {
  if (gate == Gate::tanh) return Real(1) - h * h;
  if (gate == Gate::sigmoid) return h * (Real(1) - h);
  return Real(1);
}

/// What gates are computed in: double for float, where the slope of a saturated gate would be lost.
template <class Real>
using Wide = std::conditional_t<std::is_same_v<Real, float>, double, Real>;

/// The parameters of the coefficients.
template <class Real>
struct Parameters {
  In<Real, 3> w;      // [orders or 1, c, rank]
  In<Real, 2> b;      // [orders or 1, rank]
  In<Real, 2> gamma;  // [rank, orders]
  Gate gate;
  Real scale;

  std::int64_t w_order(std::int64_t k) const { return w.extent(0) == 1 ? 0 : k; }
  std::int64_t b_order(std::int64_t k) const { return b.extent(0) == 1 ? 0 : k; }
  /// (N4)
  Wide<Real> h(const Stack<Real>& t, std::int64_t k, std::int64_t i, std::int64_t r) const {
    Wide<Real> sum = b(b_order(k), r);
    for (std::int64_t j = 0; j < t.c; ++j) {
      sum += Wide<Real>(t(k, i, j)) * Wide<Real>(w(w_order(k), j, r));
    }
    return gate_of(gate, sum);
  }
};

/// (N5)
template <class Real>
void coefficients(const Stack<Real>& t, const Parameters<Real>& p, Out<Real, 2> eta) {
  for (std::int64_t i = 0; i < t.n; ++i) {
    for (std::int64_t k = 0; k < t.orders; ++k) {
      Real sum = 0;
      for (std::int64_t r = 0; r < p.gamma.extent(0); ++r) {
        sum += static_cast<Real>(p.h(t, k, i, r)) * p.gamma(r, k);
      }
      eta(i, k) = p.scale * sum;
    }
  }
}

/// (N6)
template <class Real>
void weighted_sum(const Stack<Real>& t, In<Real, 2> eta, Out<Real, 2> y) {
  for (std::int64_t i = 0; i < t.n; ++i) {
    for (std::int64_t j = 0; j < t.c; ++j) {
      Real sum = 0;
      for (std::int64_t k = 0; k < t.orders; ++k) sum += eta(i, k) * t(k, i, j);
      y(i, j) = sum;
    }
  }
}

/// (N10) without the recursion: adds to d_eta and d_t.
template <class Real>
void weighted_sum_backward(const Stack<Real>& t, In<Real, 2> eta, In<Real, 2> d_y,
                           std::vector<Real>& d_eta, Stack<Real>& d_t) {
  for (std::int64_t i = 0; i < t.n; ++i) {
    for (std::int64_t k = 0; k < t.orders; ++k) {
      Real sum = 0;
      for (std::int64_t j = 0; j < t.c; ++j) {
        sum += d_y(i, j) * t(k, i, j);
        d_t(k, i, j) += eta(i, k) * d_y(i, j);
      }
      d_eta[static_cast<std::size_t>(i * t.orders + k)] += sum;
    }
  }
}

/// (N9): adds to d_t and overwrites the gradients of the parameters.
template <class Real>
void coefficients_backward(const Stack<Real>& t, const Parameters<Real>& p,
                           const std::vector<Real>& d_eta, Stack<Real>& d_t, Out<Real, 3> d_w,
                           Out<Real, 2> d_b, Out<Real, 2> d_gamma) {
  std::fill_n(d_w.data_handle(), d_w.size(), Real(0));
  std::fill_n(d_b.data_handle(), d_b.size(), Real(0));
  std::fill_n(d_gamma.data_handle(), d_gamma.size(), Real(0));
  for (std::int64_t k = 0; k < t.orders; ++k) {
    for (std::int64_t i = 0; i < t.n; ++i) {
      const Real upstream = p.scale * d_eta[static_cast<std::size_t>(i * t.orders + k)];
      for (std::int64_t r = 0; r < p.gamma.extent(0); ++r) {
        const Wide<Real> h = p.h(t, k, i, r);
        d_gamma(r, k) += upstream * static_cast<Real>(h);
        const Real d_a = upstream * p.gamma(r, k) * static_cast<Real>(gate_slope(p.gate, h));
        d_b(p.b_order(k), r) += d_a;
        for (std::int64_t j = 0; j < t.c; ++j) {
          d_w(p.w_order(k), j, r) += t(k, i, j) * d_a;
          d_t(k, i, j) += d_a * p.w(p.w_order(k), j, r);
        }
      }
    }
  }
}

}  // namespace researchkit::nfgnn::reference
