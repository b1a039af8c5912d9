#pragma once

#include <array>
#include <cstdint>

#include "researchkit/bikt/rows.hpp"
#include "researchkit/core/context.hpp"
#include "researchkit/core/view.hpp"

namespace researchkit::bikt {

/// What both branches and their teachers say about n nodes and c classes, row-major. Without teachers
/// (null) there is no divergence; where `mask` is null, no label counts.
template <class Index = std::int32_t>
struct TransferRows {
  std::int64_t n = 0, c = 0;
  const float* host = nullptr;             // [n, c]
  const float* derived = nullptr;          // [n, c]
  const float* host_teacher = nullptr;     // [n, c], teaches the derived model
  const float* derived_teacher = nullptr;  // [n, c], teaches the host
  const Index* labels = nullptr;           // [n], in [0, c) where masked
  const std::uint8_t* mask = nullptr;      // [n]
  const float* weight = nullptr;           // [n], of the derived model's teaching; null: 1
  const float* class_weights = nullptr;    // [c], of the cross entropies' rows; null: 1
};

/// Upstream gradients of the four parts: cross entropies of both, host to derived, derived to host.
struct TransferScales {
  float host = 1, derived = 1, to_derived = 1, to_host = 1;
};

namespace kernels {

/// The parts of bikt_transfer_loss: [CE host, CE derived, KL host to derived (mean), KL derived to host
/// (weighted mean)], and, where they are not null, the gradients of the scaled parts' sum with respect
/// to both logits [n, c].
///
/// One pass over the rows, vector lanes across rows; row losses are kept and added in double in order,
/// so neither threads nor the instruction set change a bit. O(n) workspace.
template <class Index>
std::array<float, 4> transfer_loss(const Context& ctx, const TransferRows<Index>& rows,
                                   float temperature, const TransferScales& scales, float* d_host,
                                   float* d_derived);

/// The gate of each node (B4), lanes across rows.
void gate(const Context& ctx, Gate mode, In<float, 2> host, In<float, 2> derived, float* weight);

}  // namespace kernels
}  // namespace researchkit::bikt
