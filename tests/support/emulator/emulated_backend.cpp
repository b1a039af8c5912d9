#include "tests/support/emulator/emulated_backend.hpp"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <new>

#include "kernels/cuda/all_kernels.hpp"

namespace researchkit {
namespace {

/// Streams need nothing: everything has happened when a call returns.
class EmulatedBackend final : public Backend {
 public:
  using Clock = std::chrono::steady_clock;

  std::string_view name() const override { return "emulated"; }
  std::int32_t device_count() const override { return 1; }
  std::string describe(std::int32_t) const override { return "emulated grid on the host"; }

  void* allocate(std::int32_t, std::size_t bytes, void*) const override {
    const std::size_t rounded = (std::max<std::size_t>(bytes, 1) + 63) / 64 * 64;
    void* memory = std::aligned_alloc(64, rounded);
    if (memory == nullptr) throw std::bad_alloc();
    std::memset(memory, 0, rounded);
    return memory;
  }
  void release(std::int32_t, void* memory, void*) const noexcept override { std::free(memory); }
  void copy(std::int32_t, void* to, const void* from, std::size_t bytes, Direction,
            void*) const override {
    if (bytes > 0) std::memmove(to, from, bytes);
  }
  void synchronize(std::int32_t) const override {}
  void* make_stream(std::int32_t) const override { return new char; }
  void destroy_stream(std::int32_t, void* stream) const noexcept override {
    delete static_cast<char*>(stream);
  }
  void synchronize_stream(std::int32_t, void*) const override {}
  void* make_event(std::int32_t) const override { return new Clock::time_point; }
  void destroy_event(std::int32_t, void* event) const noexcept override {
    delete static_cast<Clock::time_point*>(event);
  }
  void record_event(std::int32_t, void* event, void*) const override {
    *static_cast<Clock::time_point*>(event) = Clock::now();
  }
  void wait_event(std::int32_t, void*, void*) const override {}
  double elapsed_s(void* begin, void* end) const override {
    return std::chrono::duration<double>(*static_cast<Clock::time_point*>(end) -
                                         *static_cast<Clock::time_point*>(begin))
        .count();
  }
  const DeviceKernels& kernels() const override {
    static const DeviceKernels kernels = on_emulator::all_kernels();
    return kernels;
  }
};

}  // namespace

Device emulated_device() {
  static const EmulatedBackend backend;
  return {backend, 0};
}

}  // namespace researchkit
