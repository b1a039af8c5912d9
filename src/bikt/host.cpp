#include "researchkit/bikt/host.hpp"

#include <cmath>

#include "src/bikt/matrix.hpp"

namespace researchkit::bikt {

template <class Real>
struct HostInput<Real>::Values {
  Tensor kept, kept_transposed;  // stored values after dropout, and as the transpose has them

  /// X^T d, the values moved along once per step.
  Tensor transposed_times(const Context& ctx, const graph::Csr<Real>& features, const Tensor& d) {
    const auto transpose = features.transposed();
    if (!kept_transposed.defined()) {
      kept_transposed = fresh<Real>(ctx, {features.entries()});
      const auto positions = features.transposed_positions();
      const Real* from = data_of<Real>(kept);
      Real* to = data_of<Real>(kept_transposed);
      for_entries<Real>(ctx, features.entries(), [=](std::int64_t e) {
        to[e] = from[positions[static_cast<std::size_t>(e)]];
      });
    }
    Tensor result = fresh<Real>(ctx, {features.columns(), d.extent(1)});
    graph::kernels::spmm<Real, std::int32_t>(
        ctx, transpose.view_with(data_of<Real>(std::as_const(kept_transposed))), Real(1),
        data_of<Real>(d), d.extent(1), Real(0), nullptr, data_of<Real>(result));
    return result;
  }
};

template <class Real>
HostInput<Real>::HostInput(const Context& ctx, graph::Csr<Real> features,
                           const graph::DropoutKey& mask)
    : features_(std::move(features)), values_(std::make_shared<Values>()) {
  values_->kept = fresh<Real>(ctx, {features_.entries()});
  Real* const kept = data_of<Real>(values_->kept);
  if (mask.p == 0) {
    std::copy(features_.values().begin(), features_.values().end(), kept);
  } else {
    graph::kernels::dropout<Real>(ctx, mask, features_.values().data(), features_.entries(), kept,
                                  nullptr);
  }
}

template <class Real>
Variable HostInput<Real>::times(Tape& tape, const Variable& w) {
  for (const auto& [weight, known] : products_) {
    if (weight == &w.value()) return known;
  }
  if (w.value().rank() != 2 || w.value().extent(0) != columns() ||
      w.value().dtype() != dtype_of<Real>) {
    throw Error("HostInput: a weight with " + std::to_string(columns()) +
                " rows wanted, one of shape " + to_string(w.value().shape()) + " came");
  }
  const Context ctx = tape.context();
  const std::int64_t d = w.value().extent(1);
  Tensor y = fresh<Real>(ctx, {nodes(), d});
  graph::kernels::spmm<Real, std::int32_t>(
      ctx, features_.view_with(data_of<Real>(std::as_const(values_->kept))), Real(1),
      data_of<Real>(w.value()), d, Real(0), nullptr, data_of<Real>(y));
  Variable result =
      tape.record(y, {w}, [ctx, features = features_, values = values_](const Tensor& d_y) {
        return std::vector{values->transposed_times(ctx, features, d_y)};
      });
  products_.emplace_back(&w.value(), result);
  return result;
}

template <class Real>
HostGraph<Real>::HostGraph(Context ctx, graph::Csr<Real> adjacency)
    : state_(std::make_shared<State>()) {
  if (adjacency.rows() != adjacency.columns()) throw Error("HostGraph: a square matrix wanted");
  state_->ctx = std::move(ctx);
  state_->adjacency = std::move(adjacency);
}

template <class Real>
const graph::Csr<Real>& HostGraph<Real>::normalized(graph::Normalization mode,
                                                    double self_loop) const {
  const std::lock_guard lock(state_->mutex);
  auto& operators = state_->operators;
  const std::pair key(mode, self_loop);
  const auto found = operators.find(key);
  if (found != operators.end()) return found->second;
  return operators.emplace(key, graph::normalized(state_->ctx, state_->adjacency, mode, self_loop))
      .first->second;
}

template <class Real>
const Tensor& HostGraph<Real>::inverse_root_degrees() const {
  const std::lock_guard lock(state_->mutex);
  Tensor& factors = state_->inverse_root_degrees;
  if (!factors.defined()) {
    const auto& a = state_->adjacency;
    factors = Tensor(dtype_of<Real>, {a.rows()});
    for (std::int64_t i = 0; i < a.rows(); ++i) {
      const auto degree = static_cast<double>(std::max<std::int64_t>(a.degree(i), 1));
      data_of<Real>(factors)[i] = static_cast<Real>(1 / std::sqrt(degree));
    }
  }
  return factors;
}

template class HostInput<float>;
template class HostInput<double>;
template class HostGraph<float>;
template class HostGraph<double>;

}  // namespace researchkit::bikt
