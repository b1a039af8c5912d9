#pragma once

#include <span>

#include "researchkit/bikt/host.hpp"
#include "researchkit/bikt/rows.hpp"

/// The layers that hosts are made of, on a tape. Matrices are [nodes, columns] of float32 or float64, all
/// of one call of one type. Results have the same bits for any number of threads.
namespace researchkit::bikt {

/// alpha A x + beta z; `z` is not read with beta = 0. The backward uses the cached transpose of A.
template <class Real>
Variable propagate(Tape& tape, const graph::Csr<Real>& a, const Variable& x, double alpha = 1,
                   double beta = 0, const Variable& z = {});

/// x w.
Variable linear(Tape& tape, const Variable& x, const Variable& w);
/// p x + q x w of a square w: the identity map of GCNII.
Variable identity_linear(Tape& tape, double p, const Variable& x, double q, const Variable& w);
/// act(x + b) of offsets b [columns].
Variable add_offset(Tape& tape, const Variable& x, const Variable& b, Activation activation);
/// dropout(max(x + b, 0)) in one pass.
Variable offset_relu(Tape& tape, const Variable& x, const Variable& b,
                     const graph::DropoutKey& mask);
Variable activate(Tape& tape, const Variable& x, Activation activation);
/// p x + q y.
Variable mix(Tape& tape, double p, const Variable& x, double q, const Variable& y);
/// x with entries dropped; x itself where the mask drops nothing.
Variable dropout(Tape& tape, const Variable& x, const graph::DropoutKey& mask);
/// act([x_0, x_1, ...]), the columns side by side.
Variable concatenate(Tape& tape, std::span<const Variable> parts, Activation activation);

/// The score of each node and head, [nodes, heads]: <x[i, head], weights[head]> of x [nodes, heads d]
/// and weights [heads, d].
Variable head_scores(Tape& tape, const Variable& x, const Variable& weights);
/// The attention of GAT (graph.edge_softmax_aggregate) of x [nodes, heads d] over the pattern of `a`.
template <class Real>
Variable attend(Tape& tape, const graph::Csr<Real>& a, const Variable& x, const Variable& s_src,
                const Variable& s_dst, double negative_slope);
/// bikt.fagcn_aggregate: eps h0 + the signed sum over neighbours; scores are [nodes, 1].
template <class Real>
Variable signed_attend(Tape& tape, const HostGraph<Real>& graph, const Variable& h,
                       const Variable& h0, const Variable& s_src, const Variable& s_dst,
                       double eps);
/// The mean over heads of x [nodes, heads d], [nodes, d].
Variable mean_of_heads(Tape& tape, const Variable& x, std::int64_t heads);

}  // namespace researchkit::bikt
