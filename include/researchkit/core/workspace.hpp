#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <type_traits>
#include <vector>

namespace researchkit {

/// Scratch memory that grows to what the largest caller needed and is then reused.
///
///     Workspace::Scope scratch(ctx.workspace());
///     std::span<float> row = scratch.allocate<float>(n);   // uninitialised, 64-byte aligned
///
/// Scopes nest; leaving one gives its memory back to the arena. Not thread-safe: take what the
/// threads need before a parallel loop.
class Workspace {
 public:
  class Scope {
   public:
    explicit Scope(Workspace& workspace)
        : workspace_(workspace), block_(workspace.block_), used_(workspace.used_) {}
    ~Scope() { workspace_.rewind(block_, used_); }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

    /// `count` uninitialised elements. Throws Error if memory is exhausted.
    template <class T>
    requires std::is_trivially_destructible_v<T> std::span<T> allocate(std::size_t count) {
      return {static_cast<T*>(workspace_.allocate(count, sizeof(T))), count};
    }

   private:
    Workspace& workspace_;
    std::size_t block_, used_;
  };

  /// The most bytes that were in use at one time since construction or the last reset_peak().
  std::size_t peak_bytes() const { return peak_; }
  void reset_peak() { peak_ = in_use(); }
  /// Bytes the arena holds on to.
  std::size_t capacity_bytes() const;

 private:
  struct Release {
    void operator()(std::byte* memory) const;
  };
  struct Block {
    std::unique_ptr<std::byte, Release> memory;
    std::size_t size = 0;
  };
  void* allocate(std::size_t count, std::size_t element_size);
  void rewind(std::size_t block, std::size_t used);
  std::size_t in_use() const;

  std::vector<Block> blocks_;
  std::size_t block_ = 0;  // the block that is being filled
  std::size_t used_ = 0;   // bytes taken of it
  std::size_t peak_ = 0;
};

}  // namespace researchkit
