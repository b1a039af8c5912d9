#include "researchkit/fusefps/point_cloud_io.hpp"

#include <algorithm>
#include <array>
#include <iterator>

#include "researchkit/core/io/file.hpp"
#include "researchkit/core/io/npy.hpp"
#include "src/core/io/npy_format.hpp"
#include "src/fusefps/point_formats.hpp"

namespace researchkit::fusefps {
namespace {

constexpr std::string_view kKnown = "known are .npy .bin .ply .pcd .xyz .txt .csv";

/// The extension in lower case, with its dot.
std::string extension_of(const std::filesystem::path& path) {
  std::string extension = path.extension().string();
  for (char& c : extension) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return extension;
}

Tensor check_points(Tensor points, std::string_view file) {
  if (points.rank() != 2 || (points.dtype() != DType::f32 && points.dtype() != DType::f64)) {
    io::fail(file, "wanted points as float32 or float64 [n, c], got {} {}",
             to_string(points.dtype()), to_string(points.shape()));
  }
  return points;
}

Tensor parse_bin(io::Bytes bytes, std::string_view file) {
  constexpr std::size_t kRow = 4 * sizeof(float);
  if (bytes.size() % kRow != 0) {
    io::fail(file, "truncated: {} bytes are not a whole number of rows of {}", bytes.size(), kRow);
  }
  Tensor points(DType::f32, {static_cast<std::int64_t>(bytes.size() / kRow), 4});
  auto values = points.values<float>();
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = io::load<float>(bytes.data() + sizeof(float) * i);
  }
  return points;
}

Tensor parse(io::Bytes bytes, PointFormat format, std::string_view file,
             const std::shared_ptr<void>& owner) {
  switch (format) {
    case PointFormat::npy:
      return check_points(io::tensor_from_npy(bytes, file, owner), file);
    case PointFormat::bin:
      return parse_bin(bytes, file);
    case PointFormat::ply:
      return parse_ply(bytes, file);
    case PointFormat::pcd:
      return parse_pcd(bytes, file);
    case PointFormat::text:
      return parse_text_points(bytes, file);
  }
  io::fail(file, "unknown format");
}

std::string column_name(std::int64_t column) {
  constexpr std::array kNames = {"x", "y", "z"};
  return column < 3 ? kNames[static_cast<std::size_t>(column)] : fmt::format("c{}", column);
}

std::string ply_header(const Tensor& points) {
  std::string header =
      fmt::format("ply\nformat binary_little_endian 1.0\nelement vertex {}\n", points.extent(0));
  const std::string_view type = points.dtype() == DType::f32 ? "float" : "double";
  for (std::int64_t column = 0; column < points.extent(1); ++column) {
    header += fmt::format("property {} {}\n", type, column_name(column));
  }
  return header + "end_header\n";
}

/// The rows as text in the shortest form that reads back as the same numbers.
template <class Real>
void append_rows(std::string& text, const Tensor& points, char separator) {
  const auto values = points.values<Real>();
  const auto columns = static_cast<std::size_t>(points.extent(1));
  for (std::size_t i = 0; i < values.size(); ++i) {
    std::array<char, 32> digits;
    const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), values[i]).ptr;
    text.append(digits.data(), end);
    text += (i + 1) % columns == 0 ? '\n' : separator;
  }
}

std::string text_of(const Tensor& points, bool csv) {
  std::string text;
  if (csv) {
    for (std::int64_t column = 0; column < points.extent(1); ++column) {
      if (column > 0) text += ',';
      text += column_name(column);
    }
    text += '\n';
  }
  const char separator = csv ? ',' : ' ';
  points.dtype() == DType::f32 ? append_rows<float>(text, points, separator)
                               : append_rows<double>(text, points, separator);
  return text;
}

/// The elements as little-endian bytes.
Tensor little_endian(const Tensor& points) {
  if (std::endian::native == std::endian::little) return points;
  Tensor swapped = points.clone();
  io::swap_bytes({static_cast<std::byte*>(swapped.data()), swapped.bytes()},
                 size_of(swapped.dtype()));
  return swapped;
}

}  // namespace

PointFormat point_format_of(const std::filesystem::path& path) {
  const std::string extension = extension_of(path);
  if (extension == ".npy") return PointFormat::npy;
  if (extension == ".bin") return PointFormat::bin;
  if (extension == ".ply") return PointFormat::ply;
  if (extension == ".pcd") return PointFormat::pcd;
  if (extension == ".xyz" || extension == ".txt" || extension == ".csv") return PointFormat::text;
  throw Error(fmt::format("{}: no point format has the extension '{}'; {}", path.string(),
                          io::printable(extension), kKnown));
}

Tensor read_points(const std::filesystem::path& path) {
  const PointFormat format = point_format_of(path);
  const FileBytes file = read_file(path);
  return parse(file.bytes, format, path.string(), file.owner);
}

Tensor parse_points(std::span<const std::byte> bytes, PointFormat format, std::string_view name) {
  return parse(bytes, format, name, nullptr);
}

void write_points(const std::filesystem::path& path, const Tensor& points) {
  const std::string file = path.string();
  const PointFormat format = point_format_of(path);
  const Tensor rows = check_points(io::writable(points, file), file);
  switch (format) {
    case PointFormat::npy:
      return write_npy(path, rows);
    case PointFormat::text:
      return write_file(path, text_of(rows, extension_of(path) == ".csv"));
    case PointFormat::ply: {
      if (rows.extent(1) < 3) io::fail(file, "a .ply needs 3 columns, got {}", rows.extent(1));
      const std::string header = ply_header(rows);
      const Tensor data = little_endian(rows);
      return write_file(path, std::array{std::as_bytes(std::span(header)), io::bytes_of(data)});
    }
    case PointFormat::bin: {
      if (rows.extent(1) != 4 || rows.dtype() != DType::f32) {
        io::fail(file, "a .bin holds float32 rows of x, y, z, reflectance, got {} {}",
                 to_string(rows.dtype()), to_string(rows.shape()));
      }
      const Tensor data = little_endian(rows);
      return write_file(path, std::array{io::bytes_of(data)});
    }
    case PointFormat::pcd:
      io::fail(file, ".pcd files are read but not written");
  }
}

}  // namespace researchkit::fusefps
