#include "src/tool/progress.hpp"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

namespace researchkit::tool {
namespace {

std::size_t terminal_columns() {
  winsize size{};
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 80;
  return size.ws_col;
}

}  // namespace

Progress::Progress()
    : is_terminal_(isatty(STDERR_FILENO) != 0), next_(Clock::now() + std::chrono::seconds(1)) {}

Progress::~Progress() { wipe(); }

bool Progress::due() {
  if (!is_terminal_ || Clock::now() < next_) return false;
  next_ = Clock::now() + std::chrono::milliseconds(100);
  return true;
}

void Progress::write(std::string text) {
  text.resize(std::min(text.size(), terminal_columns() - 1));
  fmt::print(stderr, "\r\x1b[K{}", text);
  std::fflush(stderr);
  visible_ = true;
}

void Progress::show(double fraction, std::string_view what) {
  if (!due()) return;
  constexpr std::size_t kCells = 24;
  fraction = std::clamp(fraction, 0.0, 1.0);
  const auto done = static_cast<std::size_t>(fraction * static_cast<double>(kCells));
  write(fmt::format("[{}{}] {:3.0f} %  {}", std::string(done, '#'), std::string(kCells - done, '.'),
                    100 * fraction, what));
}

void Progress::show(std::string_view what) {
  if (due()) write(std::string(what));
}

void Progress::wipe() {
  if (!visible_) return;
  fmt::print(stderr, "\r\x1b[K");
  std::fflush(stderr);
  visible_ = false;
}

}  // namespace researchkit::tool
