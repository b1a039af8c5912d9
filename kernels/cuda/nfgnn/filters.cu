// node_oriented_filter and node_variant_filter. One kernel for each order k does all that belongs to
// it: the product that makes T_k, the coefficients of its rows from T_k in shared memory, and their
// part of y; order 0 goes with order 1. Two orders are live: T_k takes the place of T_{k-2}. Per order
// 8 bytes for each entry, a gathered row of T_{k-1}, one read of T_{k-2}, one write of T_k, and y and
// eta. A graph of few rows is done by one block in one launch, with barriers for orders.
//
// Bound by the latency of gathering (spmm.cuh). What is not done: the launches are not captured in a
// CUDA graph, and eta and T_k are not kept for the backward, which is an operator by itself.
#include <algorithm>

#include "kernels/cuda/graph/spmm.cuh"
#include "kernels/cuda/nfgnn/nfgnn.hpp"
#include "kernels/cuda/nfgnn/recursion.hpp"
#include "kernels/cuda/nfgnn/weighing.cuh"
#include "researchkit/nfgnn/operators_filter.hpp"

namespace researchkit::nfgnn::RESEARCHKIT_DEVICE {
namespace {

constexpr int kThreads = 256, kAllThreads = 512;
constexpr std::int64_t kSharedColumns = 64;  // wider rows of T_k are read back from device memory

template <class Real, class Index>
struct FilterCall {
  DeviceCsr<Real, Index> a;
  DeviceCoefficients<Real> model;   // without parameters: eta is given
  Global<const Real> x, given_eta;  // T_0; [n, orders]
  Global<Real> even, odd;           // T_k of even k > 0 and of odd k
  Global<Real> eta, y;
  Basis basis;
  int lanes;

  RESEARCHKIT_DEVICE_FUNCTION Global<const Real> order(std::int64_t k) const {
    return k == 0 ? x : k % 2 == 0 ? Global<const Real>(even) : Global<const Real>(odd);
  }
};

/// Orders first_order, ..., last_order. Several of them need either one block, or to be 0 and 1.
template <class Real, class Index, int kColumns>
RESEARCHKIT_DEVICE_FUNCTION void filter(const FilterCall<Real, Index>& call,
                                        std::int64_t first_order, std::int64_t last_order) {
  using namespace graph::RESEARCHKIT_DEVICE;
  const std::int64_t c = call.model.c, orders = call.model.orders, n = call.a.rows;
  const int block_rows = block_threads() / call.lanes;
  const bool is_gated = call.model.b.size > 0, is_shared = c <= kSharedColumns;
  SharedMemory memory = dynamic_shared();
  const Shared<Real> products = memory.take<Real>(2 * kTileProducts);
  const Shared<Real> row_signal =
      memory.take<Real>(is_shared ? block_rows * static_cast<int>(c) : 0);
  const Shared<Real> h = memory.take<Real>(block_rows * kRanks);
  const Shared<Real> coefficient = memory.take<Real>(block_rows);
  for (std::int64_t k = first_order; k <= last_order; ++k) {
    const Global<const Real> order = call.order(k);
    for (std::int64_t first = block_index() * block_rows; first < n;
         first += block_count() * block_rows) {
      const int rows = static_cast<int>(n - first < block_rows ? n - first : block_rows);
      if (k > 0) {
        const Product<Real> product =
            next_order<Real>(call.basis, k, c, call.order(k - 1), call.order(k > 1 ? k - 2 : 0),
                             k % 2 == 0 ? call.even : call.odd);
        const auto store = [&](std::int64_t row, std::int64_t column, Real sum) {
          const std::int64_t at = row * c + column;
          const Real value = finish(product, sum, at);
          product.y[at] = value;
          if (is_shared) row_signal[at - first * c] = value;
        };
        sum_short_rows<kColumns>(call.a, product.x, c, call.lanes, first, store);
        sum_long_rows(call.a, product.x, c, first, rows, products, store);
      } else if (is_shared) {
        for (std::int64_t at = thread_index(); at < rows * c; at += block_threads()) {
          row_signal[at] = call.x[first * c + at];
        }
      }
      block_barrier();
      const auto signal = [&](int row, std::int64_t j) {
        return is_shared ? static_cast<Real>(row_signal[row * c + j])
                         : order[(first + row) * c + j];
      };
      if (is_gated) {
        weigh_rows(call.model, k, first, rows, h, coefficient, call.eta, signal);
      } else {
        if (thread_index() < rows) {
          coefficient[thread_index()] = call.given_eta[(first + thread_index()) * orders + k];
        }
        block_barrier();
      }
      for (std::int64_t at = thread_index(); at < rows * c; at += block_threads()) {
        const int row = static_cast<int>(at / c);
        const Real before = k == 0 ? Real(0) : call.y[first * c + at];
        const Real weight = coefficient[row];
        call.y[first * c + at] = add_rn(before, mul_rn(weight, signal(row, at % c)));
      }
      block_barrier();
    }
  }
}

template <class Real, class Index, int kColumns>
RESEARCHKIT_KERNEL(256)
void filter_orders(RESEARCHKIT_SHARED_ARGUMENT FilterCall<Real, Index> call,
                   std::int64_t first_order, std::int64_t last_order) {
  filter<Real, Index, kColumns>(call, first_order, last_order);
}

/// One block, all orders.
template <class Real, class Index>
RESEARCHKIT_KERNEL(512)
void filter_whole(RESEARCHKIT_SHARED_ARGUMENT FilterCall<Real, Index> call) {
  filter<Real, Index, 1>(call, 0, call.model.orders - 1);
}

template <class Real, class Index>
void run_filter(const Context& ctx, Device device, FilterCall<Real, Index> call) {
  const std::int64_t n = call.a.rows, c = call.model.c, last = call.model.orders - 1;
  if (n == 0) return;
  const DeviceArray<Real> even(ctx, device, n * c), odd(ctx, device, n * c);
  call.even = even.global();
  call.odd = odd.global();
  call.lanes = graph::RESEARCHKIT_DEVICE::lanes_of_row(c);
  const auto shared_bytes = [&](int threads) {
    const std::int64_t rows = threads / call.lanes;
    const std::int64_t reals = rows * ((c <= kSharedColumns ? c : 0) + kRanks + 1);
    return graph::RESEARCHKIT_DEVICE::long_row_bytes<Real>() +
           static_cast<std::size_t>(reals) * sizeof(Real);
  };
  if (c <= kWarp && n * call.lanes <= 4 * kAllThreads) {
    launch(ctx, device, "filter_whole", filter_whole<Real, Index>,
           {.block_threads = kAllThreads, .shared_bytes = shared_bytes(kAllThreads)}, call);
    return;
  }
  const std::int64_t rows = kThreads / call.lanes;
  const Launch grid{.blocks = std::min<std::int64_t>((n + rows - 1) / rows, 1 << 20),
                    .block_threads = kThreads,
                    .shared_bytes = shared_bytes(kThreads)};
  const auto kernel = c <= kWarp ? filter_orders<Real, Index, 1> : filter_orders<Real, Index, 4>;
  for (std::int64_t k = std::min<std::int64_t>(1, last); k <= last; ++k) {
    launch(ctx, device, "filter_orders", kernel, grid, call, k == 1 ? 0 : k, k);
  }
}

template <class Real, class Index, class Op>
FilterCall<Real, Index> filter_call(const Context& ctx, const Op& op) {
  graph::RESEARCHKIT_DEVICE::require_csr(ctx, op.name, op.indptr, op.indices.extent(0));
  FilterCall<Real, Index> call{};
  call.a = graph::RESEARCHKIT_DEVICE::device_csr<Real, Index>(op.indptr, op.indices,
                                                              global(op.values), op.x.extent(0));
  call.x = global(op.x);
  call.y = global(op.y);
  call.basis = op.basis;
  return call;
}

template <class Real, class Index>
void run_oriented(const Context& ctx, const NodeOrientedFilter<Real, Index>& op) {
  auto call = filter_call<Real, Index>(ctx, op);
  call.model = coefficients_of<Real>(op, op.x.extent(0));
  call.eta = global(op.eta);
  run_filter(ctx, op.y.device(), call);
}

template <class Real, class Index>
void run_variant(const Context& ctx, const NodeVariantFilter<Real, Index>& op) {
  auto call = filter_call<Real, Index>(ctx, op);
  call.model.n = op.x.extent(0);
  call.model.c = op.x.extent(1);
  call.model.orders = op.eta.extent(1);
  call.given_eta = global(op.eta);
  run_filter(ctx, op.y.device(), call);
}

template <class Real, class Index>
void add_for(DeviceKernels& kernels) {
  kernels.add<NodeOrientedFilter<Real, Index>>(run_oriented<Real, Index>);
  kernels.add<NodeVariantFilter<Real, Index>>(run_variant<Real, Index>);
}

}  // namespace

void register_filters(DeviceKernels& kernels) {
  add_for<float, std::int32_t>(kernels);
  add_for<float, std::int64_t>(kernels);
  add_for<double, std::int32_t>(kernels);
  add_for<double, std::int64_t>(kernels);
}

}  // namespace researchkit::nfgnn::RESEARCHKIT_DEVICE
