#pragma once

// Tensors as the layers of a host use them: row-major matrices of one floating type.
#include <cstdlib>
#include <string>

#include "researchkit/core/error.hpp"
#include "researchkit/core/parallel.hpp"
#include "researchkit/core/tensor.hpp"

namespace researchkit::bikt {

inline constexpr std::int64_t kEntries = 32768;  // of an elementwise loop, for one thread

/// Row-major memory that is not zeroed: every layer writes all of its result.
template <class Real>
Tensor fresh(const Shape& shape) {
  const auto bytes =
      static_cast<std::size_t>(std::max<std::int64_t>(element_count(shape), 1)) * sizeof(Real);
  void* memory = std::aligned_alloc(64, (bytes + 63) / 64 * 64);
  if (memory == nullptr) throw Error("cannot allocate " + std::to_string(bytes) + " bytes");
  Shape strides(shape.size(), 1);
  for (std::size_t i = shape.size(); i-- > 1;) strides[i - 1] = strides[i] * shape[i];
  return {dtype_of<Real>, shape, strides, memory, {memory, [](void* p) { std::free(p); }}};
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
