#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "researchkit/graph/datasets.hpp"

namespace researchkit::graph {

/// A class-balanced random split: of every class a random round(train n / classes) nodes are for
/// training (all of a smaller class); of the others a random round(validation n) for validation, and
/// the rest for testing. Ties round to even. Depends on the arguments and the seed alone.
Split balanced_split(std::span<const std::int32_t> labels, std::int64_t classes, double train,
                     double validation, std::uint64_t seed);

/// A uniform random split with floor(train n) and floor(validation n) nodes, the rest for testing.
Split uniform_split(std::int64_t nodes, double train, double validation, std::uint64_t seed);

/// Split `k` of a kind: "fixed" (the published ones), "public", or "random" (balanced_split with seed + k).
/// Throws Error for a kind or a split that the data do not have.
Split split_of(const NodeDataset& data, std::string_view kind, std::int64_t k, std::uint64_t seed,
               double train = 0.6, double validation = 0.2);

/// All nodes but a random round(unobserved n) of the n test nodes, ascending: what inductive training
/// sees. Throws Error unless `unobserved` is in [0, 1].
std::vector<std::int32_t> observed_nodes(const Split& split, double unobserved, std::uint64_t seed);

/// What inductive training sees, and what it is asked afterwards.
struct ObservedPart {
  NodeDataset data;  ///< of observed_nodes and the edges among them
  Split split;
  std::vector<std::uint8_t>
      hidden;  ///< mask of the test nodes of the whole graph that are not in it
};
ObservedPart observed_part(const NodeDataset& data, const Split& split, double unobserved,
                           std::uint64_t seed);

/// A weight for each class that makes all classes that occur in `role` weigh alike: m / (k m_c) where m_c
/// of its m nodes have class c and k classes occur; 0 for the others.
std::vector<float> balanced_class_weights(std::span<const std::int32_t> labels,
                                          std::int64_t classes, const Split& split, Role role);

/// The accuracy on `role` of always answering the class that most nodes of the data set have.
double majority_accuracy(std::span<const std::int32_t> labels, std::int64_t classes,
                         const Split& split, Role role);

}  // namespace researchkit::graph
