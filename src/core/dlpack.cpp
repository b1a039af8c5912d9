#include "researchkit/core/dlpack.hpp"

#include <fmt/format.h>

#include <cstddef>
#include <memory>

#include "researchkit/core/error.hpp"

namespace researchkit {
namespace {

using namespace dlpack;

static_assert(offsetof(BorrowedTensor, shape) == 24 && sizeof(BorrowedTensor) == 48 &&
                  sizeof(ManagedTensor) == 64,
              "the layout that DLPack has on 64-bit machines");

/// What an exported array points to: the tensor, which owns the memory, and its numbers.
struct Exported {
  ManagedTensor managed;
  Tensor tensor;
  Shape shape, strides;
};

constexpr ElementType type_of(DType dtype) {
  const auto bits = static_cast<std::uint8_t>(8 * size_of(dtype));
  switch (dtype) {
    case DType::f16:
    case DType::f32:
    case DType::f64:
      return {kFloat, bits, 1};
    case DType::bf16:
      return {kBfloat, bits, 1};
    case DType::i32:
    case DType::i64:
      return {kInt, bits, 1};
    case DType::u8:
      return {kUInt, bits, 1};
    case DType::boolean:
      return {kBool, bits, 1};
  }
  return {};
}

DType dtype_of_element(ElementType type) {
  for (const DType dtype : kAllDTypes) {
    const ElementType known = type_of(dtype);
    if (known.code == type.code && known.bits == type.bits && type.lanes == 1) return dtype;
  }
  throw Error(
      fmt::format("DLPack: element type with code {}, {} bits and {} lanes is not supported",
                  type.code, type.bits, type.lanes));
}

Device device_of(DeviceId id) {
  switch (id.type) {
    case kCpu:
    case kCudaHost:
      return Device::host();
    case kCuda:
    case kCudaManaged:
      return Device::cuda(id.index);
    default:
      throw Error(fmt::format("DLPack: device type {} is not supported", id.type));
  }
}

}  // namespace

ManagedTensor* to_dlpack(const Tensor& tensor) {
  if (!tensor.defined()) throw Error("DLPack: there is no tensor to export");
  auto exported =
      std::make_unique<Exported>(Exported{{}, tensor, tensor.shape(), tensor.strides()});
  ManagedTensor& managed = exported->managed;
  managed.tensor.data = exported->tensor.data();
  managed.tensor.device =
      tensor.device().is_host() ? DeviceId{kCpu, 0} : DeviceId{kCuda, tensor.device().index};
  managed.tensor.rank = tensor.rank();
  managed.tensor.type = type_of(tensor.dtype());
  managed.tensor.shape = exported->shape.data();
  managed.tensor.strides = exported->strides.data();
  managed.context = exported.get();
  managed.deleter = [](ManagedTensor* self) { delete static_cast<Exported*>(self->context); };
  return &exported.release()->managed;
}

Tensor from_dlpack(ManagedTensor* managed) {
  if (managed == nullptr) throw Error("DLPack: a null pointer is no tensor");
  const BorrowedTensor& from = managed->tensor;
  if (from.rank < 0 || (from.rank > 0 && from.shape == nullptr)) {
    throw Error(fmt::format("DLPack: rank {} without a shape", from.rank));
  }
  const DType dtype = dtype_of_element(from.type);
  const Device device = device_of(from.device);
  Shape shape(from.shape, from.shape + from.rank);
  const std::int64_t elements = element_count(shape);
  if (from.data == nullptr && elements > 0) throw Error("DLPack: null data");
  Shape strides(shape.size());
  if (from.strides != nullptr) {
    strides.assign(from.strides, from.strides + from.rank);
  } else if (elements > 0) {
    std::int64_t stride = 1;
    for (std::size_t i = shape.size(); i-- > 0;) {
      strides[i] = stride;
      stride *= shape[i];
    }
  }
  const auto address = reinterpret_cast<std::uintptr_t>(from.data) + from.byte_offset;
  if (elements > 0 && address % size_of(dtype) != 0) {
    throw Error(fmt::format("DLPack: data are not aligned for {}", to_string(dtype)));
  }
  void* const data =
      from.data == nullptr ? nullptr : static_cast<std::byte*>(from.data) + from.byte_offset;

  // Everything above may refuse; from here on the array is ours. The control block is made with a
  // deleter that does nothing until then: if its allocation fails, the caller still owns the array.
  struct Release {
    bool armed = false;
    void operator()(ManagedTensor* self) const {
      if (armed && self->deleter != nullptr) self->deleter(self);
    }
  };
  std::shared_ptr<ManagedTensor> owner(managed, Release{});
  Tensor tensor(dtype, std::move(shape), std::move(strides), data, owner, device);
  std::get_deleter<Release>(owner)->armed = true;
  return tensor;
}

}  // namespace researchkit
