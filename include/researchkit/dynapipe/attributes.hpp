#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "researchkit/core/attribute.hpp"

// Enumerations of this namespace and the names under which they travel as attributes.
namespace researchkit::dynapipe {

/// Whether a sample is an (input, target) pair or one sequence.
enum class ModelKind : std::uint8_t { encdec, decoder };
constexpr std::array<std::string_view, 2> names_of(ModelKind) { return {"encdec", "decoder"}; }

/// How samples are put in line before they are cut into micro-batches.
enum class OrderMethod : std::uint8_t {
  sort,  ///< descending by (input, target)
  path,  ///< a short path through the plane of lengths: neighbours are close in both
};
constexpr std::array<std::string_view, 2> names_of(OrderMethod) { return {"sort", "path"}; }

/// What a profile says below its first grid point.
enum class Below : std::uint8_t {
  clamp,        ///< the value of the first point
  extrapolate,  ///< the line through the first two, which may become negative
};
constexpr std::array<std::string_view, 2> names_of(Below) { return {"clamp", "extrapolate"}; }

/// Which largest micro-batch times the partition looks at.
enum class TmaxMode : std::uint8_t {
  exact,  ///< every one that can be the best
  grid,   ///< a grid, charged with its own value: an upper bound of the exact objective
};
constexpr std::array<std::string_view, 2> names_of(TmaxMode) { return {"exact", "grid"}; }

/// How micro-batches are dealt to the data-parallel replicas.
enum class PartitionMethod : std::uint8_t {
  kk,     ///< multiway Karmarkar-Karp differencing
  lpt,    ///< longest processing time first
  exact,  ///< the smallest largest sum, by branch and bound; at most 24 items
};
constexpr std::array<std::string_view, 3> names_of(PartitionMethod) {
  return {"kk", "lpt", "exact"};
}

/// The order of forwards and backwards on each stage.
enum class SchedulePolicy : std::uint8_t {
  gpipe,   ///< all forwards, then all backwards
  f1b1,    ///< one forward, one backward
  cyclic,  ///< memory-aware and adaptive: keeps a safety stock where memory allows
};
constexpr std::array<std::string_view, 3> names_of(SchedulePolicy) {
  return {"gpipe", "1f1b", "cyclic"};
}

/// What transfers wait for one another.
enum class CommStreams : std::uint8_t {
  device,  ///< all that a stage sends
  link,    ///< all that a stage sends in one direction
};
constexpr std::array<std::string_view, 2> names_of(CommStreams) { return {"device", "link"}; }

/// What is ordered and blocking in the deadlock check.
enum class Channel : std::uint8_t {
  single,  ///< one channel per stage
  pair,    ///< one channel per pair of stages
};
constexpr std::array<std::string_view, 2> names_of(Channel) { return {"single", "pair"}; }

/// What is computed again in the backward instead of stored.
enum class Recompute : std::uint8_t { none, selective, full };
constexpr std::array<std::string_view, 3> names_of(Recompute) {
  return {"none", "selective", "full"};
}

}  // namespace researchkit::dynapipe
