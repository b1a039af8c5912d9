#pragma once

// Private to the file formats: reading numbers out of untrusted bytes without passing their end.

#include <fmt/format.h>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "researchkit/core/dtype.hpp"
#include "researchkit/core/error.hpp"
#include "researchkit/core/tensor.hpp"

namespace researchkit::io {

using Bytes = std::span<const std::byte>;

/// Throws Error("<file>: <what>").
template <class... Args>
[[noreturn]] void fail(std::string_view file, fmt::format_string<Args...> format, Args&&... args) {
  throw Error(fmt::format("{}: {}", file, fmt::format(format, std::forward<Args>(args)...)));
}

/// `text` with everything but printable ASCII escaped, shortened to `most` characters.
inline std::string printable(std::string_view text, std::size_t most = 60) {
  std::string out;
  for (const char c : text.substr(0, most)) {
    const auto code = static_cast<unsigned char>(c);
    out += code >= 32 && code < 127 ? std::string(1, c) : fmt::format("\\x{:02x}", code);
  }
  if (text.size() > most) out += "...";
  return out;
}

inline std::string_view as_text(Bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// Reverses the bytes of each `size`-byte element.
inline void swap_bytes(std::span<std::byte> bytes, std::size_t size) {
  for (std::size_t at = 0; at + size <= bytes.size(); at += size) {
    for (std::size_t i = 0; i < size / 2; ++i) std::swap(bytes[at + i], bytes[at + size - 1 - i]);
  }
}

/// The T stored at `from`, in the given byte order, at any alignment.
template <class T>
T load(const std::byte* from, std::endian order = std::endian::little) {
  static_assert(std::is_arithmetic_v<T>);
  std::array<std::byte, sizeof(T)> raw;
  std::memcpy(raw.data(), from, sizeof(T));
  if (order != std::endian::native) swap_bytes(raw, sizeof(T));
  return std::bit_cast<T>(raw);
}

/// Appends a number in little-endian order.
template <class T>
void append(std::vector<std::byte>& to, T value) {
  auto raw = std::bit_cast<std::array<std::byte, sizeof(T)>>(value);
  if (std::endian::native != std::endian::little) swap_bytes(raw, sizeof(T));
  to.insert(to.end(), raw.begin(), raw.end());
}

/// Bytes of a row-major tensor, or nothing if the shape is absurd: a product of extents (zeros
/// counted as ones, so that strides are safe too) or of bytes that does not fit into 63 bits.
inline std::optional<std::size_t> checked_bytes(const Shape& shape, DType dtype) {
  auto strides = static_cast<std::int64_t>(size_of(dtype));
  bool empty = false;
  for (const auto extent : shape) {
    if (extent < 0) return std::nullopt;
    if (extent == 0) {
      empty = true;
    } else if (__builtin_mul_overflow(strides, extent, &strides)) {
      return std::nullopt;
    }
  }
  return empty ? std::size_t{0} : static_cast<std::size_t>(strides);
}

/// A row-major tensor holding `bytes`, which must be as many as shape and dtype need. The memory of
/// `owner` is shared if `bytes` lie in it and are aligned for the dtype; else they are copied.
/// Booleans are made 0 or 1, which is all that a C++ bool may hold.
Tensor tensor_over(Bytes bytes, DType dtype, Shape shape, const std::shared_ptr<void>& owner);

/// The elements of a tensor that is about to be written; refuses "no tensor" and device memory.
Tensor writable(const Tensor& tensor, std::string_view file);
inline Bytes bytes_of(const Tensor& contiguous) {
  return {static_cast<const std::byte*>(contiguous.data()), contiguous.bytes()};
}

}  // namespace researchkit::io
