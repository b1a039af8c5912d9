#include "researchkit/core/verify.hpp"

#include <fmt/format.h>

#include <memory>

#include "src/tool/progress.hpp"
#include "src/tool/tool.hpp"

namespace researchkit::tool {
namespace {

struct Options {
  std::string folder;
  std::string device = "cpu";
  int threads = 0;
  bool reference = false;
  bool verbose = false;
};

int verify_folder(const Options& options) {
  const Context ctx({.device = parse_device(options.device), .threads = options.threads});
  std::size_t passed = 0, failed = 0, without_kernel = 0;
  Progress progress;
  const auto on_case = [&](const CaseResult& result) {
    (!result.ran ? without_kernel : result.passed() ? passed : failed) += 1;
    if (!result.passed() || options.verbose) {
      progress.wipe();
      fmt::print("{}: {}\n", result.name,
                 !result.ran       ? "skipped: no kernel for " + options.device
                 : result.passed() ? "passed"
                                   : result.failure);
    }
    progress.show(fmt::format("{} passed, {} failed, {}", passed, failed, result.name));
  };
  verify(default_registry(), options.folder, ctx,
         {.path = options.reference ? detail::Path::reference : detail::Path::run,
          .on_case = on_case});
  progress.wipe();
  if (passed + failed == 0) {
    fmt::print(stderr, "researchkit: {}: no case.json and no errors.json below it\n",
               options.folder);
  }
  if (without_kernel > 0) fmt::print("{} skipped\n", without_kernel);
  fmt::print("{} passed, {} failed\n", passed, failed);
  return failed == 0 && passed > 0 ? kSuccess : kFailure;
}

}  // namespace

void add_verify(CLI::App& app, Action& action) {
  auto options = std::make_shared<Options>();
  CLI::App* verb = app.add_subcommand(
      "verify", "hold the operators against every case.json and errors.json below a folder");
  verb->add_option("FOLDER", options->folder, "where to look")->required();
  verb->add_option("--device", options->device,
                   "cpu, cuda or cuda:<number>; developer builds also emulated")
      ->capture_default_str();
  verb->add_option("--threads", options->threads, "threads; 0: OMP_NUM_THREADS or all processors")
      ->check(CLI::Range(0, 4096));
  verb->add_flag("--reference", options->reference,
                 "run the operators' plain loops instead of their kernels");
  verb->add_flag("-v,--verbose", options->verbose, "a line for each case that passes, too");
  verb->footer(examples({"researchkit verify goldens/fusefps"}) +
               "\nPrints a line per failing case and, last, `N passed, M failed`. Exit status 0 "
               "only if none failed and at least one ran.");
  verb->callback([options, &action] { action = [options] { return verify_folder(*options); }; });
}

}  // namespace researchkit::tool
