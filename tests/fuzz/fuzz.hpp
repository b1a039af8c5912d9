#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <span>

#include "researchkit/core/error.hpp"
#include "researchkit/core/tensor.hpp"
#include "support/temporary_folder.hpp"

namespace researchkit::fuzz {

/// Calls `body(bytes)`; an Error is a proper answer to a bad file, anything else ends the program.
template <class Body>
int feed(const std::uint8_t* data, std::size_t size, Body&& body) {
  try {
    body(std::as_bytes(std::span(data, size)));
  } catch (const Error&) {
  }
  return 0;
}

/// Ends the program where something that must hold does not.
inline void require(bool holds) {
  if (!holds) std::abort();
}

inline bool same(const Tensor& a, const Tensor& b) {
  return a.dtype() == b.dtype() && a.shape() == b.shape() && a.is_contiguous() &&
         b.is_contiguous() && (a.bytes() == 0 || std::memcmp(a.data(), b.data(), a.bytes()) == 0);
}

/// Where round trips are written.
inline const test::TemporaryFolder& scratch() {
  static const test::TemporaryFolder folder;
  return folder;
}

/// Runs what must not refuse: an Error thrown in it ends the program.
template <class Body>
void must_succeed(Body&& body) noexcept {
  body();
}

}  // namespace researchkit::fuzz
