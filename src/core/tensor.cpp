#include "researchkit/core/tensor.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cstdlib>
#include <cstring>
#include <limits>
#include <new>

#include "researchkit/core/error.hpp"

namespace researchkit {
namespace {

constexpr std::size_t kAlignment = 64;  // a cache line, and the widest vector register

Shape row_major_strides(const Shape& shape) {
  Shape strides(shape.size());
  std::int64_t stride = 1;
  for (std::size_t i = shape.size(); i-- > 0;) {
    strides[i] = stride;
    // Beside an extent of 0 the others may be of any size; no element has such a stride.
    if (__builtin_mul_overflow(stride, shape[i], &stride)) stride = 0;
  }
  return strides;
}

std::shared_ptr<void> allocate_zeroed(std::size_t bytes) {
  const std::size_t rounded =
      (std::max<std::size_t>(bytes, 1) + kAlignment - 1) & ~(kAlignment - 1);
  void* memory = std::aligned_alloc(kAlignment, rounded);
  if (memory == nullptr) throw Error(fmt::format("cannot allocate {} bytes on the host", bytes));
  std::memset(memory, 0, rounded);
  return {memory, [](void* p) { std::free(p); }};
}

std::shared_ptr<void> allocate_on(Device device, std::size_t bytes, const Stream& stream) {
  void* memory = device.backend->allocate(device.index, bytes, stream.handle());
  // The stream lives as long as what was taken from it.
  return {memory,
          [device, stream](void* p) { device.backend->release(device.index, p, stream.handle()); }};
}

/// Copies elements of `size` bytes axis by axis; `axis` is the outermost one still to go.
void copy_strided(std::byte* to, const Shape& to_strides, const std::byte* from,
                  const Shape& from_strides, const Shape& shape, std::size_t size,
                  std::size_t axis) {
  if (axis == shape.size()) {
    std::memcpy(to, from, size);
    return;
  }
  const auto element = static_cast<std::int64_t>(size);
  for (std::int64_t i = 0; i < shape[axis]; ++i) {
    copy_strided(to + i * to_strides[axis] * element, to_strides,
                 from + i * from_strides[axis] * element, from_strides, shape, size, axis + 1);
  }
}

}  // namespace

std::string to_string(const Shape& shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

std::int64_t element_count(const Shape& shape) {
  std::int64_t count = 1;
  for (const auto extent : shape) {
    if (extent < 0) throw Error(fmt::format("shape {} has a negative extent", to_string(shape)));
    if (__builtin_mul_overflow(count, extent, &count)) {
      throw Error(fmt::format("shape {} has too many elements", to_string(shape)));
    }
  }
  return count;
}

Tensor::Tensor(DType dtype, Shape shape, Device device, const Stream& stream)
    : shape_(std::move(shape)), size_(element_count(shape_)), dtype_(dtype), device_(device) {
  if (size_ >
      std::numeric_limits<std::int64_t>::max() / static_cast<std::int64_t>(size_of(dtype))) {
    throw Error(fmt::format("shape {} has too many bytes", to_string(shape_)));
  }
  strides_ = row_major_strides(shape_);
  owner_ = device.is_host() ? allocate_zeroed(bytes()) : allocate_on(device, bytes(), stream);
  data_ = owner_.get();
}

Tensor::Tensor(DType dtype, Shape shape, Shape strides, void* data, std::shared_ptr<void> owner,
               Device device)
    : owner_(std::move(owner)),
      data_(data),
      shape_(std::move(shape)),
      strides_(std::move(strides)),
      size_(element_count(shape_)),
      dtype_(dtype),
      device_(device) {
  if (strides_.size() != shape_.size()) {
    throw Error(fmt::format("{} strides for shape {}", strides_.size(), to_string(shape_)));
  }
}

bool Tensor::is_contiguous() const {
  std::int64_t expected = 1;
  if (size_ == 0) return true;
  for (std::size_t i = shape_.size(); i-- > 0;) {
    if (shape_[i] != 1 && strides_[i] != expected) return false;
    expected *= shape_[i];
  }
  return true;
}

Tensor Tensor::clone() const {
  if (!defined()) return {};
  Tensor copy(dtype_, shape_, device_);
  copy.copy_from(*this);
  return copy;
}

void Tensor::copy_from(const Tensor& source) {
  if (source.dtype_ != dtype_ || source.shape_ != shape_) {
    throw Error(fmt::format("cannot copy a {} tensor of shape {} into a {} one of shape {}",
                            to_string(source.dtype_), to_string(source.shape_), to_string(dtype_),
                            to_string(shape_)));
  }
  if (size_ == 0) return;
  using Direction = Backend::Direction;
  if (!device_.is_host() && !is_contiguous()) {
    const auto [low, high] = byte_range();
    Tensor image = host_image();
    image.copy_from(source);
    device_.backend->copy(device_.index, const_cast<std::byte*>(low), image.owner_.get(),
                          static_cast<std::size_t>(high - low), Direction::to_device, nullptr);
  } else if (!source.device_.is_host() && !(device_ == source.device_ && source.is_contiguous())) {
    copy_from(source.host_image());
  } else if (!device_.is_host() && device_ == source.device_) {
    device_.backend->copy(device_.index, data_, source.data_, bytes(), Direction::on_device,
                          nullptr);
  } else if (!device_.is_host()) {
    const Tensor packed = source.contiguous();
    device_.backend->synchronize(device_.index);
    device_.backend->copy(device_.index, data_, packed.data_, bytes(), Direction::to_device,
                          nullptr);
    device_.backend->synchronize(device_.index);
  } else if (is_contiguous() && source.is_contiguous()) {
    std::memcpy(data_, source.data_, bytes());
  } else {
    copy_strided(static_cast<std::byte*>(data_), strides_,
                 static_cast<const std::byte*>(source.data_), source.strides_, shape_,
                 size_of(dtype_), 0);
  }
}

/// The bytes of a device tensor on the host, under the same strides.
Tensor Tensor::host_image() const {
  const auto [low, high] = byte_range();
  const auto size = static_cast<std::size_t>(high - low);
  std::shared_ptr<void> memory = allocate_zeroed(size);
  device_.backend->synchronize(device_.index);
  device_.backend->copy(device_.index, memory.get(), low, size, Backend::Direction::to_host,
                        nullptr);
  device_.backend->synchronize(device_.index);
  auto* first = static_cast<std::byte*>(memory.get()) + (static_cast<std::byte*>(data_) - low);
  return {dtype_, shape_, strides_, first, std::move(memory)};
}

Tensor Tensor::to(Device device) const {
  if (!defined() || device == device_) return *this;
  Tensor copy(dtype_, shape_, device);
  copy.copy_from(*this);
  return copy;
}

Tensor Tensor::slice(int axis, std::int64_t begin, std::int64_t end, std::int64_t step) const {
  if (axis < 0 || axis >= rank() || begin < 0 || end < begin || end > extent(axis) || step < 1) {
    throw Error(fmt::format("slice {}:{}:{} of axis {} leaves shape {}", begin, end, step, axis,
                            to_string(shape_)));
  }
  const auto a = static_cast<std::size_t>(axis);
  Shape shape = shape_, strides = strides_;
  shape[a] = (end - begin + step - 1) / step;
  strides[a] *= step;
  auto* data = static_cast<std::byte*>(data_) +
               begin * strides_[a] * static_cast<std::int64_t>(size_of(dtype_));
  return {dtype_, std::move(shape), std::move(strides), data, owner_, device_};
}

Tensor Tensor::reshape(Shape shape) const {
  if (!is_contiguous() || element_count(shape) != size_) {
    throw Error(fmt::format("cannot see {} tensor of shape {} as {}",
                            is_contiguous() ? "a contiguous" : "a strided", to_string(shape_),
                            to_string(shape)));
  }
  Shape strides = row_major_strides(shape);
  return {dtype_, std::move(shape), std::move(strides), data_, owner_, device_};
}

std::pair<const std::byte*, const std::byte*> Tensor::byte_range() const {
  const auto* low = static_cast<const std::byte*>(data_);
  if (size_ == 0) return {low, low};
  const std::byte* high = low;
  const auto element = static_cast<std::int64_t>(size_of(dtype_));
  for (std::size_t i = 0; i < shape_.size(); ++i) {
    const std::int64_t reach = (shape_[i] - 1) * strides_[i] * element;
    (reach < 0 ? low : high) += reach;
  }
  return {low, high + element};
}

void Tensor::check_view(DType dtype, int rank) const {
  if (dtype != dtype_ || rank != this->rank()) {
    throw Error(fmt::format("a {} tensor of shape {} cannot be viewed as {} of rank {}",
                            to_string(dtype_), to_string(shape_), to_string(dtype), rank));
  }
}

void Tensor::check_values(DType dtype) const {
  if (dtype != dtype_ || !is_contiguous() || !device_.is_host()) {
    throw Error(fmt::format("a {} tensor of shape {} on {} is not a contiguous host tensor of {}",
                            to_string(dtype_), to_string(shape_), to_string(device_),
                            to_string(dtype)));
  }
}

void Tensor::check_count(std::size_t values) const {
  if (static_cast<std::size_t>(size_) != values) {
    throw Error(fmt::format("{} values for shape {}", values, to_string(shape_)));
  }
}

}  // namespace researchkit
