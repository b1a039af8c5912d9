#pragma once

#include <cstdint>
#include <string>

struct Options {
  std::string model = "decoder";  // mlp, decoder, encdec
  std::int64_t stages = 4, chunks = 1, replicas = 1, layers = 0, samples = 64, iterations = 1;
  std::int64_t hidden = 64, heads = 4, ffn = 256, vocabulary = 256, longest = 256;
  std::uint64_t seed = 7;
  int planners = 1, largest_batch = 8;
  double rate = 0.1, device_memory_mb = 1000;
  std::string recompute = "auto", profile, profile_out;
  bool mpi = false, pack_windows = false;
  int lose = -1;
  double seconds = 10;

  /// Stages of the model, on all ranks of a replica.
  std::int64_t all_stages() const { return stages * chunks; }
};

/// Fills the options from the command line. False if the program is to end, with `status`.
bool read_options(int argc, char** argv, Options& options, int& status);
