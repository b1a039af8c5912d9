#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

#include "researchkit/core/arbitrary.hpp"
#include "researchkit/dynapipe/communication.hpp"
#include "researchkit/dynapipe/schedule.hpp"
#include "researchkit/dynapipe/simulator.hpp"

namespace researchkit::dynapipe::detail {

/// A random pipeline with a schedule, what it does over time, and its transfers: the inputs of the
/// random calls of this namespace's operators.
struct RandomPipeline {
  std::int64_t stages, micro_batches;
  Array<double, 2> fw, bw, comm_fw, comm_bw, stored, peak;
  Array<double, 1> state_mem;
  Array<std::int32_t, 2> order;
  Array<double, 2> start, comm_start;
  CommunicationPlan plan;

  explicit RandomPipeline(Arbitrary& random)
      : stages(random.integer(1, 6)),
        micro_batches(random.integer(0, 9)),
        fw({micro_batches, stages}),
        bw({micro_batches, stages}),
        comm_fw({micro_batches, stages - 1}),
        comm_bw({micro_batches, stages - 1}),
        stored({micro_batches, stages}),
        peak({micro_batches, stages}),
        state_mem({stages}),
        order({stages, 2 * micro_batches}),
        start({stages, 2 * micro_batches}),
        comm_start({stages, 2 * micro_batches}) {
    const auto fill = [&](auto& table) {
      Tensor tensor = table.tensor();
      for (double& value : tensor.template values<double>()) {
        value = random.chance(0.1) ? 0 : std::fabs(random.normal());
      }
    };
    fill(fw), fill(bw), fill(comm_fw), fill(comm_bw), fill(stored), fill(peak), fill(state_mem);
    ScheduleOptions options;
    options.policy = static_cast<SchedulePolicy>(random.integer(0, 2));
    options.max_inflight = random.integer(0, 3);
    make_schedule({stored, peak, state_mem}, options, order);
    const Array<double, 1> peak_mem({stages}), busy({stages});
    simulate_schedule(order, {fw, bw, comm_fw, comm_bw}, {stored, peak, state_mem},
                      static_cast<CommStreams>(random.integer(0, 1)), {start, comm_start},
                      {peak_mem, busy});
    plan = plan_communication(order, start, comm_start);
  }

  /// Sets those inputs of a call that it has.
  void set_inputs(TensorMap& inputs) const {
    const auto set = [&](const char* name, const Tensor& tensor) {
      if (inputs.contains(name)) inputs.set(name, tensor);
    };
    set("fw", fw.tensor());
    set("bw", bw.tensor());
    set("comm_fw", comm_fw.tensor());
    set("comm_bw", comm_bw.tensor());
    set("stored", stored.tensor());
    set("peak", peak.tensor());
    set("state_mem", state_mem.tensor());
    set("order", order.tensor());
    set("start", start.tensor());
    set("comm_start", comm_start.tensor());
  }
};

}  // namespace researchkit::dynapipe::detail
