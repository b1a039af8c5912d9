#include "researchkit/nfgnn/scalable.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "researchkit/autograd/tape.hpp"
#include "researchkit/core/shuffle.hpp"
#include "researchkit/graph/dense.hpp"
#include "researchkit/nn/operators_activation.hpp"
#include "src/nfgnn/filter_variables.hpp"

namespace researchkit::nfgnn {
namespace {

using autograd::Tape;
using autograd::Variable;

constexpr std::int64_t kPieceRows = 2048;                      // nodes in the model at one time
constexpr std::uint64_t kMostPieces = std::uint64_t{1} << 20;  // of a step
constexpr std::uint64_t kShuffles = 0x73687566666c6500;        // streams apart from the others

/// Sites of dropout.
enum Site : std::uint64_t { kOrders = 0, kFirstLayer = 1 };

/// What tells one forward pass from another.
struct Pass {
  bool training = false;
  std::int64_t step = 0, piece = 0;
};

}  // namespace

template <class Real>
struct NfgnnScalable<Real>::State {
  std::int64_t f, classes;
  ModelOptions options;
  FirstValues<Real> first;
  std::vector<autograd::Parameter> dense;
  FilterVariables<Real> filter;
  std::int64_t m = 0;   // rows of the piece in work
  std::vector<Real> t;  // its orders, [K + 1, m, f], and memory of larger ones

  State(std::int64_t features, std::int64_t c, const ModelOptions& o)
      : f(features),
        classes(c),
        options(checked(o)),
        first(o.seed),
        dense(layers()),
        filter(first, o, f, true) {}

  const ModelOptions& checked(const ModelOptions& o) const {
    check_options("NfgnnScalable", o, classes);
    if (f < 1) throw Error("NfgnnScalable: at least one feature wanted");
    return o;
  }
  std::vector<autograd::Parameter> layers() {
    const std::int64_t h = options.hidden;
    const std::int64_t widths[] = {f, h, h, classes};
    std::vector<autograd::Parameter> parameters;
    for (std::size_t l = 1; l <= 3; ++l) {
      const std::int64_t in = widths[l - 1], out = widths[l];
      parameters.push_back({fmt::format("w{}", l), first.uniform({in, out}, in)});
      parameters.push_back({fmt::format("b{}", l), first.uniform({out}, in)});
    }
    return parameters;
  }
  std::vector<autograd::Parameter> all() const {
    std::vector<autograd::Parameter> parameters = dense;
    const auto own = filter.all();
    parameters.insert(parameters.end(), own.begin(), own.end());
    return parameters;
  }

  graph::DropoutKey key(double p, const Pass& pass, std::uint64_t site) const {
    const auto piece = static_cast<std::uint64_t>(pass.step) * kMostPieces +
                       static_cast<std::uint64_t>(pass.piece);
    return {p, options.seed, piece * 16 + site};
  }

  /// Fills `t` with some rows, entries dropped in training.
  void take(const Context& ctx, const PropagatedFeatures& orders,
            std::span<const std::int32_t> which, const Pass& pass) {
    m = static_cast<std::int64_t>(which.size());
    const std::int64_t entries = orders.orders() * m * f;
    t.resize(std::max(t.size(), static_cast<std::size_t>(entries)));
    orders.gather(ctx, which, t.data());
    if (!pass.training || options.filter_dropout == 0) return;
    graph::kernels::dropout<Real>(ctx, key(options.filter_dropout, pass, kOrders), t.data(),
                                  entries, t.data(), nullptr);
  }
  std::vector<const Real*> order_pointers() const {
    std::vector<const Real*> pointers;
    for (std::int64_t k = 0; k <= options.K; ++k) {
      pointers.push_back(t.data() + k * m * f);
    }
    return pointers;
  }

  /// The weighted sum of the orders in `t`; `eta` receives the coefficients.
  Variable filtered(Tape& tape, Tensor& eta) {
    const Context ctx = tape.context();
    const Coefficients<Real> model = filter.coefficients(m, f, Gate::sigmoid, false);
    eta = Tensor(dtype_of<Real>, {m, options.K + 1});
    Tensor y(dtype_of<Real>, {m, f});
    kernels::coefficients<Real>(ctx, model, 0, order_pointers(), eta.template values<Real>().data(),
                                y.template values<Real>().data());
    return tape.record(y, {filter.w, filter.b, filter.gamma}, [=, this](const Tensor& d_y) {
      Workspace::Scope scratch(ctx.workspace());
      const ParameterGradients<Real> gradients(scratch, model);
      kernels::coefficients_backward<Real>(
          ctx, model, 0, order_pointers(), eta.template values<Real>().data(),
          d_y.template values<Real>().data(), nullptr, {}, gradients);
      const auto like = [](const Variable& v) { return Tensor(dtype_of<Real>, v.value().shape()); };
      Tensor d_w = like(filter.w), d_b = like(filter.b), d_gamma = like(filter.gamma);
      gradients.write(model, d_w.template values<Real>().data(), d_b.template values<Real>().data(),
                      d_gamma.template values<Real>().data());
      if (filter.kind == FilterKind::global) d_w = d_b = Tensor();  // they stay 0
      return std::vector{d_w, d_b, d_gamma};
    });
  }

  /// Logits of the rows in `t`.
  Variable logits(Tape& tape, const Pass& pass, Tensor& eta) {
    Variable h = filtered(tape, eta);
    for (std::size_t l = 0; l < 3; ++l) {
      if (l > 0) {
        h = tape.apply("nn.activate", {{"x", h}}, {{"kind", std::string("relu")}}).at("y");
      }
      if (pass.training && options.dropout > 0) {
        const auto mask = key(options.dropout, pass, kFirstLayer + l);
        h = tape.apply("graph.dropout", {{"x", h}},
                       {{"p", mask.p}, {"seed", mask.seed}, {"stream", mask.stream}})
                .at("y");
      }
      h = tape.apply("nn.linear",
                     {{"x", h}, {"w", dense[2 * l].variable}, {"b", dense[2 * l + 1].variable}})
              .at("y");
    }
    return h;
  }

  void check(const PropagatedFeatures& orders) const {
    if (orders.columns() == f && orders.orders() == options.K + 1) return;
    throw Error("NfgnnScalable", "orders",
                fmt::format("{} orders of {} features", options.K + 1, f),
                fmt::format("{} of {}", orders.orders(), orders.columns()));
  }
  void check_labels(const PropagatedFeatures& orders, std::span<const std::int32_t> which,
                    std::span<const std::int32_t> labels) const {
    if (which.empty()) throw Error("NfgnnScalable: a batch of at least one node wanted");
    if (static_cast<std::int64_t>(labels.size()) != orders.rows()) {
      throw Error("NfgnnScalable", "labels", fmt::format("one for each of {} rows", orders.rows()),
                  fmt::format("{}", labels.size()));
    }
    for (const std::int32_t row : which) {
      const bool known = row >= 0 && row < orders.rows();  // else gather() refuses
      const std::int32_t label = known ? labels[static_cast<std::size_t>(row)] : 0;
      if (label >= 0 && label < classes) continue;
      throw Error("NfgnnScalable", "labels", fmt::format("in [0, {})", classes),
                  fmt::format("{} of row {}", label, row));
    }
  }
};

template <class Real>
NfgnnScalable<Real>::NfgnnScalable(std::int64_t features, std::int64_t classes,
                                   const ModelOptions& options)
    : state_(std::make_unique<State>(features, classes, options)) {}
template <class Real>
NfgnnScalable<Real>::~NfgnnScalable() = default;
template <class Real>
NfgnnScalable<Real>::NfgnnScalable(NfgnnScalable&&) noexcept = default;
template <class Real>
NfgnnScalable<Real>& NfgnnScalable<Real>::operator=(NfgnnScalable&&) noexcept = default;

template <class Real>
std::vector<autograd::Parameter> NfgnnScalable<Real>::dense_parameters() const {
  return state_->dense;
}
template <class Real>
std::vector<autograd::Parameter> NfgnnScalable<Real>::filter_parameters() const {
  return state_->filter.trained();
}
template <class Real>
std::map<std::string, Tensor> NfgnnScalable<Real>::parameters() const {
  return values_of(state_->all());
}
template <class Real>
void NfgnnScalable<Real>::load(const std::map<std::string, Tensor>& parameters) {
  load_values("NfgnnScalable", state_->all(), parameters);
}
template <class Real>
const ModelOptions& NfgnnScalable<Real>::options() const {
  return state_->options;
}

template <class Real>
Real NfgnnScalable<Real>::loss_and_gradients(const Context& ctx, const PropagatedFeatures& orders,
                                             std::span<const std::int32_t> which,
                                             std::span<const std::int32_t> labels,
                                             std::int64_t step) {
  State& s = *state_;
  s.check(orders);
  s.check_labels(orders, which, labels);
  for (const autograd::Parameter& parameter : s.all()) {
    Variable variable = parameter.variable;
    variable.clear_gradient();
  }
  const std::vector<std::uint8_t> mask(static_cast<std::size_t>(kPieceRows), 1);
  const Real share = 1 / static_cast<Real>(which.size());
  double loss = 0;
  std::vector<std::int32_t> wanted;
  for (Pass pass{.training = true, .step = step}; !which.empty(); ++pass.piece) {
    const auto piece = which.first(std::min<std::size_t>(which.size(), kPieceRows));
    which = which.subspan(piece.size());
    s.take(ctx, orders, piece, pass);
    wanted.clear();
    for (const std::int32_t row : piece) wanted.push_back(labels[static_cast<std::size_t>(row)]);
    Tape tape(ctx);
    Tensor eta;
    const Variable z = s.logits(tape, pass, eta);
    const In<Real, 2> rows = z.value().template view<Real, 2>();
    loss += static_cast<double>(graph::kernels::log_softmax_nll<Real, std::int32_t>(
        ctx, rows, wanted.data(), mask.data(), graph::Reduction::sum));
    Tensor d_z(dtype_of<Real>, z.value().shape());
    graph::kernels::log_softmax_nll_backward<Real, std::int32_t>(
        ctx, rows, wanted.data(), mask.data(), graph::Reduction::sum, share,
        d_z.template view<Real, 2>());
    tape.backward(z, d_z);
  }
  return static_cast<Real>(loss * static_cast<double>(share));
}

template <class Real>
Real NfgnnScalable<Real>::train_epoch(const Context& ctx, const PropagatedFeatures& orders,
                                      std::span<const std::int32_t> rows,
                                      std::span<const std::int32_t> labels, std::int64_t batch,
                                      autograd::Optimizer& optimizer) {
  if (batch < 1) throw Error("NfgnnScalable", "batch", "at least 1", std::to_string(batch));
  const auto count = static_cast<std::int64_t>(rows.size());
  const std::int64_t batches = std::max<std::int64_t>((count + batch - 1) / batch, 1);
  std::vector<std::int32_t> order(rows.begin(), rows.end());
  const auto epoch = static_cast<std::uint64_t>(optimizer.steps() / batches);
  shuffle<std::int32_t>(order, Philox(state_->options.seed, kShuffles + epoch));
  std::span<const std::int32_t> rest = order;
  double loss = 0;
  do {
    const auto part = rest.first(std::min(rest.size(), static_cast<std::size_t>(batch)));
    rest = rest.subspan(part.size());
    loss += static_cast<double>(loss_and_gradients(ctx, orders, part, labels, optimizer.steps())) *
            static_cast<double>(part.size());
    optimizer.step(ctx);
  } while (!rest.empty());
  return static_cast<Real>(loss / static_cast<double>(count));
}

template <class Real>
ScalableOutput NfgnnScalable<Real>::evaluate(const Context& ctx, const PropagatedFeatures& orders,
                                             std::span<const std::int32_t> which) {
  State& s = *state_;
  s.check(orders);
  const auto count = static_cast<std::int64_t>(which.size());
  ScalableOutput output{Tensor(dtype_of<Real>, {count, s.classes}),
                        Tensor(dtype_of<Real>, {count, s.options.K + 1})};
  for (std::int64_t begin = 0; begin < count; begin += kPieceRows) {
    const std::int64_t end = std::min(count, begin + kPieceRows);
    s.take(ctx, orders,
           which.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin)),
           {});
    Tape tape = Tape::without_gradients(ctx);
    Tensor eta;
    output.logits.slice(0, begin, end).copy_from(s.logits(tape, {}, eta).value());
    output.coefficients.slice(0, begin, end).copy_from(eta);
  }
  return output;
}

template class NfgnnScalable<float>;
template class NfgnnScalable<double>;

}  // namespace researchkit::nfgnn
