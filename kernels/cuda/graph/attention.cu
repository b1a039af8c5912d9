// edge_softmax_aggregate and its gradient. A warp for each row and head: its lanes make scores,
// exponentials, weights and products of 32 entries side by side, sums over entries go one after the
// other (ordered_sum.cuh), and the weighted sum has a lane for each feature. `alpha` holds scores,
// then exponentials, then weights, each written and read by the lane that it belongs to. Sources
// gather over a transpose made for the call: nothing is added by two threads. nnz heads (2 d + 6)
// operations forward; bound by the latency of the rows of h, from d = 32 on by bandwidth.
#include "kernels/cuda/graph/graph.hpp"
#include "kernels/cuda/graph/ordered_sum.cuh"
#include "kernels/cuda/graph/sparse.hpp"
#include "researchkit/graph/operators_attention.hpp"

namespace researchkit::graph::RESEARCHKIT_DEVICE {
namespace {

template <class Real, class Index>
struct Attention {
  DeviceCsr<Real, Index> a;
  std::int64_t heads, d;
  Real slope;
  Global<const Real> h, s_src, s_dst;

  /// Before the leaky relu.
  RESEARCHKIT_DEVICE_FUNCTION Real score(std::int64_t row, std::int64_t e,
                                         std::int64_t head) const {
    return add_rn(s_dst[row * heads + head], s_src[a.indices[e] * heads + head]);
  }
};

struct Larger {
  template <class Real>
  RESEARCHKIT_DEVICE_FUNCTION Real operator()(Real x, Real y) const {
    return x < y ? y : x;
  }
};

template <class Real, class Index>
RESEARCHKIT_KERNEL(256)
void attend(RESEARCHKIT_SHARED_ARGUMENT Attention<Real, Index> call, Global<Real> alpha,
            Global<Real> y) {
  const std::int64_t warps = grid_threads() / kWarp, heads = call.heads, d = call.d;
  for (std::int64_t at = grid_thread() / kWarp; at < call.a.rows * heads; at += warps) {
    const std::int64_t row = at / heads, head = at % heads;
    const std::int64_t begin = call.a.indptr[row], end = call.a.indptr[row + 1];
    Real largest = -Real(HUGE_VAL);
    for (std::int64_t e = begin + lane(); e < end; e += kWarp) {
      const Real q = call.score(row, e, head);
      const Real score = q >= Real(0) ? q : mul_rn(call.slope, q);
      alpha[e * heads + head] = score;
      largest = Larger()(largest, score);
    }
    largest = warp_reduce(largest, Larger());
    const Real sum = ordered_sum(Real(0), begin, end, [&](std::int64_t e) {
      const Real weight = exponential(sub_rn(alpha[e * heads + head], largest));
      alpha[e * heads + head] = weight;
      return weight;
    });
    for (std::int64_t first = 0; first < (d > 0 ? d : 1); first += kWarp) {
      const std::int64_t c = first + lane();
      Real weighted = 0;
      for (std::int64_t base = begin; base < end; base += kWarp) {
        const std::int64_t e = base + lane();
        Real weight = e < end ? alpha[e * heads + head] : Real(0);
        if (first == 0 && e < end) alpha[e * heads + head] = weight = div_rn(weight, sum);
        const std::int64_t source = e < end ? call.a.indices[e] : 0;
        const int count = static_cast<int>(end - base < kWarp ? end - base : kWarp);
        for (int from = 0; from < count; ++from) {
          const Real factor = shuffle(weight, from);
          const std::int64_t j = shuffle(source, from);
          if (c < d)
            weighted = add_rn(weighted, mul_rn(factor, call.h[(j * heads + head) * d + c]));
        }
      }
      if (c < d) y[at * d + c] = weighted;
    }
  }
}

/// interleaved_dot of rows `left` of u and `right` of v by one thread.
template <class Real>
RESEARCHKIT_DEVICE_FUNCTION Real dot(Global<const Real> u, std::int64_t left, Global<const Real> v,
                                     std::int64_t right, std::int64_t d) {
  constexpr int kSums = 8;
  Real sums[kSums] = {};
  for (std::int64_t base = 0; base < d; base += kSums) {
    RESEARCHKIT_UNROLL
    for (int i = 0; i < kSums; ++i) {
      if (base + i < d) {
        sums[i] = add_rn(sums[i], mul_rn(u[left * d + base + i], v[right * d + base + i]));
      }
    }
  }
  RESEARCHKIT_UNROLL
  for (int half = kSums / 2; half > 0; half /= 2) {
    RESEARCHKIT_UNROLL
    for (int i = 0; i < half; ++i) sums[i] = add_rn(sums[i], sums[i + half]);
  }
  return sums[0];
}

/// d_q of every entry and d_s_dst; d_alpha may be empty.
template <class Real, class Index>
RESEARCHKIT_KERNEL(256)
void find_score_gradients(RESEARCHKIT_SHARED_ARGUMENT Attention<Real, Index> call,
                          Global<const Real> alpha, Global<const Real> d_y,
                          Global<const Real> d_alpha, Global<Real> d_q, Global<Real> d_s_dst) {
  const std::int64_t warps = grid_threads() / kWarp, heads = call.heads;
  for (std::int64_t at = grid_thread() / kWarp; at < call.a.rows * heads; at += warps) {
    const std::int64_t row = at / heads, head = at % heads;
    const std::int64_t begin = call.a.indptr[row], end = call.a.indptr[row + 1];
    const Real mean = ordered_sum(Real(0), begin, end, [&](std::int64_t e) {
      const std::int64_t source = call.a.indices[e] * heads + head;
      Real u = dot(d_y, at, call.h, source, call.d);
      if (d_alpha.size > 0) u = add_rn(u, d_alpha[e * heads + head]);
      d_q[e * heads + head] = u;
      return mul_rn(alpha[e * heads + head], u);
    });
    const Real total = ordered_sum(Real(0), begin, end, [&](std::int64_t e) {
      const std::int64_t place = e * heads + head;
      Real gradient = mul_rn(alpha[place], sub_rn(d_q[place], mean));
      if (!(call.score(row, e, head) >= Real(0))) gradient = mul_rn(gradient, call.slope);
      d_q[place] = gradient;
      return gradient;
    });
    if (lane() == 0) d_s_dst[at] = total;
  }
}

/// Entries of the transpose: those of source j are first[j], ..., at `positions` of the original.
struct Sources {
  Global<const std::int64_t> first, positions, rows;
};

/// d_h, a thread for each entry of it.
template <class Real>
RESEARCHKIT_KERNEL(256)
void gather_features(RESEARCHKIT_SHARED_ARGUMENT Sources sources, std::int64_t heads,
                     std::int64_t d, Global<const Real> alpha, Global<const Real> d_y,
                     Global<Real> d_h) {
  for (std::int64_t at = grid_thread(); at < d_h.size; at += grid_threads()) {
    const std::int64_t c = at % d, head = at / d % heads, j = at / d / heads;
    Real sum = 0;
    for (std::int64_t t = sources.first[j]; t < sources.first[j + 1]; ++t) {
      const Real weight = alpha[sources.positions[t] * heads + head];
      sum = add_rn(sum, mul_rn(weight, d_y[(sources.rows[t] * heads + head) * d + c]));
    }
    d_h[at] = sum;
  }
}

/// d_s_src, a thread for each entry of it.
template <class Real>
RESEARCHKIT_KERNEL(256)
void gather_scores(RESEARCHKIT_SHARED_ARGUMENT Sources sources, std::int64_t heads,
                   Global<const Real> d_q, Global<Real> d_s_src) {
  for (std::int64_t at = grid_thread(); at < d_s_src.size; at += grid_threads()) {
    const std::int64_t head = at % heads, j = at / heads;
    Real sum = 0;
    for (std::int64_t t = sources.first[j]; t < sources.first[j + 1]; ++t) {
      sum = add_rn(sum, d_q[sources.positions[t] * heads + head]);
    }
    d_s_src[at] = sum;
  }
}

template <class Real, class Index, class Op>
Attention<Real, Index> attention_of(const Op& op) {
  return {device_csr<Real, Index>(op.indptr, op.indices, {}, op.h.extent(0)),
          op.h.extent(1),
          op.h.extent(2),
          static_cast<Real>(op.negative_slope),
          global(op.h),
          global(op.s_src),
          global(op.s_dst)};
}

template <class Real, class Index>
void run_attention(const Context& ctx, const EdgeSoftmaxAggregate<Real, Index>& op) {
  require_csr(ctx, op.name, op.indptr, op.indices.extent(0));
  const auto call = attention_of<Real, Index>(op);
  launch(ctx, op.y.device(), "edge_softmax_aggregate", attend<Real, Index>,
         for_entries(call.a.rows * call.heads * kWarp), call, global(op.alpha), global(op.y));
}

template <class Real, class Index>
void run_attention_backward(const Context& ctx,
                            const EdgeSoftmaxAggregateBackward<Real, Index>& op) {
  require_csr(ctx, op.name, op.indptr, op.indices.extent(0));
  const Device device = op.d_h.device();
  const auto call = attention_of<Real, Index>(op);
  const DeviceArray<Real> d_q(ctx, device, op.alpha.size());
  const auto d_alpha = op.d_alpha ? global(*op.d_alpha) : Global<const Real>{};
  launch(ctx, device, "score gradients", find_score_gradients<Real, Index>,
         for_entries(call.a.rows * call.heads * kWarp), call, global(op.alpha), global(op.d_y),
         d_alpha, d_q.global(), global(op.d_s_dst));
  const auto transposed = transpose(ctx, device, call.a);
  const Sources sources{transposed.groups.first.global(), transposed.groups.entries.global(),
                        transposed.indices.global()};
  launch(ctx, device, "gather_features", gather_features<Real>, for_entries(op.d_h.size()), sources,
         call.heads, call.d, global(op.alpha), global(op.d_y), global(op.d_h));
  launch(ctx, device, "gather_scores", gather_scores<Real>, for_entries(op.d_s_src.size()), sources,
         call.heads, d_q.global(), global(op.d_s_src));
}

template <class Real, class Index>
void add_for(DeviceKernels& kernels) {
  kernels.add<EdgeSoftmaxAggregate<Real, Index>>(run_attention<Real, Index>);
  kernels.add<EdgeSoftmaxAggregateBackward<Real, Index>>(run_attention_backward<Real, Index>);
}

}  // namespace

void register_attention(DeviceKernels& kernels) {
  add_for<float, std::int32_t>(kernels);
  add_for<float, std::int64_t>(kernels);
  add_for<double, std::int32_t>(kernels);
  add_for<double, std::int64_t>(kernels);
}

}  // namespace researchkit::graph::RESEARCHKIT_DEVICE
