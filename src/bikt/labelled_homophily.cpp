#include <algorithm>

#include "researchkit/bikt/training.hpp"
#include "researchkit/core/error.hpp"

namespace researchkit::bikt {

double labelled_homophily(const graph::NodeDataset& data, const graph::Split& split) {
  constexpr double kPrior = 10;  // edges within a class that are added
  if (static_cast<std::int64_t>(split.size()) != data.nodes()) {
    throw Error("labelled_homophily: a split with a role for each node wanted");
  }
  const auto trains = [&](std::int64_t i) {
    return split[static_cast<std::size_t>(i)] == graph::Role::train;
  };
  const auto label = [&](std::int64_t i) { return data.labels[static_cast<std::size_t>(i)]; };
  const auto a = data.adjacency.view();
  std::vector<double> members(static_cast<std::size_t>(std::max<std::int64_t>(data.classes, 1)));
  double within = 0, edges = 0, nodes = 0;
  for (std::int64_t i = 0; i < a.rows; ++i) {
    if (!trains(i)) continue;
    ++nodes;
    ++members[static_cast<std::size_t>(label(i))];
    for (std::int64_t e = a.begin(i); e < a.end(i); ++e) {
      if (!trains(a.column(e))) continue;
      edges += 0.5;  // an undirected edge is stored twice
      within += label(a.column(e)) == label(i) ? 0.5 : 0;
    }
  }
  double chance = 0;
  for (const double count : members) chance += nodes > 0 ? count / nodes * (count / nodes) : 0;
  if (chance >= 1) return 1;
  const double h = (within + kPrior) / (edges + kPrior);
  return std::clamp((h - chance) / (1 - chance), 0.0, 1.0);
}

}  // namespace researchkit::bikt
