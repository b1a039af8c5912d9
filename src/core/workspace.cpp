#include "researchkit/core/workspace.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <limits>

#include "researchkit/core/error.hpp"

namespace researchkit {
namespace {
constexpr std::size_t kAlignment = 64;
constexpr std::size_t kSmallestBlock = std::size_t{1} << 16;
}  // namespace

void Workspace::Release::operator()(std::byte* memory) const { std::free(memory); }

void* Workspace::allocate(std::size_t count, std::size_t element_size) {
  if (count > (std::numeric_limits<std::size_t>::max() - kAlignment) / element_size) {
    throw Error(fmt::format("workspace: {} elements of {} bytes", count, element_size));
  }
  const std::size_t bytes = (count * element_size + kAlignment - 1) & ~(kAlignment - 1);
  while (block_ < blocks_.size() && blocks_[block_].size - used_ < bytes) {
    ++block_;
    used_ = 0;
  }
  if (block_ == blocks_.size()) {
    const std::size_t size = std::max({bytes, capacity_bytes(), kSmallestBlock});
    auto* memory = static_cast<std::byte*>(std::aligned_alloc(kAlignment, size));
    if (memory == nullptr) throw Error(fmt::format("workspace: cannot allocate {} bytes", size));
    blocks_.push_back({std::unique_ptr<std::byte, Release>(memory), size});
    used_ = 0;
  }
  void* result = blocks_[block_].memory.get() + used_;
  used_ += bytes;
  peak_ = std::max(peak_, in_use());
  return result;
}

void Workspace::rewind(std::size_t block, std::size_t used) {
  block_ = block;
  used_ = used;
  // With nothing in use several blocks are traded for one of their total size, so that the next
  // caller finds all of it in one piece.
  if (block_ == 0 && used_ == 0 && blocks_.size() > 1) {
    const std::size_t size = capacity_bytes();
    blocks_.clear();
    auto* memory = static_cast<std::byte*>(std::aligned_alloc(kAlignment, size));
    if (memory != nullptr) {
      blocks_.push_back({std::unique_ptr<std::byte, Release>(memory), size});
    }
  }
}

std::size_t Workspace::capacity_bytes() const {
  std::size_t bytes = 0;
  for (const auto& block : blocks_) bytes += block.size;
  return bytes;
}

std::size_t Workspace::in_use() const {
  std::size_t bytes = used_;
  for (std::size_t i = 0; i < block_; ++i) bytes += blocks_[i].size;
  return bytes;
}

}  // namespace researchkit
