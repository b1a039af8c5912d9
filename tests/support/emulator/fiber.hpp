#pragma once

#include <cstddef>
#include <memory>

namespace researchkit::emulator {

/// A function that can be left in its middle and entered again there, on a stack of its own
/// (Boost.Context, told to the sanitizers).
class Fiber {
 public:
  using Body = void (*)(void* argument);

  Fiber();
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  /// Makes the next resume() call body(argument). What a body that was not finished had on its
  /// stack is forgotten, without destructors.
  void start(Body body, void* argument);
  /// Runs the body until it suspends or returns; true once it has returned.
  bool resume();
  /// Leaves the body; called from inside of it.
  void suspend();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace researchkit::emulator
