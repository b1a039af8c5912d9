#pragma once

#include <functional>
#include <string>
#include <vector>

#include "researchkit/autograd/tape.hpp"

namespace researchkit::autograd {

/// What gradcheck found.
struct GradcheckReport {
  std::size_t checked = 0;  ///< entries compared
  double worst_error = 0;   ///< |got - expected| / (1 + |expected|), the largest
  std::string worst;        ///< "input 0 entry 3: 1.5, differences give 1.25"
  double tolerance = 0;
  bool passed() const { return checked > 0 && worst_error <= tolerance; }
};

struct GradcheckOptions {
  double step = 1e-6;  ///< of the central difference, times max(1, |x|)
  double tolerance = 1e-6;
  std::int64_t most_entries = 64;  ///< checked of each input, spread over it
  std::uint64_t seed = 0;          ///< of the random upstream gradients
};

/// A function of variables: results of any shapes.
using Function = std::function<std::vector<Variable>(Tape&, std::span<const Variable>)>;

/// Holds the tape's gradient of a function of double tensors against central differences of
/// a random linear combination of its results.
///
///     auto report = gradcheck(ctx, [](Tape& tape, std::span<const Variable> x) {
///       return std::vector{tape.apply("nn.layer_norm", {{"x", x[0]}, ...}).at("y")};
///     }, {x});
///     report.passed();
///
/// Throws Error if an input is not float64.
GradcheckReport gradcheck(const Context& ctx, const Function& function, std::vector<Tensor> inputs,
                          const GradcheckOptions& options = {},
                          const Registry& registry = default_registry());

/// The same for one operator: all its float64 inputs are moved, all its outputs whose gradient its
/// backward takes count.
GradcheckReport gradcheck(const Context& ctx, std::string_view operator_name,
                          const Arguments& arguments, const GradcheckOptions& options = {},
                          const Registry& registry = default_registry());

}  // namespace researchkit::autograd
