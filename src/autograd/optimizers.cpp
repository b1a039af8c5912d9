#include "researchkit/autograd/optimizers.hpp"

#include <fmt/format.h>

#include <cmath>

#include "researchkit/core/io/safetensors.hpp"

namespace researchkit::autograd {
namespace {

/// Calls use(values of each gradient) for all parameters that have one.
template <class Use>
void for_gradients(const std::vector<ParameterGroup>& groups, Use&& use) {
  for (const ParameterGroup& group : groups) {
    for (const Parameter& parameter : group.parameters) {
      if (parameter.variable.gradient().defined()) use(parameter);
    }
  }
}

template <class Use>
void visit_real(const Tensor& tensor, Use&& use) {
  if (tensor.dtype() == DType::f32) {
    use(float{});
  } else {
    use(double{});
  }
}

}  // namespace

Optimizer::Optimizer(std::vector<ParameterGroup> groups) : groups_(std::move(groups)) {
  for (const ParameterGroup& group : groups_) {
    for (const Parameter& parameter : group.parameters) {
      const DType dtype = parameter.variable.value().dtype();
      if ((dtype != DType::f32 && dtype != DType::f64) ||
          !parameter.variable.value().is_contiguous()) {
        throw Error(fmt::format("parameter '{}': a row-major float32 or float64 tensor wanted",
                                parameter.name));
      }
      if (!moments_.emplace(parameter.name, Moments()).second) {
        throw Error(fmt::format("two parameters are named '{}'", parameter.name));
      }
    }
  }
}

void Optimizer::step(const Context& ctx, double factor) {
  ++steps_;
  for (ParameterGroup& group : groups_) {
    for (Parameter& parameter : group.parameters) {
      if (!parameter.variable.gradient().defined()) continue;
      Moments& moments = moments_[parameter.name];
      const Tensor& value = parameter.variable.value();
      for (const std::string& name : moment_names()) {
        if (!moments.contains(name)) moments[name] = Tensor(value.dtype(), value.shape());
      }
      const Tensor gradient = parameter.variable.gradient().contiguous();
      update(ctx, group, group.lr * factor, parameter.variable.mutable_value(), gradient, moments);
    }
  }
}

void Optimizer::clear_gradients() {
  for (ParameterGroup& group : groups_) {
    for (Parameter& parameter : group.parameters) parameter.variable.clear_gradient();
  }
}

std::map<std::string, Tensor> Optimizer::state() const {
  std::map<std::string, Tensor> state = {{"step", Tensor::scalar(steps_)}};
  for (const ParameterGroup& group : groups_) {
    for (const Parameter& parameter : group.parameters) {
      const Tensor& value = parameter.variable.value();
      state.emplace(parameter.name, value.clone());
      const Moments& moments = moments_.at(parameter.name);
      for (const std::string& name : moment_names()) {
        const auto found = moments.find(name);
        state.emplace(parameter.name + "." + name, found == moments.end()
                                                       ? Tensor(value.dtype(), value.shape())
                                                       : found->second.clone());
      }
    }
  }
  return state;
}

void Optimizer::load_state(const std::map<std::string, Tensor>& state) {
  const auto wanted = [&](const std::string& name, const Tensor& like) -> const Tensor& {
    const auto found = state.find(name);
    if (found == state.end()) throw Error(fmt::format("the state has no tensor '{}'", name));
    if (found->second.dtype() != like.dtype() || found->second.shape() != like.shape()) {
      throw Error(fmt::format("'{}' of the state: {} of shape {} wanted, {} of shape {} came", name,
                              to_string(like.dtype()), to_string(like.shape()),
                              to_string(found->second.dtype()), to_string(found->second.shape())));
    }
    return found->second;
  };
  for (const bool apply : {false, true}) {  // everything is checked before anything changes
    const Tensor& step = wanted("step", Tensor::scalar(std::int64_t{0}));
    if (apply) steps_ = step.values<std::int64_t>()[0];
    for (ParameterGroup& group : groups_) {
      for (Parameter& parameter : group.parameters) {
        const Tensor value = parameter.variable.value();
        const Tensor& stored = wanted(parameter.name, value);
        if (apply) parameter.variable.mutable_value().copy_from(stored);
        for (const std::string& name : moment_names()) {
          const Tensor& moment = wanted(parameter.name + "." + name, value);
          if (apply) moments_[parameter.name][name] = moment.clone();
        }
      }
    }
  }
}

Sgd::Sgd(std::vector<ParameterGroup> groups, const SgdOptions& options)
    : Optimizer(std::move(groups)), options_(options) {
  if (!(options.momentum >= 0) || (options.nesterov && options.momentum == 0)) {
    throw Error("Sgd: momentum of at least 0 wanted, more than 0 with nesterov");
  }
}

std::vector<std::string> Sgd::moment_names() const {
  return options_.momentum == 0 ? std::vector<std::string>{} : std::vector<std::string>{"u"};
}

void Sgd::update(const Context&, const ParameterGroup& group, double lr, Tensor& value,
                 const Tensor& gradient, Moments& moments) {
  visit_real(value, [&]<class Real>(Real) {
    const auto p = value.values<Real>();
    const auto g = gradient.values<Real>();
    const auto decay = static_cast<Real>(group.weight_decay);
    const auto momentum = static_cast<Real>(options_.momentum), rate = static_cast<Real>(lr);
    const auto u = options_.momentum == 0 ? std::span<Real>() : moments["u"].values<Real>();
    for (std::size_t i = 0; i < p.size(); ++i) {
      Real direction = g[i] + decay * p[i];
      if (!u.empty()) {
        u[i] = momentum * u[i] + direction;
        direction = options_.nesterov ? direction + momentum * u[i] : u[i];
      }
      p[i] -= rate * direction;
    }
  });
}

Adam::Adam(std::vector<ParameterGroup> groups, const AdamOptions& options)
    : Optimizer(std::move(groups)), options_(options) {
  const auto in_unit = [](double beta) { return beta >= 0 && beta < 1; };
  if (!in_unit(options.beta1) || !in_unit(options.beta2) || !(options.eps >= 0)) {
    throw Error("Adam: betas in [0, 1) and eps of at least 0 wanted");
  }
}

void Adam::update(const Context& ctx, const ParameterGroup& group, double lr, Tensor& value,
                  const Tensor& gradient, Moments& moments) {
  const graph::AdamSettings settings{
      lr,      options_.beta1,    options_.beta2, options_.eps, group.weight_decay,
      steps(), options_.decoupled};
  visit_real(value, [&]<class Real>(Real) {
    graph::kernels::adam_step<Real>(ctx, settings, gradient.values<Real>().data(), value.size(),
                                    value.values<Real>().data(), moments["m"].values<Real>().data(),
                                    moments["v"].values<Real>().data());
  });
}

double gradient_norm(const Optimizer& optimizer) {
  double sum = 0;
  for_gradients(optimizer.groups(), [&](const Parameter& parameter) {
    const Tensor gradient = parameter.variable.gradient().contiguous();
    visit_real(gradient, [&]<class Real>(Real) {
      for (const Real g : gradient.values<Real>()) {
        sum += static_cast<double>(g) * static_cast<double>(g);
      }
    });
  });
  return std::sqrt(sum);
}

double clip_gradients(Optimizer& optimizer, double largest) {
  const double norm = gradient_norm(optimizer);
  if (!(norm > largest)) return norm;
  for (ParameterGroup& group : optimizer.groups()) {
    for (Parameter& parameter : group.parameters) {
      if (!parameter.variable.gradient().defined()) continue;
      Tensor scaled = parameter.variable.gradient().clone();
      visit_real(scaled, [&]<class Real>(Real) {
        for (Real& g : scaled.values<Real>()) g *= static_cast<Real>(largest / norm);
      });
      parameter.variable.set_gradient(scaled);
    }
  }
  return norm;
}

void save_checkpoint(const std::filesystem::path& path, const Optimizer& optimizer,
                     const std::map<std::string, std::string>& notes) {
  write_safetensors(path, optimizer.state(), notes);
}

std::map<std::string, std::string> load_checkpoint(const std::filesystem::path& path,
                                                   Optimizer& optimizer) {
  const SafeTensors stored = read_safetensors(path);
  optimizer.load_state(stored.tensors);
  return stored.metadata;
}

}  // namespace researchkit::autograd
