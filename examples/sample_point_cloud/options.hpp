#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>
#include <vector>

/// What the command line of this example says.
struct Options {
  std::string input, generate = "lidar";
  int columns = 3;
  std::int64_t points = 120'000;
  std::uint64_t seed = 0;
  std::int64_t k = -1;
  double ratio = 0;
  std::string algorithm = "all";
  std::int64_t height = -1, leaf = -1, ref_buffer = 0;
  std::string start = "first";
  double min_spacing = 0;
  int threads = 1, repeat = 5;
  std::string device = "cpu";
  bool verify = false, stats = false, accelerator_model = false, compare_random = false;
  std::string out, indices, svg, json, report;
};

inline void add_options(CLI::App& app, Options& o) {
  app.add_option("--input", o.input, "points: .npy .bin (KITTI) .ply .pcd .xyz .txt .csv")
      ->check(CLI::ExistingFile);
  app.add_option("--columns", o.columns, "leading columns that are coordinates")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  app.add_option("--generate", o.generate, "without --input: what to make")
      ->check(CLI::IsMember({"lidar", "object", "room"}))
      ->capture_default_str();
  app.add_option("--points", o.points, "how many points to make")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--seed", o.seed, "of the generator, the random start and the random choice");
  auto* k = app.add_option("--k", o.k, "samples wanted (default: 16384, at most all points)")
                ->check(CLI::PositiveNumber);
  app.add_option("--ratio", o.ratio, "samples wanted, as a fraction of the points")
      ->check(CLI::Range(0.0, 1.0))
      ->excludes(k);
  app.add_option("--algorithm", o.algorithm, "how to sample")
      ->check(CLI::IsMember({"fused", "bucket", "vanilla", "all"}))
      ->capture_default_str();
  app.add_option("--height", o.height, "levels of the tree; -1: by the number of points");
  app.add_option("--leaf", o.leaf, "buckets of at most so many points stay whole; -1: default");
  app.add_option("--ref-buffer", o.ref_buffer, "samples that may wait for a bucket; 0: any number");
  app.add_option("--start", o.start, "first, random, or indices: 17 or 17,4,99")
      ->capture_default_str();
  app.add_option("--min-spacing", o.min_spacing, "stop before a sample nearer than this");
  app.add_option("--threads", o.threads, "threads; 0: all processors")->capture_default_str();
  app.add_option("--device", o.device, "where to run")
      ->check(CLI::IsMember({"cpu", "cuda"}))
      ->capture_default_str();
  app.add_option("--repeat", o.repeat, "times a tree method runs; the best counts")
      ->check(CLI::Range(1, 10'000))
      ->capture_default_str();
  app.add_flag("--verify", o.verify, "also run plain sampling and compare all indices with it");
  app.add_flag("--stats", o.stats, "print the counters of the work done");
  app.add_flag("--accelerator-model", o.accelerator_model,
               "print what two accelerators would need");
  app.add_flag("--compare-random", o.compare_random, "measure a random choice of as many points");
  app.add_option("--out", o.out, "write the sampled points: .npy .ply .csv .xyz .bin");
  app.add_option("--indices", o.indices, "write the chosen indices: .npy");
  app.add_option("--svg", o.svg, "draw the cloud and the samples, seen from above");
  app.add_option("--json", o.json, "write what was measured");
  app.add_option("--report", o.report, "folder for summary.json and all pictures");
}
