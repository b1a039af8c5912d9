// Log-softmax and negative log-likelihood of masked rows: a pass over the logits with one exponential
// per entry of a masked row, bound by these. Row losses are kept and added in double in row order.
#include <algorithm>
#include <cmath>
#include <span>

#include "researchkit/core/parallel.hpp"
#include "researchkit/graph/dense.hpp"
#include "researchkit/graph/reference.hpp"

namespace researchkit::graph::kernels {
namespace {

constexpr std::int64_t kRows = 512;

std::int64_t count_masked(const std::uint8_t* mask, std::int64_t n) {
  return n - std::count(mask, mask + n, std::uint8_t{0});
}

}  // namespace

template <class Real, class Index>
Real log_softmax_nll(const Context& ctx, In<Real, 2> logits, const Index* labels,
                     const std::uint8_t* mask, Reduction reduction) {
  const std::int64_t n = logits.extent(0), classes = logits.extent(1);
  Workspace::Scope scratch(ctx.workspace());
  const auto losses = scratch.allocate<Real>(static_cast<std::size_t>(n));
  parallel_for(ctx, n, kRows, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      if (mask[i] == 0) continue;
      const Real* row = logits.data_handle() + i * classes;
      losses[static_cast<std::size_t>(i)] =
          reference::nll(row, classes, static_cast<std::int64_t>(labels[i]));
    }
  });
  double sum = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    if (mask[i] != 0) sum += static_cast<double>(losses[static_cast<std::size_t>(i)]);
  }
  const std::int64_t count = reduction == Reduction::mean ? count_masked(mask, n) : 1;
  return static_cast<Real>(sum / static_cast<double>(std::max<std::int64_t>(count, 1)));
}

template <class Real, class Index>
void log_softmax_nll_backward(const Context& ctx, In<Real, 2> logits, const Index* labels,
                              const std::uint8_t* mask, Reduction reduction, Real upstream,
                              Out<Real, 2> d_logits) {
  const std::int64_t n = logits.extent(0), classes = logits.extent(1);
  const std::int64_t count = reduction == Reduction::mean ? count_masked(mask, n) : 1;
  const Real scale = upstream / static_cast<Real>(std::max<std::int64_t>(count, 1));
  parallel_for(ctx, n, kRows, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const Real* row = logits.data_handle() + i * classes;
      Real* to = d_logits.data_handle() + i * classes;
      if (mask[i] == 0) {
        std::fill(to, to + classes, Real(0));
      } else {
        reference::nll_gradient(row, classes, static_cast<std::int64_t>(labels[i]), scale, to);
      }
    }
  });
}

#define RESEARCHKIT_INSTANTIATE(Real, Index)                                                    \
  template Real log_softmax_nll(const Context&, In<Real, 2>, const Index*, const std::uint8_t*, \
                                Reduction);                                                     \
  template void log_softmax_nll_backward(const Context&, In<Real, 2>, const Index*,             \
                                         const std::uint8_t*, Reduction, Real, Out<Real, 2>)
RESEARCHKIT_INSTANTIATE(float, std::int32_t);
RESEARCHKIT_INSTANTIATE(float, std::int64_t);
RESEARCHKIT_INSTANTIATE(double, std::int32_t);
RESEARCHKIT_INSTANTIATE(double, std::int64_t);
#undef RESEARCHKIT_INSTANTIATE

}  // namespace researchkit::graph::kernels
