// log_softmax_nll and its gradient. A thread for each row; one exponential and, for the loss, one
// read of each logit; bound by memory bandwidth. The loss adds up its rows in double one after the
// other, as the CPU does: one block loads 256 of them at a time, one thread adds. That chain of n
// additions is the limit of the loss.
#include <limits>
#include <span>

#include "kernels/cuda/graph/graph.hpp"
#include "researchkit/core/cuda/launch.cuh"
#include "researchkit/graph/operators_dense.hpp"

namespace researchkit::graph::RESEARCHKIT_DEVICE {
namespace {

using namespace device;

constexpr std::int64_t kNone = std::numeric_limits<std::int64_t>::max();
constexpr int kThreads = 256;

template <class Real, class Index>
struct Rows {
  Global<const Real> logits;
  Global<const Index> labels;
  Global<const std::uint8_t> mask;
  std::int64_t classes;

  RESEARCHKIT_DEVICE_FUNCTION Real largest(std::int64_t row) const {
    Real largest = logits[row * classes];
    for (std::int64_t c = 1; c < classes; ++c) {
      const Real logit = logits[row * classes + c];
      if (largest < logit) largest = logit;
    }
    return largest;
  }
};

/// The first masked row whose label is no class, and how many rows are masked.
template <class Real, class Index>
RESEARCHKIT_KERNEL(256)
void check_labels(RESEARCHKIT_SHARED_ARGUMENT Rows<Real, Index> rows,
                  Global<std::int64_t> first_bad, Global<std::int64_t> count) {
  std::int64_t masked = 0;
  for (std::int64_t i = grid_thread(); i < rows.mask.size; i += grid_threads()) {
    if (rows.mask[i] == 0) continue;
    ++masked;
    if (rows.labels[i] < 0 || rows.labels[i] >= rows.classes) atomic_min(first_bad[0], i);
  }
  masked = warp_reduce(masked, [](std::int64_t a, std::int64_t b) { return a + b; });
  if (lane() == 0) atomic_add(count[0], masked);
}

template <class Real, class Index>
RESEARCHKIT_KERNEL(256)
void find_losses(RESEARCHKIT_SHARED_ARGUMENT Rows<Real, Index> rows, Global<Real> losses) {
  for (std::int64_t i = grid_thread(); i < losses.size; i += grid_threads()) {
    if (rows.mask[i] == 0) continue;
    const Real largest = rows.largest(i);
    Real sum = 0;
    for (std::int64_t c = 0; c < rows.classes; ++c) {
      sum = add_rn(sum, exponential(sub_rn(rows.logits[i * rows.classes + c], largest)));
    }
    const Real own = sub_rn(rows.logits[i * rows.classes + rows.labels[i]], largest);
    losses[i] = sub_rn(logarithm(sum), own);
  }
}

/// One block. Rows that are not masked have a loss of 0, which changes no sum.
template <class Real>
RESEARCHKIT_KERNEL(256)
void add_losses(Global<const Real> losses, double count, Global<Real> loss) {
  SharedMemory memory = dynamic_shared();
  const Shared<double> chunk = memory.take<double>(kThreads);
  double sum = 0;
  for (std::int64_t base = 0; base < losses.size; base += kThreads) {
    const std::int64_t i = base + thread_index();
    chunk[thread_index()] = i < losses.size ? static_cast<double>(losses[i]) : 0.0;
    block_barrier();
    for (int at = 0; at < kThreads && thread_index() == 0; ++at) {
      const double term = chunk[at];
      sum = add_rn(sum, term);
    }
    block_barrier();
  }
  if (thread_index() == 0) loss[0] = static_cast<Real>(div_rn(sum, count));
}

/// (softmax(z_i) - onehot(y_i)) d_loss / count.
template <class Real, class Index>
RESEARCHKIT_KERNEL(256)
void find_gradients(RESEARCHKIT_SHARED_ARGUMENT Rows<Real, Index> rows, Global<const Real> d_loss,
                    Real count, Global<Real> d_logits) {
  const Real scale = div_rn(d_loss[0], count);
  for (std::int64_t i = grid_thread(); i < rows.mask.size; i += grid_threads()) {
    const std::int64_t begin = i * rows.classes, end = begin + rows.classes;
    if (rows.mask[i] == 0) {
      for (std::int64_t at = begin; at < end; ++at) d_logits[at] = Real(0);
      continue;
    }
    const Real largest = rows.largest(i);
    Real sum = 0;
    for (std::int64_t at = begin; at < end; ++at) {
      const Real power = exponential(sub_rn(rows.logits[at], largest));
      d_logits[at] = power;
      sum = add_rn(sum, power);
    }
    const Real factor = div_rn(scale, sum);
    for (std::int64_t at = begin; at < end; ++at) d_logits[at] = mul_rn(d_logits[at], factor);
    const std::int64_t own = begin + rows.labels[i];
    d_logits[own] = sub_rn(d_logits[own], scale);
  }
}

/// Refuses labels that are no classes; returns what the loss is divided by.
template <class Op, class Real, class Index>
std::int64_t checked_count(const Context& ctx, const Op& op, const Rows<Real, Index>& rows) {
  const Device device = op.logits.device();
  const std::int64_t begin[] = {kNone, 0};
  const DeviceArray<std::int64_t> found(ctx, device, std::span(begin));
  launch(ctx, device, "check_labels", check_labels<Real, Index>, for_entries(rows.mask.size), rows,
         found.global().part(0, 1), found.global().part(1, 1));
  const auto values = found.read();
  if (values[0] != kNone) {
    const Tensor labels = row_major(op.labels).to(Device::host());
    const Tensor mask = row_major(op.mask).to(Device::host());
    require_labels<Index>(Check(op.name), Tensor(labels).template view<Index, 1>(),
                          Tensor(mask).template view<std::uint8_t, 1>(), rows.classes);
  }
  return op.reduction == Reduction::mean && values[1] > 0 ? values[1] : 1;
}

template <class Real, class Index, class Op>
Rows<Real, Index> rows_of(const Op& op) {
  return {global(op.logits), global(op.labels), global(op.mask), op.logits.extent(1)};
}

template <class Real, class Index>
void run_loss(const Context& ctx, const LogSoftmaxNll<Real, Index>& op) {
  const Device device = op.logits.device();
  const auto rows = rows_of<Real, Index>(op);
  const std::int64_t count = checked_count(ctx, op, rows), n = rows.mask.size;
  const DeviceArray<Real> losses(ctx, device, n);
  launch(ctx, device, "row losses", find_losses<Real, Index>, for_entries(n), rows,
         losses.global());
  launch(ctx, device, "log_softmax_nll", add_losses<Real>,
         {.block_threads = kThreads, .shared_bytes = kThreads * sizeof(double)}, losses.global(),
         static_cast<double>(count), global(op.loss));
}

template <class Real, class Index>
void run_loss_backward(const Context& ctx, const LogSoftmaxNllBackward<Real, Index>& op) {
  const auto rows = rows_of<Real, Index>(op);
  const std::int64_t count = checked_count(ctx, op, rows);
  launch(ctx, op.logits.device(), "log_softmax_nll_backward", find_gradients<Real, Index>,
         for_entries(rows.mask.size), rows, global(op.d_loss), static_cast<Real>(count),
         global(op.d_logits));
}

template <class Real, class Index>
void add_for(DeviceKernels& kernels) {
  kernels.add<LogSoftmaxNll<Real, Index>>(run_loss<Real, Index>);
  kernels.add<LogSoftmaxNllBackward<Real, Index>>(run_loss_backward<Real, Index>);
}

}  // namespace

void register_loss(DeviceKernels& kernels) {
  add_for<float, std::int32_t>(kernels);
  add_for<float, std::int64_t>(kernels);
  add_for<double, std::int32_t>(kernels);
  add_for<double, std::int64_t>(kernels);
}

}  // namespace researchkit::graph::RESEARCHKIT_DEVICE
