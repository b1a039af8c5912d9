// Plans iterations ahead and executes them on ranks: threads of this process, or MPI processes.
//
//   run_pipeline --stages 4
//   mpirun -n 4 run_pipeline --mpi --stages 4 --model encdec
//   run_pipeline --profile-out here.json && run_pipeline --stages 2 --profile here.json
//
// Every rank makes the same plans, runs its stage, and holds its first gradient against one process
// that computes all stages. `--lose 2` shows what happens when rank 2 is lost.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <optional>

#include "options.hpp"
#include "researchkit/dynapipe/measured_profile.hpp"
#include "training.hpp"
#ifdef HAS_MPI
#include "researchkit/core/mpi_communicator.hpp"
#endif

namespace rk = researchkit;
namespace dynapipe = researchkit::dynapipe;

namespace {

double milliseconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin)
      .count();
}

/// What a rank tells rank 0 after an iteration.
struct Line {
  double wall_ms, busy_ms, processor_ms, peak_mb, difference, loss;
  std::int64_t slots;
};

void print_plan(const dynapipe::IterationPlan& plan, std::int64_t iteration, double tokens,
                const Options& o) {
  fmt::print(
      "iteration {}: {} samples, {:.0f} labels -> {} micro-batches on {} stages x {} replicas, "
      "recompute {}, planned in {:.2f} ms\n",
      iteration, o.samples, tokens, plan.micro_batches(), o.stages, o.replicas,
      rk::name_of(plan.recompute), plan.planning.total_ms());
}

/// The lines of all ranks; beside them what the profile predicted, where there is one.
double print_ranks(const std::vector<Line>& lines, const dynapipe::IterationPlan& plan,
                   const Options& o, double state_mb) {
  double largest = 0, loss = 0, wall = 0;
  for (std::size_t r = 0; r < lines.size(); ++r) {
    const auto stages = static_cast<std::size_t>(o.stages);
    const auto& replica = plan.replicas[r / stages];
    const Line& line = lines[r];
    fmt::print("  rank {} (replica {}, stage {}): {:.1f} ms busy", r, r / stages, r % stages,
               line.busy_ms);
    if (!o.profile.empty()) {
      const double predicted = replica.busy_ms[r % stages];
      const double predicted_mb = replica.peak_mb[r % stages] - state_mb;
      fmt::print(
          ", {:.1f} ms of a processor ({:.1f} predicted, {:+.0f} %), peak {:.2f} MB ({:.2f} "
          "predicted, {:+.0f} %)",
          line.processor_ms, predicted, 100 * (predicted / line.processor_ms - 1), line.peak_mb,
          predicted_mb, 100 * (predicted_mb / line.peak_mb - 1));
    }
    fmt::print(", {} of {} buffers", line.slots, replica.program.slots[r % stages]);
    if (line.difference >= 0) fmt::print(", gradient differs by {:.2g}", line.difference);
    fmt::print("\n");
    largest = std::max(largest, line.difference);
    loss += line.loss;
    wall = std::max(wall, line.wall_ms);
  }
  fmt::print("  loss {:.9g}, {:.1f} ms", loss, wall);
  if (!o.profile.empty()) {
    fmt::print(" ({:.1f} predicted, {:+.0f} %)", plan.iteration_ms(),
               100 * (plan.iteration_ms() / wall - 1));
  }
  fmt::print("\n");
  return largest;
}

/// The gradients of all stages as one process computes them.
std::vector<rk::TensorMap> alone(const Learner& learner,
                                 const std::vector<dynapipe::StoredPlan>& plans, const Options& o) {
  std::vector<std::unique_ptr<dynapipe::PipelineStage>> stages;
  std::vector<dynapipe::PipelineStage*> pointers;
  for (std::int64_t s = 0; s < o.all_stages(); ++s) {
    stages.push_back(learner.stage(s));
    pointers.push_back(stages.back().get());
  }
  return dynapipe::run_stages_alone(rk::Context({.threads = 1}), plans, pointers);
}

void descend(const dynapipe::PipelineStage& stage, const rk::TensorMap& gradient, double rate) {
  for (auto [name, weight] : stage.weights()) {
    const auto values = weight.values<double>();
    const auto slopes = gradient.at(name).values<double>();
    for (std::size_t i = 0; i < values.size(); ++i) values[i] -= rate * slopes[i];
  }
}

void run_rank(const Training& training, rk::Communicator& ranks, const Options& o) {
  if (ranks.rank() == o.lose) {
    if (o.mpi) std::_Exit(9);
    throw rk::Error("lost, as --lose wants it");
  }
  const std::int64_t number = ranks.rank() % o.stages;
  Learner learner(o, training);
  learner.load(0);
  std::vector<std::unique_ptr<dynapipe::PipelineStage>> stages;
  std::vector<dynapipe::PipelineStage*> pointers;
  for (std::int64_t c = 0; c < o.chunks; ++c) {
    stages.push_back(learner.stage(c * o.stages + number));
    pointers.push_back(stages.back().get());
  }
  const double state_mb = training.state_mb();
  dynapipe::PlanQueue queue(
      [&](const rk::Context& ctx, std::int64_t i) { return training.plan(ctx, i); },
      {.iterations = o.iterations, .threads = o.planners});
  double largest = 0;
  for (std::int64_t i = 0; i < o.iterations; ++i) {
    if (i > 0) learner.load(i);
    for (const auto& stage : stages) learner.use_data(*stage);
    const dynapipe::IterationPlan plan = queue.next().value();
    std::vector<dynapipe::StoredPlan> plans;
    for (std::size_t g = 0; g < plan.replicas.size(); ++g) {
      plans.push_back(dynapipe::stored_plan(plan, g, fmt::format("iteration {}", i)));
    }
    ranks.barrier();
    const auto begin = std::chrono::steady_clock::now();
    const auto run = run_pipeline(rk::Context({.threads = 1}), ranks, plans, pointers);
    Line line{.wall_ms = milliseconds_since(begin),
              .busy_ms = run.busy_ms(),
              .processor_ms = run.processor_ms,
              .peak_mb = static_cast<double>(run.peak_bytes) / 1e6,
              .difference = -1,
              .loss = run.loss,
              .slots = run.live_slots};
    if (i == 0) {
      const auto all = alone(learner, plans, o);
      for (std::int64_t c = 0; c < o.chunks; ++c) {
        line.difference =
            std::max(line.difference,
                     relative_difference(run.gradients[static_cast<std::size_t>(c)],
                                         all[static_cast<std::size_t>(c * o.stages + number)]));
      }
    }
    for (std::size_t c = 0; c < stages.size(); ++c) {
      descend(*stages[c], run.gradients[c], o.rate);
    }
    std::vector<Line> lines(static_cast<std::size_t>(ranks.size()));
    ranks.all_gather(std::as_bytes(std::span(&line, 1)), std::as_writable_bytes(std::span(lines)));
    if (ranks.rank() != 0) continue;
    print_plan(plan, i, learner.tokens(), o);
    largest = std::max(largest, print_ranks(lines, plan, o, state_mb));
  }
  if (ranks.rank() != 0) return;
  fmt::print("waited {:.2f} ms for plans; largest relative difference to one process: {:.2g}\n",
             queue.waited_ms(), largest);
  if (!(largest <= 1e-11)) throw rk::Error("gradients differ by more than 1e-11");
}

void write_profile(const Options& o) {
  if (o.model == "mlp") throw rk::Error("--profile-out is for --model decoder and encdec");
  dynapipe::MeasureOptions options;
  options.mbs_grid.clear();
  options.seq_grid.clear();
  for (std::int32_t b = 1;; b *= 2) {
    options.mbs_grid.push_back(std::min(b, o.largest_batch));
    if (b >= o.largest_batch) break;
  }
  for (std::int32_t s = 8;; s *= 2) {
    // Padded lengths are multiples of 8, targets with two tokens more.
    const auto most = static_cast<std::int32_t>((o.longest + 2 + 7) / 8 * 8);
    options.seq_grid.push_back(std::min(s, most));
    if (s >= most) break;
  }
  options.progress = [](double done) { fmt::print(stderr, "\r{:3.0f} %", 100 * done); };
  const auto profile = dynapipe::measure_profile(rk::Context({.threads = 1}), transformer_of(o),
                                                 rk::DType::f64, options);
  dynapipe::save_profile(o.profile_out, profile);
  fmt::print(stderr, "\n");
  fmt::print("{}: {} micro-batch sizes x {} lengths\n", o.profile_out, profile.mbs_grid.size(),
             profile.seq_grid.size());
}

}  // namespace

int main(int argc, char** argv) {
#ifdef HAS_MPI
  // Before anything else looks at the arguments, and only where mpirun started this process.
  std::optional<rk::MpiSession> mpi;
  if (std::find(argv, argv + argc, std::string_view("--mpi")) != argv + argc) {
    mpi.emplace(argc, argv);
  }
#endif
  Options o;
  int status = 0;
  if (!read_options(argc, argv, o, status)) return status;
  try {
    if (!o.profile_out.empty()) {
      write_profile(o);
      return 0;
    }
    const Training training(o);
    if (!o.mpi) {
      rk::run_ranks(
          static_cast<int>(o.stages * o.replicas),
          [&](rk::Communicator& ranks) { run_rank(training, ranks, o); }, o.seconds);
      return 0;
    }
#ifdef HAS_MPI
    const auto world = mpi->world(o.seconds);
    try {
      run_rank(training, *world, o);
    } catch (const std::exception& error) {
      world->abandon(error.what());  // before MPI waits for the others
      throw;
    }
    return 0;
#else
    throw rk::Error(
        "this build has no MPI: install libopenmpi-dev and openmpi-bin, then configure again "
        "(./dev mpi does both)");
#endif
  } catch (const std::exception& error) {
    fmt::print(stderr, "run_pipeline: {}\n", error.what());
    return 1;
  }
}
