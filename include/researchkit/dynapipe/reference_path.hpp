#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "researchkit/dynapipe/short_path.hpp"

namespace researchkit::dynapipe::reference {

using Path = std::vector<std::int32_t>;

/// Distance between two neighbours of a path; 0 where one of them is beyond an end.
class Steps {
 public:
  Steps(std::span<const detail::Point> points, const Path& path) : points_(points), path_(path) {}
  std::int64_t operator()(std::optional<std::int32_t> a, std::optional<std::int32_t> b) const {
    if (!a || !b) return 0;
    return detail::distance(points_[static_cast<std::size_t>(*a)],
                            points_[static_cast<std::size_t>(*b)]);
  }
  std::optional<std::int32_t> city(std::int64_t position) const {
    if (position < 0 || position >= static_cast<std::int64_t>(path_.size())) return std::nullopt;
    return path_[static_cast<std::size_t>(position)];
  }

 private:
  std::span<const detail::Point> points_;
  const Path& path_;
};

inline Path nearest_neighbour_path(std::span<const detail::Point> points) {
  Path path = {0};
  std::vector<bool> used(points.size(), false);
  used[0] = true;
  while (path.size() < points.size()) {
    const detail::Point here = points[static_cast<std::size_t>(path.back())];
    std::int32_t nearest = -1;
    for (std::size_t k = 0; k < points.size(); ++k) {
      if (used[k]) continue;
      if (nearest < 0 || detail::distance(here, points[k]) <
                             detail::distance(here, points[static_cast<std::size_t>(nearest)])) {
        nearest = static_cast<std::int32_t>(k);
      }
    }
    path.push_back(nearest);
    used[static_cast<std::size_t>(nearest)] = true;
  }
  return path;
}

inline bool two_opt(std::span<const detail::Point> points, Path& path) {
  bool improved = false;
  const Steps step(points, path);
  const auto count = static_cast<std::int64_t>(path.size());
  for (std::int64_t i = 0; i < count; ++i) {
    for (std::int64_t j = i + 1; j < count; ++j) {
      const auto before = step.city(i - 1), first = step.city(i), last = step.city(j),
                 behind = step.city(j + 1);
      if (step(before, last) + step(first, behind) >= step(before, first) + step(last, behind)) {
        continue;
      }
      std::reverse(path.begin() + i, path.begin() + j + 1);
      improved = true;
    }
  }
  return improved;
}

inline bool or_opt(std::span<const detail::Point> points, Path& path, std::int64_t length) {
  bool improved = false;
  for (std::int64_t i = 0; i + length <= static_cast<std::int64_t>(path.size()); ++i) {
    const Steps step(points, path);
    Path part(path.begin() + i, path.begin() + i + length), rest = path;
    rest.erase(rest.begin() + i, rest.begin() + i + length);
    const Steps rest_step(points, rest);
    std::int64_t best = step(step.city(i - 1), step.city(i)) +
                        step(step.city(i + length - 1), step.city(i + length)) -
                        rest_step(rest_step.city(i - 1), rest_step.city(i));
    std::int64_t best_gap = -1;
    bool best_reversed = false;
    for (std::int64_t gap = 0; gap <= static_cast<std::int64_t>(rest.size()); ++gap) {
      if (gap == i) continue;
      const auto left = rest_step.city(gap - 1), right = rest_step.city(gap);
      for (const bool reversed : {false, true}) {
        const std::int32_t first = reversed ? part.back() : part.front();
        const std::int32_t last = reversed ? part.front() : part.back();
        const std::int64_t add = step(left, first) + step(last, right) - step(left, right);
        if (add >= best) continue;
        best = add;
        best_gap = gap;
        best_reversed = reversed;
      }
    }
    if (best_gap < 0) continue;
    if (best_reversed) std::reverse(part.begin(), part.end());
    rest.insert(rest.begin() + best_gap, part.begin(), part.end());
    path = rest;
    improved = true;
  }
  return improved;
}

/// detail::short_path by plain loops over copies.
inline Path short_path(std::span<const detail::Point> points, std::int64_t sweeps) {
  if (points.empty()) return {};
  Path path = nearest_neighbour_path(points);
  for (std::int64_t sweep = 0; sweep < sweeps; ++sweep) {
    bool improved = two_opt(points, path);
    for (const std::int64_t length : {1, 2, 3}) {
      if (or_opt(points, path, length)) improved = true;
    }
    if (!improved) break;
  }
  if (path.front() > path.back()) std::reverse(path.begin(), path.end());
  return path;
}

}  // namespace researchkit::dynapipe::reference
