#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "researchkit/core/registry.hpp"

namespace researchkit::tool {

/// An input as the command line names it.
struct InputFile {
  std::string name;  // empty: all tensors of an archive, by their own names
  std::string path;
};

/// "points=a.npy" or "weights.safetensors". Throws Error if it is neither.
InputFile parse_input(const std::string& text);

/// Reads one tensor; the extension says how: .npy, or the point formats of read_points.
Tensor read_tensor(const std::filesystem::path& path);

/// Reads inputs for a call of an operator with `schema`.
///
/// A file that holds one axis less than an input whose first axis is the batch `b` is a batch of
/// one: an input [b, n, d] takes a file [n, d] as [1, n, d].
TensorMap read_inputs(const Schema& schema, const std::vector<InputFile>& files);

/// Writes each output as <folder>/<name>.npy, all or nothing: the files take their names when all
/// are written. Creates `folder` if it is not there. Throws Error and then leaves nothing behind.
void write_outputs(const std::filesystem::path& folder, const TensorMap& outputs);

}  // namespace researchkit::tool
