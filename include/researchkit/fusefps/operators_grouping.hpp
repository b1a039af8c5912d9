#pragma once

#include "researchkit/core/arbitrary.hpp"
#include "researchkit/core/operator.hpp"
#include "researchkit/core/parallel.hpp"
#include "researchkit/fusefps/cloud_task.hpp"
#include "researchkit/fusefps/gradients.hpp"
#include "researchkit/fusefps/reference_neighbors.hpp"

namespace researchkit::fusefps {

/// Rows of features at indices; -1 gathers zeros.
///
///     auto grouped = gather_points(ctx, {.features = f, .indices = sample.indices});
template <class Real>
struct GatherPoints {
  static constexpr std::string_view name = "fusefps.gather_points";
  static constexpr std::string_view summary = "Rows of features at indices, zeros at -1.";

  In<Real, 3> features = {};         // [b, n, c]
  In<std::int32_t, 2> indices = {};  // [b, k]
  Out<Real, 3> gathered = {};        // [b, k, c]

  void describe(Description& io) {
    io.input(features, "features", "b n c", "rows to take", {.contiguous = true});
    io.input(indices, "indices", "b k", "which rows; -1: zeros",
             {.in = "[-1, n)", .contiguous = true});
    io.output(gathered, "gathered", "b k c", "the rows taken", {.contiguous = true});
  }
  Cost cost() const {
    return {0,
            static_cast<double>(indices.size()) *
                (2.0 * static_cast<double>(features.extent(2)) * sizeof(Real) + 4),
            false};
  }
  void run(const Context& ctx) const {
    kernels::gather_points<Real>(ctx, features, indices, gathered);
  }
  void reference() const {
    for (std::int64_t b = 0; b < indices.extent(0); ++b) {
      reference::gather_points<Real>(features[b], indices[b], gathered[b]);
    }
  }
};

static_assert(OperatorStruct<GatherPoints<float>>);
inline constexpr Function<GatherPoints> gather_points;

/// The gradient of gather_points: what was gathered from a row adds up there, in double, in the
/// order of the indices; -1 sends nothing.
template <class Real>
struct GatherPointsBackward {
  static constexpr std::string_view name = "fusefps.gather_points_backward";
  static constexpr std::string_view summary = "Gradient of gather_points.";

  In<Real, 3> features = {};         // [b, n, c]
  In<std::int32_t, 2> indices = {};  // [b, k]
  In<Real, 3> d_gathered = {};       // [b, k, c]
  Out<Real, 3> d_features = {};      // [b, n, c]

  void describe(Description& io) {
    io.input(features, "features", "b n c",
             "the rows that were gathered from: only their number "
             "matters");
    io.input(indices, "indices", "b k", "which rows were gathered",
             {.in = "[-1, n)", .contiguous = true});
    io.input(d_gathered, "d_gathered", "b k c", "gradient of gathered", {.contiguous = true});
    io.output(d_features, "d_features", "b n c", "gradient of features", {.contiguous = true});
  }
  Cost cost() const {
    const auto terms = static_cast<double>(d_gathered.size());
    const auto entries = static_cast<double>(features.size());
    return {terms, (terms + entries) * sizeof(Real) + 4.0 * static_cast<double>(indices.size()),
            true};
  }
  void run(const Context& ctx) const {
    kernels::gather_points_backward<Real>(ctx, indices, d_gathered, d_features);
  }
  void reference() const {
    for (std::int64_t b = 0; b < indices.extent(0); ++b) {
      reference::gather_points_backward<Real>(indices[b], d_gathered[b], d_features[b]);
    }
  }
};

static_assert(OperatorStruct<GatherPointsBackward<float>>);
inline constexpr Function<GatherPointsBackward> gather_points_backward;

namespace detail {

/// Calls f(b, index, begin, end) for blocks of queries of every cloud that has any, `index` being
/// that of the cloud's first `points_of(b)` points.
template <class Real, class PointsOf, class F>
void for_queries(const Context& ctx, In<Real, 3> points, std::int64_t queries, PointsOf&& points_of,
                 F&& f) {
  constexpr std::int64_t kQueries = 128;
  const std::int64_t clouds = points.extent(0);
  if (clouds == 0 || queries == 0) return;
  std::vector<std::optional<NeighborIndex<Real>>> indices(static_cast<std::size_t>(clouds));
  parallel_for(ctx, clouds, 1, [&](std::int64_t b, std::int64_t) {
    indices[static_cast<std::size_t>(b)].emplace(points[b], points_of(b), points.extent(2));
  });
  const std::int64_t blocks = (queries + kQueries - 1) / kQueries;
  parallel_blocks(ctx, clouds * blocks, [&](std::int64_t block) {
    const std::int64_t b = block / blocks, begin = block % blocks * kQueries;
    f(b, *indices[static_cast<std::size_t>(b)], begin, std::min(queries, begin + kQueries));
  });
}

/// Rows begin ... end - 1 of a view [n, d], m leading columns, without gaps and converted.
template <class To, class From>
std::vector<To> packed_rows(TensorView<const From, 2> view, std::int64_t begin, std::int64_t end,
                            std::int64_t m) {
  std::vector<To> rows;
  rows.reserve(static_cast<std::size_t>((end - begin) * m));
  for (std::int64_t i = begin; i < end; ++i) {
    for (std::int64_t c = 0; c < m; ++c) rows.push_back(static_cast<To>(view(i, c)));
  }
  return rows;
}

/// Rows begin ... end - 1 of a view.
template <class T, int Rank>
TensorView<T, Rank> row_range(TensorView<T, Rank> view, std::int64_t begin, std::int64_t end) {
  auto extents = view.extents();
  extents[0] = end - begin;
  return {view.data_handle() + begin * view.stride(0), extents, view.strides()};
}

}  // namespace detail

/// The first points of each cloud, in index order, that lie nearer than `radius` to each query:
/// the grouping of PointNet++.
///
///     auto ball = ball_query(ctx, {.queries = centres, .points = clouds, .radius = 0.2,
///                                  .max_neighbors = 32});
///
/// Near means squared distance < radius * radius, both in Real. Searched through NeighborIndex; the
/// result is that of a scan.
template <class Real>
struct BallQuery {
  static constexpr std::string_view name = "fusefps.ball_query";
  static constexpr std::string_view summary =
      "The first points nearer than a radius to each query.";

  In<Real, 3> queries = {};                    // [b, m, d]
  In<Real, 3> points = {};                     // [b, n, d]
  Optional<In<std::int32_t, 1>> lengths = {};  // [b]
  Out<std::int32_t, 3> indices = {};           // [b, m, max_neighbors]
  Out<std::int32_t, 2> counts = {};            // [b, m]
  double radius = 1;
  std::int64_t max_neighbors = 32;
  BallFill fill = BallFill::minus1;
  Arithmetic arithmetic = Arithmetic::strict;

  void describe(Description& io) {
    io.dimension("d", "[1, 4096]", "columns of a point");
    io.dimension("n", "[0, 1073741824]", "points of a cloud");
    io.input(queries, "queries", "b m d", "centres", {.finite = true});
    io.input(points, "points", "b n d", "coordinates; those of points in use are finite");
    io.input(lengths, "lengths", "b", "points used of each cloud, all when absent",
             {.in = "[0, n]", .host = true});
    io.output(indices, "indices", "b m max_neighbors", "points found, ascending");
    io.output(counts, "counts", "b m", "points found, at most max_neighbors");
    io.attribute(radius, "radius", "only points nearer than this", {.in = "(0, inf)"});
    io.attribute(max_neighbors, "max_neighbors", "points kept of each query", {.in = "[1, inf)"});
    io.attribute(fill, "fill", "what stands behind the points found");
    io.attribute(arithmetic, "arithmetic", "rounding of the squared distance");
  }
  void validate(const Check& check) const {
    for (std::int64_t b = 0; b < points.extent(0); ++b) {
      detail::require_finite<Real>(check, points, b, points_of(b), points.extent(2));
    }
  }
  /// An upper bound: what a scan would do.
  Cost cost() const {
    const auto pairs = static_cast<double>(points.extent(0) * queries.extent(1)) *
                       static_cast<double>(points.extent(1));
    const auto d = static_cast<double>(points.extent(2));
    return {
        pairs * (3 * d - 1) + static_cast<double>(points.extent(0)),
        (static_cast<double>(points.size()) + static_cast<double>(queries.size())) * sizeof(Real) +
            4.0 * static_cast<double>(indices.size() + counts.size()),
        true};
  }
  void run(const Context& ctx) const {
    detail::for_queries(
        ctx, points, queries.extent(1), [&](std::int64_t b) { return points_of(b); },
        [&](std::int64_t b, const NeighborIndex<Real>& index, std::int64_t begin,
            std::int64_t end) {
          const auto rows = detail::packed_rows<Real>(queries[b], begin, end, points.extent(2));
          index.ball_query(rows, radius, fill, arithmetic,
                           detail::row_range(indices[b], begin, end),
                           detail::row_range(counts[b], begin, end));
        });
  }
  void reference() const {
    for (std::int64_t b = 0; b < points.extent(0); ++b) {
      reference::ball_query<Real>(queries[b], points[b], points_of(b), radius, fill, arithmetic,
                                  indices[b], counts[b]);
    }
  }

  std::int64_t points_of(std::int64_t b) const {
    return lengths ? (*lengths)(b) : points.extent(1);
  }
};

static_assert(OperatorStruct<BallQuery<float>>);
inline constexpr Function<BallQuery> ball_query;

/// The k nearest points of each query, by (squared distance, index).
///
///     auto nearest = knn_query(ctx, {.queries = centres, .points = clouds, .k = 16});
///
/// With `lengths`, clouds of fewer than k points give rows that end in -1 and infinity. Searched
/// through NeighborIndex; the result is that of a full sort.
template <class Real>
struct KnnQuery {
  static constexpr std::string_view name = "fusefps.knn_query";
  static constexpr std::string_view summary = "The k nearest points of each query.";

  In<Real, 3> queries = {};                    // [b, m, d]
  In<Real, 3> points = {};                     // [b, n, d]
  Optional<In<std::int32_t, 1>> lengths = {};  // [b]
  Out<std::int32_t, 3> indices = {};           // [b, m, k]
  Out<Real, 3> distances = {};                 // [b, m, k]
  std::int64_t k = 1;
  Arithmetic arithmetic = Arithmetic::strict;

  void describe(Description& io) {
    io.dimension("d", "[1, 4096]", "columns of a point");
    io.dimension("n", "[0, 1073741824]", "points of a cloud");
    io.input(queries, "queries", "b m d", "centres", {.finite = true});
    io.input(points, "points", "b n d", "coordinates; those of points in use are finite");
    io.input(lengths, "lengths", "b", "points used of each cloud, all when absent",
             {.in = "[0, n]", .host = true});
    io.output(indices, "indices", "b m k", "nearest points, near ones first, then -1");
    io.output(distances, "distances", "b m k", "their squared distances, then infinity");
    io.attribute(k, "k", "points wanted of each query; at most n without lengths",
                 {.in = "[1, inf)"});
    io.attribute(arithmetic, "arithmetic", "rounding of the squared distance");
  }
  void validate(const Check& check) const {
    if (!lengths && k > points.extent(1)) {
      check.refuse("k", "at most the " + std::to_string(points.extent(1)) + " points of a cloud",
                   std::to_string(k));
    }
    for (std::int64_t b = 0; b < points.extent(0); ++b) {
      detail::require_finite<Real>(check, points, b, points_of(b), points.extent(2));
    }
  }
  /// An upper bound: what a scan would do.
  Cost cost() const {
    const auto pairs = static_cast<double>(points.extent(0) * queries.extent(1)) *
                       static_cast<double>(points.extent(1));
    const auto d = static_cast<double>(points.extent(2));
    return {pairs * (3 * d - 1),
            (static_cast<double>(points.size()) + static_cast<double>(queries.size()) +
             static_cast<double>(distances.size())) *
                    sizeof(Real) +
                4.0 * static_cast<double>(indices.size()),
            true};
  }
  void run(const Context& ctx) const {
    detail::for_queries(
        ctx, points, queries.extent(1), [&](std::int64_t b) { return points_of(b); },
        [&](std::int64_t b, const NeighborIndex<Real>& index, std::int64_t begin,
            std::int64_t end) {
          const auto rows = detail::packed_rows<Real>(queries[b], begin, end, points.extent(2));
          index.knn_query(rows, arithmetic, detail::row_range(indices[b], begin, end),
                          detail::row_range(distances[b], begin, end));
        });
  }
  void reference() const {
    for (std::int64_t b = 0; b < points.extent(0); ++b) {
      reference::knn_query<Real>(queries[b], points[b], points_of(b), arithmetic, indices[b],
                                 distances[b]);
    }
  }
  static void arbitrary(Arbitrary& random) {
    random.call.attributes["k"] = std::max<std::int64_t>(1, random.integer(1, random.size("n")));
    random.sizes.set("k", std::get<std::int64_t>(random.call.attributes["k"]));
  }

  std::int64_t points_of(std::int64_t b) const {
    return lengths ? (*lengths)(b) : points.extent(1);
  }
};

static_assert(OperatorStruct<KnnQuery<float>>);
inline constexpr Function<KnnQuery> knn_query;

}  // namespace researchkit::fusefps
