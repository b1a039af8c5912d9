// Gathering rows and its gradient; the gradient of min_dist.
//
// Memory-bound: a gradient reads each upstream row once, grouped by a counting sort over the row it
// belongs to, and keeps the sums of one row in double in registers or L1. The column loops are
// plain, the compiler vectorises them; there is nothing to win beyond the loads.
#include "researchkit/fusefps/gradients.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <span>
#include <vector>

#include "researchkit/core/parallel.hpp"

namespace researchkit::fusefps::kernels {
namespace {

constexpr std::int64_t kColumns = 64;  // double sums of a row that are kept at a time
constexpr std::int64_t kRowsPerBlock = 256;

std::size_t size(std::int64_t i) { return static_cast<std::size_t>(i); }

/// The positions j of each key in ascending order: those of key i are
/// order[start[i]] ... order[start[i + 1] - 1]. Keys below 0 belong nowhere.
class Groups {
 public:
  Groups(std::span<std::int32_t> start, std::span<std::int32_t> order)
      : start_(start), order_(order) {}

  void build(std::span<const std::int32_t> keys) {
    std::fill(start_.begin(), start_.end(), 0);
    // start_[key + 2] counts; after the sums start_[key + 1] is where key begins, and filling moves
    // it to where key ends, which is where key + 1 begins.
    for (const std::int32_t key : keys) {
      if (key >= 0) ++start_[size(key) + 2];
    }
    for (std::size_t i = 2; i < start_.size(); ++i) start_[i] += start_[i - 1];
    for (std::size_t j = 0; j < keys.size(); ++j) {
      if (keys[j] >= 0) {
        order_[size(start_[size(keys[j]) + 1]++)] = static_cast<std::int32_t>(j);
      }
    }
  }
  std::span<const std::int32_t> of(std::int64_t key) const {
    return order_.subspan(size(start_[size(key)]), size(start_[size(key) + 1] - start_[size(key)]));
  }

 private:
  std::span<std::int32_t> start_, order_;
};

/// One Groups for each of b clouds with n keys and k entries, in the workspace.
class CloudGroups {
 public:
  CloudGroups(Workspace::Scope& scratch, std::int64_t b, std::int64_t n, std::int64_t k)
      : n_(size(n + 2)),
        k_(size(k)),
        start_(scratch.allocate<std::int32_t>(size(b) * n_)),
        order_(scratch.allocate<std::int32_t>(size(b) * k_)) {}
  Groups operator[](std::int64_t b) const {
    return {start_.subspan(size(b) * n_, n_), order_.subspan(size(b) * k_, k_)};
  }

 private:
  std::size_t n_, k_;
  std::span<std::int32_t> start_, order_;
};

/// Calls f(cloud, row) for all rows of all clouds, in parallel.
template <class F>
void for_rows(const Context& ctx, std::int64_t clouds, std::int64_t rows, F&& f) {
  parallel_for(ctx, clouds * rows, kRowsPerBlock, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t at = begin; at < end; ++at) f(at / rows, at % rows);
  });
}

}  // namespace

template <class Real>
void gather_points(const Context& ctx, In<Real, 3> features, In<std::int32_t, 2> indices,
                   Out<Real, 3> gathered) {
  const std::int64_t c = features.extent(2);
  if (gathered.empty()) return;
  for_rows(ctx, indices.extent(0), indices.extent(1), [&](std::int64_t b, std::int64_t j) {
    Real* to = &gathered(b, j, 0);
    if (const std::int32_t i = indices(b, j); i >= 0) {
      std::memcpy(to, &features(b, i, 0), size(c) * sizeof(Real));
    } else {
      std::fill(to, to + c, Real(0));
    }
  });
}

template <class Real>
void gather_points_backward(const Context& ctx, In<std::int32_t, 2> indices, In<Real, 3> d_gathered,
                            Out<Real, 3> d_features) {
  const std::int64_t clouds = indices.extent(0), k = indices.extent(1);
  const std::int64_t n = d_features.extent(1), c = d_features.extent(2);
  if (d_features.empty()) return;
  Workspace::Scope scratch(ctx.workspace());
  const CloudGroups groups(scratch, clouds, n, k);
  parallel_for(ctx, clouds, 1, [&](std::int64_t b, std::int64_t) {
    groups[b].build({indices.data_handle() + b * k, size(k)});
  });
  for_rows(ctx, clouds, n, [&](std::int64_t b, std::int64_t i) {
    const auto terms = groups[b].of(i);
    Real* to = &d_features(b, i, 0);
    for (std::int64_t first = 0; first < c; first += kColumns) {
      const std::int64_t columns = std::min(kColumns, c - first);
      std::array<double, kColumns> sum{};
      for (const std::int32_t j : terms) {
        const Real* from = &d_gathered(b, j, first);
        for (std::int64_t a = 0; a < columns; ++a) sum[size(a)] += static_cast<double>(from[a]);
      }
      for (std::int64_t a = 0; a < columns; ++a) to[first + a] = static_cast<Real>(sum[size(a)]);
    }
  });
}

template <class Real>
void coverage_loss_backward(const Context& ctx, In<Real, 3> points, In<std::int32_t, 2> indices,
                            In<std::int32_t, 2> assignment, In<Real, 2> d_min_dist, std::int64_t m,
                            Out<Real, 3> d_points) {
  const std::int64_t clouds = points.extent(0), n = points.extent(1), d = points.extent(2);
  if (d_points.empty()) return;
  Workspace::Scope scratch(ctx.workspace());
  const CloudGroups members(scratch, clouds, n, n);
  const auto nearest = scratch.allocate<std::int32_t>(size(clouds * n));
  parallel_for(ctx, clouds, 1, [&](std::int64_t b, std::int64_t) {
    const auto own = nearest.subspan(size(b * n), size(n));
    for (std::int64_t i = 0; i < n; ++i) {
      const std::int32_t a = assignment(b, i);
      own[size(i)] = a < 0 ? -1 : indices(b, a);
    }
    members[b].build(own);
  });
  for_rows(ctx, clouds, n, [&](std::int64_t b, std::int64_t row) {
    const auto terms = members[b].of(row);
    const std::int32_t sample = nearest[size(b * n + row)];
    Real* to = &d_points(b, row, 0);
    for (std::int64_t first = 0; first < m; first += kColumns) {
      const std::int64_t columns = std::min(kColumns, m - first);
      std::array<double, kColumns> sum{};
      // 2 g_i (x_i - x_q), added to row i and taken from row q.
      const auto add = [&](std::int64_t i, std::int64_t q, double sign) {
        const double g = 2.0 * static_cast<double>(d_min_dist(b, i));
        const Real *x = &points(b, i, first), *y = &points(b, q, first);
        for (std::int64_t c = 0; c < columns; ++c) {
          const double t = g * (static_cast<double>(x[c]) - static_cast<double>(y[c]));
          sum[size(c)] += sign * t;
        }
      };
      bool own_added = sample < 0;
      for (const std::int32_t i : terms) {
        if (!own_added && i >= row) {
          add(row, sample, 1.0);
          own_added = true;
        }
        add(i, row, -1.0);
      }
      if (!own_added) add(row, sample, 1.0);
      for (std::int64_t c = 0; c < columns; ++c) to[first + c] = static_cast<Real>(sum[size(c)]);
    }
    std::fill(to + m, to + d, Real(0));
  });
}

#define RESEARCHKIT_INSTANTIATE(Real)                                                          \
  template void gather_points(const Context&, In<Real, 3>, In<std::int32_t, 2>, Out<Real, 3>); \
  template void gather_points_backward(const Context&, In<std::int32_t, 2>, In<Real, 3>,       \
                                       Out<Real, 3>);                                          \
  template void coverage_loss_backward(const Context&, In<Real, 3>, In<std::int32_t, 2>,       \
                                       In<std::int32_t, 2>, In<Real, 2>, std::int64_t,         \
                                       Out<Real, 3>)
RESEARCHKIT_INSTANTIATE(float);
RESEARCHKIT_INSTANTIATE(double);
#undef RESEARCHKIT_INSTANTIATE

}  // namespace researchkit::fusefps::kernels
