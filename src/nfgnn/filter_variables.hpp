#pragma once

// What the models of this namespace have in common: the filter's parameters, first values, and loading.
#include <cmath>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "researchkit/autograd/optimizers.hpp"
#include "researchkit/core/error.hpp"
#include "researchkit/nfgnn/coefficients.hpp"
#include "researchkit/nfgnn/model.hpp"
#include "researchkit/nn/initialize.hpp"

namespace researchkit::nfgnn {

/// Throws Error, in the name of `model`, for settings out of range.
void check_options(const char* model, const ModelOptions& options, std::int64_t classes);

/// First values of a model's parameters, drawn from one stream after the other.
template <class Real>
class FirstValues {
 public:
  explicit FirstValues(std::uint64_t seed) : seed_(seed) {}

  /// Uniform, as after `in` inputs.
  autograd::Variable uniform(Shape shape, std::int64_t in) {
    Tensor tensor(dtype_of<Real>, std::move(shape));
    nn::uniform<Real>(tensor.values<Real>(), nn::fan_in_bound(std::max<std::int64_t>(in, 1)), seed_,
                      stream_++);
    return autograd::parameter(tensor);
  }
  /// The global part of a filter, [rank, K + 1].
  autograd::Variable gamma(const ModelOptions& options, std::int64_t rank) {
    Tensor tensor(dtype_of<Real>, {rank, options.K + 1});
    const auto values = tensor.values<Real>();
    if (options.filter == FilterKind::local) {
      std::fill(values.begin(), values.end(), Real(1));
    } else if (options.init == GammaInit::xavier) {
      nn::normal<Real>(values, nn::glorot_deviation(rank, options.K + 1), seed_, stream_);
    } else {
      const std::vector<double> row = row_of(options);
      for (std::size_t i = 0; i < values.size(); ++i) {
        values[i] = static_cast<Real>(row[i % row.size()]);
      }
    }
    ++stream_;
    return autograd::parameter(tensor);
  }

 private:
  /// What all ranks begin with.
  std::vector<double> row_of(const ModelOptions& options) const {
    const Philox random(seed_, stream_);
    const auto orders = static_cast<double>(options.K + 1);
    std::vector<double> row;
    double total = 0;
    for (std::int64_t k = 0; k <= options.K; ++k) {
      double value = 1;
      if (options.init == GammaInit::ppr) {
        value = std::pow(1 - options.alpha, static_cast<double>(k)) *
                (k < options.K ? options.alpha : 1);
      } else if (options.init == GammaInit::random) {
        value = std::sqrt(3.0 / orders) * (2 * random.uniform64(static_cast<std::uint64_t>(k)) - 1);
      }
      row.push_back(value);
      total += std::fabs(value);
    }
    if (options.init == GammaInit::random) {
      for (double& value : row) value /= total;
    }
    return row;
  }

  std::uint64_t seed_;
  std::uint64_t stream_ = 0x6e66676e6e00;  // apart from those of dropout
};

/// The parameters of a node-oriented filter.
template <class Real>
struct FilterVariables {
  FilterKind kind;
  std::int64_t c, rank, orders;
  bool shared;                     ///< one projection for all orders
  autograd::Variable w, b, gamma;  // [orders or 1, c, rank], [orders or 1, rank], [rank, orders]

  FilterVariables(FirstValues<Real>& first, const ModelOptions& options, std::int64_t columns,
                  bool shared_projection)
      : kind(options.filter),
        c(columns),
        rank(kind == FilterKind::global ? 1 : options.rank),
        orders(options.K + 1),
        shared(shared_projection),
        w(first.uniform({shared ? 1 : orders, c, rank}, c)),
        b(first.uniform({shared ? 1 : orders, rank}, c)),
        gamma(first.gamma(options, rank)) {
    if (kind != FilterKind::global) return;
    // A gate of sigmoid(0) is 1/2: twice it leaves gamma alone (see coefficients()).
    for (Tensor* tensor : {&w.mutable_value(), &b.mutable_value()}) {
      std::fill(tensor->values<Real>().begin(), tensor->values<Real>().end(), Real(0));
    }
  }

  std::vector<autograd::Parameter> all() const { return {{"w", w}, {"b", b}, {"gamma", gamma}}; }
  std::vector<autograd::Parameter> trained() const {
    if (kind == FilterKind::global) return {{"gamma", gamma}};
    if (kind == FilterKind::local) return {{"w", w}, {"b", b}};
    return all();
  }

  /// The filter of n rows that are `stride` columns apart. `normalized`: coefficients are divided by the
  /// rank; those of local gates alone always are.
  Coefficients<Real> coefficients(std::int64_t n, std::int64_t stride, Gate gate,
                                  bool normalized) const {
    const bool global = kind == FilterKind::global;
    Coefficients<Real> model;
    model.n = n;
    model.c = c;
    model.rank = rank;
    model.orders = orders;
    model.stride = stride;
    model.shared_w = model.shared_b = shared;
    model.gate = global ? Gate::sigmoid : gate;
    const bool divided = normalized || kind == FilterKind::local;
    model.scale = global ? Real(2) : divided ? 1 / static_cast<Real>(rank) : Real(1);
    model.w = w.value().template values<Real>().data();
    model.b = b.value().template values<Real>().data();
    model.gamma = gamma.value().template values<Real>().data();
    return model;
  }
};

/// Copies of all values, by name.
std::map<std::string, Tensor> values_of(std::span<const autograd::Parameter> parameters);
/// Takes over such values. Throws Error in the name of `model`, changing nothing, if one is missing or
/// has another dtype or shape.
void load_values(const char* model, std::span<const autograd::Parameter> parameters,
                 const std::map<std::string, Tensor>& values);

/// The gradient of a variable, to be overwritten.
template <class Real>
Tensor gradient_of(autograd::Variable& variable) {
  if (!variable.gradient().defined()) {
    variable.set_gradient(Tensor(dtype_of<Real>, variable.value().shape()));
  }
  return variable.gradient();
}

}  // namespace researchkit::nfgnn
