#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <numeric>
#include <queue>
#include <span>
#include <vector>

#include "researchkit/dynapipe/attributes.hpp"
#include "researchkit/dynapipe/ticks.hpp"

namespace researchkit::dynapipe {

/// Items dealt to bins.
struct Deal {
  std::vector<std::int32_t> bin_of;  ///< of each item; bins are numbered by first appearance
  std::vector<Ticks> sums;           ///< of each bin
};

/// The most items of PartitionMethod::exact.
inline constexpr std::int64_t kMaxExactItems = 24;

namespace detail {

/// Renumbers bins by first appearance and adds up.
inline Deal canonical_deal(std::vector<std::int32_t> bin_of, std::span<const Ticks> weights,
                           std::int64_t bins) {
  std::vector<std::int32_t> name(static_cast<std::size_t>(bins), -1);
  Deal deal{std::move(bin_of), std::vector<Ticks>(static_cast<std::size_t>(bins), 0)};
  std::int32_t used = 0;
  for (std::size_t i = 0; i < deal.bin_of.size(); ++i) {
    std::int32_t& renamed = name[static_cast<std::size_t>(deal.bin_of[i])];
    if (renamed < 0) renamed = used++;
    deal.bin_of[i] = renamed;
    deal.sums[static_cast<std::size_t>(renamed)] += weights[i];
  }
  return deal;
}

/// Multiway Karmarkar-Karp: again and again the two states with the widest spread become one, the
/// small bins of the one joined with the large bins of the other.
///
/// Bins of a state are compared by (sum, items ascending). As they share no item, the first item
/// decides, so a bin is its sum, its smallest item and a list that is joined in O(1). A state keeps
/// its bins in ascending order, empty ones first, and only counts these: while two states have
/// together at most k bins with items, to join them is to merge two short lists.
/// O(m k log k + m log m) for m items and k bins.
class Differencing {
 public:
  Differencing(std::span<const Ticks> weights, std::int64_t bins)
      : weights_(weights), bins_(static_cast<std::size_t>(bins)) {}

  std::vector<std::int32_t> solve() {
    const std::size_t m = weights_.size();
    std::vector<std::int32_t> bin_of(m);
    if (m == 0) return bin_of;
    next_.assign(m, -1);
    used_.assign(m, 1);
    // Not initialised: bins without items are never read.
    memory_ = std::make_unique_for_overwrite<Bin[]>(m * bins_);
    std::vector<Key> keys;
    keys.reserve(m);
    for (std::size_t i = 0; i < m; ++i) {
      const auto item = static_cast<std::int32_t>(i);
      state(i)[bins_ - 1] = {weights_[i], item, item, item};
      // With one bin there is no spread: the largest less the smallest is 0.
      keys.push_back({weights_[i], static_cast<std::int64_t>(i), i});
    }
    std::priority_queue<Key> heap({}, std::move(keys));
    auto counter = static_cast<std::int64_t>(m);
    while (heap.size() > 1) {
      const Key a = heap.top();
      heap.pop();
      const Key b = heap.top();
      heap.pop();
      join(a.state, b.state);
      const Bin* joined = state(a.state);
      const Ticks least = used_[a.state] < bins_ ? 0 : joined[0].sum;
      heap.push({joined[bins_ - 1].sum - least, counter++, a.state});
    }
    const std::size_t last = heap.top().state;
    for (std::size_t b = bins_ - used_[last]; b < bins_; ++b) {
      for (std::int32_t i = state(last)[b].head; i >= 0; i = next_[static_cast<std::size_t>(i)]) {
        bin_of[static_cast<std::size_t>(i)] = static_cast<std::int32_t>(b);
      }
    }
    return bin_of;
  }

 private:
  struct Bin {
    Ticks sum;
    std::int32_t smallest;  // item
    std::int32_t head, tail;
    bool operator<(const Bin& other) const {
      return sum != other.sum ? sum < other.sum : smallest < other.smallest;
    }
  };
  struct Key {
    Ticks spread;
    std::int64_t counter;
    std::size_t state;
    bool operator<(const Key& other) const {  // the top has the widest spread, then is the oldest
      return spread != other.spread ? spread < other.spread : counter > other.counter;
    }
  };

  Bin* state(std::size_t i) { return &memory_[i * bins_]; }

  /// The smallest bin of b joins the largest of a, and so on.
  void join(std::size_t a_state, std::size_t b_state) {
    Bin* const a = state(a_state);
    const Bin* const b = state(b_state);
    const std::size_t a_used = used_[a_state], b_used = used_[b_state];
    if (a_used + b_used <= bins_) {
      used_[a_state] = a_used + b_used;
      const Bin *from_a = a + bins_ - a_used, *from_b = b + bins_ - b_used, *end_b = b + bins_;
      // Behind `to` lie as many bins as are left of b, so a's are read before they are overwritten.
      for (Bin* to = a + bins_ - a_used - b_used; from_b != end_b; ++to) {
        *to = from_a != a + bins_ && *from_a < *from_b ? *from_a++ : *from_b++;
      }
      return;
    }
    for (std::size_t k = 0; k < b_used; ++k) {
      const Bin& other = b[bins_ - 1 - k];
      if (k < bins_ - a_used) {
        a[k] = other;
        continue;
      }
      a[k].sum += other.sum;
      next_[static_cast<std::size_t>(a[k].tail)] = other.head;
      a[k].smallest = std::min(a[k].smallest, other.smallest);
      a[k].tail = other.tail;
    }
    used_[a_state] = bins_;
    std::sort(a, a + bins_);
  }

  std::span<const Ticks> weights_;
  std::size_t bins_;
  std::unique_ptr<Bin[]> memory_;
  std::vector<std::size_t> used_;  // bins of a state that have items
  std::vector<std::int32_t> next_;
};

/// Longest first, each to the least sum.
inline std::vector<std::int32_t> longest_first(std::span<const Ticks> weights, std::int64_t bins) {
  std::vector<std::size_t> order(weights.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return weights[a] > weights[b]; });
  std::vector<Ticks> sums(static_cast<std::size_t>(bins), 0);
  std::vector<std::int32_t> bin_of(weights.size());
  for (const std::size_t item : order) {
    const auto least = std::min_element(sums.begin(), sums.end());
    *least += weights[item];
    bin_of[item] = static_cast<std::int32_t>(least - sums.begin());
  }
  return bin_of;
}

/// Branch and bound in lexicographic order of the bins of the items.
class ExactDeal {
 public:
  ExactDeal(std::span<const Ticks> weights, std::int64_t bins)
      : weights_(weights), sums_(static_cast<std::size_t>(bins), 0), bin_of_(weights.size()) {}

  std::vector<std::int32_t> solve() {
    place(0, 0, 0);
    return best_;
  }

 private:
  void place(std::size_t item, std::size_t used, Ticks largest) {
    if (largest >= least_) return;
    if (item == weights_.size()) {
      least_ = largest;
      best_ = bin_of_;
      return;
    }
    for (std::size_t b = 0; b < std::min(used + 1, sums_.size()); ++b) {
      sums_[b] += weights_[item];
      bin_of_[item] = static_cast<std::int32_t>(b);
      place(item + 1, std::max(used, b + 1), std::max(largest, sums_[b]));
      sums_[b] -= weights_[item];
    }
  }

  std::span<const Ticks> weights_;
  std::vector<Ticks> sums_;
  std::vector<std::int32_t> bin_of_, best_;
  Ticks least_ = kImpossible;
};

}  // namespace detail

/// Deals items to bins so that the sums of their weights are nearly equal.
///
///     Deal deal = balanced_partition(times, replicas);
///
/// Weights are at least 0 and their sum is below kImpossible. `exact` takes at most kMaxExactItems.
/// Source: Karmarkar and Karp (1982), differencing; Graham (1969), longest first.
inline Deal balanced_partition(std::span<const Ticks> weights, std::int64_t bins,
                               PartitionMethod method = PartitionMethod::kk) {
  std::vector<std::int32_t> bin_of;
  switch (method) {
    case PartitionMethod::kk:
      bin_of = detail::Differencing(weights, bins).solve();
      break;
    case PartitionMethod::lpt:
      bin_of = detail::longest_first(weights, bins);
      break;
    case PartitionMethod::exact:
      bin_of = detail::ExactDeal(weights, bins).solve();
      break;
  }
  return detail::canonical_deal(std::move(bin_of), weights, bins);
}

/// Moves and swaps micro-batches between replicas while the slowest replica gets faster, where
/// replica g takes sum_g + (stages - 1) max_g / chunks.
inline void refine_deal(std::span<const Ticks> weights, std::int64_t stages, Deal& deal,
                        std::int64_t chunks = 1) {
  const std::size_t bins = deal.sums.size(), items = weights.size();
  if (bins < 2) return;
  const auto cost_of = [&](std::size_t bin, std::size_t without, std::size_t with) {
    Ticks sum = 0, largest = 0;
    for (std::size_t i = 0; i < items; ++i) {
      const bool inside =
          i == with || (i != without && deal.bin_of[i] == static_cast<std::int32_t>(bin));
      if (!inside) continue;
      sum += weights[i];
      largest = std::max(largest, weights[i]);
    }
    return chunks * sum + (stages - 1) * largest;
  };
  const std::size_t none = items;
  std::vector<Ticks> costs(bins);
  for (std::size_t b = 0; b < bins; ++b) costs[b] = cost_of(b, none, none);
  // Each improvement lowers the largest cost, or the number of bins that have it; a few rounds do.
  for (std::size_t round = 0; round < 4 * bins; ++round) {
    const auto slow =
        static_cast<std::size_t>(std::max_element(costs.begin(), costs.end()) - costs.begin());
    Ticks best = costs[slow];
    std::size_t from = none, to_bin = 0, back = none;
    for (std::size_t i = 0; i < items; ++i) {
      if (deal.bin_of[i] != static_cast<std::int32_t>(slow)) continue;
      for (std::size_t b = 0; b < bins; ++b) {
        if (b == slow) continue;
        const Ticks moved = std::max(cost_of(slow, i, none), cost_of(b, none, i));
        if (moved < best) best = moved, from = i, to_bin = b, back = none;
        for (std::size_t j = 0; j < items; ++j) {
          if (deal.bin_of[j] != static_cast<std::int32_t>(b) || weights[j] >= weights[i]) continue;
          const Ticks swapped = std::max(cost_of(slow, i, j), cost_of(b, j, i));
          if (swapped < best) best = swapped, from = i, to_bin = b, back = j;
        }
      }
    }
    if (from == none) break;
    deal.bin_of[from] = static_cast<std::int32_t>(to_bin);
    if (back != none) deal.bin_of[back] = static_cast<std::int32_t>(slow);
    costs[slow] = cost_of(slow, none, none);
    costs[to_bin] = cost_of(to_bin, none, none);
  }
  deal = detail::canonical_deal(std::move(deal.bin_of), weights, static_cast<std::int64_t>(bins));
}

namespace reference {

/// Karmarkar-Karp with plain lists of items.
inline Deal karmarkar_karp(std::span<const Ticks> weights, std::int64_t bins) {
  struct Bin {
    Ticks sum = 0;
    std::vector<std::int32_t> items;
    bool operator<(const Bin& other) const {
      return sum != other.sum ? sum < other.sum : items < other.items;
    }
  };
  struct State {
    std::int64_t counter;
    std::vector<Bin> bins;
    Ticks spread() const { return bins.back().sum - bins.front().sum; }
  };
  std::vector<State> states;
  std::int64_t counter = 0;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    State state{counter++, std::vector<Bin>(static_cast<std::size_t>(bins))};
    state.bins.back() = {weights[i], {static_cast<std::int32_t>(i)}};
    // All states begin with the spread of their item, also where there is one bin.
    states.push_back(std::move(state));
  }
  const auto take_widest = [&] {
    auto widest = states.begin();
    const auto spread = [&](const State& s) {
      return s.counter < static_cast<std::int64_t>(weights.size()) ? s.bins.back().sum : s.spread();
    };
    for (auto s = states.begin(); s != states.end(); ++s) {
      if (spread(*s) > spread(*widest) ||
          (spread(*s) == spread(*widest) && s->counter < widest->counter)) {
        widest = s;
      }
    }
    State taken = std::move(*widest);
    states.erase(widest);
    return taken;
  };
  while (states.size() > 1) {
    State a = take_widest();
    State b = take_widest();
    State joined{counter++, {}};
    for (std::size_t k = 0; k < a.bins.size(); ++k) {
      Bin bin = a.bins[k];
      const Bin& other = b.bins[b.bins.size() - 1 - k];
      bin.sum += other.sum;
      bin.items.insert(bin.items.end(), other.items.begin(), other.items.end());
      std::sort(bin.items.begin(), bin.items.end());
      joined.bins.push_back(std::move(bin));
    }
    std::sort(joined.bins.begin(), joined.bins.end());
    states.push_back(std::move(joined));
  }
  std::vector<std::int32_t> bin_of(weights.size());
  for (std::size_t b = 0; !states.empty() && b < states[0].bins.size(); ++b) {
    for (const std::int32_t i : states[0].bins[b].items) {
      bin_of[static_cast<std::size_t>(i)] = static_cast<std::int32_t>(b);
    }
  }
  return detail::canonical_deal(std::move(bin_of), weights, bins);
}

}  // namespace reference
}  // namespace researchkit::dynapipe
