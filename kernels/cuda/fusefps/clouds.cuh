#pragma once

// What the sampling kernels are given: clouds as columns on the device, and where results go.

#include "kernels/cuda/fusefps/exact.cuh"
#include "researchkit/fusefps/sampler.hpp"

namespace researchkit::fusefps::RESEARCHKIT_DEVICE {

/// One cloud of a call. Positions count its n valid points in ascending order of their rows.
struct CloudOnDevice {
  std::int64_t number = 0;         // which cloud of the call it is
  std::int64_t first_element = 0;  // of its first row, in the points' memory
  std::int64_t n = 0, k = 0;       // valid points, samples wanted of them
  std::int64_t starts = 0;         // how many start points, and where their positions stand
  std::int64_t first_start = 0;
  std::int64_t first_valid = -1;    // where the rows of its valid points are listed; -1: all are
  std::int64_t first_initial = -1;  // where their initial distances stand; -1: infinity
  std::int64_t first_slot = 0;      // of its columns, in elements of one column
  std::int64_t pitch = 0;           // elements of one half of a column
  std::int64_t first_sample = 0;    // of its samples' coordinates, in samples
  std::int64_t first_output = 0;    // of its row of indices and distances
  std::int64_t width = 0;           // entries of that row
  std::int64_t first_coverage = 0;  // of its row of min_dist and assignment
  std::int64_t rows = 0;            // entries of that row
  std::int64_t first_bucket = 0;    // in tables that do not fit shared memory
  int buckets = 1;                  // the most it may have
  int height = 0;
};

template <class Real>
struct SamplingCall {
  Global<const CloudOnDevice> clouds;
  Global<const Real> points;  // row-major, `d` columns
  Global<const std::int32_t> starts, valid;
  Global<const Real> initial;
  std::int64_t d = 0;
  int m = 0;

  bool fused_arithmetic = false, distinct = true, tracks = false;
  Real spacing_squared = 0;  // 0: any sample will do
  std::int64_t leaf_size = 1, ref_buffer = 0;
  SplitRule split_rule = SplitRule::mean;
  bool builds_first = false;  // bucket sampling
  int large_bucket = 1024;    // from so many points on a block passes over a bucket together

  // Working memory: columns [axis][slots] and one value for each slot.
  std::int64_t slots = 0;
  Global<Real> columns, distance;
  Global<std::int32_t> index, nearest;
  Global<Real> samples;             // [sample][m]
  Global<double> axes;              // [cloud][m][2]: lowest coordinate, fixed-point scale
  Global<Real> table_reals;         // [bucket][2 m + 1]
  Global<std::int32_t> table_ints;  // [bucket][8]
  std::int64_t table_buckets = 0;
  Global<std::int64_t> first_bad;  // lowest element of `points` that is not finite

  // Results; min_dist and assignment may be empty.
  Global<std::int32_t> indices;
  Global<Real> distances;
  Global<std::int32_t> counts;
  Global<std::int64_t> stats;
  Global<Real> min_dist;
  Global<std::int32_t> assignment;
};

/// One cloud's part of a call.
template <class Real>
struct CloudView {
  const SamplingCall<Real>& call;
  const CloudOnDevice cloud;
  Global<Real> distance;         // [2 pitch], or [pitch] without a tree
  Global<std::int32_t> index;    // original row of a position
  Global<std::int32_t> nearest;  // ordinal of the nearest sample, where it is kept

  RESEARCHKIT_DEVICE_FUNCTION Real& x(int axis, std::int64_t position) const {
    return call.columns[axis * call.slots + cloud.first_slot + position];
  }
  RESEARCHKIT_DEVICE_FUNCTION Real& sample(std::int64_t ordinal, int axis) const {
    return call.samples[(cloud.first_sample + ordinal) * call.m + axis];
  }
  RESEARCHKIT_DEVICE_FUNCTION Real distance_to_sample(std::int64_t position,
                                                      std::int64_t ordinal) const {
    return sum_of_squares<Real>(call.m, call.fused_arithmetic, [&](int axis) {
      return sub_rn(x(axis, position), sample(ordinal, axis));
    });
  }
  /// Applies a sample to a point.
  RESEARCHKIT_DEVICE_FUNCTION void apply(std::int64_t position, std::int64_t ordinal) const {
    const Real d = distance_to_sample(position, ordinal);
    if (!(d < distance[position])) return;
    distance[position] = d;
    if (call.tracks) nearest[position] = static_cast<std::int32_t>(ordinal);
  }
  /// Writes down sample number `ordinal`, but not its coordinates; by one thread.
  RESEARCHKIT_DEVICE_FUNCTION void choose(std::int64_t position, std::int64_t ordinal,
                                          Real d) const {
    call.indices[cloud.first_output + ordinal] = index[position];
    call.distances[cloud.first_output + ordinal] = d;
    if (call.distinct) distance[position] = Real(-1);
    if (call.tracks && (d > Real(0) || nearest[position] < 0)) {
      nearest[position] = static_cast<std::int32_t>(ordinal);
    }
  }
};

template <class Real>
RESEARCHKIT_DEVICE_FUNCTION CloudView<Real> view_of(const SamplingCall<Real>& call,
                                                    std::int64_t number, int halves) {
  const CloudOnDevice cloud = call.clouds[number];
  const std::int64_t slots = halves * cloud.pitch;
  return {call, cloud, call.distance.part(cloud.first_slot, slots),
          call.index.part(cloud.first_slot, slots),
          call.tracks ? call.nearest.part(cloud.first_slot, slots) : Global<std::int32_t>{}};
}

/// Copies the valid points of every cloud into columns and looks whether they are finite.
template <class Real>
RESEARCHKIT_KERNEL(256)
void load_clouds(RESEARCHKIT_SHARED_ARGUMENT SamplingCall<Real> call, int blocks_per_cloud) {
  const CloudView<Real> view = view_of(call, block_index() / blocks_per_cloud, 1);
  const CloudOnDevice& cloud = view.cloud;
  const std::int64_t stride = static_cast<std::int64_t>(blocks_per_cloud) * block_threads();
  for (std::int64_t p = block_index() % blocks_per_cloud * block_threads() + thread_index();
       p < cloud.n; p += stride) {
    const std::int64_t row = cloud.first_valid < 0 ? p : call.valid[cloud.first_valid + p];
    for (int axis = 0; axis < call.m; ++axis) {
      const std::int64_t element = cloud.first_element + row * call.d + axis;
      const Real value = call.points[element];
      view.x(axis, p) = value;
      if (!(value - value == Real(0))) atomic_min(call.first_bad[0], element);
    }
    view.index[p] = static_cast<std::int32_t>(row);
    view.distance[p] =
        cloud.first_initial < 0 ? Real(1) / Real(0) : call.initial[cloud.first_initial + p];
    if (call.tracks) view.nearest[p] = -1;
  }
}

/// The start points become the first samples, before any point has seen one; by a whole block that
/// meets at a barrier afterwards.
template <class Real>
RESEARCHKIT_DEVICE_FUNCTION void choose_starts(const CloudView<Real>& view) {
  const SamplingCall<Real>& call = view.call;
  const std::int64_t starts = view.cloud.starts;
  for (std::int64_t j = thread_index(); j < starts; j += block_threads()) {
    const std::int64_t position = call.starts[view.cloud.first_start + j];
    for (int axis = 0; axis < call.m; ++axis) view.sample(j, axis) = view.x(axis, position);
  }
  block_barrier();
  for (std::int64_t j = thread_index(); j < starts; j += block_threads()) {
    const std::int64_t position = call.starts[view.cloud.first_start + j];
    Real d = view.distance[position];
    for (std::int64_t earlier = 0; earlier < j; ++earlier) {
      const Real between = view.distance_to_sample(position, earlier);
      d = between < d ? between : d;
    }
    view.choose(position, j, d);
  }
}

/// What stands behind the samples, and coverage: by the threads of a block that applied all samples.
template <class Real>
RESEARCHKIT_DEVICE_FUNCTION void pad_outputs(const CloudView<Real>& view, std::int64_t count) {
  const SamplingCall<Real>& call = view.call;
  for (std::int64_t j = count + thread_index(); j < view.cloud.width; j += block_threads()) {
    call.indices[view.cloud.first_output + j] = -1;
    call.distances[view.cloud.first_output + j] = Real(0);
  }
  for (std::int64_t i = thread_index(); i < view.cloud.rows; i += block_threads()) {
    if (call.min_dist.size > 0) call.min_dist[view.cloud.first_coverage + i] = Real(0);
    if (call.assignment.size > 0) call.assignment[view.cloud.first_coverage + i] = -1;
  }
}
template <class Real>
RESEARCHKIT_DEVICE_FUNCTION void store_coverage(const CloudView<Real>& view, std::int64_t slot) {
  const SamplingCall<Real>& call = view.call;
  const std::int64_t row = view.cloud.first_coverage + view.index[slot];
  const Real d = view.distance[slot];
  if (call.min_dist.size > 0) call.min_dist[row] = d > Real(0) ? d : Real(0);
  if (call.assignment.size > 0) call.assignment[row] = view.nearest[slot];
}

}  // namespace researchkit::fusefps::RESEARCHKIT_DEVICE
