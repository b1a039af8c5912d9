#pragma once

#include <span>

#include "researchkit/core/tensor.hpp"

namespace researchkit {

/// A tensor of any rank, for operators that treat every entry alike: a non-owning view whose
/// entries lie in row-major order when the operator runs.
///
///     InFlat<float> x = {};     // dropout, activations
///     for (const float value : x.values()) ...
template <class T>
class FlatView {
 public:
  FlatView() = default;
  template <int Rank>
  FlatView(const TensorView<T, Rank>& view)  // NOLINT(google-explicit-constructor)
      : data_(view.data_handle()),
        shape_(view.extents().begin(), view.extents().end()),
        strides_(view.strides().begin(), view.strides().end()),
        size_(view.size()),
        device_(view.device()) {}
  template <int Rank>
  FlatView(
      const TensorView<std::remove_const_t<T>, Rank>& view)  // NOLINT(google-explicit-constructor)
      requires std::is_const_v<T> : FlatView(TensorView<T, Rank>(view)) {}
  template <int Rank>
  FlatView(const Array<std::remove_const_t<T>, Rank>& array)  // NOLINT(google-explicit-constructor)
      : FlatView(TensorView<T, Rank>(array)) {}
  /// The dtype is T's. The tensor's memory must outlive the view.
  explicit FlatView(Tensor tensor)
      : data_(static_cast<T*>(tensor.data())),
        shape_(tensor.shape()),
        strides_(tensor.strides()),
        size_(tensor.size()),
        device_(tensor.device()) {}

  T* data_handle() const { return data_; }
  std::int64_t size() const { return size_; }
  const Shape& shape() const { return shape_; }
  const Shape& strides() const { return strides_; }
  Device device() const { return device_; }
  /// All entries of a row-major view.
  std::span<T> values() const { return {data_, static_cast<std::size_t>(size_)}; }

 private:
  T* data_ = nullptr;
  Shape shape_, strides_;
  std::int64_t size_ = 0;
  Device device_{};
};

template <class T>
using InFlat = FlatView<const T>;
template <class T>
using OutFlat = FlatView<T>;

}  // namespace researchkit
