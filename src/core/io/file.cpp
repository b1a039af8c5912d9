#include "researchkit/core/io/file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>

#include "researchkit/core/error.hpp"

namespace researchkit {
namespace {

constexpr std::size_t kAlignment = 64;
constexpr std::size_t kFirstBuffer = std::size_t{1} << 16;  // for files that do not tell their size
constexpr std::size_t kMostPerCall = std::size_t{1} << 30;  // read and write stop short of 2 GiB

[[noreturn]] void fail(const std::filesystem::path& path, std::string_view what) {
  throw Error(fmt::format("{}: {}: {}", path.string(), what, std::strerror(errno)));
}

/// An open file descriptor; closed once.
class Descriptor {
 public:
  explicit Descriptor(int number) : number_(number) {}
  ~Descriptor() {
    if (number_ >= 0) ::close(number_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int number() const { return number_; }
  /// False if the file system reports a late write error.
  bool close() { return ::close(std::exchange(number_, -1)) == 0; }

 private:
  int number_;
};

std::shared_ptr<void> allocate(const std::filesystem::path& path, std::size_t bytes) {
  const std::size_t rounded = (bytes / kAlignment + 1) * kAlignment;
  void* memory = std::aligned_alloc(kAlignment, rounded);
  if (memory == nullptr) {
    throw Error(fmt::format("{}: not enough memory for {} bytes", path.string(), bytes));
  }
  return {memory, [](void* p) { std::free(p); }};
}

void write_all(const Descriptor& file, const std::filesystem::path& path,
               std::span<const std::span<const std::byte>> pieces) {
  for (auto piece : pieces) {
    while (!piece.empty()) {
      const auto written =
          ::write(file.number(), piece.data(), std::min(piece.size(), kMostPerCall));
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) fail(path, "cannot write");
      piece = piece.subspan(static_cast<std::size_t>(written));
    }
  }
}

/// Creates a file beside `target` that nobody else has.
std::pair<int, std::filesystem::path> create_beside(const std::filesystem::path& target) {
  static std::atomic<unsigned> counter{0};
  for (int attempt = 0; attempt < 100; ++attempt) {
    std::filesystem::path path = target;
    path += fmt::format(".{}-{}.part", ::getpid(), counter++);
    const int number = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (number >= 0) return {number, path};
    if (errno != EEXIST) break;
  }
  fail(target, "cannot create");
}

}  // namespace

FileBytes read_file(const std::filesystem::path& path) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.number() < 0) fail(path, "cannot open");
  struct stat status {};
  if (::fstat(file.number(), &status) != 0) fail(path, "cannot read");
  if (S_ISDIR(status.st_mode)) throw Error(path.string() + ": is a folder, not a file");

  // One byte more than expected, so that the end is seen without growing.
  std::size_t capacity =
      S_ISREG(status.st_mode) ? static_cast<std::size_t>(status.st_size) + 1 : kFirstBuffer;
  std::shared_ptr<void> owner = allocate(path, capacity);
  std::size_t size = 0;
  while (true) {
    if (size == capacity) {
      std::shared_ptr<void> larger = allocate(path, 2 * capacity);
      std::memcpy(larger.get(), owner.get(), size);
      owner = std::move(larger);
      capacity *= 2;
    }
    const auto got = ::read(file.number(), static_cast<std::byte*>(owner.get()) + size,
                            std::min(capacity - size, kMostPerCall));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail(path, "cannot read");
    if (got == 0) break;
    size += static_cast<std::size_t>(got);
  }
  auto* const begin = static_cast<std::byte*>(owner.get());
  return {std::move(owner), {begin, size}};
}

void write_file(const std::filesystem::path& path,
                std::span<const std::span<const std::byte>> pieces) {
  std::error_code ignored;
  const auto status = std::filesystem::status(path, ignored);
  if (std::filesystem::exists(status) && !std::filesystem::is_regular_file(status)) {
    // Renaming over /dev/stdout or a pipe would replace it by a plain file.
    Descriptor file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
    if (file.number() < 0) fail(path, "cannot open for writing");
    write_all(file, path, pieces);
    if (!file.close()) fail(path, "cannot write");
    return;
  }
  std::filesystem::path target = path;
  if (std::filesystem::is_symlink(std::filesystem::symlink_status(path, ignored))) {
    target = std::filesystem::weakly_canonical(path, ignored);
    if (ignored) target = path;
  }
  const auto [number, part] = create_beside(target);
  Descriptor file(number);
  try {
    write_all(file, path, pieces);
    if (!file.close()) fail(path, "cannot write");
    if (::rename(part.c_str(), target.c_str()) != 0) fail(path, "cannot replace");
  } catch (...) {
    ::unlink(part.c_str());
    throw;
  }
}

void write_file(const std::filesystem::path& path, std::string_view text) {
  const std::array pieces = {std::as_bytes(std::span(text))};
  write_file(path, pieces);
}

}  // namespace researchkit
