#pragma once

// Plain farthest point sampling: one launch for all samples of all clouds, a cluster of blocks (or
// one block) for each cloud. A thread owns the points p, p + threads, ...; with kPoints > 0 it holds
// their coordinates and distances in registers for the whole run. A sample costs an update of the
// own points, a warp reduction, a round through shared memory and, in a cluster, a round through the
// shared memory of its blocks. Memory traffic of the register version: the coordinates of the new
// sample, m words per sample, from L2. Limit: the latency of that chain (docs/performance/fusefps.md).

#include "kernels/cuda/fusefps/clouds.cuh"
#include "kernels/cuda/fusefps/teams.cuh"

namespace researchkit::fusefps::RESEARCHKIT_DEVICE {

/// The points of one thread in registers.
template <class Real, int kDims, int kPoints>
struct OwnPoints {
  Real x[kPoints][kDims];
  Real distance[kPoints];

  RESEARCHKIT_DEVICE_FUNCTION void load(const CloudView<Real>& view, std::int64_t first,
                                        std::int64_t stride) {
    RESEARCHKIT_UNROLL
    for (int j = 0; j < kPoints; ++j) {
      const std::int64_t p = first + j * stride;
      const bool exists = p < view.cloud.n;
      RESEARCHKIT_UNROLL
      for (int axis = 0; axis < kDims; ++axis) x[j][axis] = exists ? view.x(axis, p) : Real(0);
      distance[j] = exists ? view.distance[p] : Real(-3);
    }
  }
  RESEARCHKIT_DEVICE_FUNCTION void apply(const CloudView<Real>& view, std::int64_t first,
                                         std::int64_t stride, std::int64_t ordinal) {
    Real s[kDims];
    RESEARCHKIT_UNROLL
    for (int axis = 0; axis < kDims; ++axis) s[axis] = view.sample(ordinal, axis);
    RESEARCHKIT_UNROLL
    for (int j = 0; j < kPoints; ++j) {
      const Real d = sum_of_squares<Real>(kDims, view.call.fused_arithmetic,
                                          [&](int axis) { return sub_rn(x[j][axis], s[axis]); });
      if (!(d < distance[j])) continue;
      distance[j] = d;
      if (view.call.tracks) view.nearest[first + j * stride] = static_cast<std::int32_t>(ordinal);
    }
  }
  RESEARCHKIT_DEVICE_FUNCTION void take(const CloudView<Real>& view, std::int64_t first,
                                        std::int64_t stride, std::int64_t position) {
    RESEARCHKIT_UNROLL
    for (int j = 0; j < kPoints; ++j) {
      if (first + j * stride == position && view.call.distinct) distance[j] = Real(-1);
    }
  }
  RESEARCHKIT_DEVICE_FUNCTION Candidate<Real> farthest(const CloudView<Real>&, std::int64_t first,
                                                       std::int64_t stride) const {
    Candidate<Real> best;
    RESEARCHKIT_UNROLL
    for (int j = 0; j < kPoints; ++j) {
      const auto p = static_cast<std::int32_t>(first + j * stride);
      best.consider(distance[j], p, p);
    }
    return best;
  }
  RESEARCHKIT_DEVICE_FUNCTION void store(const CloudView<Real>& view, std::int64_t first,
                                         std::int64_t stride) const {
    RESEARCHKIT_UNROLL
    for (int j = 0; j < kPoints; ++j) {
      const std::int64_t p = first + j * stride;
      if (p < view.cloud.n) view.distance[p] = distance[j];
    }
  }
};

/// The points of one thread in device memory: any number, any dimension.
template <class Real, int kDims>
struct OwnPoints<Real, kDims, 0> {
  RESEARCHKIT_DEVICE_FUNCTION void load(const CloudView<Real>&, std::int64_t, std::int64_t) {}
  RESEARCHKIT_DEVICE_FUNCTION void apply(const CloudView<Real>& view, std::int64_t first,
                                         std::int64_t stride, std::int64_t ordinal) {
    for (std::int64_t p = first; p < view.cloud.n; p += stride) view.apply(p, ordinal);
  }
  RESEARCHKIT_DEVICE_FUNCTION void take(const CloudView<Real>&, std::int64_t, std::int64_t,
                                        std::int64_t) {}
  RESEARCHKIT_DEVICE_FUNCTION Candidate<Real> farthest(const CloudView<Real>& view,
                                                       std::int64_t first,
                                                       std::int64_t stride) const {
    Candidate<Real> best;
    for (std::int64_t p = first; p < view.cloud.n; p += stride) {
      best.consider(view.distance[p], static_cast<std::int32_t>(p), static_cast<std::int32_t>(p));
    }
    return best;
  }
  RESEARCHKIT_DEVICE_FUNCTION void store(const CloudView<Real>&, std::int64_t, std::int64_t) const {
  }
};

/// The farthest candidate of a cluster. Slots are used in turns, as in BlockTeam.
template <class Real>
class ClusterTeam {
 public:
  RESEARCHKIT_DEVICE_FUNCTION explicit ClusterTeam(SharedMemory& memory)
      : block_(memory),
        distances_(memory.take<Real>(2)),
        ties_(memory.take<std::int32_t>(2)),
        what_(memory.take<std::int32_t>(2)) {}
  static constexpr std::size_t bytes() { return BlockTeam<Real>::bytes() + 2 * sizeof(Real) + 16; }

  RESEARCHKIT_DEVICE_FUNCTION Candidate<Real> farthest(const Candidate<Real>& own) {
    const Candidate<Real> of_block = block_.farthest(own);
    if (cluster_blocks() == 1) return of_block;
    slot_ = 1 - slot_;
    if (thread_index() == 0) {
      distances_[slot_] = of_block.distance;
      ties_[slot_] = of_block.tie;
      what_[slot_] = of_block.what;
    }
    cluster_barrier();
    Candidate<Real> mine;
    if (lane() < cluster_blocks()) {
      mine.distance = distances_.of_block(lane())[slot_];
      mine.tie = ties_.of_block(lane())[slot_];
      mine.what = what_.of_block(lane())[slot_];
    }
    return warp_farthest(mine);
  }

 private:
  BlockTeam<Real> block_;
  Shared<Real> distances_;
  Shared<std::int32_t> ties_, what_;
  int slot_ = 0;
};

template <class Real, int kDims, int kPoints>
RESEARCHKIT_KERNEL(512)
void plain_sampling(RESEARCHKIT_SHARED_ARGUMENT SamplingCall<Real> call) {
  const CloudView<Real> view = view_of(call, block_index() / cluster_blocks(), 1);
  const CloudOnDevice& cloud = view.cloud;
  const std::int64_t number = cloud.number;
  SharedMemory memory = dynamic_shared();
  ClusterTeam<Real> team(memory);
  const bool leads = cluster_rank() == 0;  // the block that writes what belongs to the cloud
  const std::int64_t first = cluster_rank() * block_threads() + thread_index();
  const std::int64_t stride = static_cast<std::int64_t>(cluster_blocks()) * block_threads();

  if (leads) choose_starts(view);
  cluster_barrier();
  OwnPoints<Real, kDims, kPoints> own;
  own.load(view, first, stride);
  std::int64_t count = cloud.starts, applied = 0, passes = 0, pairs = 0;
  while (count < cloud.k) {
    for (; applied < count; ++applied) {
      own.apply(view, first, stride, applied);
      ++pairs;
    }
    ++passes;
    const Candidate<Real> farthest = team.farthest(own.farthest(view, first, stride));
    if (call.spacing_squared > Real(0) && farthest.distance < call.spacing_squared) break;
    own.take(view, first, stride, farthest.what);
    if (leads) {
      for (int axis = thread_index(); axis < call.m; axis += block_threads()) {
        view.sample(count, axis) = view.x(axis, farthest.what);
      }
      if (thread_index() == 0) view.choose(farthest.what, count, farthest.distance);
    }
    cluster_barrier();
    ++count;
  }
  if (call.min_dist.size > 0 || call.tracks) {
    for (; applied < count; ++applied) own.apply(view, first, stride, applied);
  }
  if (leads) pad_outputs(view, count);
  cluster_barrier();
  own.store(view, first, stride);
  if (cloud.rows > 0) {
    for (std::int64_t p = first; p < cloud.n; p += stride) store_coverage(view, p);
  }
  if (!leads || thread_index() != 0) return;
  call.counts[number] = static_cast<std::int32_t>(count);
  const Global<std::int64_t> stats = call.stats.part(16 * number, 16);
  for (int i = 0; i < 16; ++i) stats[i] = 0;
  stats[0] = cloud.n;
  if (cloud.k == 0) return;
  stats[1] = count;
  stats[5] = passes;
  stats[6] = pairs;
  stats[7] = stats[8] = passes * cloud.n;
  stats[10] = pairs * cloud.n;
  stats[15] = 1;
}

}  // namespace researchkit::fusefps::RESEARCHKIT_DEVICE
