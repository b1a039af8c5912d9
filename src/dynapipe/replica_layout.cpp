#include "src/dynapipe/replica_layout.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "researchkit/core/error.hpp"

namespace researchkit::dynapipe {
namespace detail {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// fp16 weights and gradients, fp32 weights and two moments, in units of the fp16 weights.
double states_per_weight(const Cluster& cluster) {
  const auto d = static_cast<double>(cluster.replicas);
  return (cluster.zero >= 3 ? 1 / d : 1) + (cluster.zero >= 2 ? 1 / d : 1) +
         6 * (cluster.zero >= 1 ? 1 / d : 1);
}

}  // namespace

std::optional<Candidate> best_schedule(const Context& ctx, const StageTables& tables,
                                       const Cluster& cluster, const PlanOptions& options) {
  std::optional<Candidate> best;
  const auto consider = [&](SchedulePolicy policy, double limit) {
    ReorderOptions reorder;
    reorder.schedule = {policy, limit, 0};
    reorder.streams = options.streams;
    reorder.fits = cluster.device_memory_mb;
    reorder.only_identity = !options.reorder;
    Reordering found = reorder_microbatches(ctx, tables.times(), tables.memory(), reorder);
    if (found.makespan < 0) return;
    if (!best || found.makespan < best->reordering.makespan) {
      best = Candidate{policy, limit, std::move(found)};
    }
  };
  if (options.schedule != PlannedSchedule::f1b1) {
    consider(SchedulePolicy::cyclic, kInfinity);
    if (!best) consider(SchedulePolicy::cyclic, cluster.device_memory_mb);
  }
  if (options.schedule != PlannedSchedule::cyclic) consider(SchedulePolicy::f1b1, kInfinity);
  return best;
}

ReplicaPlan lay_out(std::vector<MicroBatch> micro_batches, const StageTables& tables,
                    SchedulePolicy policy, double memory_limit, const PlanOptions& options) {
  ReplicaPlan replica;
  const auto count = static_cast<std::int64_t>(micro_batches.size());
  const StageMemory memory = tables.memory();
  const Interleaving places = memory.places();
  const std::int64_t devices = places.devices, operations = 2 * places.chunks * count;
  replica.micro_batches = std::move(micro_batches);
  replica.policy = policy;
  replica.chunks = places.chunks;
  replica.order = Array<std::int32_t, 2>({devices, operations});
  replica.start = Array<double, 2>({devices, operations});
  replica.comm_start = Array<double, 2>({devices, operations});
  replica.forward_ms = tables.fw;
  replica.backward_ms = tables.bw;
  replica.transfer_ms = tables.comm_fw;
  make_schedule(memory, {policy, memory_limit, 0}, replica.order);
  const Array<double, 1> peak({devices}), busy({devices});
  replica.makespan_ms = simulate_schedule(replica.order, tables.times(), memory, options.streams,
                                          {replica.start, replica.comm_start}, {peak, busy});
  for (std::int64_t s = 0; s < devices; ++s) {
    replica.peak_mb.push_back(peak(s));
    auto& peaks = replica.memory_peak_mb.emplace_back();
    auto& after = replica.memory_mb.emplace_back();
    double used = tables.state_mem(s);
    for (std::int64_t p = 0; p < operations; ++p) {
      const auto [m, chunk, v] = places.operation(s, replica.order(s, p));
      const bool backward = is_backward(replica.order(s, p));
      peaks.push_back(used + (backward ? 0 : tables.peak(m, v)));
      used += backward ? -tables.stored(m, v) : tables.stored(m, v);
      after.push_back(used);
    }
    replica.busy_ms.push_back(busy(s));
  }
  return replica;
}

void write_programs(IterationPlan& plan, const Model& model, const Pipeline& pipeline) {
  plan.hidden = model.profile->hidden;
  plan.n_enc_stages = pipeline.n_enc_stages;
  plan.chunks = pipeline.chunks;
  const ModelLayout layout = {static_cast<std::int32_t>(plan.hidden),
                              static_cast<std::int32_t>(plan.n_enc_stages), plan.chunks};
  for (ReplicaPlan& replica : plan.replicas) {
    replica.communication =
        plan_communication(replica.order, replica.start, replica.comm_start, replica.chunks);
    std::vector<MicroBatchShape> shapes;
    for (const MicroBatch& batch : replica.micro_batches) shapes.push_back(batch.shape);
    replica.program = lower_plan(replica.order, replica.communication, shapes, layout);
  }
}

PaddingStats padding_of(const IterationPlan& plan, std::span<const SampleLength> mini_batch) {
  PaddingStats stats;
  for (const ReplicaPlan& replica : plan.replicas) {
    for (const MicroBatch& batch : replica.micro_batches) {
      stats.padded_inputs += std::int64_t{batch.shape.samples} * batch.shape.input;
      stats.padded_targets += std::int64_t{batch.shape.samples} * batch.shape.target;
    }
  }
  for (const SampleLength& sample : mini_batch) {
    stats.real_inputs += sample.input;
    stats.real_targets += sample.target;
  }
  return stats;
}

}  // namespace detail

Pipeline pipeline_of(const Model& model, const Cluster& cluster) {
  const auto refuse = [](std::string_view argument, std::string_view wanted, std::int64_t got) {
    throw Error(detail::kPlan, argument, wanted, fmt::format("{}", got));
  };
  if (model.profile == nullptr) throw Error(detail::kPlan, "model", "a profile", "none");
  if (cluster.stages < 1) refuse("stages", "at least 1", cluster.stages);
  if (cluster.replicas < 1) refuse("replicas", "at least 1", cluster.replicas);
  if (cluster.devices_per_node < 1) {
    refuse("devices_per_node", "at least 1", cluster.devices_per_node);
  }
  if (model.encoder_layers < 1) refuse("encoder_layers", "at least 1", model.encoder_layers);
  const bool encdec = model.profile->kind() == ModelKind::encdec;
  if (encdec != (model.decoder_layers > 0)) {
    refuse("decoder_layers", encdec ? "at least 1" : "0 for a decoder-only profile",
           model.decoder_layers);
  }
  if (cluster.chunks < 1 || (cluster.chunks > 1 && cluster.chunks % 2 != 0)) {
    refuse("chunks", "1 or an even number", cluster.chunks);
  }
  const std::int64_t layers = model.encoder_layers + model.decoder_layers;
  const bool one_stage = cluster.stages == 1 && cluster.chunks == 1;
  const bool chunked = cluster.chunks > 1;
  if (encdec && (one_stage || chunked) && model.encoder_layers != model.decoder_layers) {
    refuse("decoder_layers",
           fmt::format("as many as encoder layers where there {}",
                       chunked ? "are chunks" : "is one stage"),
           model.decoder_layers);
  }
  Pipeline pipeline;
  if (encdec && one_stage) {
    pipeline.layers = model.encoder_layers;
    pipeline.shape = {model.encoder_layers, 2};
  } else {
    // Not stages * chunks, which may be too large a number.
    const std::int64_t each = layers / cluster.stages / cluster.chunks;
    if (each < 1 || each * cluster.stages * cluster.chunks != layers) {
      refuse(chunked ? "chunks" : "stages",
             fmt::format("a divisor of {} layers{}", layers,
                         chunked ? fmt::format(" on {} stages", cluster.stages) : ""),
             chunked ? cluster.chunks : cluster.stages);
    }
    pipeline.chunks = cluster.chunks;
    pipeline.layers = each;
    // Half of an encoder-decoder model's chunks are encoder; else all layers of a device add up.
    pipeline.shape = chunked && !encdec ? StageShape{each * cluster.chunks, 1}
                                        : StageShape{each, cluster.chunks};
    pipeline.n_enc_stages = cluster.stages * cluster.chunks;
    if (encdec) {
      if (model.encoder_layers % each != 0) {
        refuse("stages", "stages that are either encoder or decoder", cluster.stages);
      }
      pipeline.n_enc_stages = model.encoder_layers / each;
    }
  }
  const double encoder = model.profile->encoder_layer_mb, decoder = model.profile->decoder_layer_mb;
  const double layer = pipeline.shape.chunks == 1
                           ? std::max(encoder, decoder)
                           : (encoder + decoder) * static_cast<double>(pipeline.shape.chunks) / 2;
  pipeline.state_mb =
      (model.profile->embedding_mb + static_cast<double>(pipeline.shape.layers) * layer) *
      detail::states_per_weight(cluster);
  pipeline.available_mb = cluster.device_memory_mb - pipeline.state_mb;
  if (!(pipeline.available_mb > 0)) {
    throw Error(
        detail::kPlan, "device_memory_mb",
        fmt::format("more than the {:.0f} MB of weights, gradients and moments", pipeline.state_mb),
        fmt::format("{:.0f}", cluster.device_memory_mb));
  }
  return pipeline;
}

double IterationPlan::iteration_ms() const {
  double slowest = 0;
  for (const ReplicaPlan& replica : replicas) slowest = std::max(slowest, replica.makespan_ms);
  return slowest;
}

double IterationPlan::peak_mb() const {
  double peak = 0;
  for (const ReplicaPlan& replica : replicas) {
    for (const double mb : replica.peak_mb) peak = std::max(peak, mb);
  }
  return peak;
}

double IterationPlan::mean_bubble() const {
  double busy = 0, all = 0;
  for (const ReplicaPlan& replica : replicas) {
    for (const double ms : replica.busy_ms) {
      busy += ms;
      all += iteration_ms();
    }
  }
  return all > 0 ? 1 - busy / all : 0;
}

std::int64_t IterationPlan::micro_batches() const {
  std::int64_t count = 0;
  for (const ReplicaPlan& replica : replicas) {
    count += static_cast<std::int64_t>(replica.micro_batches.size());
  }
  return count;
}

}  // namespace researchkit::dynapipe
