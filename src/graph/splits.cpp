#include "researchkit/graph/splits.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "researchkit/core/error.hpp"
#include "researchkit/core/shuffle.hpp"

namespace researchkit::graph {
namespace {

/// `stream` sets the shuffles of one seed apart.
void shuffle(std::vector<std::int64_t>& nodes, std::uint64_t seed, std::uint64_t stream) {
  researchkit::shuffle<std::int64_t>(nodes, Philox(seed, stream));
}

void check_fractions(double train, double validation) {
  if (!(train >= 0) || !(validation >= 0) || !(train + validation <= 1)) {
    throw Error("a split wants fractions of at least 0 that sum to at most 1");
  }
}

std::size_t round_half_even(double value) {
  return static_cast<std::size_t>(std::nearbyint(value));  // the default rounding mode
}

}  // namespace

Split balanced_split(std::span<const std::int32_t> labels, std::int64_t classes, double train,
                     double validation, std::uint64_t seed) {
  check_fractions(train, validation);
  const auto n = static_cast<double>(labels.size());
  const std::size_t per_class =
      classes == 0 ? 0 : round_half_even(train * n / static_cast<double>(classes));
  Split split(labels.size(), Role::test);
  std::vector<std::int64_t> rest;
  for (std::int64_t c = 0; c < classes; ++c) {
    std::vector<std::int64_t> members;
    for (std::size_t i = 0; i < labels.size(); ++i) {
      if (labels[i] == c) members.push_back(static_cast<std::int64_t>(i));
    }
    shuffle(members, seed, static_cast<std::uint64_t>(c) + 1);
    for (std::size_t i = 0; i < members.size(); ++i) {
      if (i < per_class) {
        split[static_cast<std::size_t>(members[i])] = Role::train;
      } else {
        rest.push_back(members[i]);
      }
    }
  }
  shuffle(rest, seed, 0);
  const std::size_t validated = std::min(rest.size(), round_half_even(validation * n));
  for (std::size_t i = 0; i < validated; ++i) {
    split[static_cast<std::size_t>(rest[i])] = Role::validation;
  }
  return split;
}

Split uniform_split(std::int64_t nodes, double train, double validation, std::uint64_t seed) {
  check_fractions(train, validation);
  std::vector<std::int64_t> order(static_cast<std::size_t>(nodes));
  std::iota(order.begin(), order.end(), std::int64_t{0});
  shuffle(order, seed, 0);
  const auto trained = static_cast<std::size_t>(train * static_cast<double>(nodes));
  const auto validated = static_cast<std::size_t>(validation * static_cast<double>(nodes));
  Split split(order.size(), Role::test);
  for (std::size_t i = 0; i < order.size() && i < trained + validated; ++i) {
    split[static_cast<std::size_t>(order[i])] = i < trained ? Role::train : Role::validation;
  }
  return split;
}

Split split_of(const NodeDataset& data, std::string_view kind, std::int64_t k, std::uint64_t seed,
               double train, double validation) {
  if (kind == "fixed") {
    if (k < 0 || k >= static_cast<std::int64_t>(data.fixed_splits.size())) {
      throw Error(fmt::format("{} has no fixed split {}", data.name, k));
    }
    return data.fixed_splits[static_cast<std::size_t>(k)];
  }
  if (kind == "public") {
    if (data.public_split.empty()) throw Error(data.name + " has no public split");
    return data.public_split;
  }
  if (kind != "random") throw Error(fmt::format("no kind of split '{}'", kind));
  return balanced_split(data.labels, data.classes, train, validation,
                        seed + static_cast<std::uint64_t>(k));
}

double majority_accuracy(std::span<const std::int32_t> labels, std::int64_t classes,
                         const Split& split, Role role) {
  std::vector<std::int64_t> members(static_cast<std::size_t>(classes));
  for (const std::int32_t label : labels) ++members[static_cast<std::size_t>(label)];
  const auto answer = std::max_element(members.begin(), members.end()) - members.begin();
  std::int64_t asked = 0, right = 0;
  for (std::size_t i = 0; i < labels.size(); ++i) {
    if (split[i] != role) continue;
    ++asked;
    right += labels[i] == answer ? 1 : 0;
  }
  return asked == 0 ? 0 : static_cast<double>(right) / static_cast<double>(asked);
}

std::vector<std::int32_t> observed_nodes(const Split& split, double unobserved,
                                         std::uint64_t seed) {
  if (!(unobserved >= 0 && unobserved <= 1)) {
    throw Error("observed_nodes", "unobserved", "a fraction in [0, 1]",
                fmt::format("{}", unobserved));
  }
  std::vector<std::int64_t> tested;
  for (std::size_t i = 0; i < split.size(); ++i) {
    if (split[i] == Role::test) tested.push_back(static_cast<std::int64_t>(i));
  }
  shuffle(tested, seed, 0x696e647563);  // apart from the shuffles of splits
  tested.resize(round_half_even(unobserved * static_cast<double>(tested.size())));
  std::vector<std::uint8_t> hidden(split.size(), 0);
  for (const std::int64_t node : tested) hidden[static_cast<std::size_t>(node)] = 1;
  std::vector<std::int32_t> nodes;
  for (std::size_t i = 0; i < split.size(); ++i) {
    if (hidden[i] == 0) nodes.push_back(static_cast<std::int32_t>(i));
  }
  return nodes;
}

ObservedPart observed_part(const NodeDataset& data, const Split& split, double unobserved,
                           std::uint64_t seed) {
  const std::vector<std::int32_t> nodes = observed_nodes(split, unobserved, seed);
  ObservedPart part{induced(data, nodes), induced(split, nodes), mask_of(split, Role::test)};
  for (const std::int32_t node : nodes) part.hidden[static_cast<std::size_t>(node)] = 0;
  return part;
}

std::vector<float> balanced_class_weights(std::span<const std::int32_t> labels,
                                          std::int64_t classes, const Split& split, Role role) {
  std::vector<double> members(static_cast<std::size_t>(classes));
  double all = 0, occur = 0;
  for (std::size_t i = 0; i < labels.size(); ++i) {
    if (split[i] != role) continue;
    ++all;
    if (members[static_cast<std::size_t>(labels[i])]++ == 0) ++occur;
  }
  std::vector<float> weights;
  for (const double count : members) {
    weights.push_back(count > 0 ? static_cast<float>(all / (occur * count)) : 0.f);
  }
  return weights;
}

}  // namespace researchkit::graph
