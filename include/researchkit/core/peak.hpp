#pragma once

namespace researchkit {

/// What this machine reaches at best with a number of threads, measured, not looked up.
struct MachinePeak {
  int threads = 1;
  /// a[i] = b[i] + s c[i] over arrays beyond the last-level cache, counting three numbers per i as
  /// STREAM does (the line that a store first fetches is not counted).
  double bandwidth_bytes_per_s = 0;
  /// A square matrix product through gemm().
  double gemm_f32_flops_per_s = 0;
  double gemm_f64_flops_per_s = 0;
};

/// Measures the best of several rounds of each, for 0.12 s per number or three rounds, whichever is
/// longer. Other work on the machine lowers the numbers. `threads` = 0 takes what a Context
/// takes. Source of the triad: J. McCalpin, STREAM.
MachinePeak measure_machine_peak(int threads = 0);

/// measure_machine_peak, once per process and number of threads. Safe to call from several threads.
const MachinePeak& machine_peak(int threads = 0);

}  // namespace researchkit
