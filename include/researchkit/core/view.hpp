#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <type_traits>

#include "researchkit/core/device.hpp"

namespace researchkit {

/// A typed, strided, non-owning window on memory, with the vocabulary of std::mdspan.
///
/// Rank 0 is a scalar. Strides count elements and may be anything, 0 and negative included. A view
/// is as cheap to copy as a pointer and its numbers; it says on which device its memory lies and
/// never checks an index.
template <class T, int Rank>
class TensorView {
 public:
  static_assert(Rank >= 0);
  using element_type = T;
  using value_type = std::remove_cv_t<T>;
  using extents_type = std::array<std::int64_t, Rank>;

  /// No memory, extents of 0.
  constexpr TensorView() = default;

  /// Row-major memory without gaps.
  constexpr TensorView(T* data, const extents_type& extents, Device device = {})
      : data_(data), extents_(extents), device_(device) {
    std::int64_t stride = 1;
    for (int i = Rank; i-- > 0;) {
      strides_[static_cast<std::size_t>(i)] = stride;
      stride *= extents_[static_cast<std::size_t>(i)];
    }
  }

  constexpr TensorView(T* data, const extents_type& extents, const extents_type& strides,
                       Device device = {})
      : data_(data), extents_(extents), strides_(strides), device_(device) {}

  /// A view of mutable elements is a view of const ones.
  template <class U>
  requires(std::convertible_to<U (*)[], T (*)[]> && !std::same_as<U, T>) constexpr TensorView(
      const TensorView<U, Rank>& other)  // NOLINT(google-explicit-constructor)
      : data_(other.data_handle()),
        extents_(other.extents()),
        strides_(other.strides()),
        device_(other.device()) {}

  static constexpr int rank() { return Rank; }
  constexpr T* data_handle() const { return data_; }
  constexpr std::int64_t extent(int i) const { return extents_[static_cast<std::size_t>(i)]; }
  constexpr std::int64_t stride(int i) const { return strides_[static_cast<std::size_t>(i)]; }
  constexpr const extents_type& extents() const { return extents_; }
  constexpr const extents_type& strides() const { return strides_; }
  constexpr Device device() const { return device_; }

  constexpr std::int64_t size() const {
    std::int64_t n = 1;
    for (const auto extent : extents_) n *= extent;
    return n;
  }
  constexpr bool empty() const { return size() == 0; }

  /// Whether the elements lie in row-major order without gaps.
  constexpr bool is_contiguous() const {
    std::int64_t expected = 1;
    for (int i = Rank; i-- > 0;) {
      if (extent(i) != 1 && stride(i) != expected) return empty();
      expected *= extent(i);
    }
    return true;
  }

  template <std::integral... Index>
  requires(sizeof...(Index) == static_cast<std::size_t>(Rank)) constexpr T& operator()(
      Index... index) const {
    std::int64_t offset = 0;
    std::size_t axis = 0;
    ((offset += static_cast<std::int64_t>(index) * strides_[axis++]), ...);
    return data_[offset];
  }

  /// The part at position `i` of the leading axis.
  constexpr TensorView<T, Rank - 1> operator[](std::int64_t i) const requires(Rank > 0) {
    std::array<std::int64_t, static_cast<std::size_t>(Rank > 0 ? Rank - 1 : 0)> extents{},
        strides{};
    for (std::size_t axis = 1; axis < static_cast<std::size_t>(Rank); ++axis) {
      extents[axis - 1] = extents_[axis];
      strides[axis - 1] = strides_[axis];
    }
    return {data_ + i * strides_[0], extents, strides, device_};
  }

 private:
  T* data_ = nullptr;
  extents_type extents_{};
  extents_type strides_{};
  Device device_{};
};

/// An input of an operator: a view that only reads.
template <class T, int Rank>
using In = TensorView<const T, Rank>;

/// An output of an operator: a view that is written.
template <class T, int Rank>
using Out = TensorView<T, Rank>;

/// An argument that may be absent.
template <class View>
using Optional = std::optional<View>;

}  // namespace researchkit
