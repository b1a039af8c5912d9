#pragma once

#include <array>
#include <cstdint>
#include <string_view>

// Choices of this namespace, and the names under which they travel as attributes.
namespace researchkit::graph {

/// What becomes of entries at the same place.
enum class Duplicates : std::uint8_t {
  sum,
  first,  ///< the first one is kept, mirrored entries coming after all originals
};
constexpr std::array<std::string_view, 2> names_of(Duplicates) { return {"sum", "first"}; }

/// How the entries of an adjacency matrix A', with its self loops, become those of an operator.
enum class Normalization : std::uint8_t {
  sym,   ///< A'_ij / sqrt(d_i d_j), the operator of a GCN
  rw,    ///< A'_ij / d_i, the mean over neighbours
  cheb,  ///< -A'_ij / sqrt(d_i d_j): without self loops the Laplacian scaled to [-1, 1]
  none,  ///< A'_ij
};
constexpr std::array<std::string_view, 4> names_of(Normalization) {
  return {"sym", "rw", "cheb", "none"};
}

/// How the losses of rows become one.
enum class Reduction : std::uint8_t { mean, sum };
constexpr std::array<std::string_view, 2> names_of(Reduction) { return {"mean", "sum"}; }

}  // namespace researchkit::graph
