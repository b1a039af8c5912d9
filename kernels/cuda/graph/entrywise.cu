// Dropout, its gradient and Adam's step: every entry by itself, bound by memory bandwidth (Adam
// moves 28 bytes for each float parameter; dropout 9 for each entry besides ten rounds of Philox for
// four of them).
#include "kernels/cuda/graph/graph.hpp"
#include "researchkit/core/cuda/launch.cuh"
#include "researchkit/core/random.hpp"
#include "researchkit/graph/operators_dense.hpp"

namespace researchkit::graph::RESEARCHKIT_DEVICE {
namespace {

using namespace device;

/// Four neighbouring entries of one Philox block for each thread; `mask` may be empty.
template <class Real>
RESEARCHKIT_KERNEL(256)
void drop(Philox random, std::uint64_t threshold, Real scale, Global<const Real> x, Global<Real> y,
          Global<std::uint8_t> mask) {
  const std::int64_t blocks = (y.size + 3) / 4;
  for (std::int64_t block = grid_thread(); block < blocks; block += grid_threads()) {
    const PhiloxBlock words = random.block(static_cast<std::uint64_t>(block));
    RESEARCHKIT_UNROLL
    for (int word = 0; word < 4; ++word) {
      const std::int64_t i = 4 * block + word;
      if (i >= y.size) break;
      const bool is_kept = words.words[word] >= threshold;
      y[i] = is_kept ? mul_rn(x[i], scale) : Real(0);
      if (mask.size > 0) mask[i] = is_kept ? 1 : 0;
    }
  }
}

template <class Real>
void drop_entries(const Context& ctx, Device device, const DropoutKey& key, Global<const Real> x,
                  Global<Real> y, Global<std::uint8_t> mask) {
  if (y.size == 0) return;
  launch(ctx, device, "dropout", drop<Real>, for_entries((y.size + 3) / 4),
         Philox(key.seed, key.stream), dropout_threshold(key.p), static_cast<Real>(1 / (1 - key.p)),
         x, y, mask);
}

template <class Real>
void run_dropout(const Context& ctx, const Dropout<Real>& op) {
  drop_entries<Real>(ctx, op.y.device(), {op.p, op.seed, op.stream},
                     {op.x.data_handle(), op.x.size()}, {op.y.data_handle(), op.y.size()},
                     {op.mask.data_handle(), op.mask.size()});
}
template <class Real>
void run_dropout_backward(const Context& ctx, const DropoutBackward<Real>& op) {
  drop_entries<Real>(ctx, op.d_x.device(), {op.p, op.seed, op.stream},
                     {op.d_y.data_handle(), op.d_y.size()}, {op.d_x.data_handle(), op.d_x.size()},
                     {});
}

/// The numbers of AdamStep; outputs behind inputs.
template <class Real>
struct AdamState {
  Global<const Real> p, g, m, v;
  Global<Real> next_p, next_m, next_v;
};

/// AdamConstants::update, every operation rounded by itself.
template <class Real>
RESEARCHKIT_KERNEL(256)
void update_parameters(RESEARCHKIT_SHARED_ARGUMENT AdamConstants<Real> constants,
                       RESEARCHKIT_SHARED_ARGUMENT AdamState<Real> state) {
  for (std::int64_t i = grid_thread(); i < state.p.size; i += grid_threads()) {
    const Real p = mul_rn(state.p[i], constants.keep);
    const Real g = add_rn(state.g[i], mul_rn(constants.decay, p));
    const Real m = add_rn(mul_rn(constants.beta1, state.m[i]), mul_rn(constants.rest1, g));
    const Real v =
        add_rn(mul_rn(constants.beta2, state.v[i]), mul_rn(constants.rest2, mul_rn(g, g)));
    const Real divisor = add_rn(mul_rn(sqrt_rn(v), constants.root_correction), constants.eps);
    state.next_m[i] = m;
    state.next_v[i] = v;
    state.next_p[i] = sub_rn(p, div_rn(mul_rn(constants.step_size, m), divisor));
  }
}

template <class Real>
void run_adam(const Context& ctx, const AdamStep<Real>& op) {
  if (op.p.size() == 0) return;
  const AdamConstants<Real> constants(
      AdamSettings{op.lr, op.beta1, op.beta2, op.eps, op.weight_decay, op.step, op.decoupled});
  const AdamState<Real> state{global(op.p),      global(op.g),      global(op.m),     global(op.v),
                              global(op.next_p), global(op.next_m), global(op.next_v)};
  launch(ctx, op.next_p.device(), "adam_step", update_parameters<Real>, for_entries(op.p.size()),
         constants, state);
}

template <class Real>
void add_for(DeviceKernels& kernels) {
  kernels.add<Dropout<Real>>(run_dropout<Real>);
  kernels.add<DropoutBackward<Real>>(run_dropout_backward<Real>);
  kernels.add<AdamStep<Real>>(run_adam<Real>);
}

}  // namespace

void register_entrywise(DeviceKernels& kernels) {
  add_for<float>(kernels);
  add_for<double>(kernels);
}

}  // namespace researchkit::graph::RESEARCHKIT_DEVICE
