#pragma once

#include <cstdint>

#include "researchkit/core/tensor.hpp"

namespace researchkit {

/// The binary interface of DLPack 0.x, laid out as its specification says, so that a pointer to
/// dlpack::ManagedTensor is a pointer to the `DLManagedTensor` of any other library:
///
///     auto* theirs = reinterpret_cast<DLManagedTensor*>(to_dlpack(tensor));
namespace dlpack {

enum DeviceType : std::int32_t { kCpu = 1, kCuda = 2, kCudaHost = 3, kCudaManaged = 13 };
enum TypeCode : std::uint8_t { kInt = 0, kUInt = 1, kFloat = 2, kBfloat = 4, kBool = 6 };

struct DeviceId {
  std::int32_t type;  // a DeviceType
  std::int32_t index;
};

struct ElementType {
  std::uint8_t code;  // a TypeCode
  std::uint8_t bits;
  std::uint16_t lanes;
};

/// A borrowed array: element 0 is at `data + byte_offset`. Null `strides` mean row-major.
struct BorrowedTensor {
  void* data;
  DeviceId device;
  std::int32_t rank;
  ElementType type;
  std::int64_t* shape;
  std::int64_t* strides;
  std::uint64_t byte_offset;
};

/// A BorrowedTensor with what keeps it alive. Who holds it calls `deleter(this)` once; a null
/// deleter means that nothing needs to be done.
struct ManagedTensor {
  BorrowedTensor tensor;
  void* context;
  void (*deleter)(ManagedTensor* self);
};

}  // namespace dlpack

/// Hands out `tensor` without copying. Its memory lives until the result's deleter was called, even
/// if `tensor` itself is gone. Throws Error for "no tensor".
dlpack::ManagedTensor* to_dlpack(const Tensor& tensor);

/// Takes over an array from another library without copying: the deleter is called when the last
/// Tensor that shares the memory is gone. Host and CUDA memory; the element types of DType.
/// Throws Error for anything else, and then `managed` still belongs to the caller.
Tensor from_dlpack(dlpack::ManagedTensor* managed);

}  // namespace researchkit
