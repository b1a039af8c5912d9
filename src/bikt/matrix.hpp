#pragma once

// Tensors as the layers of a host use them: row-major matrices of one floating type.
#include <cstdlib>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "researchkit/core/error.hpp"
#include "researchkit/core/parallel.hpp"
#include "researchkit/core/tensor.hpp"

namespace researchkit::bikt {

inline constexpr std::int64_t kEntries = 32768;  // of an elementwise loop, for one thread

/// Memory of tensors that comes back when the last user lets go of it: fresh pages cost a step more
/// than its arithmetic. Thread-safe.
class BufferPool {
 public:
  ~BufferPool() {
    for (const auto& [bytes, memory] : idle_) {
      for (void* block : memory) std::free(block);
    }
  }
  void* take(std::size_t bytes) {
    {
      const std::lock_guard lock(mutex_);
      auto& memory = idle_[bytes];
      if (!memory.empty()) {
        void* block = memory.back();
        memory.pop_back();
        return block;
      }
    }
    void* block = std::aligned_alloc(64, bytes);
    if (block == nullptr) throw Error("cannot allocate " + std::to_string(bytes) + " bytes");
    return block;
  }
  void give(std::size_t bytes, void* block) {
    const std::lock_guard lock(mutex_);
    idle_[bytes].push_back(block);
  }

 private:
  std::mutex mutex_;
  std::map<std::size_t, std::vector<void*>> idle_;
};

/// The pool of a context; tensors may outlive the context.
inline std::shared_ptr<BufferPool> pool_of(const Context& ctx) {
  const auto holder = ctx.reuse_pool().take<std::shared_ptr<BufferPool>>();
  if (*holder == nullptr) *holder = std::make_shared<BufferPool>();
  return *holder;
}

/// Row-major memory of the context's pool, not zeroed: every layer writes all of its result.
template <class Real>
Tensor fresh(const Context& ctx, const Shape& shape) {
  const auto bytes =
      (static_cast<std::size_t>(std::max<std::int64_t>(element_count(shape), 1)) * sizeof(Real) +
       63) /
      64 * 64;
  const auto pool = pool_of(ctx);
  void* const memory = pool->take(bytes);
  Shape strides(shape.size(), 1);
  for (std::size_t i = shape.size(); i-- > 1;) strides[i - 1] = strides[i] * shape[i];
  std::shared_ptr<void> owner(memory, [pool, bytes](void* p) { pool->give(bytes, p); });
  return {dtype_of<Real>, shape, strides, memory, std::move(owner)};
}

template <class Real>
In<Real, 2> matrix(const Tensor& tensor) {
  return {static_cast<const Real*>(tensor.data()), {tensor.extent(0), tensor.extent(1)}};
}
template <class Real>
Out<Real, 2> matrix(Tensor& tensor) {
  return {static_cast<Real*>(tensor.data()), {tensor.extent(0), tensor.extent(1)}};
}
template <class Real>
const Real* data_of(const Tensor& tensor) {
  return static_cast<const Real*>(tensor.data());
}
template <class Real>
Real* data_of(Tensor& tensor) {
  return static_cast<Real*>(tensor.data());
}

template <class Real, class Each>
void for_entries(const Context& ctx, std::int64_t count, Each&& each) {
  parallel_for(ctx, count, kEntries, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) each(i);
  });
}

}  // namespace researchkit::bikt
