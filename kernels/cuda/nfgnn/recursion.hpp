#pragma once

// The recursions of nfgnn/filter.hpp on a device: the orders of a polynomial, and their adjoint.

#include <utility>

#include "kernels/cuda/graph/sparse.hpp"
#include "researchkit/core/host_device.hpp"
#include "researchkit/nfgnn/attributes.hpp"

namespace researchkit::nfgnn::RESEARCHKIT_DEVICE {

template <class Real, class Index>
using DeviceCsr = graph::RESEARCHKIT_DEVICE::DeviceCsr<Real, Index>;
template <class Real>
using Product = graph::RESEARCHKIT_DEVICE::Product<Real>;

/// to = from; both of one size.
template <class Real>
void copy_entries(const Context& ctx, Device device, device::Global<const Real> from,
                  device::Global<Real> to);

/// T_k from T_{k-1} and, for Chebyshev polynomials of degree 2 and more, T_{k-2}.
template <class Real>
RESEARCHKIT_HOST_DEVICE Product<Real> next_order(Basis basis, std::int64_t k, std::int64_t d,
                                                 device::Global<const Real> previous,
                                                 device::Global<const Real> before,
                                                 device::Global<Real> to) {
  Product<Real> product{previous, to, d};
  if (basis == Basis::chebyshev && k > 1) {
    product.alpha = 2;
    product.subtract = before;
  }
  return product;
}

/// Fills orders 1, 2, ... of a stack of them, [orders][n d], from order 0.
template <class Real, class Index>
void propagate_orders(const Context& ctx, Device device, const DeviceCsr<Real, Index>& a,
                      Basis basis, std::int64_t d, std::int64_t orders,
                      device::Global<Real> stack) {
  const std::int64_t entries = a.rows * d;
  const auto at = [&](std::int64_t k) { return stack.part(k * entries, entries); };
  for (std::int64_t k = 1; k < orders; ++k) {
    graph::RESEARCHKIT_DEVICE::spmm(
        ctx, device, a, next_order<Real>(basis, k, d, at(k - 1), at(k > 1 ? k - 2 : 0), at(k)));
  }
}

/// B_k = D_k + 2 A^T B_{k+1} - B_{k+2} (equation N8), orders given from K down to 0.
template <class Real, class Index>
class DeviceAdjoint {
 public:
  /// `transposed` is A^T and outlives this, `orders` is K + 1.
  DeviceAdjoint(const Context& ctx, Device device, const DeviceCsr<Real, Index>& transposed,
                Basis basis, std::int64_t orders, std::int64_t d)
      : a_(transposed),
        basis_(basis),
        k_(orders),
        d_(d),
        device_(device),
        last_(ctx, device, transposed.rows * d),
        before_(ctx, device, transposed.rows * d) {}
  /// Takes D_k for the next lower k.
  void add(const Context& ctx, device::Global<const Real> d) {
    --k_;
    if (given_++ == 0) {
      copy_entries<Real>(ctx, device_, d, last());
      return;
    }
    const bool chebyshev = basis_ == Basis::chebyshev;
    Product<Real> product{last(), before(), d_, Real(chebyshev && k_ > 0 ? 2 : 1), Real(1), d};
    if (chebyshev && given_ > 2) product.subtract = before();
    graph::RESEARCHKIT_DEVICE::spmm(ctx, device_, a_, product);
    is_swapped_ = !is_swapped_;
  }
  /// The gradient of T_0, once D_0 was given.
  device::Global<const Real> result() const { return last(); }

 private:
  device::Global<Real> last() const { return (is_swapped_ ? before_ : last_).global(); }
  device::Global<Real> before() const { return (is_swapped_ ? last_ : before_).global(); }

  DeviceCsr<Real, Index> a_;
  Basis basis_;
  std::int64_t k_, d_;
  std::int64_t given_ = 0;
  Device device_;
  device::DeviceArray<Real> last_, before_;
  bool is_swapped_ = false;
};

/// Calls body(A^T), which is `a` itself if it is symmetric.
template <class Real, class Index, class Body>
void with_adjoint(const Context& ctx, Device device, const DeviceCsr<Real, Index>& a,
                  bool symmetric, Body&& body) {
  if (symmetric) return body(a);
  const auto transposed = graph::RESEARCHKIT_DEVICE::transpose(ctx, device, a);
  body(transposed.view());
}

}  // namespace researchkit::nfgnn::RESEARCHKIT_DEVICE
