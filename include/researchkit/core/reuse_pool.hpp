#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <typeindex>
#include <utility>
#include <vector>

namespace researchkit {

/// Working objects that keep their memory from one call to the next: fresh pages of large arrays can
/// cost a kernel more than its arithmetic.
///
///     const auto sampler = ctx.reuse_pool().take<FarthestPointSampler<float>>();
///     sampler->reset(...);   // in whatever state the last user left it
///
/// Thread-safe. An object is handed to one user at a time, and comes back when its lease ends; there are
/// as many as were in use at one time. They live as long as the pool.
class ReusePool {
 public:
  template <class T>
  using Lease = std::unique_ptr<T, std::function<void(T*)>>;

  /// An idle object of this type, or a fresh one. The lease must not outlive the pool.
  template <class T>
  Lease<T> take() {
    std::shared_ptr<void> object;
    {
      const std::lock_guard lock(mutex_);
      auto& idle = idle_[typeid(T)];
      if (!idle.empty()) {
        object = std::move(idle.back());
        idle.pop_back();
      }
    }
    if (!object) object = std::make_shared<T>();
    return Lease<T>(static_cast<T*>(object.get()), [this, object](T*) {
      const std::lock_guard lock(mutex_);
      idle_[typeid(T)].push_back(object);
    });
  }

  /// Frees all objects that are not in use.
  void clear() {
    const std::lock_guard lock(mutex_);
    idle_.clear();
  }

 private:
  std::mutex mutex_;
  std::map<std::type_index, std::vector<std::shared_ptr<void>>> idle_;
};

}  // namespace researchkit
