#pragma once

#include <cstddef>
#include <filesystem>
#include <initializer_list>
#include <memory>
#include <span>
#include <string_view>

namespace researchkit {

/// The bytes of a file in memory, 64-byte aligned. Copies share them; `owner` keeps them alive.
struct FileBytes {
  std::shared_ptr<void> owner;
  std::span<std::byte> bytes;
};

/// Reads a whole file. Pipes and devices are read to their end.
/// Throws Error if the path cannot be opened, is a folder, or reading fails.
FileBytes read_file(const std::filesystem::path& path);

/// Writes `pieces` one after the other to `path`, all or nothing.
///
/// They go to a temporary file beside the target, which then takes the target's name: whoever opens
/// `path` sees the old content or the whole of the new. A symbolic link stays one, its target is
/// replaced. Devices and pipes are written directly. Throws Error, and then leaves no file behind.
void write_file(const std::filesystem::path& path,
                std::span<const std::span<const std::byte>> pieces);
void write_file(const std::filesystem::path& path, std::string_view text);

}  // namespace researchkit
