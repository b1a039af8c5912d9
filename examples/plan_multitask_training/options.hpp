#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>
#include <vector>

/// What the command line of this example says.
struct Options {
  std::string model = "gpt", profiles = PROFILE_FOLDER;
  std::int64_t layers = 0, tp = 0, pp = 0, gpus = 8, chunks = 1;
  std::int64_t hidden = 0, heads = 32, kv_channels = 128, ffn = 0;
  int zero = 1;
  std::int64_t tokens = 65536, max_seqlen = 2048;
  std::string lengths;
  std::uint64_t seed = 11;
  std::int64_t iterations = 2;
  double memory_mb = 36000;
  std::vector<std::string> recompute = {"none", "selective", "full"};
  std::string order = "auto", schedule = "auto";
  bool no_reorder = false, pack_windows = false;
  int threads = 1;
  bool compare = false, sweep = false, dry_run = false;
  std::string plan, trace, csv, report;
};

inline void add_options(CLI::App& app, Options& o) {
  const auto positive = CLI::PositiveNumber;
  app.add_option("--model", o.model, "gpt: decoder-only; t5: encoder and decoder")
      ->check(CLI::IsMember({"gpt", "t5"}))
      ->capture_default_str();
  app.add_option("--profiles", o.profiles, "folder of the measured profiles");
  app.add_option("--layers", o.layers, "layers, for t5 of each half (default: 32 and 24)")
      ->check(positive);
  app.add_option("--hidden", o.hidden, "width: predicts costs instead of reading a profile")
      ->check(positive);
  app.add_option("--heads", o.heads, "with --hidden: attention heads")->check(positive);
  app.add_option("--kv-channels", o.kv_channels, "with --hidden: of a head")->check(positive);
  app.add_option("--ffn", o.ffn, "with --hidden: width inside (default: 4 hidden)");
  app.add_option("--gpus", o.gpus, "devices")->check(positive)->capture_default_str();
  app.add_option("--tp", o.tp, "tensor-parallel ranks (default: the best)")->check(positive);
  app.add_option("--pp", o.pp, "stages of the pipeline (default: the best)")->check(positive);
  app.add_option("--chunks", o.chunks,
                 "stages of the model on each device of a pipeline, 1 or even")
      ->check(positive)
      ->capture_default_str();
  app.add_option("--zero", o.zero, "ZeRO stage")->check(CLI::Range(0, 3))->capture_default_str();
  app.add_option("--tokens", o.tokens, "tokens of a mini-batch")
      ->check(positive)
      ->capture_default_str();
  app.add_option("--max-seqlen", o.max_seqlen, "longer sequences are truncated")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  app.add_option("--lengths", o.lengths, "lengths of samples: .jsonl, .csv or .npy [n, 2]")
      ->check(CLI::ExistingFile);
  app.add_option("--seed", o.seed, "of the synthetic mixture")->capture_default_str();
  app.add_option("--iterations", o.iterations, "mini-batches")
      ->check(positive)
      ->capture_default_str();
  app.add_option("--memory-mb", o.memory_mb, "memory of a device")
      ->check(positive)
      ->capture_default_str();
  app.add_option("--recompute", o.recompute, "what may be computed again")
      ->delimiter(',')
      ->check(CLI::IsMember({"none", "selective", "full"}));
  app.add_option("--order", o.order, "of the samples; auto: sort for gpt, path for t5")
      ->check(CLI::IsMember({"auto", "sort", "path"}));
  app.add_option("--schedule", o.schedule, "which schedules are tried")
      ->check(CLI::IsMember({"auto", "1f1b", "cyclic"}));
  app.add_flag("--no-reorder", o.no_reorder, "micro-batches keep their order");
  app.add_flag("--pack-windows", o.pack_windows,
               "short samples share sequences where that is cheaper");
  app.add_option("--threads", o.threads, "threads; 0: all processors")->capture_default_str();
  app.add_flag("--compare", o.compare, "compare with packing, tokens, fixed sizes, one batch");
  app.add_flag("--sweep", o.sweep, "the paper's figures: lengths and batch sizes, both models");
  app.add_flag("--dry-run", o.dry_run, "only tell which samples fit nowhere");
  app.add_option("--plan", o.plan, "write the plan of the first iteration: .json or .rkdp");
  app.add_option("--trace", o.trace, "write its timeline for Perfetto");
  app.add_option("--csv", o.csv, "write a line per iteration");
  app.add_option("--report", o.report, "folder for summary.json and what draw.py draws");
}
