#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "researchkit/core/context.hpp"
#include "researchkit/core/error.hpp"
#include "researchkit/dynapipe/baselines.hpp"
#include "researchkit/dynapipe/lowering.hpp"
#include "researchkit/dynapipe/profile.hpp"
#include "researchkit/dynapipe/reorder.hpp"
#include "researchkit/dynapipe/sample_order.hpp"

namespace researchkit::dynapipe {

/// A model: what its layers cost, and how many there are.
struct Model {
  const ModelProfile* profile = nullptr;
  std::int64_t encoder_layers = 0;  ///< layers of a decoder-only model
  std::int64_t decoder_layers = 0;  ///< 0 for decoder-only models
};

/// How the devices are used.
struct Cluster {
  std::int64_t stages = 1;  ///< S devices in a row; for encoder-decoder models 1 or even
  /// C stages of the model on each of them, 1 or even: stage c S + s is chunk c of device s. More
  /// chunks fill a pipeline sooner, and send more.
  std::int64_t chunks = 1;
  std::int64_t replicas = 1;  ///< D
  std::int64_t devices_per_node = 8;
  double device_memory_mb = 36000;
  int zero = 1;  ///< ZeRO stage: what of the states is divided by the replicas
  Link within_node = {};
  Link between_nodes = kInterNodeLink;
};

/// What a device of a cluster works on.
struct Pipeline {
  StageShape shape;               ///< of a device, as the cost of windows sees it
  std::int64_t chunks = 1;        ///< stages on each device
  std::int64_t layers = 1;        ///< of a stage
  std::int64_t n_enc_stages = 1;  ///< of all stages
  double state_mb = 0;            ///< weights, gradients and moments on a device
  double available_mb = 0;        ///< for activations
};

/// Throws Error where the model does not divide into the stages, or its states do not fit.
Pipeline pipeline_of(const Model& model, const Cluster& cluster);

/// From the least recomputation to the most.
inline constexpr std::array<Recompute, 3> kAllRecompute = {Recompute::none, Recompute::selective,
                                                           Recompute::full};

/// Which of the ways to recompute that fit is taken.
enum class RecomputePolicy : std::uint8_t {
  first,  ///< the first that fits, from the least recomputation
  best,   ///< the fastest
};
enum class PlannedSchedule : std::uint8_t { automatic, f1b1, cyclic };

struct PlanOptions {
  OrderMethod order = OrderMethod::sort;
  std::vector<Recompute> recompute{kAllRecompute.begin(), kAllRecompute.end()};
  RecomputePolicy recompute_policy = RecomputePolicy::best;
  PlannedSchedule schedule = PlannedSchedule::automatic;
  bool reorder = true;
  double per_micro_batch_memory = 0;  ///< share of the available memory tried first; 0: 1 / S
  Rounding rounding = {};
  CommStreams streams = CommStreams::device;
  std::int64_t longest_window = 0;  ///< samples of a micro-batch; 0: any number
  /// Short samples of a micro-batch share sequences where that is cheaper; the plan without it is kept
  /// where it is as fast.
  bool pack_windows = false;
};

/// Samples that run together.
struct MicroBatch {
  std::vector<std::int32_t> samples;  ///< indices in the mini-batch
  MicroBatchShape shape;
  /// The sequence of each sample, in which it stands behind the earlier ones of `samples`; empty where
  /// sample b is sequence b. There is room for a separator before each sample but the first.
  std::vector<std::int32_t> sequence_of = {};
  bool packed() const { return !sequence_of.empty(); }
};

/// What one replica runs, and what it is predicted to take.
struct ReplicaPlan {
  std::vector<MicroBatch> micro_batches;  ///< in the order of their injection
  SchedulePolicy policy = SchedulePolicy::cyclic;
  std::int64_t chunks = 1;                   ///< of each device
  Array<std::int32_t, 2> order;              ///< [S, 2 C M]
  Array<double, 2> start, comm_start;        ///< [S, 2 C M], ms
  Array<double, 2> forward_ms, backward_ms;  ///< [M, C S]
  Array<double, 2> transfer_ms;  ///< [M, C S - 1]: between stages v and v + 1, either way
  /// [S][2 C M]: MB at the peak of each operation, and after it.
  std::vector<std::vector<double>> memory_peak_mb, memory_mb;
  CommunicationPlan communication;
  Program program;
  double makespan_ms = 0;
  std::vector<double> peak_mb, busy_ms;  ///< [S]
  double bubble(std::size_t device) const {
    return makespan_ms > 0 ? 1 - busy_ms[device] / makespan_ms : 0;
  }
  Interleaving places() const { return interleaving_of(order, chunks); }
};

/// Milliseconds of the parts of planning.
struct PlanningTime {
  double order_ms = 0, windows_ms = 0, partition_ms = 0, schedule_ms = 0, lower_ms = 0;
  double total_ms() const { return order_ms + windows_ms + partition_ms + schedule_ms + lower_ms; }
};

/// Everything about one iteration.
struct IterationPlan {
  Recompute recompute = Recompute::none;
  bool preferred_limit = true;  ///< every in-flight micro-batch fits at once
  double objective_ms = 0;      ///< of the partition
  std::vector<ReplicaPlan> replicas;
  PaddingStats padding;
  std::int64_t hidden = 0, n_enc_stages = 1, chunks = 1;
  PlanningTime planning;
  /// The slowest replica: the iteration without gradient all-reduce and optimiser.
  double iteration_ms() const;
  double peak_mb() const;
  double mean_bubble() const;
  std::int64_t micro_batches() const;
};

/// Plans one iteration: orders the samples, cuts them into micro-batches, deals these to the
/// replicas, finds schedules within memory, plans all transfers and writes the instructions.
///
///     IterationPlan next = plan(ctx, samples, model, cluster, {.order = OrderMethod::path});
///
/// Safe to call from several threads with a Context each; stops with Cancelled when the context's
/// stop token says so. The result does not depend on the number of threads. Memory: the windows
/// that fit, 8 bytes each.
/// Throws Error naming what cannot be: an empty sequence, a sample that does not fit even alone
/// (with its memory and the limit), layers that do not divide into the stages.
/// Source: DynaPipe (arXiv 2311.10418).
IterationPlan plan(const Context& ctx, std::span<const SampleLength> mini_batch, const Model& model,
                   const Cluster& cluster, const PlanOptions& options = {});

/// A plan of given micro-batches (the baselines): micro-batch m of `micro_batches` goes to replica
/// m mod D and keeps its place.
IterationPlan plan_micro_batches(const Context& ctx, std::vector<MicroBatch> micro_batches,
                                 std::span<const SampleLength> mini_batch, const Model& model,
                                 const Cluster& cluster, Recompute recompute, SchedulePolicy policy,
                                 const PlanOptions& options = {});

/// The packing baseline: samples packed into sequences of max_seqlen, `mbs` sequences in each
/// micro-batch, all padded to the maximum, 1F1B.
IterationPlan plan_packing(const Context& ctx, std::span<const SampleLength> mini_batch,
                           const Model& model, const Cluster& cluster, std::int64_t max_seqlen,
                           std::int64_t mbs, Recompute recompute, const PlanOptions& options = {});

/// Holds a plan against everything it must be: micro-batches cover the samples once, transfers are
/// complete and cannot deadlock, instructions use live buffers and free each, both ends of a
/// transfer have the same shape, memory is within the limit. Words for the first fault.
std::optional<std::string> find_plan_fault(const IterationPlan& plan, std::int64_t samples,
                                           double memory_limit_mb);
/// Also holds the samples against the micro-batches' shapes: each fits into its sequence, with those
/// that it shares it with.
std::optional<std::string> find_plan_fault(const IterationPlan& plan,
                                           std::span<const SampleLength> mini_batch,
                                           double memory_limit_mb);

}  // namespace researchkit::dynapipe
