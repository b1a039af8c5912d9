#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <numeric>
#include <span>
#include <vector>

namespace researchkit::dynapipe::detail {

struct Point {
  std::int32_t x = 0, y = 0;
};
inline std::int32_t distance(Point a, Point b) { return std::abs(a.x - b.x) + std::abs(a.y - b.y); }

/// An open path through points under improvement, its coordinates in path order so that a scan
/// reads memory in line.
class OpenPath {
 public:
  explicit OpenPath(std::span<const Point> points) : count_(points.size()) {
    nearest_neighbour(points);
  }

  /// Improves by 2-opt and Or-opt moves until none helps, at most `sweeps` times over.
  void improve(std::int64_t sweeps) {
    for (std::int64_t sweep = 0; sweep < sweeps; ++sweep) {
      bool improved = reverse_parts();
      for (const std::size_t length : {1, 2, 3}) improved = move_parts(length) || improved;
      if (!improved) return;
    }
  }

  std::vector<std::int32_t> take() {
    if (!city_.empty() && city_.front() > city_.back()) std::reverse(city_.begin(), city_.end());
    return std::move(city_);
  }

 private:
  static constexpr std::size_t kBlock = 64;

  /// From city 0 always to the nearest city left, ties to the smaller number.
  void nearest_neighbour(std::span<const Point> points) {
    std::vector<std::int32_t> left(count_);
    std::iota(left.begin(), left.end(), 0);
    Point here{};
    for (std::size_t step = 0; step < count_; ++step) {
      auto nearest = left.begin();
      if (step > 0) {
        nearest = std::min_element(left.begin(), left.end(), [&](std::int32_t a, std::int32_t b) {
          return distance(here, points[static_cast<std::size_t>(a)]) <
                 distance(here, points[static_cast<std::size_t>(b)]);
        });
      }
      here = points[static_cast<std::size_t>(*nearest)];
      city_.push_back(*nearest);
      x_.push_back(here.x);
      y_.push_back(here.y);
      left.erase(nearest);
    }
    step_.resize(count_);
    refresh_steps(0, count_);
  }

  Point at(std::size_t i) const { return {x_[i], y_[i]}; }

  void refresh_steps(std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end; ++i) {
      step_[i] = i + 1 < count_ ? distance(at(i), at(i + 1)) : 0;
    }
  }

  /// Calls `edit(array)` on all arrays in path order, then mends the steps of [begin, end).
  template <class Edit>
  void edit(std::size_t begin, std::size_t end, Edit&& edit) {
    edit(city_);
    edit(x_);
    edit(y_);
    refresh_steps(begin > 0 ? begin - 1 : 0, end);
  }

  /// 2-opt: reverses path[i..j] wherever that shortens the path, first improvement.
  bool reverse_parts() {
    bool improved = false;
    for (std::size_t i = 0; i < count_; ++i) {
      for (std::size_t j = i + 1; j < count_; ++j) {
        j = first_reversal(i, j);
        if (j == count_) break;
        const auto from = static_cast<std::ptrdiff_t>(i), to = static_cast<std::ptrdiff_t>(j + 1);
        edit(i, j + 1,
             [&](auto& array) { std::reverse(array.begin() + from, array.begin() + to); });
        improved = true;
      }
    }
    return improved;
  }

  /// The first end >= j of a part from i whose reversal shortens the path; count_ if there is none.
  std::size_t first_reversal(std::size_t i, std::size_t j) const {
    const Point first = at(i), before = i > 0 ? at(i - 1) : Point{};
    const std::int32_t has_before = i > 0 ? 1 : 0;
    const std::int32_t entering = i > 0 ? step_[i - 1] : 0;
    const std::size_t last = count_ - 1;
    const auto gain = [&](std::size_t k) {
      const std::int32_t old_steps = entering + step_[k];
      const std::int32_t new_steps =
          has_before * (std::abs(x_[k] - before.x) + std::abs(y_[k] - before.y)) +
          std::abs(x_[k + 1] - first.x) + std::abs(y_[k + 1] - first.y);
      return old_steps - new_steps;
    };
    while (j < last) {
      const std::size_t end = std::min(j + kBlock, last);
      std::int32_t best = 0;  // a maximum over a block is a loop without branches
      for (std::size_t k = j; k < end; ++k) best = std::max(best, gain(k));
      if (best > 0) {
        while (gain(j) <= 0) ++j;
        return j;
      }
      j = end;
    }
    const std::int32_t at_end = has_before * distance(before, at(last));
    return j == last && at_end < entering ? last : count_;
  }

  /// Or-opt: moves path[i..i+length) to the gap, and in the direction, where it adds least.
  bool move_parts(std::size_t length) {
    bool improved = false;
    for (std::size_t i = 0; i + length <= count_; ++i) {
      const std::size_t behind = i + length;
      const Point front = at(i), back = at(behind - 1);
      const std::int32_t entering = i > 0 ? step_[i - 1] : 0;
      const std::int32_t leaving = behind < count_ ? step_[behind - 1] : 0;
      const std::int32_t join = i > 0 && behind < count_ ? distance(at(i - 1), at(behind)) : 0;
      Move best{entering + leaving - join, 0, false, false};
      // Gaps in the path without the part: before its first point, between points left of the part
      // and right of it, behind its last point.
      if (i > 0) offer(best, distance(back, at(0)), distance(front, at(0)), 0);
      scan_gaps(best, front, back, 0, i > 0 ? i - 1 : 0, 1);
      scan_gaps(best, front, back, behind, count_ - 1, 1 - static_cast<std::ptrdiff_t>(length));
      if (behind < count_) {
        offer(best, distance(at(count_ - 1), front), distance(at(count_ - 1), back),
              count_ - length);
      }
      if (!best.found) continue;
      apply(i, length, best);
      improved = true;
    }
    return improved;
  }

  struct Move {
    std::int32_t add;  // only what adds less is better
    std::size_t gap;   // position in the path without the part
    bool reversed, found;
  };
  static void offer(Move& best, std::int32_t forward, std::int32_t reversed, std::size_t gap) {
    if (forward < best.add) best = {forward, gap, false, true};
    if (reversed < best.add) best = {reversed, gap, true, true};
  }

  /// Gaps between k and k+1 for k in [begin, end), numbered k + shift.
  void scan_gaps(Move& best, Point front, Point back, std::size_t begin, std::size_t end,
                 std::ptrdiff_t shift) const {
    const auto add = [&](std::size_t k, Point a, Point b) {
      return std::abs(x_[k] - a.x) + std::abs(y_[k] - a.y) + std::abs(x_[k + 1] - b.x) +
             std::abs(y_[k + 1] - b.y) - step_[k];
    };
    for (std::size_t j = begin; j < end; j += kBlock) {
      const std::size_t stop = std::min(j + kBlock, end);
      std::int32_t least = std::numeric_limits<std::int32_t>::max();
      for (std::size_t k = j; k < stop; ++k) {
        least = std::min(least, std::min(add(k, front, back), add(k, back, front)));
      }
      if (least >= best.add) continue;
      for (std::size_t k = j; k < stop; ++k) {
        offer(best, add(k, front, back), add(k, back, front),
              static_cast<std::size_t>(static_cast<std::ptrdiff_t>(k) + shift));
      }
    }
  }

  void apply(std::size_t i, std::size_t length, const Move& move) {
    const std::size_t low = std::min(i, move.gap), high = std::max(i, move.gap) + length;
    edit(low, high, [&](auto& array) {
      const auto begin = array.begin();
      const auto offset = [](std::size_t k) { return static_cast<std::ptrdiff_t>(k); };
      if (move.reversed) std::reverse(begin + offset(i), begin + offset(i + length));
      if (move.gap < i) {
        std::rotate(begin + offset(move.gap), begin + offset(i), begin + offset(i + length));
      } else {
        std::rotate(begin + offset(i), begin + offset(i + length), begin + offset(high));
      }
    });
  }

  std::size_t count_;
  std::vector<std::int32_t> city_, x_, y_;
  std::vector<std::int32_t> step_;  // distance to the next point, 0 behind the last
};

/// A short open path (L1) through distinct points: nearest neighbour from point 0, then 2-opt and
/// Or-opt. Deterministic; the lower-numbered end comes first. O(c^2) per sweep.
inline std::vector<std::int32_t> short_path(std::span<const Point> points, std::int64_t sweeps) {
  if (points.empty()) return {};
  OpenPath path(points);
  path.improve(sweeps);
  return path.take();
}

}  // namespace researchkit::dynapipe::detail
