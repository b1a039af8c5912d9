#include "researchkit/nfgnn/model.hpp"

#include <algorithm>
#include <array>
#include <cmath>

#include "researchkit/core/blas.hpp"
#include "researchkit/core/random.hpp"
#include "researchkit/graph/dense.hpp"
#include "researchkit/nfgnn/filter.hpp"
#include "researchkit/nn/column_sums.hpp"
#include "researchkit/nn/initialize.hpp"

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
  bool gates_train, gamma_trains;

  autograd::Variable w1, b1, w2, b2, w, b, gamma;
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
        options(o),
        gates_train(o.filter != FilterKind::global),
        gamma_trains(o.filter != FilterKind::local) {
    check();
    initialize();
    make_buffers();
  }

  void check() const {
    const auto refuse = [](const char* wanted) {
      throw Error(std::string("NfgnnModel: ") + wanted + " wanted");
    };
    if (propagation.columns() != n) refuse("a square operator");
    if (features.rows() != n) refuse("one row of features for each node");
    if (classes < 1) refuse("at least one class");
    if (options.hidden < 1 || options.rank < 1 || options.K < 0 || options.K > 1024) {
      refuse("hidden and rank of at least 1 and K in [0, 1024]");
    }
    for (const double p : {options.dropout, options.filter_dropout}) {
      if (!(p >= 0 && p < 1)) refuse("dropout in [0, 1)");
    }
  }

  std::int64_t filter_rank() const {
    return options.filter == FilterKind::global ? 1 : options.rank;
  }

  void initialize() {
    const std::int64_t f = features.columns(), h = options.hidden, orders_count = options.K + 1;
    const std::int64_t r = filter_rank();
    std::uint64_t stream = 0x6e66676e6e00;  // apart from those of dropout
    const auto uniform = [&](Shape shape, std::int64_t in) {
      Tensor tensor = zeros(std::move(shape));
      nn::uniform<float>(tensor.values<float>(), nn::fan_in_bound(std::max<std::int64_t>(in, 1)),
                         options.seed, stream++);
      return autograd::parameter(tensor);
    };
    w1 = uniform({f, h}, f);
    b1 = uniform({h}, f);
    w2 = uniform({h, classes}, h);
    b2 = uniform({classes}, h);
    w = uniform({orders_count, classes, r}, classes);
    b = uniform({orders_count, r}, classes);
    gamma = autograd::parameter(zeros({r, orders_count}));
    start_gamma(stream);
    if (options.filter == FilterKind::global) {
      // A gate of sigmoid(0) is 1/2: twice it leaves gamma alone (see coefficients()).
      for (Tensor* tensor : {&w.mutable_value(), &b.mutable_value()}) {
        std::fill(tensor->values<float>().begin(), tensor->values<float>().end(), 0.f);
      }
    }
  }

  void start_gamma(std::uint64_t stream) {
    const std::int64_t r = filter_rank(), orders_count = options.K + 1;
    const auto values = gamma.mutable_value().values<float>();
    if (options.filter == FilterKind::local) {
      std::fill(values.begin(), values.end(), 1.f);
      return;
    }
    if (options.init == GammaInit::xavier) {
      nn::normal<float>(values, nn::glorot_deviation(r, orders_count), options.seed, stream);
      return;
    }
    const Philox random(options.seed, stream);
    std::vector<double> row;
    double total = 0;
    for (std::int64_t k = 0; k < orders_count; ++k) {
      const auto power = static_cast<double>(k);
      double value = 1;
      if (options.init == GammaInit::ppr) {
        value = std::pow(1 - options.alpha, power) * (k < options.K ? options.alpha : 1);
      } else if (options.init == GammaInit::random) {
        value = std::sqrt(3.0 / static_cast<double>(orders_count)) *
                (2 * random.uniform64(static_cast<std::uint64_t>(k)) - 1);
      }
      row.push_back(value);
      total += std::fabs(value);
    }
    for (std::size_t i = 0; i < values.size(); ++i) {
      const double value = row[i % row.size()];
      values[i] = static_cast<float>(options.init == GammaInit::random ? value / total : value);
    }
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
    Coefficients<float> model;
    model.n = n;
    model.c = classes;
    model.rank = filter_rank();
    model.orders = options.K + 1;
    model.stride = stride;
    model.gate = options.filter == FilterKind::global ? Gate::sigmoid : Gate::tanh;
    model.scale = options.filter == FilterKind::global ? 2 : 1 / static_cast<float>(model.rank);
    model.w = w.value().values<float>().data();
    model.b = b.value().values<float>().data();
    model.gamma = gamma.value().values<float>().data();
    return model;
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
    const auto d = [](autograd::Variable& variable) {
      if (!variable.gradient().defined()) {
        variable.set_gradient(zeros(variable.value().shape()));
      }
      return Tensor(variable.gradient());
    };
    Tensor d_w = d(w), d_b = d(b), d_gamma = d(gamma), d_w1 = d(w1), d_b1 = d(b1), d_w2 = d(w2),
           d_b2 = d(b2);
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
  std::vector<autograd::Parameter> parameters;
  if (state_->gates_train) {
    parameters.push_back({"w", state_->w});
    parameters.push_back({"b", state_->b});
  }
  if (state_->gamma_trains) parameters.push_back({"gamma", state_->gamma});
  return parameters;
}

std::map<std::string, Tensor> NfgnnModel::parameters() const {
  const State& s = *state_;
  return {{"w1", s.w1.value().clone()},      {"b1", s.b1.value().clone()},
          {"w2", s.w2.value().clone()},      {"b2", s.b2.value().clone()},
          {"w", s.w.value().clone()},        {"b", s.b.value().clone()},
          {"gamma", s.gamma.value().clone()}};
}

void NfgnnModel::load(const std::map<std::string, Tensor>& parameters) {
  State& s = *state_;
  const std::array<std::pair<const char*, autograd::Variable*>, 7> all = {{{"w1", &s.w1},
                                                                           {"b1", &s.b1},
                                                                           {"w2", &s.w2},
                                                                           {"b2", &s.b2},
                                                                           {"w", &s.w},
                                                                           {"b", &s.b},
                                                                           {"gamma", &s.gamma}}};
  for (const auto& [name, variable] : all) {
    const auto found = parameters.find(name);
    const Tensor& own = variable->value();
    if (found == parameters.end() || found->second.dtype() != own.dtype() ||
        found->second.shape() != own.shape()) {
      throw Error("NfgnnModel", name, "a float32 tensor of shape " + to_string(own.shape()),
                  found == parameters.end() ? "none"
                                            : std::string(to_string(found->second.dtype())) +
                                                  " of shape " + to_string(found->second.shape()));
    }
  }
  for (const auto& [name, variable] : all) {
    variable->mutable_value().copy_from(parameters.at(name));
  }
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
