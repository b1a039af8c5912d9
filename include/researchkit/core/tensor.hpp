#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "researchkit/core/device.hpp"
#include "researchkit/core/dtype.hpp"
#include "researchkit/core/stream.hpp"
#include "researchkit/core/view.hpp"

namespace researchkit {

using Shape = std::vector<std::int64_t>;

/// "[2, 3]"
std::string to_string(const Shape& shape);

/// The number of elements of `shape`. Throws Error if an extent is negative or the product
/// overflows.
std::int64_t element_count(const Shape& shape);

/// A strided array of one DType on one device, with reference-counted storage.
///
/// Copying a Tensor shares its memory; `clone()` copies the elements. Fresh memory is 64-byte
/// aligned and zeroed. A default-constructed Tensor is "no tensor": `defined()` is false.
class Tensor {
 public:
  Tensor() = default;

  /// A row-major tensor of zeros. Throws Error for a negative extent or too many bytes.
  /// On a device the memory is taken, and one day given back, in the order of `stream`.
  Tensor(DType dtype, Shape shape, Device device = {}, const Stream& stream = {});

  /// A tensor over memory that `owner` keeps alive; `strides` count elements.
  Tensor(DType dtype, Shape shape, Shape strides, void* data, std::shared_ptr<void> owner,
         Device device = {});

  /// A row-major host tensor holding `values`; their number must be that of `shape`.
  template <class T>
  static Tensor from(std::span<const T> values, Shape shape);
  template <class T>
  static Tensor from(std::initializer_list<T> values, Shape shape) {
    return from(std::span<const T>(values.begin(), values.size()), std::move(shape));
  }
  /// A rank-0 tensor.
  template <class T>
  static Tensor scalar(T value) {
    return from(std::span<const T>(&value, 1), {});
  }

  bool defined() const { return owner_ != nullptr; }
  DType dtype() const { return dtype_; }
  Device device() const { return device_; }
  int rank() const { return static_cast<int>(shape_.size()); }
  const Shape& shape() const { return shape_; }
  const Shape& strides() const { return strides_; }
  std::int64_t extent(int i) const { return shape_[static_cast<std::size_t>(i)]; }
  std::int64_t size() const { return size_; }
  std::size_t bytes() const { return static_cast<std::size_t>(size_) * size_of(dtype_); }
  bool is_contiguous() const;
  void* data() { return data_; }
  const void* data() const { return data_; }

  /// The elements as a typed view. Throws Error if the dtype or the rank is another.
  template <class T, int Rank>
  TensorView<T, Rank> view() {
    return make_view<T, Rank>();
  }
  template <class T, int Rank>
  TensorView<const T, Rank> view() const {
    return make_view<const T, Rank>();
  }
  /// All elements of a contiguous host tensor, in order. Throws Error if it is not one of T.
  template <class T>
  std::span<T> values() {
    check_values(dtype_of<T>);
    return {static_cast<T*>(data_), static_cast<std::size_t>(size_)};
  }
  template <class T>
  std::span<const T> values() const {
    check_values(dtype_of<T>);
    return {static_cast<const T*>(data_), static_cast<std::size_t>(size_)};
  }

  /// A row-major copy of the elements.
  Tensor clone() const;
  /// This tensor if it is row-major without gaps, else a copy that is.
  Tensor contiguous() const { return is_contiguous() ? *this : clone(); }
  /// Copies the elements of `source`, which has the same dtype and shape, into this memory. Between
  /// devices it waits for both; strided tensors of a device go through the host.
  void copy_from(const Tensor& source);
  /// This tensor if it lies on `device`, else a row-major copy that does.
  Tensor to(Device device) const;
  /// The entries begin, begin + step, ... < end of one axis, sharing memory.
  Tensor slice(int axis, std::int64_t begin, std::int64_t end, std::int64_t step = 1) const;
  /// The same elements under another shape, sharing memory. Throws Error if not contiguous.
  Tensor reshape(Shape shape) const;
  /// The lowest and one past the highest byte that the elements occupy (equal when empty).
  std::pair<const std::byte*, const std::byte*> byte_range() const;

 private:
  template <class T, int Rank>
  TensorView<T, Rank> make_view() const {
    check_view(dtype_of<T>, Rank);
    std::array<std::int64_t, Rank> extents{}, strides{};
    for (std::size_t i = 0; i < static_cast<std::size_t>(Rank); ++i) {
      extents[i] = shape_[i];
      strides[i] = strides_[i];
    }
    return {static_cast<T*>(data_), extents, strides, device_};
  }
  Tensor host_image() const;
  void check_view(DType dtype, int rank) const;
  void check_values(DType dtype) const;
  void check_count(std::size_t values) const;

  std::shared_ptr<void> owner_;
  void* data_ = nullptr;
  Shape shape_, strides_;
  std::int64_t size_ = 0;
  DType dtype_ = DType::f32;
  Device device_{};
};

template <class T>
Tensor Tensor::from(std::span<const T> values, Shape shape) {
  Tensor tensor(dtype_of<T>, std::move(shape));
  tensor.check_count(values.size());
  std::copy(values.begin(), values.end(), static_cast<T*>(tensor.data_));
  return tensor;
}

/// A host tensor of static type and rank that owns its memory; converts to In and Out.
///
///     Array<float, 3> cloud({1, 1000, 3});
///     cloud(0, 17, 2) = 1.5f;
template <class T, int Rank>
class Array : public TensorView<T, Rank> {
 public:
  Array() = default;
  explicit Array(const std::array<std::int64_t, Rank>& extents)
      : Array(Tensor(dtype_of<T>, Shape(extents.begin(), extents.end()))) {}
  /// Shares the memory of `tensor`. Throws Error if its dtype or rank is another.
  explicit Array(Tensor tensor)
      : TensorView<T, Rank>(tensor.view<T, Rank>()), tensor_(std::move(tensor)) {}

  const Tensor& tensor() const { return tensor_; }

 private:
  Tensor tensor_;
};

}  // namespace researchkit
