#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <memory>
#include <thread>

#include "researchkit/core/backend.hpp"
#include "researchkit/core/blas.hpp"
#include "researchkit/core/device_kernels.hpp"
#include "researchkit/core/peak.hpp"
#include "researchkit/core/simd.hpp"
#include "researchkit/core/version.hpp"
#include "src/tool/tool.hpp"

namespace researchkit::tool {
namespace {

std::string processor_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  }
  return "unknown";
}

void print_line(std::string_view what, std::string_view value) {
  fmt::print("{:<18}  {}\n", what, value);
}

void print_cuda_devices() {
  const Backend* cuda = cuda_backend();
  if (cuda == nullptr) return print_line("CUDA", "no devices: this build has no device code");
  const std::int32_t count = cuda->device_count();
  if (count == 0) {
    print_line("CUDA", fmt::format("no devices found; {} operators have kernels for one",
                                   cuda->kernels().size()));
  }
  for (std::int32_t device = 0; device < count; ++device) {
    print_line(fmt::format("cuda:{}", device), cuda->describe(device));
  }
}

int diagnose(int threads) {
  const Context ctx({.threads = threads});
  print_line("researchkit", version());
  print_line("processor",
             fmt::format("{}, {} logical", processor_name(), std::thread::hardware_concurrency()));
  print_line("instruction sets", fmt::format("{}", fmt::join(simd_targets(), " ")));
  print_line("  used", simd_target());
  const BlasInfo blas = blas_info();
  print_line("BLAS", fmt::format("{} {}{}", blas.vendor, blas.version,
                                 blas.core.empty() ? "" : ", kernels for " + blas.core));
  if (blas.core == "Prescott" && std::ranges::count(simd_targets(), "AVX2") > 0) {
    print_line(
        "  which is older",
        "than this processor, which it does not know: set OPENBLAS_CORETYPE to Haswell, or to "
        "SkylakeX where there is AVX3");
  }
  print_line("threads", fmt::format("{}", ctx.threads()));
  print_cuda_devices();
  print_line("MPI", "not in this build");
  for (const int count : {1, ctx.threads()}) {
    const MachinePeak peak = machine_peak(count);
    print_line(fmt::format("peak, {} thread{}", count, count == 1 ? "" : "s"),
               fmt::format("memory {:.1f} GB/s, matrix product {:.0f} GFLOP/s float32, {:.0f} "
                           "GFLOP/s float64",
                           peak.bandwidth_bytes_per_s * 1e-9, peak.gemm_f32_flops_per_s * 1e-9,
                           peak.gemm_f64_flops_per_s * 1e-9));
    if (ctx.threads() == 1) break;
  }
  return kSuccess;
}

}  // namespace

void add_doctor(CLI::App& app, Action& action) {
  auto threads = std::make_shared<int>(0);
  CLI::App* verb =
      app.add_subcommand("doctor", "tell what this machine has and what of it is used");
  verb->add_option("--threads", *threads, "threads; 0: OMP_NUM_THREADS or all processors")
      ->check(CLI::Range(0, 4096));
  verb->footer(examples({"researchkit doctor"}));
  verb->callback([threads, &action] { action = [threads] { return diagnose(*threads); }; });
}

}  // namespace researchkit::tool
