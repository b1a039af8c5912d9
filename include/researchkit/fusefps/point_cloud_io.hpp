#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string_view>

#include "researchkit/core/tensor.hpp"

namespace researchkit::fusefps {

/// How a file holds points.
enum class PointFormat {
  npy,   // .npy  a float32 or float64 array [n, c]
  bin,   // .bin  KITTI: rows of four little-endian float32 x, y, z, reflectance
  ply,   // .ply  Stanford polygon format, ascii or binary of either byte order
  pcd,   // .pcd  Point Cloud Library format, ascii, binary or binary_compressed
  text,  // .xyz .txt .csv  a point per line
};

/// The format that a path's extension (in either case) says. Throws Error for another extension.
PointFormat point_format_of(const std::filesystem::path& path);

/// Reads the points of a file as a tensor [n, c]; the extension says how.
///
///     const Tensor points = read_points("scan.ply");
///
/// float32, but for a float64 `.npy`, which stays so. Columns:
/// - ply, pcd: x, y, z, then the other scalar properties of `vertex`, or the other fields, in the
///   file's order. Lists and fields called "_" are skipped, and so are the elements after `vertex`.
/// - text: as in the file. Separators are blanks, tabs, commas and semicolons; lines that begin
///   with `#` or `//` are skipped, and so is a first line of column names. All rows are equally long.
/// Numbers are read the same way in every locale. Non-finite numbers pass; operators refuse them.
/// Throws Error, naming the file and what is wrong with it, for anything that does not fit.
/// Nothing is allocated that the file's size does not back.
Tensor read_points(const std::filesystem::path& path);

/// The same from memory; `name` stands for the file in messages.
Tensor parse_points(std::span<const std::byte> bytes, PointFormat format, std::string_view name);

/// Writes points [n, c], float32 or float64, all or nothing (see write_file): `.npy`, `.ply`
/// (binary, c >= 3), `.csv` (with column names), `.xyz` and `.txt` (blanks), `.bin` (float32 and c = 4).
/// Text has as many digits as give the same number back.
/// Throws Error for another extension, another tensor, and where the file cannot be written.
void write_points(const std::filesystem::path& path, const Tensor& points);

}  // namespace researchkit::fusefps
