#include "src/core/io/bytes.hpp"

namespace researchkit::io {

Tensor tensor_over(Bytes bytes, DType dtype, Shape shape, const std::shared_ptr<void>& owner) {
  const auto address = reinterpret_cast<std::uintptr_t>(bytes.data());
  Tensor tensor;
  if (owner != nullptr && address % size_of(dtype) == 0) {
    Shape strides(shape.size());
    std::int64_t stride = 1;
    for (std::size_t i = shape.size(); i-- > 0;) {
      strides[i] = stride;
      stride *= std::max<std::int64_t>(shape[i], 1);
    }
    // The owner's memory is ours to change: it was filled from a file for this tensor alone.
    tensor = Tensor(dtype, std::move(shape), std::move(strides),
                    const_cast<std::byte*>(bytes.data()), owner);
  } else {
    tensor = Tensor(dtype, std::move(shape));
    if (!bytes.empty()) std::memcpy(tensor.data(), bytes.data(), bytes.size());
  }
  if (dtype == DType::boolean) {
    auto* values = static_cast<unsigned char*>(tensor.data());
    for (std::int64_t i = 0; i < tensor.size(); ++i) values[i] = values[i] != 0;
  }
  return tensor;
}

Tensor writable(const Tensor& tensor, std::string_view file) {
  if (!tensor.defined()) fail(file, "there is no tensor to write");
  if (!tensor.device().is_host()) {
    fail(file, "cannot write a tensor on {}; copy it to the host first",
         to_string(tensor.device()));
  }
  return tensor.contiguous();
}

}  // namespace researchkit::io
