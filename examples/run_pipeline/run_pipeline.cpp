// Plans an iteration and executes it on ranks: threads of this process, or MPI processes.
//
//   run_pipeline --stages 4
//   mpirun -n 4 run_pipeline --mpi --stages 4
//
// Every rank makes the same plan, runs its stage, and holds its gradient against one process that
// computes all stages. `--lose 2` shows what happens when rank 2 is lost.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <random>

#include "researchkit/dynapipe/dynapipe.hpp"
#include "researchkit/dynapipe/executor.hpp"
#ifdef HAS_MPI
#include "researchkit/core/mpi_communicator.hpp"
#endif

namespace rk = researchkit;
namespace dynapipe = researchkit::dynapipe;

namespace {

struct Options {
  std::int64_t stages = 4, replicas = 1, samples = 64, hidden = 64, ffn = 256, longest = 256;
  std::uint64_t seed = 7;
  bool mpi = false;
  int lose = -1;
  double seconds = 10;
};

/// A seeded training task; the same on every rank.
struct Training {
  std::vector<dynapipe::SampleLength> samples;
  rk::Array<double, 3> inputs, targets;
  rk::Array<std::int32_t, 1> lengths;
  std::vector<dynapipe::MlpParameters<double>> parameters;  // of each stage
  dynapipe::IterationPlan plan;
  std::vector<dynapipe::StoredPlan> plans;  // of each replica
  double tokens = 0;

  explicit Training(const Options& o)
      : samples(dynapipe::flan_lengths(o.seed, o.samples, dynapipe::ModelKind::decoder, o.longest)),
        inputs({o.samples, o.longest, o.hidden}),
        targets({o.samples, o.longest, o.hidden}),
        lengths({o.samples}) {
    std::mt19937_64 random(o.seed);
    const auto fill = [&](std::span<double> values, double scale) {
      for (double& value : values) {
        value = scale * (static_cast<double>(random() >> 11) * 0x1p-52 - 1);
      }
    };
    rk::Tensor in = inputs.tensor(), out = targets.tensor();
    fill(in.values<double>(), 1);
    fill(out.values<double>(), 1);
    for (std::int64_t i = 0; i < o.samples; ++i) {
      lengths(i) = samples[static_cast<std::size_t>(i)].input;
      tokens += lengths(i);
    }
    for (std::int64_t s = 0; s < o.stages; ++s) {
      parameters.emplace_back(o.hidden, o.ffn);
      for (const auto part : parameters.back().parts()) fill(part, 1 / std::sqrt(o.hidden));
    }
    const auto profile = dynapipe::analytic_profile({o.hidden, 1, o.hidden, o.ffn, 1, false},
                                                    dynapipe::ModelKind::decoder);
    dynapipe::Cluster cluster;
    cluster.stages = o.stages;
    cluster.replicas = o.replicas;
    cluster.device_memory_mb = 1000;
    dynapipe::PlanOptions options;
    options.longest_window = 8;  // a model this small would fit into one micro-batch
    plan = dynapipe::plan(rk::Context({.threads = 1}), samples, {&profile, o.stages, 0}, cluster,
                          options);
    for (std::size_t g = 0; g < plan.replicas.size(); ++g) {
      plans.push_back(dynapipe::stored_plan(plan, g, "iteration 0"));
    }
  }
  dynapipe::PipelineData<double> data() const { return {inputs, targets, lengths, tokens}; }
};

/// Largest difference over the largest entry.
double relative_difference(const dynapipe::MlpParameters<double>& a,
                           const dynapipe::MlpParameters<double>& b) {
  double difference = 0, size = 0;
  const auto x = a.parts(), y = b.parts();
  for (std::size_t p = 0; p < x.size(); ++p) {
    for (std::size_t i = 0; i < x[p].size(); ++i) {
      difference = std::max(difference, std::fabs(x[p][i] - y[p][i]));
      size = std::max(size, std::fabs(y[p][i]));
    }
  }
  return difference / size;
}

void run_rank(const Training& training, rk::Communicator& ranks, const Options& o) {
  if (ranks.rank() == o.lose) {
    if (o.mpi) std::_Exit(9);
    throw rk::Error("lost, as --lose wants it");
  }
  const rk::Context ctx({.threads = 1});
  const auto stage = static_cast<std::size_t>(ranks.rank() % o.stages);
  const auto begin = std::chrono::steady_clock::now();
  const auto run =
      run_pipeline(ctx, ranks, training.plans, training.parameters[stage], training.data());
  const std::chrono::duration<double, std::milli> wall = std::chrono::steady_clock::now() - begin;
  const auto alone =
      run_stages_alone(ctx, training.plans, training.parameters, training.data())[stage];

  struct Line {
    double wall_ms, busy_ms, difference, loss;
    std::int64_t slots;
  } line{wall.count(), run.busy_ms, relative_difference(run.gradient, alone), run.loss,
         run.live_slots};
  const auto bytes = ranks.all_gather(std::as_bytes(std::span(&line, 1)));
  if (ranks.rank() != 0) return;
  double largest = 0, loss = 0;
  for (int r = 0; r < ranks.size(); ++r) {
    std::memcpy(&line, bytes.data() + static_cast<std::size_t>(r) * sizeof line, sizeof line);
    fmt::print(
        "  rank {} (replica {}, stage {}): {:.1f} ms, {:.1f} ms of them busy, at most {} of "
        "{} buffers, gradient differs by {:.2g}\n",
        r, r / o.stages, r % o.stages, line.wall_ms, line.busy_ms, line.slots,
        training.plans[static_cast<std::size_t>(r / o.stages)]
            .program.slots[static_cast<std::size_t>(r % o.stages)],
        line.difference);
    largest = std::max(largest, line.difference);
    loss += line.loss;
  }
  fmt::print("loss {:.9g}; largest relative difference to one process: {:.2g}\n", loss, largest);
  if (!(largest <= 1e-11)) throw rk::Error("gradients differ by more than 1e-11");
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
  CLI::App app("Executes a dynamic pipeline on ranks");
  app.add_option("--stages", o.stages, "stages")->check(CLI::Range(1, 64))->capture_default_str();
  app.add_option("--replicas", o.replicas, "data-parallel replicas")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  app.add_option("--samples", o.samples, "samples of the mini-batch")
      ->check(CLI::Range(1, 100000))
      ->capture_default_str();
  app.add_option("--hidden", o.hidden, "width")->check(CLI::Range(1, 65536));
  app.add_option("--ffn", o.ffn, "width inside")->check(CLI::Range(1, 65536));
  app.add_option("--max-seqlen", o.longest, "longer sequences are truncated")
      ->check(CLI::Range(1, 8192));
  app.add_option("--seed", o.seed, "of lengths, data and weights");
  app.add_flag("--mpi", o.mpi, "ranks are MPI processes: mpirun -n STAGES*REPLICAS");
  app.add_option("--lose", o.lose, "this rank is lost");
  app.add_option("--seconds", o.seconds, "a rank that does not answer for so long is lost")
      ->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  try {
    const Training training(o);
    const auto print = [&] {
      fmt::print("{} samples, {:.0f} tokens -> {} micro-batches on {} stages x {} replicas\n",
                 o.samples, training.tokens, training.plan.micro_batches(), o.stages, o.replicas);
    };
    const auto count = static_cast<int>(o.stages * o.replicas);
    if (!o.mpi) {
      print();
      rk::run_ranks(
          count, [&](rk::Communicator& r) { run_rank(training, r, o); }, o.seconds);
      return 0;
    }
#ifdef HAS_MPI
    const auto world = mpi->world(o.seconds);
    if (world->rank() == 0) print();
    run_rank(training, *world, o);
    return 0;
#else
    throw rk::Error("this build has no MPI");
#endif
  } catch (const std::exception& error) {
    fmt::print(stderr, "run_pipeline: {}\n", error.what());
    return 1;
  }
}
