// What ptxas says of every kernel: registers, spills, shared memory; and from that the occupancy.
// tests/device/resources.txt holds, per kernel and architecture, the dynamic shared memory of its
// largest launch and the occupancy below which it must not fall; how many threads a block has at
// most stands in the kernel's source.
#include <cxxabi.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <regex>
#include <sstream>
#include <string>
#include <utility>

#include "support/catch.hpp"
#include "support/skip.hpp"

using namespace researchkit;

namespace {

/// A kernel's name without its namespaces and parameters, and what it is compiled for.
using KernelKey = std::pair<std::string, std::string>;

struct Usage {
  int registers = 0, spilled_bytes = 0, stack_bytes = 0, shared_bytes = 0;
};

/// "void a::on_cuda::(anonymous namespace)::f<float, 3>(a::B<float>)" -> "f<float, 3>"
std::string short_name(const std::string& mangled) {
  int status = 0;
  const std::unique_ptr<char, void (*)(void*)> text(
      abi::__cxa_demangle(mangled.c_str(), nullptr, nullptr, &status), std::free);
  if (status != 0) return mangled;
  std::string name = std::regex_replace(text.get(), std::regex("\\(anonymous namespace\\)::"), "");
  name = std::regex_replace(name, std::regex("[A-Za-z_0-9]+::"), "");
  name = name.substr(0, name.find('('));
  return name.starts_with("void ") ? name.substr(5) : name;
}

/// Everything that ptxas wrote while the library was built.
std::map<KernelKey, Usage> reported_usage(const std::filesystem::path& folder) {
  std::map<KernelKey, Usage> usage;
  if (!std::filesystem::exists(folder)) return usage;
  static const std::regex compiling("Compiling entry function '(\\w+)' for '(\\w+)'");
  static const std::regex properties("Function properties for (\\w+)");
  static const std::regex memory(
      "(\\d+) bytes stack frame, (\\d+) bytes spill stores, (\\d+) bytes spill loads");
  static const std::regex registers("Used (\\d+) registers"), shared("(\\d+) bytes smem");
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    if (entry.path().extension() != ".ptxas") continue;
    std::ifstream file(entry.path());
    Usage* kernel = nullptr;
    std::smatch match;
    for (std::string line; std::getline(file, line);) {
      if (std::regex_search(line, match, compiling)) {
        kernel = &usage[{short_name(match[1]), match[2]}];
      } else if (kernel == nullptr) {
        continue;
      } else if (std::regex_search(line, match, memory)) {  // of the kernel or of what it calls
        kernel->stack_bytes = std::max(kernel->stack_bytes, std::stoi(match[1]));
        kernel->spilled_bytes += std::stoi(match[2]) + std::stoi(match[3]);
      } else if (std::regex_search(line, match, registers)) {
        kernel->registers = std::stoi(match[1]);
        if (std::regex_search(line, match, shared)) kernel->shared_bytes = std::stoi(match[1]);
      }
    }
  }
  return usage;
}

/// The most threads of a block of each kernel: RESEARCHKIT_KERNEL(threads) in the sources.
std::map<std::string, int> launch_bounds(const std::filesystem::path& folder) {
  std::map<std::string, int> bounds;
  static const std::regex kernel("RESEARCHKIT_KERNEL\\((\\d+)\\)\\s*void (\\w+)\\(");
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    if (!entry.is_regular_file()) continue;
    std::ifstream file(entry.path());
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    for (std::sregex_iterator it(text.begin(), text.end(), kernel), end; it != end; ++it) {
      bounds[(*it)[2]] = std::stoi((*it)[1]);
    }
  }
  return bounds;
}

/// The share of a multiprocessor's 64 warps that blocks of that size can fill: by registers, handed
/// out to a warp in units of 256 of 65536, by shared memory and by 32 blocks. The same for sm_80 and
/// sm_90 but for their shared memory (CUDA C++ Programming Guide, compute capabilities).
double occupancy(const Usage& usage, int block_threads, const std::string& architecture) {
  const int warps = (block_threads + 31) / 32;
  const int registers_of_warp = (usage.registers * 32 + 255) / 256 * 256;
  const int by_registers = 65536 / registers_of_warp / 4 * 4 / warps;  // a quarter per scheduler
  int blocks = std::min({by_registers, 64 / warps, 32});
  if (usage.shared_bytes > 0) {
    const int shared = (architecture == "sm_80" ? 164 : 228) * 1024;
    blocks = std::min(blocks, shared / (usage.shared_bytes + 1024));  // 1 KiB is the system's
  }
  return static_cast<double>(blocks * warps) / 64;
}

struct Record {
  int dynamic_shared_bytes = 0;
  double occupancy = 0;
};

/// Lines `kernel;architecture;dynamic shared bytes of the largest launch;occupancy`; # begins a comment.
std::map<KernelKey, Record> recorded() {
  std::map<KernelKey, Record> records;
  std::ifstream file(RESEARCHKIT_TEST_SOURCE_DIR "/tests/device/resources.txt");
  for (std::string line; std::getline(file, line);) {
    if (line.empty() || line[0] == '#') continue;
    std::istringstream fields(line);
    std::string kernel, architecture, shared, share;
    std::getline(fields, kernel, ';');
    std::getline(fields, architecture, ';');
    std::getline(fields, shared, ';');
    std::getline(fields, share, ';');
    records[{kernel, architecture}] = {std::stoi(shared), std::stod(share)};
  }
  return records;
}

}  // namespace

TEST_CASE("resources: the occupancy of known kernels") {
  CHECK(occupancy({.registers = 32}, 1024, "sm_90") == 1.0);
  CHECK(occupancy({.registers = 64}, 1024, "sm_90") == 0.5);
  CHECK(occupancy({.registers = 65}, 1024, "sm_90") == 0.0);  // such a block does not start
  CHECK(occupancy({.registers = 128}, 512, "sm_80") == 0.25);
  CHECK(occupancy({.registers = 16}, 32, "sm_80") == 0.5);  // 32 blocks are the most
  CHECK(occupancy({.registers = 16, .shared_bytes = 48 * 1024}, 256, "sm_80") == 3 * 8 / 64.0);
  CHECK(occupancy({.registers = 16, .shared_bytes = 48 * 1024}, 256, "sm_90") == 4 * 8 / 64.0);
}

TEST_CASE("resources: no kernel spills or falls below its recorded occupancy") {
  const auto usage =
      reported_usage(RESEARCHKIT_TEST_BINARY_DIR "/CMakeFiles/researchkit_device.dir");
  if (usage.empty()) {
    test::skip("this build has no nvcc");
    return;
  }
  const auto records = recorded();
  const auto bounds = launch_bounds(RESEARCHKIT_TEST_SOURCE_DIR "/kernels/cuda");
  fmt::print("{:<46} {:>5} {:>9} {:>6} {:>6} {:>6} {:>6} {:>9}\n", "kernel", "arch", "registers",
             "spills", "stack", "shared", "block", "occupancy");
  for (const auto& [key, compiled] : usage) {
    const auto& [name, architecture] = key;
    const auto found = records.find(key);
    const Record record = found == records.end() ? Record{} : found->second;
    const auto bound = bounds.find(name.substr(0, name.find('<')));
    const int block_threads = bound == bounds.end() ? 0 : bound->second;
    Usage kernel = compiled;
    kernel.shared_bytes += record.dynamic_shared_bytes;
    const double reached = block_threads > 0 ? occupancy(kernel, block_threads, architecture) : 0;
    fmt::print("{:<46} {:>5} {:>9} {:>6} {:>6} {:>6} {:>6} {:>9.4g}\n", name, architecture,
               kernel.registers, kernel.spilled_bytes, kernel.stack_bytes, kernel.shared_bytes,
               block_threads, reached);
    INFO(name << " for " << architecture);
    CHECK(found != records.end());  // a line in tests/device/resources.txt
    CHECK(kernel.spilled_bytes == 0);
    CHECK(reached > 0);
    CHECK(reached >= record.occupancy);
  }
  for (const auto& [key, record] : records) {
    INFO(key.first << " for " << key.second << " is recorded, but no longer compiled");
    CHECK(usage.contains(key));
  }
}
