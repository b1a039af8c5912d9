#pragma once

#include <cstddef>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>

#include "researchkit/core/tensor.hpp"

namespace researchkit {

/// Reads a NumPy `.npy` file (format 1.0, 2.0, 3.0; C or Fortran order; either byte order).
///
///     Tensor points = read_npy("scan.npy");
///
/// The result is a row-major host tensor. Element types: float16, float32, float64, int32, int64,
/// uint8, bool. Throws Error, naming the file and what is wrong with it, for any other type and for
/// a file that is not exactly a header and its data. Nothing is allocated that the file's size does
/// not back. Source: NumPy enhancement proposal 1 and `numpy.lib.format`.
Tensor read_npy(const std::filesystem::path& path);

/// The same from memory; `name` stands for the file in messages. The result owns its memory.
Tensor parse_npy(std::span<const std::byte> bytes, std::string_view name);

/// Writes a `.npy` file, format 1.0, C order, little-endian, all or nothing (see write_file).
/// Throws Error for bfloat16, which NumPy has no name for, and for tensors not on the host.
void write_npy(const std::filesystem::path& path, const Tensor& tensor);

/// Reads all arrays of a NumPy `.npz` archive, keyed by their names without ".npy".
///
/// Members may be stored or deflated; ZIP64 is understood. Throws Error for encrypted, duplicate,
/// overlapping, truncated or corrupted (CRC-32) members, for other compression methods and for
/// members that are not `.npy`. If `only` names arrays, others are not looked into, so they may be
/// of types that are not read (SciPy's archives hold a text).
std::map<std::string, Tensor> read_npz(const std::filesystem::path& path,
                                       std::span<const std::string_view> only = {});
std::map<std::string, Tensor> parse_npz(std::span<const std::byte> bytes, std::string_view name,
                                        std::span<const std::string_view> only = {});

enum class NpzCompression { stored, deflated };

/// Writes a `.npz` archive, all or nothing. Throws Error as write_npy does, for an empty name or
/// one of more than 60,000 bytes, and where a member or the archive would reach 4 GiB.
void write_npz(const std::filesystem::path& path, const std::map<std::string, Tensor>& tensors,
               NpzCompression compression = NpzCompression::stored);

}  // namespace researchkit
