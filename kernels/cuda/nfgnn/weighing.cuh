#pragma once

// The coefficients of a block's rows (equations N4 and N5): a thread for each row and rank, eight
// ranks at a time, then one for each row.

#include "kernels/cuda/nfgnn/gates.cuh"

namespace researchkit::nfgnn::RESEARCHKIT_DEVICE {

inline constexpr int kRanks = 8;  // gates of a row that are held at a time

/// Writes eta of order k for rows first_row, ..., first_row + rows - 1 to device memory and to
/// `coefficient`. signal(row, j) is entry j of a row, counted from the first; h holds kRanks gates for
/// each row. All threads of the block must come, at least as many as there are rows.
template <class Real, class Signal>
RESEARCHKIT_DEVICE_FUNCTION void weigh_rows(const DeviceCoefficients<Real>& model, std::int64_t k,
                                            std::int64_t first_row, int rows, const Shared<Real>& h,
                                            const Shared<Real>& coefficient, Global<Real> eta,
                                            const Signal& signal) {
  Real sum = 0;
  for (std::int64_t first = 0; first < model.rank; first += kRanks) {
    const int ranks = static_cast<int>(model.rank - first < kRanks ? model.rank - first : kRanks);
    for (int item = thread_index(); item < rows * ranks; item += block_threads()) {
      const int row = item / ranks, r = item % ranks;
      h[row * kRanks + r] =
          model.gated(k, first + r, [&](std::int64_t j) { return signal(row, j); }).value;
    }
    block_barrier();
    if (thread_index() < rows) {
      for (int r = 0; r < ranks; ++r) {
        const Real gate = h[thread_index() * kRanks + r];
        sum = add_rn(sum, mul_rn(gate, model.gamma[(first + r) * model.orders + k]));
      }
    }
    block_barrier();
  }
  if (thread_index() < rows) {
    sum = mul_rn(sum, model.scale);
    eta[(first_row + thread_index()) * model.orders + k] = sum;
    coefficient[thread_index()] = sum;
  }
  block_barrier();
}

}  // namespace researchkit::nfgnn::RESEARCHKIT_DEVICE
