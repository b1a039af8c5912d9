#include "options.hpp"

#include <CLI/CLI.hpp>
#include <algorithm>

bool read_options(int argc, char** argv, Options& o, int& status) {
  CLI::App app("Executes a dynamic pipeline on ranks");
  const auto number = [&](const char* name, auto& value, const char* text, std::int64_t most) {
    app.add_option(name, value, text)
        ->check(CLI::Range(std::int64_t{1}, most))
        ->capture_default_str();
  };
  app.add_option("--model", o.model, "what the stages are")
      ->check(CLI::IsMember({"mlp", "decoder", "encdec"}))
      ->capture_default_str();
  number("--stages", o.stages, "stages: ranks of a pipeline", 64);
  number("--chunks", o.chunks, "parts of the model on each of them, 1 or an even number", 64);
  number("--replicas", o.replicas, "data-parallel replicas", 64);
  app.add_option(
         "--layers", o.layers,
         "layers of the transformer, half of them decoder layers in encdec; 0: one for each "
         "stage, at least 2")
      ->check(CLI::Range(0, 4096));
  number("--samples", o.samples, "samples of a mini-batch", 100000);
  number("--iterations", o.iterations, "mini-batches", 1000000);
  number("--hidden", o.hidden, "width", 65536);
  number("--heads", o.heads, "attention heads", 1024);
  number("--ffn", o.ffn, "width inside", 65536);
  number("--vocabulary", o.vocabulary, "tokens", 1 << 20);
  number("--max-seqlen", o.longest, "longer sequences are truncated", 8192);
  number("--planners", o.planners, "threads that plan ahead", 64);
  number("--largest-batch", o.largest_batch,
         "samples of a micro-batch: a model this small would fit into one", 100000);
  app.add_option("--memory-mb", o.device_memory_mb, "of a device, for planning")
      ->capture_default_str();
  app.add_option("--seed", o.seed, "of lengths, data and weights");
  app.add_option("--rate", o.rate, "step of gradient descent")->capture_default_str();
  app.add_option("--recompute", o.recompute, "what backwards compute again")
      ->check(CLI::IsMember({"auto", "none", "selective", "full"}))
      ->capture_default_str();
  app.add_option("--profile-out", o.profile_out,
                 "measure layers on this machine, write FILE.json and .npy files, and end");
  app.add_option("--profile", o.profile, "plan with this profile, and compare with it");
  app.add_flag("--pack-windows", o.pack_windows,
               "short samples share sequences where that is cheaper");
  app.add_flag("--mpi", o.mpi, "ranks are MPI processes: mpirun -n STAGES*REPLICAS");
  app.add_option("--lose", o.lose, "this rank is lost");
  app.add_option("--seconds", o.seconds, "a rank that does not answer for so long is lost")
      ->capture_default_str();
  try {
    app.parse(argc, argv);
    if (o.layers == 0) o.layers = std::max<std::int64_t>(o.all_stages(), 2);
    return true;
  } catch (const CLI::ParseError& error) {
    status = app.exit(error);
    return false;
  }
}
