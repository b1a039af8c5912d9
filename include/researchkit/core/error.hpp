#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

namespace researchkit {

/// Everything this library refuses or fails at.
///
/// A refusal of an operator's argument carries its parts, and its message reads
/// `fusefps.farthest_point_sample: argument 'k': wanted [0, n] with n = 8, got 9`.
/// All other failures (files, devices, ...) carry only a message.
class Error : public std::runtime_error {
 public:
  /// A failure that no argument of an operator is to blame for.
  explicit Error(const std::string& message) : std::runtime_error(message) {}

  /// A refused argument: who refuses, which argument, what was wanted, what came instead.
  Error(std::string_view operator_name, std::string_view argument, std::string_view wanted,
        std::string_view got);

  /// Name of the refusing operator, empty if there is none.
  const std::string& operator_name() const noexcept { return operator_name_; }
  /// Name of the offending argument, empty if there is none in particular.
  const std::string& argument() const noexcept { return argument_; }
  const std::string& wanted() const noexcept { return wanted_; }
  const std::string& got() const noexcept { return got_; }

 private:
  std::string operator_name_, argument_, wanted_, got_;
};

/// Thrown out of a running operator when its Context was asked to stop.
class Cancelled : public Error {
 public:
  Cancelled() : Error("cancelled: a stop was requested through the context") {}
};

}  // namespace researchkit
