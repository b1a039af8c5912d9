#pragma once

#include <span>
#include <utility>

#include "researchkit/core/random.hpp"

namespace researchkit {

/// Puts `items` into a random order that depends on their number and `random` alone (Fisher and Yates;
/// entry i draws number i).
template <class T>
void shuffle(std::span<T> items, const Philox& random) {
  for (std::size_t i = items.size(); i > 1; --i) {
    std::swap(items[i - 1], items[random.below(i, i)]);
  }
}

}  // namespace researchkit
