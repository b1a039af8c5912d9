#pragma once

#include <cstdint>
#include <vector>

#include "researchkit/core/context.hpp"
#include "researchkit/nfgnn/attributes.hpp"

namespace researchkit::nfgnn {

/// The coefficients of a node-oriented filter for a range of orders (equations N4 to N6):
///
///     h[k,i,:] = gate(T_k[i,:] W_k + b_k),  eta[i,k] = scale <h[k,i,:], gamma[:,k]>,
///     y[i,:]   = sum over k of eta[i,k] T_k[i,:].
///
/// T_k are row-major [n, stride] with the first c columns in use; w [orders, c, rank] or [1, c, rank],
/// b [orders, rank] or [1, rank], gamma [rank, orders].
template <class Real>
struct Coefficients {
  std::int64_t n = 0, c = 0, rank = 1, orders = 1;
  std::int64_t stride = 0;  ///< of T_k, y and their gradients
  bool shared_w = false;    ///< one projection for all orders
  bool shared_b = false;
  Gate gate = Gate::tanh;
  Real scale = 1;
  const Real* w = nullptr;
  const Real* b = nullptr;
  const Real* gamma = nullptr;

  std::int64_t w_count() const { return (shared_w ? 1 : orders) * c * rank; }
  std::int64_t b_count() const { return (shared_b ? 1 : orders) * rank; }
  std::int64_t gamma_count() const { return rank * orders; }
  std::int64_t parameter_count() const { return w_count() + b_count() + gamma_count(); }
};

/// Gradients of the parameters, as sums over fixed pieces of rows. Orders may be added in any number
/// of calls; the result has the same bits for any number of threads.
template <class Real>
class ParameterGradients {
 public:
  static constexpr std::int64_t kLanes = 16;  // interleaved sums per parameter and piece
  static constexpr std::int64_t kRows = 512;  // rows of a piece

  ParameterGradients(Workspace::Scope& scratch, const Coefficients<Real>& model);
  Real* piece(std::int64_t p) const { return sums_.data() + p * parameters_ * kLanes; }
  std::int64_t pieces() const { return pieces_; }
  /// Writes the totals.
  void write(const Coefficients<Real>& model, Real* d_w, Real* d_b, Real* d_gamma) const;

 private:
  std::int64_t pieces_, parameters_;
  std::span<Real> sums_;
};

namespace kernels {

/// Orders first, ..., first + t.size() - 1. Writes their eta [n, orders] (of all columns only these)
/// and adds to `y`, which is overwritten where first = 0 and may be null.
template <class Real>
void coefficients(const Context& ctx, const Coefficients<Real>& model, std::int64_t first,
                  std::span<const Real* const> t, Real* eta, Real* y);

/// The gradients of the same orders. `g` is the gradient of y and `eta` what the forward gave (both
/// or none), `d_eta` [n, orders] a further gradient of eta or null. Writes d_t (columns from c to the
/// stride become 0), unless that is empty, and adds to `parameters`.
template <class Real>
void coefficients_backward(const Context& ctx, const Coefficients<Real>& model, std::int64_t first,
                           std::span<const Real* const> t, const Real* eta, const Real* g,
                           const Real* d_eta, std::span<Real* const> d_t,
                           const ParameterGradients<Real>& parameters);

}  // namespace kernels
}  // namespace researchkit::nfgnn
