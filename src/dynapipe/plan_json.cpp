#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "researchkit/core/error.hpp"
#include "researchkit/dynapipe/plan_file.hpp"
#include "src/dynapipe/plan_limits.hpp"

namespace researchkit::dynapipe {
namespace {

using nlohmann::json;
constexpr std::string_view kFormat = "researchkit-dynapipe-plan";

json instruction_to_json(const Instruction& step, std::int32_t chunks) {
  json row = {{"op", name_of(step.op)}, {"mb", step.micro_batch}, {"peer", step.peer}};
  row["buf"] = json::array();
  row["shape"] = json::array();
  for (std::size_t t = 0; t < 2; ++t) {
    if (step.buffer[t] >= 0) row["buf"].push_back(step.buffer[t]);
    // A second tensor has a length; the first one is there wherever sizes are.
    const bool has_tensor = t == 0 ? step.hidden > 0 : step.length[1] > 0;
    if (has_tensor) row["shape"].push_back({step.mbs, step.length[t], step.hidden});
  }
  if (chunks > 1) row["chunk"] = step.chunk;
  return row;
}

Instruction instruction_from_json(const json& row, std::int32_t stage, std::int32_t chunks) {
  Instruction step;
  step.stage = stage;
  const auto name = row.at("op").get<std::string>();
  const auto names = names_of(Opcode{});
  const auto found = std::find(names.begin(), names.end(), name);
  if (found == names.end()) throw Error(fmt::format("plan: no instruction is called '{}'", name));
  step.op = static_cast<Opcode>(found - names.begin());
  step.micro_batch = row.at("mb").get<std::int32_t>();
  step.peer = row.at("peer").get<std::int32_t>();
  if (chunks > 1) step.chunk = row.at("chunk").get<std::int32_t>();
  const json &buffers = row.at("buf"), &shapes = row.at("shape");
  if (buffers.size() > 2 || shapes.size() > 2) throw Error("plan: more than two tensors");
  for (std::size_t t = 0; t < buffers.size(); ++t) {
    step.buffer[t] = buffers.at(t).get<std::int32_t>();
  }
  for (std::size_t t = 0; t < shapes.size(); ++t) {
    step.mbs = shapes.at(t).at(0).get<std::int32_t>();
    step.length[t] = shapes.at(t).at(1).get<std::int32_t>();
    step.hidden = shapes.at(t).at(2).get<std::int32_t>();
  }
  return step;
}

StoredPlan read_plan(const json& file) {
  if (!file.is_object() || file.value("format", "") != kFormat) {
    throw Error(fmt::format("plan: wanted the format '{}'", kFormat));
  }
  const auto version = file.at("version").get<std::int64_t>();
  detail::check_version(version);
  StoredPlan plan;
  plan.plan_id = file.at("plan_id").get<std::string>();
  plan.data_parallel_rank = file.at("data_parallel_rank").get<std::int32_t>();
  const auto mode = file.at("recompute").get<std::string>();
  const auto modes = names_of(Recompute{});
  const auto found = std::find(modes.begin(), modes.end(), mode);
  if (found == modes.end()) throw Error(fmt::format("plan: recompute '{}'", mode));
  plan.recompute = static_cast<Recompute>(found - modes.begin());
  plan.hidden = file.at("hidden").get<std::int32_t>();
  plan.n_enc_stages = file.at("n_enc_stages").get<std::int32_t>();
  if (file.contains("chunks") != (version >= detail::kChunkedVersion)) {
    throw Error("plan: chunks belong into plans of version 3");
  }
  if (version >= detail::kChunkedVersion) plan.chunks = file.at("chunks").get<std::int32_t>();
  for (const json& stage : file.at("stages")) {
    const auto number = static_cast<std::int32_t>(plan.program.stages.size());
    if (stage.at("stage").get<std::int32_t>() != number) {
      throw Error(fmt::format("plan: wanted stage {}, got {}", number, stage.at("stage").dump()));
    }
    plan.program.slots.push_back(stage.at("slots").get<std::int32_t>());
    auto& program = plan.program.stages.emplace_back();
    for (const json& row : stage.at("instructions")) {
      program.push_back(instruction_from_json(row, number, plan.chunks));
    }
  }
  for (const json& batch : file.at("microbatches")) {
    MicroBatch& added = plan.micro_batches.emplace_back();
    added.samples = batch.at("samples").get<std::vector<std::int32_t>>();
    const json& shape = batch.at("shape");
    added.shape = {shape.at(0).get<std::int32_t>(), shape.at(1).get<std::int32_t>(),
                   shape.at(2).get<std::int32_t>()};
    if (batch.contains("sequences")) {
      if (version < detail::kPackedVersion) throw Error("plan: sequences in a plan of version 1");
      added.sequence_of = batch.at("sequences").get<std::vector<std::int32_t>>();
    }
    plan.time_ms.push_back(batch.at("time_ms").get<double>());
  }
  const json& predicted = file.at("predicted");
  plan.makespan_ms = predicted.at("makespan_ms").get<double>();
  plan.peak_mb = predicted.at("peak_mb").get<std::vector<double>>();
  plan.bubble = predicted.at("bubble").get<std::vector<double>>();
  if (file.at("num_stages").get<std::size_t>() != plan.program.stages.size() ||
      file.at("num_microbatches").get<std::size_t>() != plan.micro_batches.size()) {
    throw Error("plan: num_stages or num_microbatches is not the number that follows");
  }
  return plan;
}

json event(std::string_view phase, std::size_t stage, int thread) {
  return {{"ph", phase}, {"pid", stage}, {"tid", thread}};
}

}  // namespace

bool operator==(const StoredPlan& a, const StoredPlan& b) {
  const auto same_batch = [](const MicroBatch& x, const MicroBatch& y) {
    return x.samples == y.samples && x.shape == y.shape && x.sequence_of == y.sequence_of;
  };
  return a.plan_id == b.plan_id && a.data_parallel_rank == b.data_parallel_rank &&
         a.recompute == b.recompute && a.hidden == b.hidden && a.n_enc_stages == b.n_enc_stages &&
         a.chunks == b.chunks && a.program.stages == b.program.stages &&
         a.program.slots == b.program.slots &&
         std::equal(a.micro_batches.begin(), a.micro_batches.end(), b.micro_batches.begin(),
                    b.micro_batches.end(), same_batch) &&
         a.time_ms == b.time_ms && a.makespan_ms == b.makespan_ms && a.peak_mb == b.peak_mb &&
         a.bubble == b.bubble;
}

StoredPlan stored_plan(const IterationPlan& plan, std::size_t rank, std::string plan_id) {
  const ReplicaPlan& replica = plan.replicas.at(rank);
  StoredPlan stored;
  stored.plan_id = std::move(plan_id);
  stored.data_parallel_rank = static_cast<std::int32_t>(rank);
  stored.recompute = plan.recompute;
  stored.hidden = static_cast<std::int32_t>(plan.hidden);
  stored.n_enc_stages = static_cast<std::int32_t>(plan.n_enc_stages);
  stored.chunks = static_cast<std::int32_t>(plan.chunks);
  stored.program = replica.program;
  stored.micro_batches = replica.micro_batches;
  for (std::int64_t m = 0; m < replica.forward_ms.extent(0); ++m) {
    double time = 0;
    for (std::int64_t s = 0; s < replica.forward_ms.extent(1); ++s) {
      time += replica.forward_ms(m, s) + replica.backward_ms(m, s);
    }
    stored.time_ms.push_back(time);
  }
  stored.makespan_ms = replica.makespan_ms;
  stored.peak_mb = replica.peak_mb;
  for (std::size_t s = 0; s < replica.busy_ms.size(); ++s) {
    stored.bubble.push_back(replica.bubble(s));
  }
  return stored;
}

std::string plan_to_json(const StoredPlan& plan) {
  json file = {
      {"format", kFormat},
      {"version", detail::version_of(plan)},
      {"plan_id", plan.plan_id},
      {"data_parallel_rank", plan.data_parallel_rank},
      {"num_stages", plan.program.stages.size()},
      {"num_microbatches", plan.micro_batches.size()},
      {"recompute", name_of(plan.recompute)},
      {"hidden", plan.hidden},
      {"n_enc_stages", plan.n_enc_stages},
      {"predicted",
       {{"makespan_ms", plan.makespan_ms}, {"peak_mb", plan.peak_mb}, {"bubble", plan.bubble}}}};
  if (plan.chunks > 1) file["chunks"] = plan.chunks;
  file["stages"] = json::array();
  for (std::size_t s = 0; s < plan.program.stages.size(); ++s) {
    json rows = json::array();
    for (const Instruction& step : plan.program.stages[s]) {
      rows.push_back(instruction_to_json(step, plan.chunks));
    }
    file["stages"].push_back(
        {{"stage", s}, {"slots", plan.program.slots[s]}, {"instructions", std::move(rows)}});
  }
  file["microbatches"] = json::array();
  for (std::size_t m = 0; m < plan.micro_batches.size(); ++m) {
    const MicroBatch& batch = plan.micro_batches[m];
    json row = {{"samples", batch.samples},
                {"shape", {batch.shape.samples, batch.shape.input, batch.shape.target}},
                {"time_ms", plan.time_ms[m]}};
    if (batch.packed()) row["sequences"] = batch.sequence_of;
    file["microbatches"].push_back(std::move(row));
  }
  try {
    return file.dump() + "\n";
  } catch (const json::exception&) {
    throw Error("plan: plan_id is not UTF-8");
  }
}

StoredPlan plan_from_json(std::string_view text) {
  try {
    StoredPlan plan = read_plan(json::parse(text));
    detail::check_stored_plan(plan);
    return plan;
  } catch (const json::exception& error) {
    throw Error(fmt::format("plan: {}", error.what()));
  }
}

std::string chrome_trace(const ReplicaPlan& replica) {
  constexpr double kMicroseconds = 1000;
  json events = json::array();
  const auto devices = static_cast<std::size_t>(replica.order.extent(0));
  const Interleaving places = replica.places();
  for (std::size_t s = 0; s < devices; ++s) {
    const auto describe = [&](std::string_view what, int thread, json arguments) {
      json entry = event("M", s, thread);
      entry["name"] = what;
      entry["args"] = std::move(arguments);
      events.push_back(std::move(entry));
    };
    describe("process_name", 0,
             {{"name", fmt::format("{} {}", replica.chunks > 1 ? "device" : "stage", s)}});
    describe("process_sort_index", 0, {{"sort_index", s}});
    describe("thread_name", 0, {{"name", "compute"}});
    describe("thread_name", 1, {{"name", "send"}});
    for (std::int64_t p = 0; p < replica.order.extent(1); ++p) {
      const std::int32_t code = replica.order(s, p);
      const auto [m, chunk, v] = places.operation(static_cast<std::int64_t>(s), code);
      const std::string name =
          fmt::format("{}{}{}", m, replica.chunks > 1 ? fmt::format(".{}", chunk) : "",
                      is_backward(code) ? "B" : "");
      const double duration =
          is_backward(code) ? replica.backward_ms(m, v) : replica.forward_ms(m, v);
      const auto add = [&](const std::string& label, int thread, double start, double length) {
        json entry = event("X", s, thread);
        entry["name"] = label;
        entry["ts"] = start * kMicroseconds;
        entry["dur"] = length * kMicroseconds;
        events.push_back(std::move(entry));
      };
      add(name, 0, replica.start(s, p), duration);
      const auto memory = [&](double at, double megabytes) {
        json entry = event("C", s, 0);
        entry["name"] = "Memory";
        entry["ts"] = at * kMicroseconds;
        entry["args"] = {{"MB", megabytes}};
        events.push_back(std::move(entry));
      };
      const auto at = static_cast<std::size_t>(p);
      if (!is_backward(code)) {
        memory(replica.start(s, p) + duration / 2, replica.memory_peak_mb[s][at]);
      }
      memory(replica.start(s, p) + duration, replica.memory_mb[s][at]);
      if (replica.comm_start(s, p) < 0) continue;
      const std::int64_t link = is_backward(code) ? v - 1 : v;
      add(name + "_Comm", 1, replica.comm_start(s, p), replica.transfer_ms(m, link));
    }
  }
  return json({{"traceEvents", std::move(events)}, {"displayTimeUnit", "ms"}}).dump() + "\n";
}

}  // namespace researchkit::dynapipe
