#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>
#include <vector>

#include "researchkit/core/view.hpp"
#include "researchkit/fusefps/exact.hpp"
#include "researchkit/fusefps/neighbors.hpp"

/// Plain loops for what surrounds the sampling: gathering, grouping, quality and gradients.
namespace researchkit::fusefps::reference {

/// The coordinates of row i of a cloud [n, d].
template <class Real>
Coordinates<Real> row(TensorView<const Real, 2> cloud, std::int64_t i) {
  return {&cloud(i, 0), cloud.stride(1)};
}

/// Rows of features [n, c]; an index of -1 gives zeros.
template <class Real>
void gather_points(In<Real, 2> features, In<std::int32_t, 1> indices, Out<Real, 2> gathered) {
  for (std::int64_t j = 0; j < indices.extent(0); ++j) {
    for (std::int64_t c = 0; c < features.extent(1); ++c) {
      gathered(j, c) = indices(j) < 0 ? Real(0) : features(indices(j), c);
    }
  }
}

/// d_features[i] = sum of d_gathered[j] over the j with indices[j] = i, in double, ascending.
template <class Real>
void gather_points_backward(In<std::int32_t, 1> indices, In<Real, 2> d_gathered,
                            Out<Real, 2> d_features) {
  for (std::int64_t i = 0; i < d_features.extent(0); ++i) {
    for (std::int64_t c = 0; c < d_features.extent(1); ++c) {
      double sum = 0;
      for (std::int64_t j = 0; j < indices.extent(0); ++j) {
        if (indices(j) == i) sum += static_cast<double>(d_gathered(j, c));
      }
      d_features(i, c) = static_cast<Real>(sum);
    }
  }
}

/// The gradient of min_dist with respect to the points (equation 14), m leading columns.
template <class Real>
void coverage_loss_backward(In<Real, 2> points, In<std::int32_t, 1> indices,
                            In<std::int32_t, 1> assignment, In<Real, 1> d_min_dist, std::int64_t m,
                            Out<Real, 2> d_points) {
  const std::int64_t n = points.extent(0), d = points.extent(1);
  std::vector<double> sum(static_cast<std::size_t>(n));
  for (std::int64_t c = 0; c < d; ++c) {
    std::fill(sum.begin(), sum.end(), 0.0);
    for (std::int64_t i = 0; c < m && i < n; ++i) {
      if (assignment(i) < 0) continue;
      const std::int64_t q = indices(assignment(i));
      const double t = 2.0 * static_cast<double>(d_min_dist(i)) *
                       (static_cast<double>(points(i, c)) - static_cast<double>(points(q, c)));
      sum[static_cast<std::size_t>(i)] += t;
      sum[static_cast<std::size_t>(q)] -= t;
    }
    for (std::int64_t i = 0; i < n; ++i) {
      d_points(i, c) = static_cast<Real>(sum[static_cast<std::size_t>(i)]);
    }
  }
}

/// One cloud of ball_query: the first hits of every query in ascending order.
template <class Real>
void ball_query(In<Real, 2> queries, In<Real, 2> points, std::int64_t n, double radius,
                BallFill fill, Arithmetic arithmetic, Out<std::int32_t, 2> indices,
                Out<std::int32_t, 1> counts) {
  const Real squared_radius = Real(radius) * Real(radius);
  const std::int64_t width = indices.extent(1);
  for (std::int64_t q = 0; q < queries.extent(0); ++q) {
    std::int64_t hits = 0;
    for (std::int64_t i = 0; i < n && hits < width; ++i) {
      const Real d =
          squared_distance(row(points, i), row(queries, q), points.extent(1), arithmetic);
      if (d < squared_radius) indices(q, hits++) = static_cast<std::int32_t>(i);
    }
    counts(q) = static_cast<std::int32_t>(hits);
    const std::int32_t rest = fill == BallFill::first && hits > 0 ? indices(q, 0) : -1;
    for (std::int64_t j = hits; j < width; ++j) indices(q, j) = rest;
  }
}

/// One cloud of knn_query: the nearest of n points by (distance, index).
template <class Real>
void knn_query(In<Real, 2> queries, In<Real, 2> points, std::int64_t n, Arithmetic arithmetic,
               Out<std::int32_t, 2> indices, Out<Real, 2> distances) {
  const std::int64_t k = indices.extent(1);
  std::vector<std::pair<Real, std::int64_t>> all(static_cast<std::size_t>(n));
  for (std::int64_t q = 0; q < queries.extent(0); ++q) {
    for (std::int64_t i = 0; i < n; ++i) {
      all[static_cast<std::size_t>(i)] = {
          squared_distance(row(points, i), row(queries, q), points.extent(1), arithmetic), i};
    }
    std::sort(all.begin(), all.end());
    for (std::int64_t j = 0; j < k; ++j) {
      const bool found = j < n;
      indices(q, j) =
          found ? static_cast<std::int32_t>(all[static_cast<std::size_t>(j)].second) : -1;
      distances(q, j) = found ? all[static_cast<std::size_t>(j)].first
                              : Real(std::numeric_limits<double>::infinity());
    }
  }
}

/// One cloud of coverage_metrics over m leading columns; `indices` may hold -1, but not only.
template <class Real>
Coverage coverage_metrics(In<Real, 2> points, In<std::int32_t, 1> indices, std::int64_t m) {
  const std::int64_t n = points.extent(0);
  const auto at = [&](std::int64_t i) {
    std::vector<double> x(static_cast<std::size_t>(m));
    for (std::int64_t c = 0; c < m; ++c) {
      x[static_cast<std::size_t>(c)] = static_cast<double>(points(i, c));
    }
    return x;
  };
  const auto between = [&](const std::vector<double>& x, const std::vector<double>& y) {
    return squared_distance<double>({x.data()}, {y.data()}, m, Arithmetic::strict);
  };
  std::vector<std::vector<double>> samples;
  for (std::int64_t j = 0; j < indices.extent(0); ++j) {
    if (indices(j) >= 0) samples.push_back(at(indices(j)));
  }
  double largest = 0, sum_of_roots = 0, sum = 0;
  double gap = std::numeric_limits<double>::infinity();
  for (std::int64_t i = 0; i < n; ++i) {
    const auto x = at(i);
    double nearest = std::numeric_limits<double>::infinity();
    for (const auto& s : samples) nearest = std::min(nearest, between(x, s));
    largest = std::max(largest, nearest);
    sum_of_roots += std::sqrt(nearest);
    sum += nearest;
  }
  for (std::size_t i = 0; i < samples.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) gap = std::min(gap, between(samples[i], samples[j]));
  }
  return {std::sqrt(largest), sum_of_roots / static_cast<double>(n),
          std::sqrt(sum / static_cast<double>(n)), std::sqrt(gap)};
}

}  // namespace researchkit::fusefps::reference
