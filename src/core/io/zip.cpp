#include "src/core/io/zip.hpp"

#include <zlib.h>

#include <algorithm>
#include <limits>

namespace researchkit::io {
namespace {

constexpr std::uint32_t kLocalSignature = 0x04034b50;
constexpr std::uint32_t kDirectorySignature = 0x02014b50;
constexpr std::uint32_t kEndSignature = 0x06054b50;
constexpr std::uint32_t kEnd64Signature = 0x06064b50;
constexpr std::uint32_t kEnd64LocatorSignature = 0x07064b50;
constexpr std::size_t kLocalSize = 30, kDirectorySize = 46, kEndSize = 22;
constexpr std::size_t kEnd64Size = 56, kEnd64LocatorSize = 20;
constexpr std::uint32_t kInZip64 = 0xffffffff;  // "see the ZIP64 record"
constexpr std::uint64_t kMaxDeflateRatio =
    1032;  // 258 bytes from 2 bits, the densest code there is

constexpr std::uint16_t kStored = 0, kDeflated = 8;
constexpr std::uint16_t kEncrypted = 1 << 0, kStrongEncryption = 1 << 6, kUtf8Names = 1 << 11;
constexpr std::uint16_t kVersionNeeded = 20;    // deflate
constexpr std::uint16_t kDosDate = 1 << 5 | 1;  // 1 January 1980: equal tensors give equal archives

/// A part of the archive that is known to be in it.
Bytes part(Bytes archive, std::uint64_t offset, std::uint64_t size, std::string_view file,
           std::string_view what) {
  if (offset > archive.size() || size > archive.size() - offset) {
    fail(file, "truncated .npz: {} at byte {} reaches past the end", what, offset);
  }
  return archive.subspan(static_cast<std::size_t>(offset), static_cast<std::size_t>(size));
}

struct Directory {
  std::uint64_t members = 0, offset = 0, size = 0;
};

Directory find_directory(Bytes archive, std::string_view file) {
  // The end record is followed by a comment of at most 65,535 bytes, whose length it states.
  if (archive.size() < kEndSize) fail(file, "not a .npz file (no ZIP directory)");
  std::size_t at = archive.size() - kEndSize;
  const std::size_t lowest = at - std::min<std::size_t>(at, 0xffff);
  while (load<std::uint32_t>(&archive[at]) != kEndSignature ||
         load<std::uint16_t>(&archive[at + 20]) != archive.size() - at - kEndSize) {
    if (at == lowest) fail(file, "not a .npz file (no ZIP directory), or truncated");
    --at;
  }
  const std::byte* end = &archive[at];
  if (load<std::uint16_t>(end + 4) != 0 || load<std::uint16_t>(end + 6) != 0) {
    fail(file, ".npz archive in several parts is not supported");
  }
  Directory directory{load<std::uint16_t>(end + 10), load<std::uint32_t>(end + 16),
                      load<std::uint32_t>(end + 12)};
  if (directory.members != 0xffff && directory.offset != kInZip64 && directory.size != kInZip64) {
    return directory;
  }
  if (at < kEnd64LocatorSize) return directory;
  const std::byte* locator = &archive[at - kEnd64LocatorSize];
  if (load<std::uint32_t>(locator) != kEnd64LocatorSignature) return directory;
  const Bytes end64 =
      part(archive, load<std::uint64_t>(locator + 8), kEnd64Size, file, "the ZIP64 directory end");
  if (load<std::uint32_t>(end64.data()) != kEnd64Signature) {
    fail(file, "corrupted .npz: no ZIP64 directory end where one should be");
  }
  return {load<std::uint64_t>(&end64[32]), load<std::uint64_t>(&end64[48]),
          load<std::uint64_t>(&end64[40])};
}

/// Replaces the numbers that say "see the ZIP64 record" by those of the extra field with tag 1.
void apply_zip64(Bytes extra, std::uint64_t& unpacked, std::uint64_t& packed, std::uint64_t& offset,
                 std::string_view file) {
  if (unpacked != kInZip64 && packed != kInZip64 && offset != kInZip64) return;
  while (extra.size() >= 4) {
    const auto tag = load<std::uint16_t>(extra.data());
    const std::size_t size = load<std::uint16_t>(&extra[2]);
    if (size > extra.size() - 4) break;
    Bytes field = extra.subspan(4, size);
    extra = extra.subspan(4 + size);
    if (tag != 1) continue;
    for (std::uint64_t* number : {&unpacked, &packed, &offset}) {
      if (*number != kInZip64) continue;
      if (field.size() < 8) fail(file, "corrupted .npz: short ZIP64 record");
      *number = load<std::uint64_t>(field.data());
      field = field.subspan(8);
    }
    return;
  }
}

/// Where a member's bytes lie, [begin, end), its own header included.
struct Extent {
  std::uint64_t begin, end;
};

/// Fills in `member.stored` from the header in front of the data.
Extent locate(Bytes archive, std::uint64_t offset, std::uint64_t packed_size, ZipMember& member,
              std::string_view file) {
  const Bytes local = part(archive, offset, kLocalSize, file, "a member's header");
  if (load<std::uint32_t>(local.data()) != kLocalSignature) {
    fail(file, "corrupted .npz: no header of member '{}' where it should be",
         printable(member.name));
  }
  const std::size_t name_size = load<std::uint16_t>(&local[26]);
  const std::size_t extra_size = load<std::uint16_t>(&local[28]);
  const Bytes name = part(archive, offset + kLocalSize, name_size, file, "a member's name");
  if (as_text(name) != member.name) {
    fail(file, "corrupted .npz: directory and header disagree about the name '{}'",
         printable(member.name));
  }
  const std::uint64_t begin = offset + kLocalSize + name_size + extra_size;
  member.stored = part(archive, begin, packed_size, file, "a member");
  return {offset, begin + packed_size};
}

}  // namespace

std::vector<ZipMember> zip_members(Bytes archive, std::string_view file) {
  const Directory directory = find_directory(archive, file);
  Bytes rest = part(archive, directory.offset, directory.size, file, "the ZIP directory");
  if (directory.members > rest.size() / kDirectorySize) {
    fail(file, "corrupted .npz: {} members in a directory of {} bytes", directory.members,
         rest.size());
  }
  std::vector<ZipMember> members(static_cast<std::size_t>(directory.members));
  std::vector<Extent> extents;
  for (auto& member : members) {
    if (rest.size() < kDirectorySize || load<std::uint32_t>(rest.data()) != kDirectorySignature) {
      fail(file, "corrupted .npz: bad entry in the ZIP directory");
    }
    const std::byte* entry = rest.data();
    const auto flags = load<std::uint16_t>(entry + 8);
    const auto method = load<std::uint16_t>(entry + 10);
    std::uint64_t packed = load<std::uint32_t>(entry + 20);
    std::uint64_t unpacked = load<std::uint32_t>(entry + 24);
    const std::size_t name_size = load<std::uint16_t>(entry + 28);
    const std::size_t extra_size = load<std::uint16_t>(entry + 30);
    const std::size_t comment_size = load<std::uint16_t>(entry + 32);
    std::uint64_t offset = load<std::uint32_t>(entry + 42);
    const std::size_t entry_size = kDirectorySize + name_size + extra_size + comment_size;
    if (entry_size > rest.size()) fail(file, "corrupted .npz: bad entry in the ZIP directory");
    member.name = as_text(rest.subspan(kDirectorySize, name_size));
    member.crc = load<std::uint32_t>(entry + 16);
    apply_zip64(rest.subspan(kDirectorySize + name_size, extra_size), unpacked, packed, offset,
                file);
    rest = rest.subspan(entry_size);

    const std::string shown = printable(member.name);
    if ((flags & (kEncrypted | kStrongEncryption)) != 0)
      fail(file, "member '{}' is encrypted", shown);
    if (method != kStored && method != kDeflated) {
      fail(file, "member '{}' has compression method {}; stored and deflated are supported", shown,
           method);
    }
    member.deflated = method == kDeflated;
    member.unpacked_size = unpacked;
    if (!member.deflated && packed != unpacked) {
      fail(file, "corrupted .npz: sizes of the stored member '{}' disagree", shown);
    }
    if (member.deflated && unpacked / kMaxDeflateRatio > packed) {
      fail(file, "corrupted .npz: member '{}' cannot unpack to {} bytes", shown, unpacked);
    }
    extents.push_back(locate(archive, offset, packed, member, file));
  }
  std::sort(extents.begin(), extents.end(),
            [](const Extent& a, const Extent& b) { return a.begin < b.begin; });
  for (std::size_t i = 1; i < extents.size(); ++i) {
    if (extents[i].begin < extents[i - 1].end) fail(file, "corrupted .npz: members overlap");
  }
  return members;
}

std::vector<std::byte> zip_unpack(const ZipMember& member, std::string_view file) {
  std::vector<std::byte> content;
  if (!member.deflated) {
    content.assign(member.stored.begin(), member.stored.end());
  } else {
    content.resize(static_cast<std::size_t>(member.unpacked_size));
    z_stream stream{};
    if (inflateInit2(&stream, -MAX_WBITS) != Z_OK) fail(file, "cannot start to unpack");
    // zlib counts in 32 bits: both sides are handed over in pieces.
    constexpr std::size_t kPiece = std::size_t{1} << 30;
    std::size_t taken = 0, given = 0;
    int status = Z_OK;
    std::byte nothing{};
    while (status == Z_OK) {
      const auto input = static_cast<uInt>(std::min(kPiece, member.stored.size() - taken));
      const auto output = static_cast<uInt>(std::min(kPiece, content.size() - given));
      stream.next_in =
          reinterpret_cast<Bytef*>(const_cast<std::byte*>(member.stored.data() + taken));
      stream.avail_in = input;
      stream.next_out = reinterpret_cast<Bytef*>(output == 0 ? &nothing : content.data() + given);
      stream.avail_out = output;
      status = inflate(&stream, Z_NO_FLUSH);
      taken += input - stream.avail_in;
      given += output - stream.avail_out;
    }
    inflateEnd(&stream);
    if (status != Z_STREAM_END || taken != member.stored.size() || given != content.size()) {
      fail(file, "corrupted .npz: member '{}' does not unpack to {} bytes", printable(member.name),
           member.unpacked_size);
    }
  }
  const auto crc = crc32_z(0, reinterpret_cast<const Bytef*>(content.data()), content.size());
  if (crc != member.crc) {
    fail(file, "corrupted .npz: CRC-32 of member '{}' is wrong", printable(member.name));
  }
  return content;
}

void ZipWriter::append_piece(std::vector<std::byte> bytes) {
  owned_.push_back(std::move(bytes));
  append_view(owned_.back());
}

void ZipWriter::append_view(Bytes bytes) {
  pieces_.push_back(bytes);
  size_ += bytes.size();
}

std::uint32_t ZipWriter::offset() const {
  if (size_ >= kInZip64) fail(file_, ".npz archives of 4 GiB or more are not written");
  return static_cast<std::uint32_t>(size_);
}

void ZipWriter::add(std::string_view name, std::span<const Bytes> content, bool deflate) {
  const auto shown = printable(name);
  if (name.empty() || name.size() > 60000) fail(file_, "'{}' cannot name an array", shown);
  if (members_ == 0xfffe) fail(file_, "more than {} arrays", members_);
  uLong crc = crc32_z(0, nullptr, 0);
  std::uint64_t unpacked = 0;
  for (const Bytes bytes : content) {
    crc = crc32_z(crc, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size());
    unpacked += bytes.size();
  }
  if (unpacked >= kInZip64) fail(file_, "array '{}' has 4 GiB or more", shown);

  std::vector<std::byte> packed;
  if (deflate) {
    z_stream stream{};
    if (deflateInit2(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, -MAX_WBITS, 8,
                     Z_DEFAULT_STRATEGY) != Z_OK) {
      fail(file_, "cannot start to compress");
    }
    packed.resize(deflateBound(&stream, static_cast<uLong>(unpacked)));
    stream.next_out = reinterpret_cast<Bytef*>(packed.data());
    stream.avail_out = static_cast<uInt>(std::min<std::size_t>(packed.size(), kInZip64));
    for (std::size_t i = 0; i < content.size(); ++i) {
      stream.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(content[i].data()));
      stream.avail_in = static_cast<uInt>(content[i].size());
      ::deflate(&stream, i + 1 == content.size() ? Z_FINISH : Z_NO_FLUSH);
    }
    packed.resize(stream.total_out);
    if (deflateEnd(&stream) != Z_OK) fail(file_, "cannot compress array '{}'", shown);
  }
  const auto packed_size = static_cast<std::uint32_t>(deflate ? packed.size() : unpacked);
  const std::uint32_t begin = offset();

  // Both headers share the fields from "version needed" to "length of the extra field".
  std::vector<std::byte> common;
  for (const std::uint16_t field :
       {kVersionNeeded, kUtf8Names, deflate ? kDeflated : kStored, std::uint16_t{0}, kDosDate}) {
    append(common, field);
  }
  append(common, static_cast<std::uint32_t>(crc));
  append(common, packed_size);
  append(common, static_cast<std::uint32_t>(unpacked));
  append(common, static_cast<std::uint16_t>(name.size()));
  append(common, std::uint16_t{0});
  const Bytes name_bytes = std::as_bytes(std::span(name));

  std::vector<std::byte> local;
  append(local, kLocalSignature);
  local.insert(local.end(), common.begin(), common.end());
  local.insert(local.end(), name_bytes.begin(), name_bytes.end());
  append_piece(std::move(local));
  if (deflate) {
    append_piece(std::move(packed));
  } else {
    for (const Bytes bytes : content) append_view(bytes);
  }
  append(directory_, kDirectorySignature);
  append(directory_, kVersionNeeded);
  directory_.insert(directory_.end(), common.begin(), common.end());
  // Comment length, disk, internal attributes; external attributes; offset.
  for (int i = 0; i < 3; ++i) append(directory_, std::uint16_t{0});
  append(directory_, std::uint32_t{0});
  append(directory_, begin);
  directory_.insert(directory_.end(), name_bytes.begin(), name_bytes.end());
  ++members_;
}

void ZipWriter::finish() {
  const std::uint32_t begin = offset();
  std::vector<std::byte> end = std::move(directory_);
  const auto directory_size = static_cast<std::uint32_t>(end.size());
  append(end, kEndSignature);
  append(end, std::uint32_t{0});  // this disk and that of the directory
  append(end, static_cast<std::uint16_t>(members_));
  append(end, static_cast<std::uint16_t>(members_));
  append(end, directory_size);
  append(end, begin);
  append(end, std::uint16_t{0});  // no comment
  append_piece(std::move(end));
}

std::vector<Bytes> ZipWriter::pieces() const { return pieces_; }

}  // namespace researchkit::io
