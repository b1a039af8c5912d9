#pragma once

#include <cstddef>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>

#include "researchkit/core/tensor.hpp"

namespace researchkit {

/// What a `.safetensors` file holds.
struct SafeTensors {
  std::map<std::string, Tensor> tensors;
  std::map<std::string, std::string> metadata;  // the header's "__metadata__"
};

/// Reads a `.safetensors` file.
///
///     const SafeTensors model = read_safetensors("model.safetensors");
///     const Tensor& weight = model.tensors.at("layer.0.weight");
///
/// Element types: F32, F64, F16, BF16, I32, I64, U8, BOOL. The tensors share the memory that the
/// file was read into where their data are aligned, so the whole stays in memory while one of them
/// lives. Throws Error, naming the file and what is wrong with it, for another type and for what
/// the format forbids: a header past the end or above 100 MB, keys that occur twice, data that
/// overlap, leave holes, or do not fit the shape.
/// Source: the format section of huggingface/safetensors.
SafeTensors read_safetensors(const std::filesystem::path& path);

/// The same from memory; `name` stands for the file in messages. The tensors own their memory.
SafeTensors parse_safetensors(std::span<const std::byte> bytes, std::string_view name);

/// Writes a `.safetensors` file, all or nothing (see write_file). Tensors lie in it by descending
/// element size, then by name; the data begin at a multiple of 64. Throws Error for a name that is
/// "__metadata__" or not UTF-8, and for tensors that are not on the host.
void write_safetensors(const std::filesystem::path& path,
                       const std::map<std::string, Tensor>& tensors,
                       const std::map<std::string, std::string>& metadata = {});

}  // namespace researchkit
