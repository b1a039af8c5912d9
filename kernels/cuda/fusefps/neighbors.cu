// Ball and nearest-neighbour queries and coverage: one thread for each query scans the points, which
// a block reads once into shared memory for all its queries. Flops: 3 d - 1 for each pair; memory
// traffic: points / (queries of a block) each. Limit: arithmetic from a few queries per block on.
#include <algorithm>
#include <limits>
#include <string>
#include <type_traits>
#include <vector>

#include "kernels/cuda/fusefps/exact.cuh"
#include "kernels/cuda/fusefps/fusefps.hpp"
#include "researchkit/core/cuda/launch.cuh"
#include "researchkit/fusefps/operators_grouping.hpp"
#include "researchkit/fusefps/operators_quality.hpp"

namespace researchkit::fusefps::RESEARCHKIT_DEVICE {
namespace {

constexpr int kQueries = 128;         // threads, and queries, of a block
constexpr std::int64_t kTile = 4096;  // coordinates that a block holds at a time
constexpr std::int64_t kFinite = std::numeric_limits<std::int64_t>::max();

/// Clouds of points [b, n, d], of which the first points_of[b] count, and queries [b, m, d].
template <class Real>
struct Pairs {
  Global<const Real> points, queries;
  Global<const std::int64_t> points_of;
  std::int64_t n = 0, m = 0, blocks_per_cloud = 1;
  int d = 1;
  bool fused_arithmetic = false;
};

/// Calls body(i, squared distance) for the points of a query's cloud in ascending order, until it
/// returns false. All threads of the block must come.
template <class Real, class Body>
RESEARCHKIT_DEVICE_FUNCTION void scan(const Pairs<Real>& pairs, std::int64_t cloud,
                                      std::int64_t query, const Body& body) {
  SharedMemory memory = dynamic_shared();
  const int rows = static_cast<int>(kTile / pairs.d > 0 ? kTile / pairs.d : 1);
  const Shared<Real> tile = memory.take<Real>(rows * pairs.d);
  const std::int64_t points = pairs.points_of[cloud];
  bool goes_on = query < pairs.m;
  for (std::int64_t first = 0; first < points; first += rows) {
    const std::int64_t here = points - first < rows ? points - first : rows;
    const std::int64_t from = (cloud * pairs.n + first) * pairs.d;
    block_barrier();
    for (std::int64_t e = thread_index(); e < here * pairs.d; e += block_threads()) {
      tile[e] = pairs.points[from + e];
    }
    block_barrier();
    for (std::int64_t i = 0; i < here && goes_on; ++i) {
      const Real distance = sum_of_squares<Real>(pairs.d, pairs.fused_arithmetic, [&](int axis) {
        const Real x = tile[i * pairs.d + axis];
        return sub_rn(x, pairs.queries[(cloud * pairs.m + query) * pairs.d + axis]);
      });
      goes_on = body(first + i, distance);
    }
  }
}

template <class Real>
RESEARCHKIT_KERNEL(128)
void ball(Pairs<Real> pairs, Real squared_radius, bool fill_with_first, std::int64_t width,
          Global<std::int32_t> indices, Global<std::int32_t> counts) {
  const std::int64_t cloud = block_index() / pairs.blocks_per_cloud;
  const std::int64_t query =
      block_index() % pairs.blocks_per_cloud * block_threads() + thread_index();
  const std::int64_t row = (cloud * pairs.m + query) * width;
  std::int64_t hits = 0;
  scan(pairs, cloud, query, [&](std::int64_t i, Real distance) {
    if (distance < squared_radius) indices[row + hits++] = static_cast<std::int32_t>(i);
    return hits < width;
  });
  if (query >= pairs.m) return;
  counts[cloud * pairs.m + query] = static_cast<std::int32_t>(hits);
  const std::int32_t rest = fill_with_first && hits > 0 ? indices[row] : -1;
  for (std::int64_t j = hits; j < width; ++j) indices[row + j] = rest;
}

/// The row of results is kept sorted while the points come, ascending: an equal distance goes behind.
template <class Real>
RESEARCHKIT_KERNEL(128)
void nearest(Pairs<Real> pairs, std::int64_t k, Global<std::int32_t> indices,
             Global<Real> distances) {
  const std::int64_t cloud = block_index() / pairs.blocks_per_cloud;
  const std::int64_t query =
      block_index() % pairs.blocks_per_cloud * block_threads() + thread_index();
  const std::int64_t row = (cloud * pairs.m + query) * k;
  std::int64_t found = 0;
  scan(pairs, cloud, query, [&](std::int64_t i, Real distance) {
    if (found == k && !(distance < distances[row + k - 1])) return true;
    std::int64_t at = found < k ? found++ : k - 1;
    for (; at > 0 && distance < distances[row + at - 1]; --at) {
      distances[row + at] = distances[row + at - 1];
      indices[row + at] = indices[row + at - 1];
    }
    distances[row + at] = distance;
    indices[row + at] = static_cast<std::int32_t>(i);
    return true;
  });
  if (query >= pairs.m) return;
  for (std::int64_t j = found; j < k; ++j) {
    distances[row + j] = Real(1) / Real(0);
    indices[row + j] = -1;
  }
}

/// The squared distance of every query to the nearest point; where `skip_own` is set query i does
/// not count point i.
RESEARCHKIT_KERNEL(128)
void nearest_distance(Pairs<double> pairs, bool skip_own, Global<double> distances) {
  const std::int64_t cloud = block_index() / pairs.blocks_per_cloud;
  const std::int64_t query =
      block_index() % pairs.blocks_per_cloud * block_threads() + thread_index();
  double least = 1.0 / 0.0;
  scan(pairs, cloud, query, [&](std::int64_t i, double distance) {
    if (!(skip_own && i == query) && distance < least) least = distance;
    return true;
  });
  if (query < pairs.m) distances[cloud * pairs.m + query] = least;
}

constexpr std::int64_t kPiece = 512;  // the CPU sums pieces of so many distances, then the pieces

/// One block for each cloud: radius, mean, root mean square and gap from the nearest distances.
RESEARCHKIT_KERNEL(64)
void summarise(Global<const double> to_samples, std::int64_t n,
               Global<const double> between_samples, std::int64_t k,
               Global<const std::int64_t> samples_of, Global<double> parts,
               Global<double> metrics) {
  const std::int64_t b = block_index();
  const std::int64_t pieces = (n + kPiece - 1) / kPiece;
  for (std::int64_t piece = thread_index(); piece < pieces; piece += block_threads()) {
    double largest = 0, sum = 0, sum_of_roots = 0;
    const std::int64_t end = (piece + 1) * kPiece < n ? (piece + 1) * kPiece : n;
    for (std::int64_t i = piece * kPiece; i < end; ++i) {
      const double d = to_samples[b * n + i];
      largest = d > largest ? d : largest;
      sum = add_rn(sum, d);
      sum_of_roots = add_rn(sum_of_roots, sqrt_rn(d));
    }
    const std::int64_t at = (b * pieces + piece) * 3;
    parts[at] = largest;
    parts[at + 1] = sum;
    parts[at + 2] = sum_of_roots;
  }
  block_barrier();
  if (thread_index() != 0) return;
  double largest = 0, sum = 0, sum_of_roots = 0, gap = 1.0 / 0.0;
  for (std::int64_t piece = 0; piece < pieces; ++piece) {
    const std::int64_t at = (b * pieces + piece) * 3;
    largest = parts[at] > largest ? parts[at] : largest;
    sum = add_rn(sum, parts[at + 1]);
    sum_of_roots = add_rn(sum_of_roots, parts[at + 2]);
  }
  for (std::int64_t j = 0; j < samples_of[b]; ++j) {
    const double d = between_samples[b * k + j];
    gap = d < gap ? d : gap;
  }
  const auto count = static_cast<double>(n);
  metrics[4 * b] = sqrt_rn(largest);
  metrics[4 * b + 1] = div_rn(sum_of_roots, count);
  metrics[4 * b + 2] = sqrt_rn(div_rn(sum, count));
  metrics[4 * b + 3] = sqrt_rn(gap);
}

/// The leading columns of rows, as doubles: row i of `to` is row `rows[i]`, or i without `rows`.
template <class Real>
RESEARCHKIT_KERNEL(256)
void widen(Global<const Real> from, std::int64_t columns, Global<const std::int64_t> rows,
           std::int64_t kept, Global<double> to) {
  for (std::int64_t e = grid_thread(); e < to.size; e += grid_threads()) {
    const std::int64_t row = rows.size > 0 ? rows[e / kept] : e / kept;
    to[e] = row < 0 ? 0.0 : static_cast<double>(from[row * columns + e % kept]);
  }
}

/// The lowest element of the rows in use whose leading columns are not finite.
template <class Real>
RESEARCHKIT_KERNEL(256)
void find_non_finite(Pairs<Real> pairs, std::int64_t columns, Global<std::int64_t> first_bad) {
  for (std::int64_t e = grid_thread(); e < pairs.points.size; e += grid_threads()) {
    const std::int64_t row = e / pairs.d;
    if (row % pairs.n >= pairs.points_of[row / pairs.n] || e % pairs.d >= columns) continue;
    const Real value = pairs.points[e];
    if (!(value - value == Real(0))) atomic_min(first_bad[0], e);
  }
}

/// Throws the operator's Error if a point in use is not finite in the leading `columns`.
template <class Real>
void require_finite(const Context& ctx, Device device, std::string_view name,
                    const Pairs<Real>& pairs, std::int64_t columns) {
  if (pairs.points.size == 0) return;
  const DeviceArray<std::int64_t> first_bad(ctx, device, std::span(&kFinite, 1));
  launch(ctx, device, "find_non_finite", find_non_finite<Real>, for_entries(pairs.points.size),
         pairs, columns, first_bad.global());
  const std::int64_t bad = first_bad.read()[0];
  if (bad == kFinite) return;
  const std::int64_t row = bad / pairs.d;
  throw Error(name, "points", "finite coordinates",
              "another number at " + to_string(Shape{row / pairs.n, row % pairs.n, bad % pairs.d}));
}

template <class Real>
Launch for_queries(Pairs<Real>& pairs, std::int64_t clouds) {
  const int threads = pairs.m <= 32 ? 32 : kQueries;
  pairs.blocks_per_cloud = (pairs.m + threads - 1) / threads;
  const std::int64_t rows = std::max<std::int64_t>(kTile / pairs.d, 1);
  return {.blocks = clouds * pairs.blocks_per_cloud,
          .block_threads = threads,
          .shared_bytes = static_cast<std::size_t>(rows * pairs.d) * sizeof(Real)};
}

/// The pairs of a query operator; the vectors live as long as what points at them.
template <class Real, class Op>
struct QueryCall {
  QueryCall(const Context& ctx, const Op& op)
      : points(row_major(op.points)),
        queries(row_major(op.queries)),
        points_of(ctx, points.device(), counts_of(op)) {
    pairs.points = global<Real>(points);
    pairs.queries = global<Real>(queries);
    pairs.points_of = points_of.global();
    pairs.n = op.points.extent(1);
    pairs.m = op.queries.extent(1);
    pairs.d = static_cast<int>(op.points.extent(2));
    pairs.fused_arithmetic = op.arithmetic == Arithmetic::fma;
    require_finite(ctx, points.device(), op.name, pairs, pairs.d);
  }
  static std::vector<std::int64_t> counts_of(const Op& op) {
    std::vector<std::int64_t> counts;
    for (std::int64_t b = 0; b < op.points.extent(0); ++b) counts.push_back(op.points_of(b));
    return counts;
  }
  Tensor points, queries;
  DeviceArray<std::int64_t> points_of;
  Pairs<Real> pairs;
};

template <class Real>
void run_ball_query(const Context& ctx, const BallQuery<Real>& op) {
  QueryCall<Real, BallQuery<Real>> call(ctx, op);
  if (op.counts.size() == 0) return;
  PackedOutput<std::int32_t, 3> indices(op.indices);
  PackedOutput<std::int32_t, 2> counts(op.counts);
  const auto radius = static_cast<Real>(op.radius);
  const Launch shape = for_queries(call.pairs, op.points.extent(0));
  launch(ctx, call.points.device(), "ball_query", ball<Real>, shape, call.pairs, radius * radius,
         op.fill == BallFill::first, op.max_neighbors, indices.global(), counts.global());
  indices.store();
  counts.store();
}

template <class Real>
void run_knn_query(const Context& ctx, const KnnQuery<Real>& op) {
  QueryCall<Real, KnnQuery<Real>> call(ctx, op);
  if (op.indices.size() == 0) return;
  PackedOutput<std::int32_t, 3> indices(op.indices);
  PackedOutput<Real, 3> distances(op.distances);
  const Launch shape = for_queries(call.pairs, op.points.extent(0));
  launch(ctx, call.points.device(), "knn_query", nearest<Real>, shape, call.pairs, op.k,
         indices.global(), distances.global());
  indices.store();
  distances.store();
}

template <class Real>
void run_coverage_metrics(const Context& ctx, const CoverageMetrics<Real>& op) {
  const std::int64_t clouds = op.points.extent(0), n = op.points.extent(1), m = op.m();
  const Tensor points = row_major(op.points);
  const Device device = points.device();
  std::vector<std::int64_t> rows, samples_of;
  const std::int64_t k = op.indices.extent(1);
  for (std::int64_t b = 0; b < clouds; ++b) {
    std::int64_t count = 0;
    for (std::int64_t j = 0; j < k; ++j) {
      if (const std::int64_t i = op.indices(b, j); i >= 0) {
        rows.push_back(b * n + i);
        ++count;
      }
    }
    samples_of.push_back(count);
    rows.resize(static_cast<std::size_t>((b + 1) * k), -1);
  }
  const std::vector<std::int64_t> all(static_cast<std::size_t>(clouds), n);
  const DeviceArray<std::int64_t> whole(ctx, device, all);
  Pairs<Real> given;
  given.points = global<Real>(points);
  given.points_of = whole.global();
  given.n = n;
  given.d = static_cast<int>(op.points.extent(2));
  require_finite(ctx, device, op.name, given, m);
  if (clouds == 0) return;

  const DeviceArray<std::int64_t> sample_rows(ctx, device, rows), counts(ctx, device, samples_of);
  const DeviceArray<double> cloud(ctx, device, clouds * n * m),
      samples(ctx, device, clouds * k * m);
  const DeviceArray<double> to_samples(ctx, device, clouds * n), between(ctx, device, clouds * k);
  launch(ctx, device, "widen", widen<Real>, for_entries(cloud.global().size), given.points,
         op.points.extent(2), Global<const std::int64_t>{}, m, cloud.global());
  launch(ctx, device, "widen", widen<Real>, for_entries(samples.global().size), given.points,
         op.points.extent(2), sample_rows.global(), m, samples.global());
  Pairs<double> pairs;
  pairs.points = samples.global();
  pairs.points_of = counts.global();
  pairs.n = k;
  pairs.d = static_cast<int>(m);
  pairs.queries = cloud.global();
  pairs.m = n;
  launch(ctx, device, "nearest_distance", nearest_distance, for_queries(pairs, clouds), pairs,
         false, to_samples.global());
  pairs.queries = samples.global();
  pairs.m = k;
  launch(ctx, device, "nearest_distance", nearest_distance, for_queries(pairs, clouds), pairs, true,
         between.global());
  const DeviceArray<double> parts(ctx, device, clouds * ((n + kPiece - 1) / kPiece) * 3);
  PackedOutput<double, 2> metrics(op.metrics);
  launch(ctx, device, "summarise", summarise, {.blocks = clouds, .block_threads = 64},
         to_samples.global(), n, between.global(), k, counts.global(), parts.global(),
         metrics.global());
  metrics.store();
}

template <class Real>
void add_for(DeviceKernels& kernels) {
  kernels.add<BallQuery<Real>>(run_ball_query<Real>);
  kernels.add<KnnQuery<Real>>(run_knn_query<Real>);
  kernels.add<CoverageMetrics<Real>>(run_coverage_metrics<Real>);
}

}  // namespace

void register_neighbors(DeviceKernels& kernels) {
  add_for<float>(kernels);
  add_for<double>(kernels);
}

}  // namespace researchkit::fusefps::RESEARCHKIT_DEVICE
