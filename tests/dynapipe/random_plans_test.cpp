// Ten thousand random plans: whatever the detector says is what blocking channels do, and no stage
// ever needs more memory than it has.
#include <algorithm>
#include <optional>
#include <random>

#include "researchkit/dynapipe/planner.hpp"
#include "support/catch.hpp"

using namespace researchkit;
using namespace researchkit::dynapipe;

namespace {

using Random = std::mt19937_64;
std::int64_t draw(Random& random, std::int64_t low, std::int64_t high) {
  return low + static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(high - low + 1));
}

/// Ranks with a compute stream and one ordered blocking channel each, woken in random order. An
/// operation waits for its input; a transfer happens when both ranks have reached its position and
/// it is at the head of both channels.
class BlockingRanks {
 public:
  BlockingRanks(In<std::int32_t, 2> order, const CommunicationPlan& plan, bool computes,
                std::int64_t chunks)
      : order_(order),
        places_(interleaving_of(order, chunks)),
        plan_(plan),
        computes_(computes),
        computed_(plan.size(), 0),
        sent_(plan.size(), 0),
        arrived_(plan.size()) {
    for (auto& inputs : arrived_) {
      inputs.assign(static_cast<std::size_t>(order.extent(1)), false);
    }
  }

  ChannelStatus run(Random& random) {
    for (int idle = 0; idle < 4;) {
      std::vector<std::size_t> ranks(plan_.size());
      for (std::size_t s = 0; s < ranks.size(); ++s) ranks[s] = s;
      std::shuffle(ranks.begin(), ranks.end(), random);
      bool progress = false;
      for (const std::size_t s : ranks) {
        if (draw(random, 0, 1) == 0) progress = compute(s) || progress;
        progress = exchange(s) || progress;
        if (mismatch_) return ChannelStatus::mismatch;
      }
      idle = progress ? 0 : idle + 1;
      // A rank that was not asked to compute may still be able to.
      if (!progress) {
        for (std::size_t s = 0; s < plan_.size(); ++s) {
          if (compute(s)) idle = 0;
        }
      }
    }
    for (std::size_t s = 0; s < plan_.size(); ++s) {
      const bool finished =
          sent_[s] == plan_[s].size() && (!computes_ || computed_[s] == order_.extent(1));
      if (!finished) return ChannelStatus::deadlock;
    }
    return ChannelStatus::ok;
  }

 private:
  bool compute(std::size_t s) {
    if (!computes_ || computed_[s] == order_.extent(1)) return false;
    const std::int32_t code = order_(s, computed_[s]);
    const bool backward = is_backward(code);
    const auto [m, chunk, v] = places_.operation(static_cast<std::int64_t>(s), code);
    const bool has_source = backward ? v + 1 < places_.stages() : v > 0;
    if (has_source && !arrived_[s][static_cast<std::size_t>(code)]) return false;
    ++computed_[s];
    const std::int64_t next = backward ? v - 1 : v + 1;
    if (places_.alone() && next >= 0 && next < places_.stages()) {
      arrived_[s][static_cast<std::size_t>(places_.code(next, m, backward))] = true;
    }
    return true;
  }

  bool exchange(std::size_t s) {
    if (sent_[s] == plan_[s].size()) return false;
    const TransferEnd& mine = plan_[s][sent_[s]];
    const auto peer = static_cast<std::size_t>(mine.peer);
    if (sent_[peer] == plan_[peer].size()) return false;
    const TransferEnd& theirs = plan_[peer][sent_[peer]];
    if (static_cast<std::size_t>(theirs.peer) != s) return false;
    if (computes_ && (computed_[s] < mine.position || computed_[peer] < theirs.position)) {
      return false;
    }
    const bool opposite = is_send(mine.kind) != is_send(theirs.kind);
    const bool same_tensor =
        (static_cast<int>(mine.kind) < 2) == (static_cast<int>(theirs.kind) < 2);
    if (!opposite || !same_tensor || mine.micro_batch != theirs.micro_batch ||
        mine.chunk != theirs.chunk) {
      mismatch_ = true;
      return false;
    }
    const std::size_t receiver = is_send(mine.kind) ? peer : s;
    const std::int64_t stage = stage_of(is_send(mine.kind) ? theirs : mine,
                                        static_cast<std::int64_t>(receiver), places_.devices);
    const std::int32_t code =
        places_.code(stage, mine.micro_batch, static_cast<int>(mine.kind) >= 2);
    arrived_[receiver][static_cast<std::size_t>(code)] = true;
    ++sent_[s];
    ++sent_[peer];
    return true;
  }

  In<std::int32_t, 2> order_;
  Interleaving places_;
  const CommunicationPlan& plan_;
  bool computes_, mismatch_ = false;
  std::vector<std::int64_t> computed_;
  std::vector<std::size_t> sent_;
  std::vector<std::vector<bool>> arrived_;
};

struct RandomCall {
  std::vector<SampleLength> samples;
  Cluster cluster;
  PlanOptions options;
  Model model;
};

RandomCall random_call(Random& random, const ModelProfile& gpt, const ModelProfile& t5,
                       bool chunked) {
  RandomCall call;
  const bool encdec = draw(random, 0, 1) == 1;
  call.model = encdec ? Model{&t5, 6, 6} : Model{&gpt, 12, 0};
  const std::array<std::int64_t, 4> stages = {1, 2, 4, 6};
  call.cluster.stages = stages[static_cast<std::size_t>(draw(random, 0, 3))];
  if (chunked) {
    call.model.encoder_layers *= 4;
    call.model.decoder_layers *= 4;
    call.cluster.chunks = 2 * draw(random, 1, 2);
  }
  call.cluster.replicas = draw(random, 1, 3);
  call.cluster.devices_per_node = draw(random, 1, 4);
  call.samples.resize(static_cast<std::size_t>(draw(random, 1, 40)));
  for (SampleLength& sample : call.samples) {
    sample.input = static_cast<std::int32_t>(draw(random, 1, draw(random, 0, 1) == 0 ? 60 : 900));
    sample.target = encdec ? static_cast<std::int32_t>(draw(random, 1, 80)) : 0;
  }
  call.options.order = encdec ? OrderMethod::path : OrderMethod::sort;
  call.options.schedule = static_cast<PlannedSchedule>(draw(random, 0, 2));
  call.options.reorder = draw(random, 0, 2) == 0;
  call.options.streams = static_cast<CommStreams>(draw(random, 0, 1));
  call.options.pack_windows = chunked && draw(random, 0, 1) == 0;
  // From hardly enough to plenty.
  Pipeline pipeline = pipeline_of(call.model, call.cluster);
  call.cluster.device_memory_mb =
      pipeline.state_mb +
      static_cast<double>(draw(random, 10, draw(random, 0, 1) == 0 ? 150 : 5000));
  return call;
}

/// Exchanges neighbours in the list of a stage: most such plans deadlock or mismatch.
void disturb(Random& random, CommunicationPlan& plan) {
  for (auto& list : plan) {
    if (list.size() < 2 || draw(random, 0, 1) == 0) continue;
    const auto k =
        static_cast<std::size_t>(draw(random, 0, static_cast<std::int64_t>(list.size()) - 2));
    std::swap(list[k], list[k + 1]);
  }
}

/// Plans 10,000 random mini-batches and runs them.
void run_plans(std::uint64_t seed, bool chunked) {
  Random random(seed);
  const Context ctx({.threads = 1});
  const LayerShape layer{512, 8, 64, 2048, 1, false};
  const ModelProfile gpt = analytic_profile(layer, ModelKind::decoder);
  const ModelProfile t5 = analytic_profile(layer, ModelKind::encdec);
  int plans = 0, refused = 0, naive_deadlocks = 0, disturbed_faults = 0;
  while (plans < 10000) {
    const RandomCall call = random_call(random, gpt, t5, chunked);
    IterationPlan result;
    try {
      result = plan(ctx, call.samples, call.model, call.cluster, call.options);
    } catch (const Error& error) {
      REQUIRE(error.argument() == "mini_batch");
      ++refused;
      continue;
    }
    ++plans;
    const auto fault = find_plan_fault(result, call.samples, call.cluster.device_memory_mb);
    INFO(fault.value_or(""));
    REQUIRE_FALSE(fault);
    for (const ReplicaPlan& replica : result.replicas) {
      for (const double mb : replica.peak_mb) REQUIRE(mb <= call.cluster.device_memory_mb);
      const CommunicationPlan& planned = replica.communication;
      REQUIRE(BlockingRanks(replica.order, planned, true, replica.chunks).run(random) ==
              ChannelStatus::ok);
      REQUIRE(check_deadlock(planned, Channel::single).status == ChannelStatus::ok);
      REQUIRE(check_deadlock(planned, Channel::pair).status == ChannelStatus::ok);

      const CommunicationPlan naive = naive_communication(replica.order, replica.chunks);
      const ChannelStatus found = check_deadlock(naive, Channel::single).status;
      REQUIRE(BlockingRanks(replica.order, naive, false, replica.chunks).run(random) == found);
      naive_deadlocks += found != ChannelStatus::ok ? 1 : 0;

      CommunicationPlan disturbed = planned;
      disturb(random, disturbed);
      const ChannelStatus status = check_deadlock(disturbed, Channel::single).status;
      const ChannelStatus ran =
          BlockingRanks(replica.order, disturbed, false, replica.chunks).run(random);
      // Several faults may be there: which one stops the ranks first is a matter of their order.
      REQUIRE((ran == ChannelStatus::ok) == (status == ChannelStatus::ok));
      disturbed_faults += status != ChannelStatus::ok ? 1 : 0;
    }
  }
  CHECK(refused > 100);
  CHECK(naive_deadlocks > 1000);
  CHECK(disturbed_faults > 1000);
}

}  // namespace

TEST_CASE("10,000 random plans run on blocking channels as the detector says, within memory") {
  run_plans(1, false);
}

TEST_CASE("10,000 random plans with several chunks on a device do so as well") {
  run_plans(2, true);
}
