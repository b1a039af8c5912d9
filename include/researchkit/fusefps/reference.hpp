#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <numeric>
#include <optional>
#include <vector>

#include "researchkit/fusefps/exact.hpp"
#include "researchkit/fusefps/sampler.hpp"

/// The oracle: what the samplers compute, in plain loops over flat lists of buckets. It shares no
/// code with the fast samplers but the arithmetic of exact.hpp, and works on any scalar type with
/// + - * /, comparisons, fma and conversions from and to double.
namespace researchkit::fusefps::reference {

/// One cloud and what is wanted of it. Indices are positions among its n points.
template <class Real>
struct Problem {
  std::vector<Real> x;  ///< [n, m], the coordinates that enter the distance
  std::int64_t n = 0, m = 0;
  std::int64_t k = 0;                  ///< at most n
  std::vector<std::int64_t> starts;    ///< chosen first, in order; at most k, distinct
  std::vector<Real> initial_distance;  ///< [n] squared, or empty: infinity
  double min_spacing = 0;              ///< a distance; stop before a sample nearer than this
  bool distinct = true;
  Arithmetic arithmetic = Arithmetic::strict;
  Algorithm algorithm = Algorithm::vanilla;
  std::int64_t height = -1;     ///< of the bucket tree, -1: by n
  std::int64_t leaf_size = -1;  ///< never split a bucket of at most so many points, -1: default
  std::int64_t ref_buffer = 0;  ///< pending samples of a bucket that force a pass, 0: no limit
  SplitRule split_rule = SplitRule::mean;
  bool coverage = false;  ///< fill min_dist and assignment of the solution
};

template <class Real>
struct Solution {
  std::vector<std::int64_t> indices;
  std::vector<Real> distances;  ///< squared distance of each sample to those before it
  std::array<std::int64_t, 16> stats{};
  std::vector<Real> min_dist;  ///< [n] squared distance to the nearest sample, with coverage
  std::vector<std::int32_t> assignment;  ///< [n] ordinal of that sample, -1: none, with coverage
};

/// Height of the bucket tree for n points when none is asked for.
constexpr std::int64_t default_height(std::int64_t n) {
  if (n < 256) return 0;
  std::int64_t height = 0;
  while ((n / 64) >> (height + 1) != 0) ++height;
  return height < 1 ? 1 : height > 12 ? 12 : height;
}

/// The sampling of one cloud, step by step as the method is defined. O(n k) without buckets.
template <class Real>
class Sampling {
 public:
  explicit Sampling(const Problem<Real>& problem)
      : p_(problem),
        height_(problem.height < 0 ? default_height(problem.n) : problem.height),
        leaf_size_(problem.leaf_size >= 0                  ? problem.leaf_size
                   : problem.algorithm == Algorithm::fused ? 32
                                                           : 1),
        distance_(problem.initial_distance) {
    if (distance_.empty()) distance_.assign(size(p_.n), kInfinity);
    start_distance_ = distance_;
    out_.assignment.assign(size(p_.n), -1);
  }

  Solution<Real> run() {
    out_.stats[kPoints] = p_.n;
    if (p_.k == 0 || p_.n == 0) {
      out_.min_dist = distance_;
      return std::move(out_);
    }
    for (const std::int64_t start : p_.starts) select(start, distance_of_start(start));
    const bool only_starts = count() == p_.k;
    if (p_.algorithm == Algorithm::vanilla || only_starts) {
      buckets_.push_back(whole_cloud());
    } else {
      build();
    }
    const auto chosen = static_cast<std::int64_t>(p_.starts.size());
    for (Bucket& bucket : buckets_) {
      for (std::int64_t r = 0; r < chosen; ++r) bucket.pending.push_back(r);
    }
    if (!only_starts) p_.algorithm == Algorithm::vanilla ? sample_plain() : sample_buckets();
    out_.stats[kSamples] = count();
    out_.stats[kFinalBuckets] = static_cast<std::int64_t>(buckets_.size());
    finish();
    return std::move(out_);
  }

 private:
  enum Stat {
    kPoints,
    kSamples,
    kTests,
    kSkipped,
    kDeferred,
    kPasses,
    kRefsApplied,
    kPointsRead,
    kDistWritten,
    kPointsMoved,
    kDistances,
    kBuildRead,
    kBuildWritten,
    kSplits,
    kMaxDepth,
    kFinalBuckets
  };
  struct Bucket {
    std::vector<std::int64_t> points;  // ascending
    std::vector<Real> lo, hi;
    std::int64_t depth = 0;
    std::vector<std::int64_t> pending;  // ordinals of samples not yet applied
    std::int64_t far = -1;
    Real far_distance = kInfinity;
  };

  static inline const Real kInfinity = Real(std::numeric_limits<double>::infinity());
  static std::size_t size(std::int64_t i) { return static_cast<std::size_t>(i); }
  std::int64_t count() const { return static_cast<std::int64_t>(out_.indices.size()); }
  Coordinates<Real> point(std::int64_t i) const { return {p_.x.data() + i * p_.m}; }
  Real& distance(std::int64_t i) { return distance_[size(i)]; }
  Real between(std::int64_t i, std::int64_t j) const {
    return squared_distance(point(i), point(j), p_.m, p_.arithmetic);
  }

  void select(std::int64_t i, Real d) {
    const auto ordinal = static_cast<std::int32_t>(count());
    out_.indices.push_back(i);
    out_.distances.push_back(d);
    if (p_.distinct) distance(i) = Real(-1);
    std::int32_t& nearest = out_.assignment[size(i)];
    if (d > Real(0) || nearest < 0) nearest = ordinal;
  }

  Real distance_of_start(std::int64_t i) const {
    Real d = start_distance_[size(i)];
    for (const std::int64_t earlier : out_.indices) d = std::min(d, between(i, earlier));
    return d;
  }

  bool too_near(Real d) const {
    if (p_.min_spacing == 0.0) return false;
    const Real spacing = Real(p_.min_spacing);
    return d < spacing * spacing;
  }

  // ---- buckets
  Bucket make_bucket(std::vector<std::int64_t> points, std::int64_t depth) {
    Bucket bucket;
    for (std::int64_t a = 0; a < p_.m; ++a) {
      Real lo = point(points.front())[a], hi = lo;
      for (const std::int64_t i : points) {
        lo = std::min(lo, point(i)[a]);
        hi = std::max(hi, point(i)[a]);
      }
      bucket.lo.push_back(lo);
      bucket.hi.push_back(hi);
    }
    bucket.points = std::move(points);
    bucket.depth = depth;
    out_.stats[kMaxDepth] = std::max(out_.stats[kMaxDepth], depth);
    return bucket;
  }

  Bucket whole_cloud() {
    std::vector<std::int64_t> all(size(p_.n));
    std::iota(all.begin(), all.end(), 0);
    return make_bucket(std::move(all), 0);
  }

  void build() {
    buckets_.push_back(whole_cloud());
    for (std::int64_t a = 0; a < p_.m; ++a) {
      axes_.push_back(FixedPointAxis::of_range(static_cast<double>(buckets_[0].lo[size(a)]),
                                               static_cast<double>(buckets_[0].hi[size(a)])));
    }
    out_.stats[kBuildRead] += p_.n;
    if (p_.algorithm != Algorithm::bucket) return;
    for (std::size_t b = 0; b < buckets_.size();) {
      const auto points = static_cast<std::int64_t>(buckets_[b].points.size());
      if (split(b)) {
        out_.stats[kBuildRead] += points;
        out_.stats[kBuildWritten] += points;
      } else {
        ++b;
      }
    }
  }

  /// The widest axis of a bucket, nothing if all its points coincide.
  std::optional<std::int64_t> split_axis(const Bucket& bucket) const {
    std::int64_t axis = 0;
    double widest = -1;
    for (std::int64_t a = 0; a < p_.m; ++a) {
      const double extent = half_extent(static_cast<double>(bucket.lo[size(a)]),
                                        static_cast<double>(bucket.hi[size(a)]));
      if (extent > widest) {
        widest = extent;
        axis = a;
      }
    }
    if (!(bucket.lo[size(axis)] < bucket.hi[size(axis)])) return std::nullopt;
    return axis;
  }

  Real split_value(const Bucket& bucket, std::int64_t axis) const {
    const Real lo = bucket.lo[size(axis)], hi = bucket.hi[size(axis)];
    const FixedPointAxis& fixed = axes_[size(axis)];
    double value;
    if (p_.split_rule == SplitRule::midpoint || fixed.scale == 0.0) {
      value = midpoint(static_cast<double>(lo), static_cast<double>(hi));
    } else {
      std::int64_t sum = 0;
      for (const std::int64_t i : bucket.points) {
        sum += fixed.quantise(static_cast<double>(point(i)[axis]));
      }
      value = fixed.mean(sum, static_cast<std::int64_t>(bucket.points.size()));
    }
    Real v = Real(value);
    if (v > hi) v = hi;
    if (!(v > lo)) v = hi;
    return v;
  }

  /// Splits bucket b if it may be split; its left half stays in place, the right one is appended.
  bool split(std::size_t b) {
    const Bucket& bucket = buckets_[b];
    const auto points = static_cast<std::int64_t>(bucket.points.size());
    if (bucket.depth >= height_ || points <= leaf_size_) return false;
    const auto axis = split_axis(bucket);
    if (!axis) return false;
    std::vector<bool> goes_left(bucket.points.size());
    if (p_.split_rule == SplitRule::median) {
      std::vector<std::size_t> order(bucket.points.size());
      std::iota(order.begin(), order.end(), 0U);
      std::stable_sort(order.begin(), order.end(), [&](std::size_t i, std::size_t j) {
        return point(bucket.points[i])[*axis] < point(bucket.points[j])[*axis];
      });
      for (std::size_t i = 0; i < order.size() / 2; ++i) goes_left[order[i]] = true;
    } else {
      const Real value = split_value(bucket, *axis);
      for (std::size_t i = 0; i < goes_left.size(); ++i) {
        goes_left[i] = point(bucket.points[i])[*axis] < value;
      }
    }
    std::vector<std::int64_t> left, right;
    for (std::size_t i = 0; i < goes_left.size(); ++i) {
      (goes_left[i] ? left : right).push_back(bucket.points[i]);
    }
    ++out_.stats[kSplits];
    const std::int64_t depth = bucket.depth + 1;
    buckets_[b] = make_bucket(std::move(left), depth);
    buckets_.push_back(make_bucket(std::move(right), depth));
    return true;
  }

  void apply_pending(Bucket& bucket) {
    for (const std::int64_t i : bucket.points) {
      for (const std::int64_t r : bucket.pending) {
        const Real d = between(i, out_.indices[size(r)]);
        if (!(d < distance(i))) continue;
        distance(i) = d;
        out_.assignment[size(i)] = static_cast<std::int32_t>(r);
      }
    }
    bucket.pending.clear();
  }

  void find_farthest(Bucket& bucket) {
    bucket.far = bucket.points.front();
    for (const std::int64_t i : bucket.points) {
      if (distance(i) > distance(bucket.far)) bucket.far = i;
    }
    bucket.far_distance = distance(bucket.far);
  }

  void pass(std::size_t b) {
    const auto points = static_cast<std::int64_t>(buckets_[b].points.size());
    const auto refs = static_cast<std::int64_t>(buckets_[b].pending.size());
    apply_pending(buckets_[b]);
    const bool moved = p_.algorithm == Algorithm::fused && split(b);
    ++out_.stats[kPasses];
    out_.stats[kRefsApplied] += refs;
    out_.stats[kPointsRead] += points;
    out_.stats[kDistances] += refs * points;
    out_.stats[moved ? kPointsMoved : kDistWritten] += points;
    find_farthest(buckets_[b]);
    if (moved) find_farthest(buckets_.back());
  }

  // ---- the two loops
  void sample_plain() {
    while (count() < p_.k) {
      pass(0);
      const Bucket& all = buckets_[0];
      if (too_near(all.far_distance)) return;
      select(all.far, all.far_distance);
      buckets_[0].pending.push_back(count() - 1);
    }
  }

  void sample_buckets() {
    const std::size_t leaves = buckets_.size();
    for (std::size_t b = 0; b < leaves; ++b) pass(b);
    for (;;) {
      std::size_t owner = 0;
      for (std::size_t b = 1; b < buckets_.size(); ++b) {
        const Bucket &candidate = buckets_[b], &best = buckets_[owner];
        if (candidate.far_distance > best.far_distance ||
            (candidate.far_distance == best.far_distance && candidate.far < best.far)) {
          owner = b;
        }
      }
      if (too_near(buckets_[owner].far_distance)) return;
      select(buckets_[owner].far, buckets_[owner].far_distance);
      if (count() == p_.k) break;
      send(count() - 1, owner);
    }
    for (Bucket& bucket : buckets_) bucket.pending.push_back(count() - 1);
  }

  /// Tests every bucket alive now against sample r, by the two inequalities (equation 7).
  void send(std::int64_t r, std::size_t owner) {
    const std::int64_t sample = out_.indices[size(r)];
    const std::size_t alive = buckets_.size();
    out_.stats[kTests] += static_cast<std::int64_t>(alive);
    for (std::size_t b = 0; b < alive; ++b) {
      Bucket& bucket = buckets_[b];
      const Real bound = box_bound<Real>({bucket.lo.data()}, {bucket.hi.data()}, point(sample),
                                         p_.m, p_.arithmetic);
      if (b != owner && !(bound < bucket.far_distance)) {
        ++out_.stats[kSkipped];
        continue;
      }
      bucket.pending.push_back(r);
      const bool full =
          p_.ref_buffer > 0 && static_cast<std::int64_t>(bucket.pending.size()) >= p_.ref_buffer;
      if (b == owner || full || between(bucket.far, sample) < bucket.far_distance) {
        pass(b);
      } else {
        ++out_.stats[kDeferred];
      }
    }
  }

  /// The samples that no pass has applied yet; outside of the counters.
  void finish() {
    if (!p_.coverage) return;
    if (out_.indices.empty()) {
      out_.min_dist = distance_;
      out_.assignment.assign(size(p_.n), -1);
      return;
    }
    for (Bucket& bucket : buckets_) apply_pending(bucket);
    out_.min_dist = distance_;
    for (Real& d : out_.min_dist) d = std::max(d, Real(0));
  }

  const Problem<Real>& p_;
  std::int64_t height_, leaf_size_;
  std::vector<Real> distance_, start_distance_;
  std::vector<FixedPointAxis> axes_;
  std::vector<Bucket> buckets_;
  Solution<Real> out_;
};

template <class Real>
Solution<Real> sample(const Problem<Real>& problem) {
  return Sampling<Real>(problem).run();
}

}  // namespace researchkit::fusefps::reference
