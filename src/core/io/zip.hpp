#pragma once

// Private: as much of the ZIP container as `.npz` needs.
// Source: PKWARE APPNOTE 6.3, sections 4.3-4.5.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "src/core/io/bytes.hpp"

namespace researchkit::io {

struct ZipMember {
  std::string name;
  bool deflated = false;
  std::uint32_t crc = 0;
  Bytes stored;                     // as it lies in the archive
  std::uint64_t unpacked_size = 0;  // as the directory claims; zip_unpack holds it against the data
};

/// The members of an archive in the order of its directory. Throws Error if anything in the
/// directory or the members' own headers does not fit the bytes that are there.
std::vector<ZipMember> zip_members(Bytes archive, std::string_view file);

/// The content of a member. Throws Error if it is not exactly as long and has not the CRC-32 that
/// the directory says.
std::vector<std::byte> zip_unpack(const ZipMember& member, std::string_view file);

/// Builds an archive piece by piece; `pieces()` are its bytes once `finish()` was called.
class ZipWriter {
 public:
  explicit ZipWriter(std::string_view file) : file_(file) {}
  /// `content` must live until the archive is written.
  void add(std::string_view name, std::span<const Bytes> content, bool deflate);
  void finish();
  std::vector<Bytes> pieces() const;

 private:
  void append_piece(std::vector<std::byte> bytes);
  void append_view(Bytes bytes);
  std::uint32_t offset() const;

  std::string_view file_;
  std::vector<std::vector<std::byte>> owned_;  // moving a vector leaves its bytes in place
  std::vector<Bytes> pieces_;
  std::vector<std::byte> directory_;
  std::uint64_t size_ = 0;
  std::size_t members_ = 0;
};

}  // namespace researchkit::io
