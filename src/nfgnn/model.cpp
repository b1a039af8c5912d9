#include "researchkit/nfgnn/model.hpp"

#include <algorithm>
#include <array>

#include "researchkit/core/blas.hpp"
#include "researchkit/graph/dense.hpp"
#include "researchkit/nfgnn/filter.hpp"
#include "researchkit/nn/column_sums.hpp"
#include "src/nfgnn/filter_variables.hpp"

namespace researchkit::nfgnn {
namespace {

using Matrix = TensorView<float, 2>;

/// Sites of dropout and first values, told apart by their stream.
enum Site : std::uint64_t { kFeatures = 0, kHidden = 1, kLogits = 2 };

Tensor zeros(Shape shape) { return {DType::f32, std::move(shape)}; }

/// out = max(out + bias, 0) or out + bias.
void add_bias(const Context& ctx, Matrix out, const float* bias, bool relu) {
  const std::int64_t columns = out.extent(1);
  parallel_for(ctx, out.extent(0), 1024, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      float* row = out.data_handle() + i * columns;
      for (std::int64_t j = 0; j < columns; ++j) {
        const float value = row[j] + bias[j];
        row[j] = relu ? std::max(value, 0.f) : value;
      }
    }
  });
}

}  // namespace

struct NfgnnModel::State {
  graph::Csr<float> features, features_t, propagation, propagation_t;
  std::int64_t n, classes, stride;  // stride: classes padded for the filter
  ModelOptions options;
  FirstValues<float> first;
  autograd::Variable w1, b1, w2, b2;
  FilterVariables<float> filter;
  // Weights of the second layer with padded columns, so that logits need no copy.
  Tensor w2_padded, b2_padded;

  // Buffers of one step.
  std::vector<float> dropped, dropped_t;  // features that were kept, and for their transpose
  Tensor hidden, hidden_dropped, d_hidden, eta, sum, labels_loss;
  std::vector<Tensor> orders, d_orders;
  std::vector<float*> t, d_t;
  std::array<Tensor, 2> recursion;
  Tensor d_sum, compact;

  State(graph::Csr<float> x, graph::Csr<float> a, std::int64_t c, const ModelOptions& o)
      : features(std::move(x)),
        features_t(features.transposed()),
        propagation(std::move(a)),
        propagation_t(propagation.transposed()),
        n(propagation.rows()),
        classes(c),
        stride(padded_columns(c)),
        options(checked(o)),
        first(o.seed),
        w1(first.uniform({features.columns(), o.hidden}, features.columns())),
        b1(first.uniform({o.hidden}, features.columns())),
        w2(first.uniform({o.hidden, classes}, o.hidden)),
        b2(first.uniform({classes}, o.hidden)),
        filter(first, o, classes, false) {
    make_buffers();
  }

  const ModelOptions& checked(const ModelOptions& o) const {
    const auto refuse = [](const char* wanted) {
      throw Error(std::string("NfgnnModel: ") + wanted + " wanted");
    };
    if (propagation.columns() != n) refuse("a square operator");
    if (features.rows() != n) refuse("one row of features for each node");
    check_options("NfgnnModel", o, classes);
    return o;
  }

  void make_buffers() {
    const std::int64_t h = options.hidden;
    dropped.resize(static_cast<std::size_t>(features.entries()));
    dropped_t.resize(dropped.size());
    hidden = zeros({n, h});
    hidden_dropped = zeros({n, h});
    d_hidden = zeros({n, h});
    eta = zeros({n, options.K + 1});
    sum = zeros({n, stride});
    d_sum = zeros({n, stride});
    compact = zeros({n, classes});
    labels_loss = zeros({n, classes});
    w2_padded = zeros({h, stride});
    b2_padded = zeros({stride});
    for (Tensor& buffer : recursion) buffer = zeros({n, stride});
    for (std::int64_t k = 0; k <= options.K; ++k) {
      orders.push_back(zeros({n, stride}));
      d_orders.push_back(zeros({n, stride}));
      t.push_back(orders.back().values<float>().data());
      d_t.push_back(d_orders.back().values<float>().data());
    }
  }

  Coefficients<float> coefficients() const {
    return filter.coefficients(n, stride, Gate::tanh, true);
  }
  std::vector<autograd::Parameter> all() const {
    std::vector<autograd::Parameter> parameters = filter.all();
    parameters.insert(parameters.begin(), {{"w1", w1}, {"b1", b1}, {"w2", w2}, {"b2", b2}});
    return parameters;
  }

  graph::DropoutKey key(double p, std::int64_t step, Site site) const {
    return {p, options.seed, static_cast<std::uint64_t>(step) * 16 + site};
  }

  /// Fills hidden, t[0] and the filter's results. `step` < 0: evaluation.
  void forward(const Context& ctx, std::int64_t step) {
    const bool training = step >= 0;
    const std::int64_t h = options.hidden;
    const float* values = features.values().data();
    if (training) {
      graph::kernels::dropout<float>(ctx, key(options.dropout, step, kFeatures), values,
                                     features.entries(), dropped.data(), nullptr);
      values = dropped.data();
    }
    graph::kernels::spmm<float, std::int32_t>(ctx, features.view_with(values), 1.f,
                                              w1.value().values<float>().data(), h, 0.f, nullptr,
                                              hidden.values<float>().data());
    add_bias(ctx, hidden.view<float, 2>(), b1.value().values<float>().data(), true);
    const Tensor* input = &hidden;
    if (training) {
      graph::kernels::dropout<float>(ctx, key(options.dropout, step, kHidden),
                                     hidden.values<float>().data(), hidden.size(),
                                     hidden_dropped.values<float>().data(), nullptr);
      input = &hidden_dropped;
    }
    copy_columns(ctx, w2.value().values<float>().data(), classes, h,
                 w2_padded.values<float>().data(), stride);
    copy_columns(ctx, b2.value().values<float>().data(), classes, 1,
                 b2_padded.values<float>().data(), stride);
    gemm(ctx, 1.f, std::as_const(*input).view<float, 2>(),
         std::as_const(w2_padded).view<float, 2>(), 0.f, orders[0].view<float, 2>());
    add_bias(ctx, orders[0].view<float, 2>(), b2_padded.values<float>().data(), false);
    if (training) {
      graph::kernels::dropout<float>(ctx, key(options.filter_dropout, step, kLogits), t[0],
                                     n * stride, t[0], nullptr);
    }
    filter_forward<float, std::int32_t>(ctx, propagation.view_for(stride), coefficients(),
                                        options.basis, t, eta.values<float>().data(),
                                        sum.values<float>().data());
    copy_columns(ctx, sum.values<float>().data(), stride, n, compact.values<float>().data(),
                 classes);
  }

  /// From d_sum to all gradients.
  void backward(const Context& ctx, std::int64_t step) {
    Workspace::Scope scratch(ctx.workspace());
    const Coefficients<float> model = coefficients();
    const ParameterGradients<float> gradients(scratch, model);
    AdjointRecursion<float, std::int32_t> adjoint(
        propagation_t.view_for(stride), options.basis, options.K + 1, stride,
        recursion[0].values<float>().data(), recursion[1].values<float>().data());
    filter_backward<float, std::int32_t>(ctx, model, t, eta.values<float>().data(),
                                         d_sum.values<float>().data(), nullptr, d_t, gradients,
                                         adjoint);
    const auto d = gradient_of<float>;
    Tensor d_w = d(filter.w), d_b = d(filter.b), d_gamma = d(filter.gamma), d_w1 = d(w1),
           d_b1 = d(b1), d_w2 = d(w2), d_b2 = d(b2);
    gradients.write(model, d_w.values<float>().data(), d_b.values<float>().data(),
                    d_gamma.values<float>().data());
    float* const d_logits = recursion[0].values<float>().data();
    graph::kernels::dropout<float>(ctx, key(options.filter_dropout, step, kLogits),
                                   adjoint.result(), n * stride, d_logits, nullptr);
    const In<float, 2> d_padded(d_logits, {n, stride});
    const In<float, 2> d_used(d_logits, {n, classes}, {stride, 1});
    gemm(ctx, 1.f, transposed(std::as_const(hidden_dropped).view<float, 2>()), d_used, 0.f,
         d_w2.view<float, 2>());
    const auto sums = scratch.allocate<float>(static_cast<std::size_t>(stride));
    nn::column_sums<float>(ctx, d_padded, sums.data());
    std::copy_n(sums.begin(), classes, d_b2.values<float>().begin());

    gemm(ctx, 1.f, d_padded, transposed(std::as_const(w2_padded).view<float, 2>()), 0.f,
         d_hidden.view<float, 2>());
    float* const gradient = d_hidden.values<float>().data();
    graph::kernels::dropout<float>(ctx, key(options.dropout, step, kHidden), gradient,
                                   d_hidden.size(), gradient, nullptr);
    const float* const activation = hidden.values<float>().data();
    parallel_for(ctx, hidden.size(), 65536, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) gradient[i] = activation[i] > 0 ? gradient[i] : 0;
    });
    nn::column_sums<float>(ctx, std::as_const(d_hidden).view<float, 2>(),
                           d_b1.values<float>().data());
    // X^T by the cached transpose; `dropped` through its permutation.
    const auto positions = features.transposed_positions();
    parallel_for(ctx, features.entries(), 65536, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t e = begin; e < end; ++e) {
        const auto at = static_cast<std::size_t>(e);
        dropped_t[at] = dropped[static_cast<std::size_t>(positions[at])];
      }
    });
    graph::kernels::spmm<float, std::int32_t>(ctx, features_t.view_with(dropped_t.data()), 1.f,
                                              gradient, options.hidden, 0.f, nullptr,
                                              d_w1.values<float>().data());
  }
};

NfgnnModel::NfgnnModel(graph::Csr<float> features, graph::Csr<float> propagation,
                       std::int64_t classes, const ModelOptions& options)
    : state_(
          std::make_unique<State>(std::move(features), std::move(propagation), classes, options)) {}
NfgnnModel::~NfgnnModel() = default;
NfgnnModel::NfgnnModel(NfgnnModel&&) noexcept = default;
NfgnnModel& NfgnnModel::operator=(NfgnnModel&&) noexcept = default;

std::vector<autograd::Parameter> NfgnnModel::dense_parameters() const {
  return {{"w1", state_->w1}, {"b1", state_->b1}, {"w2", state_->w2}, {"b2", state_->b2}};
}

std::vector<autograd::Parameter> NfgnnModel::filter_parameters() const {
  return state_->filter.trained();
}

std::map<std::string, Tensor> NfgnnModel::parameters() const { return values_of(state_->all()); }

void NfgnnModel::load(const std::map<std::string, Tensor>& parameters) {
  load_values("NfgnnModel", state_->all(), parameters);
}

float NfgnnModel::loss_and_gradients(const Context& ctx, std::span<const std::int32_t> labels,
                                     std::span<const std::uint8_t> mask, std::int64_t step) {
  State& s = *state_;
  if (static_cast<std::int64_t>(labels.size()) != s.n || mask.size() != labels.size()) {
    throw Error("NfgnnModel: one label and one mask entry for each node wanted");
  }
  s.forward(ctx, std::max<std::int64_t>(step, 0));
  const In<float, 2> logits = std::as_const(s.compact).view<float, 2>();
  const auto loss = graph::kernels::log_softmax_nll<float, std::int32_t>(
      ctx, logits, labels.data(), mask.data(), graph::Reduction::mean);
  graph::kernels::log_softmax_nll_backward<float, std::int32_t>(
      ctx, logits, labels.data(), mask.data(), graph::Reduction::mean, 1.f,
      s.labels_loss.view<float, 2>());
  copy_columns(ctx, s.labels_loss.values<float>().data(), s.classes, s.n,
               s.d_sum.values<float>().data(), s.stride);
  s.backward(ctx, std::max<std::int64_t>(step, 0));
  return loss;
}

In<float, 2> NfgnnModel::evaluate(const Context& ctx) {
  state_->forward(ctx, -1);
  return std::as_const(state_->compact).view<float, 2>();
}

float NfgnnModel::evaluated_loss(const Context& ctx, std::span<const std::int32_t> labels,
                                 std::span<const std::uint8_t> mask) const {
  return graph::kernels::log_softmax_nll<float, std::int32_t>(
      ctx, std::as_const(state_->compact).view<float, 2>(), labels.data(), mask.data(),
      graph::Reduction::mean);
}

In<float, 2> NfgnnModel::coefficients() const {
  return std::as_const(state_->eta).view<float, 2>();
}

std::size_t NfgnnModel::buffer_bytes() const {
  const State& s = *state_;
  std::size_t bytes = (s.dropped.size() + s.dropped_t.size()) * sizeof(float);
  for (const Tensor* tensor : {&s.hidden, &s.hidden_dropped, &s.d_hidden, &s.eta, &s.sum, &s.d_sum,
                               &s.compact, &s.labels_loss}) {
    bytes += tensor->bytes();
  }
  for (const Tensor& buffer : s.recursion) bytes += buffer.bytes();
  for (const Tensor& order : s.orders) bytes += 2 * order.bytes();
  return bytes;
}

const ModelOptions& NfgnnModel::options() const { return state_->options; }

}  // namespace researchkit::nfgnn
