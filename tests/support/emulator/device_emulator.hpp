#pragma once

// The device vocabulary (core/cuda/device.cuh) on the host: a kernel's blocks run in parallel, the
// threads of a block as fibers that leave off at barriers and warp operations. Every access is
// checked: bounds of device and shared memory, shared memory read before it was written, accesses of
// two threads without a barrier between, barriers and warp operations that not all threads reach.
// What this proves and what it cannot: docs/cuda-without-a-gpu.md.

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <source_location>
#include <type_traits>

#define RESEARCHKIT_KERNEL(most_threads) static
#define RESEARCHKIT_DEVICE_FUNCTION inline
#define RESEARCHKIT_SHARED_ARGUMENT const
#define RESEARCHKIT_DEVICE on_emulator
#define RESEARCHKIT_UNROLL

namespace researchkit::emulator {

#if defined(__cpp_lib_source_location)
using Site = std::source_location;
#else  // clang 14 with libstdc++
class Site {
 public:
  static constexpr Site current(const char* file = __builtin_FILE(),
                                unsigned line = __builtin_LINE(),
                                unsigned column = __builtin_COLUMN()) {
    Site site;
    site.file_ = file;
    site.line_ = line;
    site.column_ = column;
    return site;
  }
  constexpr const char* file_name() const { return file_; }
  constexpr unsigned line() const { return line_; }
  constexpr unsigned column() const { return column_; }

 private:
  const char* file_ = "";
  unsigned line_ = 0, column_ = 0;
};
#endif

/// Where the calling thread stands.
struct Position {
  int thread = 0, block_threads = 0, cluster_rank = 0, cluster_blocks = 1;
  std::int64_t block = 0, blocks = 0;
};
const Position& position();

enum class Access : std::uint8_t { read, write, atomic };

/// The byte at `offset` of the shared memory of a block of the cluster, `size` bytes of which the
/// calling thread is about to access. Throws Error if that is a race or reads what nobody wrote.
std::byte* access_shared(int block, std::size_t offset, std::size_t size, Access access,
                         const Site& site);
/// Bytes of dynamic shared memory that the launch asked for.
std::size_t shared_bytes();
/// Throws Error in the name of the running kernel and thread.
[[noreturn]] void refuse_access(const char* what, std::int64_t index, std::int64_t size,
                                const Site& site);

enum class Scope : std::uint8_t { warp, block, cluster };
/// Waits for all threads of the scope to come to the same place.
void barrier(Scope scope, const Site& site);

/// What a warp operation is for: called once all lanes have come, with what each of them brought.
using Combine = void (*)(const std::byte* const brought[32], std::byte* const results[32],
                         const void* operation);
/// Gives `bytes` bytes at `value` to the warp and takes the lane's result back.
void exchange(void* value, std::size_t bytes, Combine combine, const void* operation,
              const char* name, const Site& site);

}  // namespace researchkit::emulator

namespace researchkit::device {

using emulator::Site;

inline int thread_index() { return emulator::position().thread; }
inline int block_threads() { return emulator::position().block_threads; }
inline std::int64_t block_index() { return emulator::position().block; }
inline std::int64_t block_count() { return emulator::position().blocks; }
inline int cluster_rank() { return emulator::position().cluster_rank; }
inline int cluster_blocks() { return emulator::position().cluster_blocks; }

template <class T>
struct Global {
  T* data = nullptr;
  std::int64_t size = 0;

  /// An index that knows where it was written.
  struct Index {
    std::int64_t value;
    Site site;
    template <class I>
    requires std::is_integral_v<I> Index(I i, const Site& where = Site::current())  // NOLINT
        : value(static_cast<std::int64_t>(i)), site(where) {}
  };
  T& operator[](Index i) const {
    if (i.value < 0 || i.value >= size) {
      emulator::refuse_access("device memory", i.value, size, i.site);
    }
    return data[i.value];
  }
  Global part(std::int64_t begin, std::int64_t count, const Site& site = Site::current()) const {
    if (begin < 0 || count < 0 || begin + count > size) {
      emulator::refuse_access("a part of device memory", begin + count, size, site);
    }
    return {data + begin, count};
  }
  operator Global<const T>() const { return {data, size}; }  // NOLINT(google-explicit-constructor)
};

/// An entry of shared memory: reading and writing it is seen.
template <class T>
class SharedEntry {
 public:
  SharedEntry(int block, std::size_t offset, const Site& site)
      : block_(block), offset_(offset), site_(site) {}
  SharedEntry(const SharedEntry&) = default;
  ~SharedEntry() = default;
  operator T() const {  // NOLINT(google-explicit-constructor)
    T value;
    std::memcpy(&value, at(emulator::Access::read), sizeof(T));
    return value;
  }
  const SharedEntry& operator=(T value) const {  // NOLINT(misc-unconventional-assign-operator)
    std::memcpy(at(emulator::Access::write), &value, sizeof(T));
    return *this;
  }
  SharedEntry& operator=(const SharedEntry& other) {  // NOLINT(bugprone-unhandled-self-assignment)
    static_cast<const SharedEntry&>(*this) = static_cast<T>(other);
    return *this;
  }
  const SharedEntry& operator+=(T value) const {
    return *this = static_cast<T>(static_cast<T>(*this) + value);
  }
  std::byte* at(emulator::Access access) const {
    return emulator::access_shared(block_, offset_, sizeof(T), access, site_);
  }

 private:
  int block_;
  std::size_t offset_;
  Site site_;
};

template <class T>
class Shared {
 public:
  static_assert(sizeof(T) % 4 == 0, "accesses are followed by words of four bytes");
  Shared() = default;
  Shared(int block, std::size_t offset, int size) : size(size), block_(block), offset_(offset) {}
  SharedEntry<T> operator[](typename Global<T>::Index i) const {
    if (i.value < 0 || i.value >= size) {
      emulator::refuse_access("shared memory", i.value, size, i.site);
    }
    return {block_, offset_ + static_cast<std::size_t>(i.value) * sizeof(T), i.site};
  }
  Shared of_block(int rank) const { return {rank, offset_, size}; }

  int size = 0;

 private:
  int block_ = 0;
  std::size_t offset_ = 0;
};

class SharedMemory {
 public:
  template <class T>
  Shared<T> take(int count, const Site& site = Site::current()) {
    used_ = (used_ + sizeof(T) - 1) / sizeof(T) * sizeof(T);
    const Shared<T> array(emulator::position().cluster_rank, used_, count);
    used_ += sizeof(T) * static_cast<std::size_t>(count);
    if (used_ > emulator::shared_bytes()) {
      emulator::refuse_access("bytes of shared memory of the launch",
                              static_cast<std::int64_t>(used_),
                              static_cast<std::int64_t>(emulator::shared_bytes()), site);
    }
    return array;
  }

 private:
  std::size_t used_ = 0;
};
inline SharedMemory dynamic_shared() { return {}; }

inline void block_barrier(const Site& site = Site::current()) {
  emulator::barrier(emulator::Scope::block, site);
}
inline void warp_barrier(const Site& site = Site::current()) {
  emulator::barrier(emulator::Scope::warp, site);
}
inline void cluster_barrier(const Site& site = Site::current()) {
  emulator::barrier(emulator::Scope::cluster, site);
}

template <class T>
T shuffle(T value, int from, const Site& site = Site::current()) {
  struct Brought {
    T value;
    int from;
  } brought{value, from};
  emulator::exchange(
      &brought, sizeof brought,
      [](const std::byte* const all[32], std::byte* const results[32], const void*) {
        for (int lane = 0; lane < 32; ++lane) {
          Brought own, other;
          std::memcpy(&own, all[lane], sizeof own);
          std::memcpy(&other, all[own.from & 31], sizeof other);
          own.value = other.value;
          std::memcpy(results[lane], &own, sizeof own);
        }
      },
      nullptr, "shuffle", site);
  return brought.value;
}

/// Combines the values of a warp by an associative, commutative operation; all lanes get the result.
template <class T, class Operation>
T warp_reduce(T value, Operation operation, const Site& site = Site::current()) {
  emulator::exchange(
      &value, sizeof value,
      [](const std::byte* const all[32], std::byte* const results[32], const void* combine) {
        T sum, next;
        std::memcpy(&sum, all[0], sizeof sum);
        for (int lane = 1; lane < 32; ++lane) {
          std::memcpy(&next, all[lane], sizeof next);
          sum = (*static_cast<const Operation*>(combine))(sum, next);
        }
        for (int lane = 0; lane < 32; ++lane) std::memcpy(results[lane], &sum, sizeof sum);
      },
      &operation, "warp_reduce", site);
  return value;
}
inline std::uint32_t warp_max(std::uint32_t value, const Site& site = Site::current()) {
  return warp_reduce(
      value, [](std::uint32_t a, std::uint32_t b) { return std::max(a, b); }, site);
}
inline std::uint32_t ballot(bool bit, const Site& site = Site::current()) {
  const std::uint32_t own = bit ? 1U << (emulator::position().thread % 32) : 0U;
  return warp_reduce(
      own, [](std::uint32_t a, std::uint32_t b) { return a | b; }, site);
}
inline bool any(bool bit, const Site& site = Site::current()) { return ballot(bit, site) != 0; }
inline int population_count(std::uint32_t mask) { return std::popcount(mask); }

template <class T>
T atomic_add(T& entry, T value) {
  return std::atomic_ref<T>(entry).fetch_add(value);
}
template <class T>
T atomic_min(T& entry, T value) {
  T before = std::atomic_ref<T>(entry).load();
  while (value < before && !std::atomic_ref<T>(entry).compare_exchange_weak(before, value)) {
  }
  return before;
}
template <class T>
T atomic_add(const SharedEntry<T>& entry, T value) {
  std::byte* at = entry.at(emulator::Access::atomic);
  T before;
  std::memcpy(&before, at, sizeof before);
  const T after = static_cast<T>(before + value);
  std::memcpy(at, &after, sizeof after);
  return before;
}

template <class T>
T add_rn(T a, T b) {
  return a + b;
}
template <class T>
T sub_rn(T a, T b) {
  return a - b;
}
template <class T>
T mul_rn(T a, T b) {
  return a * b;
}
template <class T>
T div_rn(T a, T b) {
  return a / b;
}
template <class T>
T sqrt_rn(T a) {
  return std::sqrt(a);
}
template <class T>
T fma_rn(T a, T b, T c) {
  return std::fma(a, b, c);
}
template <class T>
T exponential(T x) {
  return std::exp(x);
}
template <class T>
T logarithm(T x) {
  return std::log(x);
}
template <class T>
T hyperbolic_tangent(T x) {
  return std::tanh(x);
}

}  // namespace researchkit::device
