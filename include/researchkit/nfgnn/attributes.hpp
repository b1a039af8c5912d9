#pragma once

#include <array>
#include <cstdint>
#include <string_view>

// Choices of this namespace, and the names under which they travel as attributes.
namespace researchkit::nfgnn {

/// How one order of a polynomial filter follows from those before it.
enum class Basis : std::uint8_t {
  chebyshev,  ///< T_k = 2 A T_{k-1} - T_{k-2}, T_1 = A T_0
  monomial,   ///< T_k = A T_{k-1}
};
constexpr std::array<std::string_view, 2> names_of(Basis) { return {"chebyshev", "monomial"}; }

/// What the local part of a coefficient goes through.
enum class Gate : std::uint8_t { tanh, sigmoid, none };
constexpr std::array<std::string_view, 3> names_of(Gate) { return {"tanh", "sigmoid", "none"}; }

/// What a forward pass keeps for the backward.
enum class Save : std::uint8_t {
  propagated,  ///< all K + 1 orders
  recompute,   ///< the last two: the recursion is run backwards (chebyshev only)
};
constexpr std::array<std::string_view, 2> names_of(Save) { return {"propagated", "recompute"}; }

}  // namespace researchkit::nfgnn
