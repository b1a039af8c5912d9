// node_filter_coefficients and the gradients of the coefficients (equation N9). Going back, a thread
// for each node and order makes its gates' gradients, one for each entry the gradient of the
// signal, and one for each parameter, piece of 512 rows and lane of 16 a part of the parameter's
// sum; the parts are then added in the order of the CPU. No atomics. About 8 c rank operations for
// each node and order, and 2 rank + 1 numbers written and read; bound by memory bandwidth for small
// ranks.
#include "kernels/cuda/nfgnn/gradients.hpp"
#include "kernels/cuda/nfgnn/nfgnn.hpp"
#include "kernels/cuda/nfgnn/weighing.cuh"
#include "researchkit/nfgnn/operators_filter.hpp"

namespace researchkit::nfgnn::RESEARCHKIT_DEVICE {
namespace {

constexpr int kThreads = 256, kRowsOfBlock = 64;

/// A block for 64 rows of one order.
template <class Real>
RESEARCHKIT_KERNEL(256)
void weigh(RESEARCHKIT_SHARED_ARGUMENT DeviceCoefficients<Real> model, Global<const Real> t,
           Global<Real> eta) {
  SharedMemory memory = dynamic_shared();
  const Shared<Real> h = memory.take<Real>(kRowsOfBlock * kRanks);
  const Shared<Real> coefficient = memory.take<Real>(kRowsOfBlock);
  const std::int64_t groups = (model.n + kRowsOfBlock - 1) / kRowsOfBlock;
  for (std::int64_t at = block_index(); at < groups * model.orders; at += block_count()) {
    const std::int64_t k = at / groups, first = at % groups * kRowsOfBlock;
    const int rows =
        static_cast<int>(model.n - first < kRowsOfBlock ? model.n - first : kRowsOfBlock);
    weigh_rows(model, k, first, rows, h, coefficient, eta, [&](int row, std::int64_t j) {
      return t[(k * model.n + first + row) * model.c + j];
    });
  }
}

/// What the gradients of some orders pass on: [orders, rank, n] and [orders, n].
template <class Real>
struct GateGradients {
  Global<Real> h, d_gate, d_coefficient;
};

template <class Real>
RESEARCHKIT_KERNEL(256)
void find_gate_gradients(RESEARCHKIT_SHARED_ARGUMENT DeviceCoefficients<Real> model,
                         RESEARCHKIT_SHARED_ARGUMENT OrderGradients<Real> call,
                         RESEARCHKIT_SHARED_ARGUMENT GateGradients<Real> gates) {
  const std::int64_t n = model.n, c = model.c;
  for (std::int64_t at = grid_thread(); at < call.orders * n; at += grid_threads()) {
    const std::int64_t order = at / n, row = at % n, k = call.first + order;
    const auto signal = [&](std::int64_t j) { return call.t[at * c + j]; };
    Real d = call.d_eta.size > 0 ? call.d_eta[row * model.orders + k] : Real(0);
    for (std::int64_t j = 0; j < c && call.g.size > 0; ++j) {
      d = add_rn(d, mul_rn(call.g[row * c + j], signal(j)));
    }
    d = mul_rn(d, model.scale);
    gates.d_coefficient[at] = d;
    for (std::int64_t r = 0; r < model.rank; ++r) {
      const GateValue<Real> gate = model.gated(k, r, signal);
      const std::int64_t to = (order * model.rank + r) * n + row;
      gates.h[to] = gate.value;
      gates.d_gate[to] = mul_rn(mul_rn(d, model.gamma[r * model.orders + k]), gate.slope);
    }
  }
}

/// d_t: eta g, and what each gate sends back.
template <class Real>
RESEARCHKIT_KERNEL(256)
void find_signal_gradients(RESEARCHKIT_SHARED_ARGUMENT DeviceCoefficients<Real> model,
                           RESEARCHKIT_SHARED_ARGUMENT OrderGradients<Real> call,
                           Global<const Real> d_gate) {
  const std::int64_t n = model.n, c = model.c;
  for (std::int64_t at = grid_thread(); at < call.orders * n * c; at += grid_threads()) {
    const std::int64_t j = at % c, row = at / c % n, order = at / c / n, k = call.first + order;
    Real sum = 0;
    if (call.g.size > 0) {
      sum = add_rn(sum, mul_rn(call.g[row * c + j], call.eta[row * model.orders + k]));
    }
    const std::int64_t w_at = ((model.shared_w ? 0 : k) * c + j) * model.rank;
    for (std::int64_t r = 0; r < model.rank; ++r) {
      const Real d = d_gate[(order * model.rank + r) * n + row];
      sum = add_rn(sum, mul_rn(d, model.w[w_at + r]));
    }
    call.d_t[at] = sum;
  }
}

/// A parameter: where it stands, and to which order it belongs, -1: to all.
struct Parameter {
  enum Kind { kWeight, kOffset, kGamma } kind;
  std::int64_t j = 0, r = 0, k = -1;
};
template <class Real>
RESEARCHKIT_DEVICE_FUNCTION Parameter parameter_of(const DeviceCoefficients<Real>& model,
                                                   std::int64_t p) {
  if (p < model.w.size) {
    const std::int64_t k = p / model.rank / model.c;
    return {Parameter::kWeight, p / model.rank % model.c, p % model.rank, model.shared_w ? -1 : k};
  }
  p -= model.w.size;
  if (p < model.b.size) {
    return {Parameter::kOffset, 0, p % model.rank, model.shared_b ? -1 : p / model.rank};
  }
  p -= model.b.size;
  return {Parameter::kGamma, 0, p / model.orders, p % model.orders};
}

/// A part of a parameter's sum: rows lane, lane + 16, ... of a piece; tiles of 64 rows outside, orders
/// inside, as on the CPU.
template <class Real>
RESEARCHKIT_KERNEL(256)
void sum_pieces(RESEARCHKIT_SHARED_ARGUMENT DeviceCoefficients<Real> model,
                RESEARCHKIT_SHARED_ARGUMENT OrderGradients<Real> call,
                RESEARCHKIT_SHARED_ARGUMENT GateGradients<Real> gates, Global<Real> sums) {
  constexpr std::int64_t kLanes = DeviceParameterGradients<Real>::kLanes;
  constexpr std::int64_t kRows = DeviceParameterGradients<Real>::kRows;
  const std::int64_t n = model.n, parameters = model.parameters();
  for (std::int64_t at = grid_thread(); at < sums.size; at += grid_threads()) {
    const std::int64_t lane = at % kLanes, piece = at / kLanes / parameters;
    const Parameter parameter = parameter_of(model, at / kLanes % parameters);
    const std::int64_t own = parameter.k - call.first;
    if (parameter.k >= 0 && (own < 0 || own >= call.orders)) continue;
    const std::int64_t first_order = parameter.k >= 0 ? own : 0;
    const std::int64_t last_order = parameter.k >= 0 ? own : call.orders - 1;
    const std::int64_t end = (piece + 1) * kRows < n ? (piece + 1) * kRows : n;
    Real sum = sums[at];
    for (std::int64_t base = piece * kRows; base < end; base += kRowsOfBlock) {
      const std::int64_t tile_end = base + kRowsOfBlock < end ? base + kRowsOfBlock : end;
      for (std::int64_t order = first_order; order <= last_order; ++order) {
        const std::int64_t gate = (order * model.rank + parameter.r) * n;
        for (std::int64_t row = base + lane; row < tile_end; row += kLanes) {
          if (parameter.kind == Parameter::kOffset) {
            sum = add_rn(sum, gates.d_gate[gate + row]);
          } else if (parameter.kind == Parameter::kGamma) {
            sum = add_rn(sum, mul_rn(gates.d_coefficient[order * n + row], gates.h[gate + row]));
          } else {
            const Real signal = call.t[(order * n + row) * model.c + parameter.j];
            sum = add_rn(sum, mul_rn(signal, gates.d_gate[gate + row]));
          }
        }
      }
    }
    sums[at] = sum;
  }
}

/// The total of each parameter: pieces one after the other, then halves of the lanes.
template <class Real>
RESEARCHKIT_KERNEL(256)
void add_pieces(Global<const Real> sums, std::int64_t pieces, Global<Real> d_w, Global<Real> d_b,
                Global<Real> d_gamma) {
  constexpr int kLanes = static_cast<int>(DeviceParameterGradients<Real>::kLanes);
  const std::int64_t parameters = d_w.size + d_b.size + d_gamma.size;
  for (std::int64_t p = grid_thread(); p < parameters; p += grid_threads()) {
    Real lanes[kLanes] = {};
    for (std::int64_t piece = 0; piece < pieces; ++piece) {
      RESEARCHKIT_UNROLL
      for (int lane = 0; lane < kLanes; ++lane) {
        lanes[lane] = add_rn(lanes[lane], sums[(piece * parameters + p) * kLanes + lane]);
      }
    }
    RESEARCHKIT_UNROLL
    for (int half = kLanes / 2; half > 0; half /= 2) {
      RESEARCHKIT_UNROLL
      for (int lane = 0; lane < half; ++lane) lanes[lane] = add_rn(lanes[lane], lanes[lane + half]);
    }
    const std::int64_t b_at = p - d_w.size, gamma_at = b_at - d_b.size;
    if (b_at < 0) {
      d_w[p] = lanes[0];
    } else if (gamma_at < 0) {
      d_b[b_at] = lanes[0];
    } else {
      d_gamma[gamma_at] = lanes[0];
    }
  }
}

template <class Real>
void run_coefficients(const Context& ctx, const NodeFilterCoefficients<Real>& op) {
  const auto model = coefficients_of<Real>(op, op.t.extent(1));
  if (model.n == 0) return;
  const std::int64_t groups = (model.n + kRowsOfBlock - 1) / kRowsOfBlock;
  launch(ctx, op.eta.device(), "node_filter_coefficients", weigh<Real>,
         {.blocks = std::min<std::int64_t>(groups * model.orders, 1 << 20),
          .block_threads = kThreads,
          .shared_bytes = kRowsOfBlock * (kRanks + 1) * sizeof(Real)},
         model, global(op.t), global(op.eta));
}

template <class Real>
void run_coefficients_backward(const Context& ctx, const NodeFilterCoefficientsBackward<Real>& op) {
  const auto model = coefficients_of<Real>(op, op.t.extent(1));
  OrderGradients<Real> call{0, model.orders, global(op.t)};
  call.d_eta = global(op.d_eta);
  call.d_t = global(op.d_t);
  DeviceParameterGradients<Real> gradients(ctx, op.d_t.device(), model);
  gradients.add(ctx, model, call);
  gradients.write(ctx, model, global(op.d_w), global(op.d_b), global(op.d_gamma));
}

}  // namespace

template <class Real>
void DeviceParameterGradients<Real>::add(const Context& ctx, const DeviceCoefficients<Real>& model,
                                         const OrderGradients<Real>& call) {
  const std::int64_t rows = call.orders * model.n;
  if (rows == 0) return;
  const DeviceArray<Real> h(ctx, device_, rows * model.rank);
  const DeviceArray<Real> d_gate(ctx, device_, rows * model.rank);
  const DeviceArray<Real> d_coefficient(ctx, device_, rows);
  const GateGradients<Real> gates{h.global(), d_gate.global(), d_coefficient.global()};
  launch(ctx, device_, "gate gradients", find_gate_gradients<Real>, for_entries(rows), model, call,
         gates);
  launch(ctx, device_, "signal gradients", find_signal_gradients<Real>, for_entries(rows * model.c),
         model, call, gates.d_gate);
  launch(ctx, device_, "sum_pieces", sum_pieces<Real>, for_entries(sums_.global().size), model,
         call, gates, sums_.global());
}

template <class Real>
void DeviceParameterGradients<Real>::write(const Context& ctx,
                                           const DeviceCoefficients<Real>& model, Global<Real> d_w,
                                           Global<Real> d_b, Global<Real> d_gamma) const {
  launch(ctx, device_, "add_pieces", add_pieces<Real>, for_entries(model.parameters()),
         sums_.global(), pieces_, d_w, d_b, d_gamma);
}

template class DeviceParameterGradients<float>;
template class DeviceParameterGradients<double>;

void register_coefficients(DeviceKernels& kernels) {
  kernels.add<NodeFilterCoefficients<float>>(run_coefficients<float>);
  kernels.add<NodeFilterCoefficients<double>>(run_coefficients<double>);
  kernels.add<NodeFilterCoefficientsBackward<float>>(run_coefficients_backward<float>);
  kernels.add<NodeFilterCoefficientsBackward<double>>(run_coefficients_backward<double>);
}

}  // namespace researchkit::nfgnn::RESEARCHKIT_DEVICE
