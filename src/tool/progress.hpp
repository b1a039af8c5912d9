#pragma once

#include <chrono>
#include <string>
#include <string_view>

namespace researchkit::tool {

/// A line on standard error that tells how far something has come.
///
/// Shown only if standard error is a terminal, only after the first second, and at most ten times
/// a second; it is wiped when the object goes away.
class Progress {
 public:
  Progress();
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// A bar: `fraction` of it is done, in [0, 1].
  void show(double fraction, std::string_view what);
  /// Text alone, where nobody knows the end.
  void show(std::string_view what);
  /// Takes the line away until the next show(), so that others can print.
  void wipe();

 private:
  using Clock = std::chrono::steady_clock;
  bool due();
  void write(std::string text);

  bool is_terminal_;
  bool visible_ = false;
  Clock::time_point next_;
};

}  // namespace researchkit::tool
