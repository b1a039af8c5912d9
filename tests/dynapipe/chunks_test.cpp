// Several stages of a model on each device: their schedules, what they gain, and what is refused.
#include <algorithm>
#include <random>

#include "researchkit/dynapipe/planner.hpp"
#include "support/catch.hpp"

using namespace researchkit;
using namespace researchkit::dynapipe;

namespace {

struct Tables {
  Tables(std::int64_t devices, std::int64_t chunks, std::int64_t count, std::uint64_t seed)
      : fw({count, devices * chunks}),
        bw({count, devices * chunks}),
        comm_fw({count, devices * chunks - 1}),
        comm_bw({count, devices * chunks - 1}),
        stored({count, devices * chunks}),
        peak({count, devices * chunks}),
        state({devices}),
        order({devices, 2 * chunks * count}),
        start({devices, 2 * chunks * count}),
        sent({devices, 2 * chunks * count}),
        again({devices, 2 * chunks * count}),
        sent_again({devices, 2 * chunks * count}),
        peak_mem({devices}),
        busy({devices}) {
    std::mt19937_64 random(seed);
    const auto fill = [&](Tensor tensor) {
      for (double& value : tensor.values<double>()) {
        value = 1 + static_cast<double>(random() % 1000) / 100;
      }
    };
    for (const auto* table : {&fw, &bw, &comm_fw, &comm_bw, &stored, &peak}) fill(table->tensor());
    fill(state.tensor());
    for (std::int64_t m = 0; m < count; ++m) {  // what is stored was needed
      for (std::int64_t v = 0; v < devices * chunks; ++v) peak(m, v) += stored(m, v);
    }
  }
  StageTimes times() const { return {fw, bw, comm_fw, comm_bw}; }
  StageMemory memory() const { return {stored, peak, state}; }
  double simulate(CommStreams streams = CommStreams::device) const {
    return simulate_schedule(order, times(), memory(), streams, {start, sent}, {peak_mem, busy});
  }
  double largest_peak() const {
    double most = 0;
    for (std::int64_t s = 0; s < state.extent(0); ++s) most = std::max(most, peak_mem(s));
    return most;
  }

  Array<double, 2> fw, bw, comm_fw, comm_bw, stored, peak;
  Array<double, 1> state;
  Array<std::int32_t, 2> order;
  Array<double, 2> start, sent, again, sent_again;
  Array<double, 1> peak_mem, busy;
};

/// Calls body(devices, chunks, micro-batches).
template <class Body>
void for_sizes(Body&& body) {
  for (const std::int64_t devices : {1, 2, 3, 4, 6}) {
    for (const std::int64_t chunks : {1, 2, 4}) {
      for (std::int64_t count = 0; count <= 14; ++count) body(devices, chunks, count);
    }
  }
}

}  // namespace

TEST_CASE("schedules of chunks run every operation once, to their end") {
  for_sizes([](std::int64_t devices, std::int64_t chunks, std::int64_t count) {
    for (const SchedulePolicy policy :
         {SchedulePolicy::gpipe, SchedulePolicy::f1b1, SchedulePolicy::cyclic}) {
      const Tables t(devices, chunks, count, 1);
      REQUIRE(make_schedule(t.memory(), {policy}, t.order));
      for (std::int64_t s = 0; s < devices; ++s) {
        std::vector<std::int32_t> codes;
        for (std::int64_t p = 0; p < t.order.extent(1); ++p) codes.push_back(t.order(s, p));
        std::sort(codes.begin(), codes.end());
        for (std::size_t k = 0; k < codes.size(); ++k) {
          REQUIRE(codes[k] == static_cast<std::int32_t>(k));
        }
      }
      INFO(devices << " devices, " << chunks << " chunks, " << count << " micro-batches, "
                   << name_of(policy));
      REQUIRE(t.simulate() >= 0);
    }
  });
}

TEST_CASE("the simulator of chunks gives what its definition does") {
  for (const CommStreams streams : {CommStreams::device, CommStreams::link}) {
    for_sizes([&](std::int64_t devices, std::int64_t chunks, std::int64_t count) {
      if (count % 3 != 1) return;
      Tables t(devices, chunks, count, 7);
      make_schedule(t.memory(), {SchedulePolicy::cyclic}, t.order);
      for (const bool reversed : {false, true}) {
        if (reversed) {
          Tensor order = t.order.tensor();
          auto codes = order.values<std::int32_t>();
          std::reverse(codes.begin(), codes.end());
        }
        const double makespan = t.simulate(streams);
        REQUIRE((makespan < 0) == reversed);
        REQUIRE(makespan == reference::simulate_schedule(t.order, t.times(), t.memory(), streams,
                                                         {t.again, t.sent_again},
                                                         {t.peak_mem, t.busy}));
        for (std::int64_t s = 0; s < devices; ++s) {
          for (std::int64_t p = 0; p < t.order.extent(1); ++p) {
            REQUIRE(t.start(s, p) == t.again(s, p));
            REQUIRE(t.sent(s, p) == t.sent_again(s, p));
          }
        }
      }
    });
  }
}

TEST_CASE("a memory limit that holds each micro-batch alone holds a schedule of chunks") {
  for_sizes([](std::int64_t devices, std::int64_t chunks, std::int64_t count) {
    for (const std::uint64_t seed : {1, 2, 3}) {
      const Tables t(devices, chunks, count, seed);
      double needed = 0, excess = 0;
      for (std::int64_t m = 0; m < count; ++m) {
        for (std::int64_t v = 0; v < devices * chunks; ++v) {
          excess = std::max(excess, t.peak(m, v) - t.stored(m, v));
        }
      }
      for (std::int64_t s = 0; s < devices; ++s) {
        for (std::int64_t m = 0; m < count; ++m) {
          double mb = t.state(s) + excess;
          for (std::int64_t v = s; v < devices * chunks; v += devices) mb += t.stored(m, v);
          needed = std::max(needed, mb);
        }
      }
      for (const double limit : {needed * (1 + 1e-9), 1.5 * needed}) {
        REQUIRE(make_schedule(t.memory(), {SchedulePolicy::cyclic, limit}, t.order));
        REQUIRE(t.simulate() >= 0);
        if (count > 0) REQUIRE(t.largest_peak() <= limit);
      }
      if (count > 0) {
        CHECK_FALSE(make_schedule(t.memory(), {SchedulePolicy::cyclic, 0.5}, t.order));
        CHECK(t.order(0, 0) == -1);
      }
    }
  });
}

TEST_CASE("interleaved 1F1B of equal micro-batches has half the bubble with two chunks") {
  // Forwards and backwards of a device take 2 and 3 together; chunks share them equally.
  for (const std::int64_t devices : {2, 4}) {
    for (const std::int64_t chunks : {1, 2, 4}) {
      const std::int64_t count = 2 * devices;
      Tables t(devices, chunks, count, 1);
      const auto set = [](const Array<double, 2>& table, double value) {
        Tensor tensor = table.tensor();
        for (double& entry : tensor.values<double>()) entry = value;
      };
      set(t.fw, 2. / static_cast<double>(chunks));
      set(t.bw, 3. / static_cast<double>(chunks));
      set(t.comm_fw, 0);
      set(t.comm_bw, 0);
      make_schedule(t.memory(), {SchedulePolicy::f1b1}, t.order);
      const double bubble = 5. * static_cast<double>(devices - 1) / static_cast<double>(chunks);
      CHECK(t.simulate() == Approx(5. * static_cast<double>(count) + bubble));
    }
  }
}

TEST_CASE("chunks shorten an iteration with few micro-batches") {
  for (const ModelKind kind : {ModelKind::decoder, ModelKind::encdec}) {
    const bool encdec = kind == ModelKind::encdec;
    const ModelProfile profile = analytic_profile({2048, 16, 128, 8192, 1, false}, kind);
    const Model model{&profile, encdec ? 16 : 32, encdec ? 16 : 0};
    Cluster cluster;
    cluster.stages = 4;
    cluster.device_memory_mb = 80000;
    const auto samples = flan_lengths(11, 60, kind, 2048);
    PlanOptions options;
    options.recompute = {Recompute::none};
    options.order = encdec ? OrderMethod::path : OrderMethod::sort;
    const auto one = plan(Context(), samples, model, cluster, options);
    cluster.chunks = 2;
    const auto two = plan(Context(), samples, model, cluster, options);
    CHECK(two.chunks == 2);
    CHECK(two.n_enc_stages == (encdec ? 4 : 8));
    CHECK(two.replicas[0].forward_ms.extent(1) == 8);
    CHECK(two.iteration_ms() < one.iteration_ms());
    const auto fault = find_plan_fault(two, samples, cluster.device_memory_mb);
    INFO(fault.value_or(""));
    CHECK_FALSE(fault);
  }
}

TEST_CASE("transfers of different chunks are no pair") {
  // Stages 0 and 2 of the first of two devices send to 1 and 3.
  CommunicationPlan plan(2);
  for (const std::int32_t chunk : {0, 1}) {
    plan[0].push_back({TransferKind::send_act, 0, 1, 1, chunk});
    plan[1].push_back({TransferKind::recv_act, 0, 0, 0, chunk});
  }
  for (const Channel channel : {Channel::single, Channel::pair}) {
    CHECK(check_deadlock(plan, channel).status == ChannelStatus::ok);
  }
  std::swap(plan[1][0], plan[1][1]);
  for (const Channel channel : {Channel::single, Channel::pair}) {
    CHECK(check_deadlock(plan, channel).status == ChannelStatus::mismatch);
  }
}

TEST_CASE("chunks that do not divide the layers are refused") {
  const ModelProfile gpt = analytic_profile({512, 8, 64, 2048, 1, false}, ModelKind::decoder);
  const ModelProfile t5 = analytic_profile({512, 8, 64, 2048, 1, false}, ModelKind::encdec);
  const auto blamed = [](const Model& model, std::int64_t stages, std::int64_t chunks) {
    Cluster cluster;
    cluster.stages = stages;
    cluster.chunks = chunks;
    try {
      pipeline_of(model, cluster);
      return std::string("nothing");
    } catch (const Error& error) {
      return error.argument();
    }
  };
  CHECK(blamed({&gpt, 24, 0}, 4, 2) == "nothing");
  CHECK(blamed({&gpt, 24, 0}, 4, 3) == "chunks");
  CHECK(blamed({&gpt, 24, 0}, 4, 0) == "chunks");
  CHECK(blamed({&gpt, 24, 0}, 4, 4) == "chunks");
  CHECK(blamed({&gpt, 24, 0}, 4, std::int64_t{1} << 62) == "chunks");
  CHECK(blamed({&t5, 12, 12}, 3, 2) == "nothing");
  CHECK(blamed({&t5, 8, 16}, 4, 2) == "decoder_layers");
}

TEST_CASE("memory of states does not depend on the number of chunks") {
  const ModelProfile gpt = analytic_profile({512, 8, 64, 2048, 1, false}, ModelKind::decoder);
  Cluster cluster;
  cluster.stages = 4;
  const double one = pipeline_of({&gpt, 24, 0}, cluster).state_mb;
  cluster.chunks = 2;
  CHECK(pipeline_of({&gpt, 24, 0}, cluster).state_mb == one);
}
