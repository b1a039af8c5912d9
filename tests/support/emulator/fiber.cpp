#include "tests/support/emulator/fiber.hpp"

#include <sys/mman.h>

#include <boost/context/detail/fcontext.hpp>
#include <new>

#if defined(__SANITIZE_ADDRESS__)
#define RESEARCHKIT_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define RESEARCHKIT_ASAN 1
#endif
#if __has_feature(thread_sanitizer)
#define RESEARCHKIT_TSAN 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define RESEARCHKIT_TSAN 1
#endif
#ifdef RESEARCHKIT_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef RESEARCHKIT_TSAN
#include <sanitizer/tsan_interface.h>
#endif

namespace researchkit::emulator {

namespace context = boost::context::detail;

struct Fiber::State {
  static constexpr std::size_t kStack = 64 << 10;  // kernels are shallow; instrumented code is not
  static constexpr std::size_t kPage = 4096;

  std::byte* memory = nullptr;  // a page that faults, then the stack
  context::fcontext_t here = nullptr, caller = nullptr;
  Body body = nullptr;
  void* argument = nullptr;
  bool finished = true;
#ifdef RESEARCHKIT_ASAN
  void* fake_stack = nullptr;
  void* caller_fake_stack = nullptr;
  const void* caller_stack = nullptr;
  std::size_t caller_stack_size = 0;
#endif
#ifdef RESEARCHKIT_TSAN
  void* tsan_fiber = nullptr;
  void* tsan_caller = nullptr;
#endif

  std::byte* stack() const { return memory + kPage; }

  static void enter(context::transfer_t from) {
    auto& state = *static_cast<State*>(from.data);
    state.caller = from.fctx;
#ifdef RESEARCHKIT_ASAN
    __sanitizer_finish_switch_fiber(nullptr, &state.caller_stack, &state.caller_stack_size);
#endif
    state.body(state.argument);
    state.finished = true;
#ifdef RESEARCHKIT_ASAN
    __sanitizer_start_switch_fiber(nullptr, state.caller_stack, state.caller_stack_size);
#endif
#ifdef RESEARCHKIT_TSAN
    __tsan_switch_to_fiber(state.tsan_caller, 0);
#endif
    context::jump_fcontext(state.caller, nullptr);
  }
};

Fiber::Fiber() : state_(std::make_unique<State>()) {
  void* memory = mmap(nullptr, State::kPage + State::kStack, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  mprotect(memory, State::kPage, PROT_NONE);
  state_->memory = static_cast<std::byte*>(memory);
#ifdef RESEARCHKIT_TSAN
  state_->tsan_fiber = __tsan_create_fiber(0);
#endif
}

Fiber::~Fiber() {
#ifdef RESEARCHKIT_TSAN
  __tsan_destroy_fiber(state_->tsan_fiber);
#endif
#ifdef RESEARCHKIT_ASAN
  __asan_unpoison_memory_region(state_->stack(), State::kStack);
#endif
  munmap(state_->memory, State::kPage + State::kStack);
}

void Fiber::start(Body body, void* argument) {
  state_->body = body;
  state_->argument = argument;
  state_->finished = false;
#ifdef RESEARCHKIT_ASAN
  __asan_unpoison_memory_region(state_->stack(), State::kStack);
  state_->fake_stack = nullptr;
#endif
  state_->here =
      context::make_fcontext(state_->stack() + State::kStack, State::kStack, &State::enter);
}

bool Fiber::resume() {
#ifdef RESEARCHKIT_ASAN
  __sanitizer_start_switch_fiber(&state_->caller_fake_stack, state_->stack(), State::kStack);
#endif
#ifdef RESEARCHKIT_TSAN
  state_->tsan_caller = __tsan_get_current_fiber();
  __tsan_switch_to_fiber(state_->tsan_fiber, 0);
#endif
  const context::transfer_t back = context::jump_fcontext(state_->here, state_.get());
  state_->here = back.fctx;
#ifdef RESEARCHKIT_ASAN
  __sanitizer_finish_switch_fiber(state_->caller_fake_stack, nullptr, nullptr);
#endif
  return state_->finished;
}

void Fiber::suspend() {
#ifdef RESEARCHKIT_ASAN
  __sanitizer_start_switch_fiber(&state_->fake_stack, state_->caller_stack,
                                 state_->caller_stack_size);
#endif
#ifdef RESEARCHKIT_TSAN
  __tsan_switch_to_fiber(state_->tsan_caller, 0);
#endif
  const context::transfer_t from = context::jump_fcontext(state_->caller, nullptr);
  state_->caller = from.fctx;
#ifdef RESEARCHKIT_ASAN
  __sanitizer_finish_switch_fiber(state_->fake_stack, &state_->caller_stack,
                                  &state_->caller_stack_size);
#endif
}

}  // namespace researchkit::emulator
