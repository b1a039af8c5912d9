#include <algorithm>
#include <list>

#include "researchkit/core/io/file.hpp"
#include "researchkit/core/io/npy.hpp"
#include "src/core/io/npy_format.hpp"
#include "src/core/io/zip.hpp"

namespace researchkit {

std::map<std::string, Tensor> read_npz(const std::filesystem::path& path,
                                       std::span<const std::string_view> only) {
  const FileBytes file = read_file(path);
  return parse_npz(file.bytes, path.string(), only);
}

std::map<std::string, Tensor> parse_npz(std::span<const std::byte> bytes, std::string_view name,
                                        std::span<const std::string_view> only) {
  constexpr std::string_view kSuffix = ".npy";
  std::map<std::string, Tensor> tensors;
  for (const auto& member : io::zip_members(bytes, name)) {
    const std::string shown = io::printable(member.name);
    if (!member.name.ends_with(kSuffix) || member.name.size() == kSuffix.size()) {
      io::fail(name, "member '{}' is not a .npy file", shown);
    }
    std::string key = member.name.substr(0, member.name.size() - kSuffix.size());
    if (!only.empty() && std::find(only.begin(), only.end(), key) == only.end()) continue;
    if (tensors.contains(key)) io::fail(name, "member '{}' occurs twice", shown);
    // An unpacked buffer of its own has an owner, so that the tensor need not copy it again.
    const auto content = std::make_shared<std::vector<std::byte>>(io::zip_unpack(member, name));
    tensors.emplace(std::move(key),
                    io::tensor_from_npy(*content, fmt::format("{}: {}", name, shown), content));
  }
  return tensors;
}

void write_npz(const std::filesystem::path& path, const std::map<std::string, Tensor>& tensors,
               NpzCompression compression) {
  const std::string name = path.string();
  io::ZipWriter archive(name);
  struct Entry {
    std::string header;
    Tensor tensor;
  };
  std::list<Entry> entries;  // headers and copies stay where they are until they are written
  for (const auto& [key, tensor] : tensors) {
    const std::string shown = fmt::format("{}: {}", name, io::printable(key));
    if (key.empty()) io::fail(name, "an array has no name");
    Tensor rows = io::writable(tensor, shown);
    std::string header = io::npy_header(rows, shown);
    if (std::endian::native != std::endian::little) {
      rows = rows.clone();
      io::swap_bytes({static_cast<std::byte*>(rows.data()), rows.bytes()}, size_of(rows.dtype()));
    }
    const Entry& entry = entries.emplace_back(Entry{std::move(header), std::move(rows)});
    const std::array content = {std::as_bytes(std::span(entry.header)), io::bytes_of(entry.tensor)};
    archive.add(key + ".npy", content, compression == NpzCompression::deflated);
  }
  archive.finish();
  write_file(path, archive.pieces());
}

}  // namespace researchkit
