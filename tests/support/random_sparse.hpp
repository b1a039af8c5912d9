#pragma once

// Sparse operators and tensors for tests: rows of given lengths, unsorted and with duplicates.

#include <cstdint>
#include <utility>
#include <vector>

#include "researchkit/core/random.hpp"
#include "researchkit/core/tensor.hpp"
#include "researchkit/core/tensor_map.hpp"

namespace researchkit::test {

/// Normal numbers that depend on the seed.
inline Tensor normal_tensor(DType dtype, Shape shape, std::uint64_t seed) {
  Tensor tensor(dtype, std::move(shape));
  const Philox random(seed);
  for (std::int64_t i = 0; i < tensor.size(); ++i) {
    const double value = random.normal(static_cast<std::uint64_t>(i));
    if (dtype == DType::f32) {
      tensor.values<float>()[static_cast<std::size_t>(i)] = static_cast<float>(value);
    } else {
      tensor.values<double>()[static_cast<std::size_t>(i)] = value;
    }
  }
  return tensor;
}

/// Integers in [0, bound).
inline Tensor integer_tensor(DType dtype, Shape shape, std::int64_t bound, std::uint64_t seed) {
  Tensor tensor(dtype, std::move(shape));
  const Philox random(seed);
  for (std::int64_t i = 0; i < tensor.size(); ++i) {
    const auto value =
        random.below(static_cast<std::uint64_t>(i), static_cast<std::uint64_t>(bound));
    if (dtype == DType::i32) {
      tensor.values<std::int32_t>()[static_cast<std::size_t>(i)] = static_cast<std::int32_t>(value);
    } else {
      tensor.values<std::int64_t>()[static_cast<std::size_t>(i)] = static_cast<std::int64_t>(value);
    }
  }
  return tensor;
}

/// `indptr`, `indices` and `values` of an operator whose rows have these lengths, over `columns`.
/// Values shrink with the length of the row, so that powers of the operator stay of one size.
inline TensorMap sparse_operator(DType real, DType index, const std::vector<std::int64_t>& lengths,
                                 std::int64_t columns, std::uint64_t seed) {
  std::vector<std::int64_t> ends = {0};
  for (const std::int64_t length : lengths) ends.push_back(ends.back() + length);
  const auto rows = static_cast<std::int64_t>(lengths.size());
  Tensor indptr(index, {rows + 1}), values = normal_tensor(real, {ends.back()}, seed + 1);
  for (std::size_t i = 0; i < ends.size(); ++i) {
    if (index == DType::i32) {
      indptr.values<std::int32_t>()[i] = static_cast<std::int32_t>(ends[i]);
    } else {
      indptr.values<std::int64_t>()[i] = ends[i];
    }
    if (i == 0) continue;
    for (std::int64_t e = ends[i - 1]; e < ends[i]; ++e) {
      const auto at = static_cast<std::size_t>(e);
      const double scale = 0.5 / static_cast<double>(lengths[i - 1]);
      if (real == DType::f32) {
        values.values<float>()[at] *= static_cast<float>(scale);
      } else {
        values.values<double>()[at] *= scale;
      }
    }
  }
  return {{"indptr", indptr},
          {"indices", integer_tensor(index, {ends.back()}, columns, seed)},
          {"values", values}};
}

/// Lengths of `rows` rows: most of a few entries, some of none, some that a whole block works on, and
/// those on either side of where that begins.
inline std::vector<std::int64_t> mixed_lengths(std::int64_t rows) {
  const std::vector<std::int64_t> kinds = {3, 0, 5, 1, 128, 4, 129, 2, 31, 0, 33, 700, 8, 6, 7, 9};
  std::vector<std::int64_t> lengths;
  for (std::int64_t i = 0; i < rows; ++i) {
    const bool is_hub = i % 37 < static_cast<std::int64_t>(kinds.size());
    lengths.push_back(is_hub ? kinds[static_cast<std::size_t>(i % 37)] : i % 5);
  }
  return lengths;
}

}  // namespace researchkit::test
