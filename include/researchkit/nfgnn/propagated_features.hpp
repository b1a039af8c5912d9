#pragma once

#include <cstdint>
#include <span>

#include "researchkit/core/tensor.hpp"
#include "researchkit/graph/csr.hpp"
#include "researchkit/nfgnn/attributes.hpp"

namespace researchkit::nfgnn {

/// Which orders are made, and how they are stored.
struct PropagationOptions {
  std::int64_t K = 10;
  Basis basis = Basis::chebyshev;
  DType storage =
      DType::f32;  ///< or bf16, half the memory: each value within 2^-8 of it in proportion
};

/// All orders T_0 X, ..., T_K X of sparse features, made once without parameters, for some of the nodes.
///
///     const auto p = normalized(ctx, symmetrized(ctx, data.adjacency), graph::Normalization::cheb, 0);
///     const PropagatedFeatures orders(ctx, data.features, p, labelled_nodes, {.storage = DType::bf16});
///
/// The values are those of nfgnn.propagate, bit for bit. Features are made dense a block of columns at a
/// time; besides the stored values three such blocks of at most 16 MiB each are live (eight columns of
/// more than half a million nodes take more). K products of 2 nnz f operations.
class PropagatedFeatures {
 public:
  /// `propagation` is square, over the nodes that `features` has rows for; `nodes` are some of these.
  /// Throws Error for other extents, K outside [0, 1024], and a storage other than float32 and bfloat16.
  PropagatedFeatures(const Context& ctx, const graph::Csr<float>& features,
                     const graph::Csr<float>& propagation, std::span<const std::int32_t> nodes,
                     const PropagationOptions& options = {});

  std::int64_t orders() const { return values_.extent(0); }   ///< K + 1
  std::int64_t rows() const { return values_.extent(1); }     ///< one for each of `nodes`
  std::int64_t columns() const { return values_.extent(2); }  ///< features
  /// [orders, rows, columns] of float32 or bfloat16.
  const Tensor& values() const { return values_; }

  /// Writes some rows of all orders to `to` [orders, which.size(), columns].
  template <class Real>
  void gather(const Context& ctx, std::span<const std::int32_t> which, Real* to) const;

 private:
  Tensor values_;
};

}  // namespace researchkit::nfgnn
