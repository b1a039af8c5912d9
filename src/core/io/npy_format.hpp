#pragma once

// Private: the parts of `.npy` that `.npz` needs as well.

#include <memory>
#include <string>
#include <string_view>

#include "src/core/io/bytes.hpp"

namespace researchkit::io {

/// Parses a whole `.npy`; shares the memory of `owner` where it can (see tensor_over).
Tensor tensor_from_npy(Bytes bytes, std::string_view name, const std::shared_ptr<void>& owner);

/// Magic, version and padded header of format 1.0. Throws Error for bfloat16 and where the shape
/// is too long to be described.
std::string npy_header(const Tensor& tensor, std::string_view name);

}  // namespace researchkit::io
