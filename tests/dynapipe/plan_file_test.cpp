// Plan files come back the same to the bit, and nothing else is taken for one.
#include <algorithm>
#include <functional>
#include <nlohmann/json.hpp>
#include <random>

#include "researchkit/dynapipe/plan_file.hpp"
#include "support/catch.hpp"
#include "support/contains.hpp"

using namespace researchkit;
using namespace researchkit::dynapipe;

namespace {

IterationPlan small_plan(ModelKind kind, std::int64_t samples, bool packed = false,
                         std::int64_t chunks = 1) {
  static const ModelProfile gpt =
      analytic_profile({512, 8, 64, 2048, 1, false}, ModelKind::decoder);
  static const ModelProfile t5 = analytic_profile({512, 8, 64, 2048, 1, false}, ModelKind::encdec);
  const bool encdec = kind == ModelKind::encdec;
  // As many layers in each stage for any number of chunks.
  const Model model = encdec ? Model{&t5, 6 * chunks, 6 * chunks} : Model{&gpt, 12 * chunks, 0};
  Cluster cluster;
  cluster.stages = 4;
  cluster.chunks = chunks;
  cluster.device_memory_mb = 8000;
  PlanOptions options;
  options.order = encdec ? OrderMethod::path : OrderMethod::sort;
  options.pack_windows = packed;
  return plan(Context(), flan_lengths(5, samples, kind, 1024), model, cluster, options);
}

}  // namespace

TEST_CASE("both forms of a plan come back the same to the bit") {
  for (const ModelKind kind : {ModelKind::decoder, ModelKind::encdec}) {
    for (const bool packed : {false, true}) {
      const StoredPlan stored = stored_plan(small_plan(kind, 60, packed), 0, "iteration \"7\"");
      const std::string text = plan_to_json(stored);
      CHECK(plan_from_json(text) == stored);
      CHECK(plan_to_json(plan_from_json(text)) == text);
      const auto bytes = plan_to_bytes(stored);
      CHECK(plan_from_bytes(bytes) == stored);
      CHECK(plan_to_bytes(plan_from_bytes(bytes)) == bytes);
      // Who knows nothing of packing reads what has none.
      CHECK(nlohmann::json::parse(text).at("version") == (packed ? 2 : 1));
      CHECK(bytes[4] == std::byte{packed ? std::uint8_t{2} : std::uint8_t{1}});
    }
  }
}

TEST_CASE("plans with chunks come back the same to the bit, and refuse other chunks") {
  for (const ModelKind kind : {ModelKind::decoder, ModelKind::encdec}) {
    const IterationPlan planned = small_plan(kind, 60, kind == ModelKind::encdec, 2);
    const StoredPlan stored = stored_plan(planned, 0, "chunks");
    const std::string text = plan_to_json(stored);
    CHECK(plan_from_json(text) == stored);
    CHECK(plan_to_json(plan_from_json(text)) == text);
    const auto bytes = plan_to_bytes(stored);
    CHECK(plan_from_bytes(bytes) == stored);
    CHECK(plan_to_bytes(plan_from_bytes(bytes)) == bytes);
    CHECK(bytes[4] == std::byte{3});
    bool deeper = false;
    for (const Instruction& step : stored.program.stages[0]) deeper = deeper || step.chunk == 1;
    CHECK(deeper);
    StoredPlan damaged = stored;
    damaged.program.stages[0].front().chunk = 2;
    CHECK_THROWS_AS(plan_from_json(plan_to_json(damaged)), Error);
    CHECK_THROWS_AS(plan_from_bytes(plan_to_bytes(damaged)), Error);
    damaged = stored;
    damaged.n_enc_stages = 9;
    CHECK_THROWS_AS(plan_from_bytes(plan_to_bytes(damaged)), Error);
    auto file = nlohmann::json::parse(text);
    file["version"] = 2;
    CHECK_THROWS_WITH(plan_from_json(file.dump()), test::contains("chunks"));

    const ReplicaPlan& replica = planned.replicas[0];
    const auto trace = nlohmann::json::parse(chrome_trace(replica));
    std::int64_t operations = 0, transfers = 0;
    for (const auto& event : trace.at("traceEvents")) {
      if (event.at("ph") == "X") ++(event.at("tid") == 0 ? operations : transfers);
    }
    const auto count = static_cast<std::int64_t>(replica.micro_batches.size());
    CHECK(operations == 8 * 2 * count);
    CHECK(transfers == 7 * 2 * count);
  }
}

TEST_CASE("sequences that do not fit their samples are refused") {
  const StoredPlan stored = stored_plan(small_plan(ModelKind::decoder, 60, true), 0, "0");
  const auto packed = std::find_if(stored.micro_batches.begin(), stored.micro_batches.end(),
                                   [](const MicroBatch& batch) { return batch.packed(); });
  REQUIRE(packed != stored.micro_batches.end());
  const auto at = static_cast<std::size_t>(packed - stored.micro_batches.begin());
  const auto refused = [&](const std::function<void(std::vector<std::int32_t>&)>& damage) {
    StoredPlan damaged = stored;
    damage(damaged.micro_batches[at].sequence_of);
    CHECK_THROWS_AS(plan_from_json(plan_to_json(damaged)), Error);
    CHECK_THROWS_AS(plan_from_bytes(plan_to_bytes(damaged)), Error);
  };
  refused([](auto& sequences) { sequences.pop_back(); });
  refused([](auto& sequences) { sequences.push_back(0); });
  refused([](auto& sequences) { sequences[0] = -1; });
  refused([&](auto& sequences) { sequences[0] = packed->shape.samples; });
  auto file = nlohmann::json::parse(plan_to_json(stored));
  file["version"] = 1;
  CHECK_THROWS_WITH(plan_from_json(file.dump()), test::contains("sequences"));
}

TEST_CASE("the binary form of a usual plan is ten times smaller") {
  const StoredPlan stored = stored_plan(small_plan(ModelKind::decoder, 250), 0, "0");
  CHECK(10 * plan_to_bytes(stored).size() <= plan_to_json(stored).size());
}

TEST_CASE("truncated and damaged bytes are refused") {
  const auto bytes = plan_to_bytes(stored_plan(small_plan(ModelKind::decoder, 12), 0, "0"));
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    CHECK_THROWS_AS(plan_from_bytes(std::span(bytes).first(size)), Error);
  }
  std::mt19937_64 random(1);
  for (int round = 0; round < 500; ++round) {
    auto damaged = bytes;
    damaged[random() % damaged.size()] ^= static_cast<std::byte>(1U << (random() % 8));
    CHECK_THROWS_AS(plan_from_bytes(damaged), Error);
  }
}

TEST_CASE("plans of another version are refused, and so is what only looks like one") {
  const StoredPlan stored = stored_plan(small_plan(ModelKind::decoder, 12), 0, "0");
  auto bytes = plan_to_bytes(stored);
  bytes[4] = std::byte{4};
  CHECK_THROWS_WITH(plan_from_bytes(bytes), test::contains("wanted version 1 to 3, got 4"));

  const auto with = [&](const char* pointer, const nlohmann::json& value) {
    nlohmann::json file = nlohmann::json::parse(plan_to_json(stored));
    file[nlohmann::json::json_pointer(pointer)] = value;
    return file.dump();
  };
  const std::vector<std::pair<const char*, nlohmann::json>> offences = {
      {"/version", 4},
      {"/version", 3},  // without chunks
      {"/chunks", 2},   // in version 1
      {"/version", 0},
      {"/format", "other"},
      {"/num_stages", 3},
      {"/recompute", "some"},
      {"/n_enc_stages", 0},
      {"/stages/0/stage", 1},
      {"/stages/0/slots", 0},
      {"/stages/0/instructions/0/op", "Jump"},
      {"/stages/0/instructions/0/mb", 1000},
      {"/stages/0/instructions/0/mb", "0"},
      {"/stages/1/instructions/0/peer", 9},
      {"/stages/0/instructions/0/buf", {0, 0, 0}},
      {"/microbatches/0/shape", {1}},
      {"/predicted", 5},
  };
  for (const auto& [pointer, value] : offences) {
    INFO(pointer << " = " << value.dump());
    CHECK_THROWS_AS(plan_from_json(with(pointer, value)), Error);
  }
  CHECK_THROWS_AS(plan_from_json("[]"), Error);
  CHECK_THROWS_AS(plan_from_json("{"), Error);
}

TEST_CASE("a trace has every operation, every transfer and the memory of every stage") {
  const IterationPlan planned = small_plan(ModelKind::encdec, 40);
  const ReplicaPlan& replica = planned.replicas[0];
  const auto trace = nlohmann::json::parse(chrome_trace(replica));
  const auto count = static_cast<std::int64_t>(replica.micro_batches.size());
  std::int64_t operations = 0, transfers = 0, memory = 0;
  double end = 0, most = 0;
  for (const auto& event : trace.at("traceEvents")) {
    if (event.at("ph") == "C") {
      ++memory;
      most = std::max(most, event.at("args").at("MB").get<double>());
    }
    if (event.at("ph") != "X") continue;
    ++(event.at("tid") == 0 ? operations : transfers);
    if (event.at("tid") == 0) {
      end = std::max(end, event.at("ts").get<double>() + event.at("dur").get<double>());
    }
  }
  CHECK(operations == 4 * 2 * count);
  CHECK(transfers == 3 * 2 * count);
  CHECK(memory == 4 * 3 * count);
  CHECK(end == Approx(1000 * replica.makespan_ms));
  CHECK(most == Approx(planned.peak_mb()));
}
