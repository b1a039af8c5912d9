#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "researchkit/autograd/tape.hpp"
#include "researchkit/graph/dense.hpp"

namespace researchkit::autograd {

/// A trained variable and the name under which it is stored.
struct Parameter {
  std::string name;
  Variable variable;
};

/// Parameters that share a learning rate and a weight decay.
struct ParameterGroup {
  std::vector<Parameter> parameters;
  double lr = 0.001;
  double weight_decay = 0;
};

/// What all optimisers have: groups, a count of steps, named state. Parameters and their gradients
/// are row-major tensors of float32 or float64 on the host; a parameter without a gradient is left
/// as it is. One step has the same bits for any number of threads.
class Optimizer {
 public:
  explicit Optimizer(std::vector<ParameterGroup> groups);
  virtual ~Optimizer() = default;
  Optimizer(const Optimizer&) = delete;
  Optimizer& operator=(const Optimizer&) = delete;

  /// Applies one step with every learning rate times `factor`, a schedule's value.
  void step(const Context& ctx, double factor = 1);
  void clear_gradients();

  std::vector<ParameterGroup>& groups() { return groups_; }
  const std::vector<ParameterGroup>& groups() const { return groups_; }
  std::int64_t steps() const { return steps_; }

  /// Everything that continues training bit for bit: parameters, "<name>.<moment>", and "step".
  std::map<std::string, Tensor> state() const;
  /// Takes over what state() gave. Throws Error, changing nothing, if a tensor is missing or has
  /// another dtype or shape.
  void load_state(const std::map<std::string, Tensor>& state);

 protected:
  /// The tensors that belong to one parameter, zero at first.
  using Moments = std::map<std::string, Tensor, std::less<>>;
  virtual std::vector<std::string> moment_names() const = 0;
  virtual void update(const Context& ctx, const ParameterGroup& group, double lr, Tensor& value,
                      const Tensor& gradient, Moments& moments) = 0;

 private:
  std::vector<ParameterGroup> groups_;
  std::map<std::string, Moments> moments_;
  std::int64_t steps_ = 0;
};

struct SgdOptions {
  double momentum = 0;
  bool nesterov = false;  ///< look ahead along the momentum; needs momentum > 0
};

/// Stochastic gradient descent: g += weight_decay p, u = momentum u + g, p -= lr u, or with Nesterov's
/// momentum p -= lr (g + momentum u) (Sutskever et al. 2013, in the form that frameworks use).
class Sgd : public Optimizer {
 public:
  Sgd(std::vector<ParameterGroup> groups, const SgdOptions& options = {});

 protected:
  std::vector<std::string> moment_names() const override;
  void update(const Context& ctx, const ParameterGroup& group, double lr, Tensor& value,
              const Tensor& gradient, Moments& moments) override;

 private:
  SgdOptions options_;
};

struct AdamOptions {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  bool decoupled = false;  ///< weight decay on the parameter: AdamW
};

/// Adam, or AdamW when decoupled; one step is graph::kernels::adam_step.
///
///     Adam adam({{.parameters = dense, .lr = 0.01, .weight_decay = 5e-4},
///                {.parameters = filter, .lr = 0.05}});
///     adam.step(ctx);
class Adam : public Optimizer {
 public:
  Adam(std::vector<ParameterGroup> groups, const AdamOptions& options = {});

 protected:
  std::vector<std::string> moment_names() const override { return {"m", "v"}; }
  void update(const Context& ctx, const ParameterGroup& group, double lr, Tensor& value,
              const Tensor& gradient, Moments& moments) override;

 private:
  AdamOptions options_;
};

/// The norm of all gradients together, summed in double in the order of the groups.
double gradient_norm(const Optimizer& optimizer);
/// Scales all gradients so that their norm is at most `largest`; returns the norm before.
double clip_gradients(Optimizer& optimizer, double largest);

/// Writes parameters, moments, step and the caller's notes as a safetensors file, all or nothing.
void save_checkpoint(const std::filesystem::path& path, const Optimizer& optimizer,
                     const std::map<std::string, std::string>& notes = {});
/// Continues from such a file, bit for bit; returns the notes. Throws Error, changing nothing, if it
/// does not fit the optimiser.
std::map<std::string, std::string> load_checkpoint(const std::filesystem::path& path,
                                                   Optimizer& optimizer);

}  // namespace researchkit::autograd
