#include "src/mpi/mpi_wait.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <cstring>

#include "researchkit/core/error.hpp"

namespace researchkit::detail {
namespace {

constexpr int kQuestion = 1, kAnswer = 2;
constexpr int kEagerRounds = 1000;  // polls before a wait begins to sleep
constexpr auto kPause = std::chrono::microseconds(50);
constexpr std::chrono::duration<double> kPatience{1};  // for an answer

// What the handler of SIGTERM writes: it may not allocate or lock. A wait fills one of the two texts,
// then shows it.
std::array<std::array<char, 400>, 2> waiting_texts;
std::atomic<int> shown_text{-1};

void show_wait(int rank, const std::string& peer, const std::string& what) {
  const int next = shown_text.load() == 0 ? 1 : 0;
  auto& text = waiting_texts[static_cast<std::size_t>(next)];
  const auto end = fmt::format_to_n(text.data(), text.size() - 1,
                                    "rank {}: ended from outside while it waited for {}: {}\n",
                                    rank, peer, what);
  *end.out = '\0';
  shown_text.store(next);
}

int world_rank() {
  int rank = -1;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  return rank;
}

volatile std::sig_atomic_t terminating = 0;

/// Writes what is waited for and ends the process. Safe in a handler.
void tell_and_end() {
  if (const int shown = shown_text.load(); shown >= 0) {
    const char* text = waiting_texts[static_cast<std::size_t>(shown)].data();
    [[maybe_unused]] const auto written = write(STDERR_FILENO, text, std::strlen(text));
  }
  std::signal(SIGTERM, SIG_DFL);
  std::raise(SIGTERM);
}

/// A process that waits for nobody gets a second to come to where it does: that tells more than its end
/// in the middle of its work. mpirun may send the signal several times.
void on_termination(int /*signal*/) {
  if (shown_text.load() >= 0) return tell_and_end();
  if (terminating == 0) alarm(1);
  terminating = 1;
}

}  // namespace

void check_mpi(int code, int rank, const std::string& what) {
  if (code == MPI_SUCCESS) return;
  std::array<char, MPI_MAX_ERROR_STRING> words{};
  int length = 0;
  MPI_Error_string(code, words.data(), &length);
  throw Error(fmt::format("rank {}: {}: {}", rank, what,
                          std::string_view(words.data(), static_cast<std::size_t>(length))));
}

MpiWaits::MpiWaits(double seconds) : limit_(seconds), rank_(world_rank()) {
  const MpiDeadline deadline("MPI_Comm_dup", seconds);
  MPI_Comm_dup(MPI_COMM_WORLD, &channel_);
  MPI_Comm_set_errhandler(channel_, MPI_ERRORS_RETURN);
}
MpiWaits::~MpiWaits() {
  const auto let_go = [](MPI_Request& request) {
    int done = 0;
    MPI_Test(&request, &done, MPI_STATUS_IGNORE);
    if (done == 0) MPI_Request_free(&request);
  };
  for (auto& [request, answer] : answers_) let_go(request);
  for (auto& [request, question] : questions_) let_go(request);
  const MpiDeadline deadline("MPI_Comm_free", limit_.count());
  MPI_Comm_free(&channel_);
}

MPI_Status MpiWaits::wait(MPI_Request& request, int peer, const std::string& what) {
  const auto begin = std::chrono::steady_clock::now();
  struct Shown {
    std::optional<Waiting>& now;
    ~Shown() {
      now.reset();
      shown_text.store(-1);
    }
  } shown{now_};
  MPI_Status status;
  for (int done = 0, round = 0;; ++round) {
    check_mpi(MPI_Test(&request, &done, &status), rank_, what);
    if (done != 0) return status;
    if (round < kEagerRounds && terminating == 0) continue;
    if (!now_) {
      now_ = {peer, what};
      show_wait(rank_, fmt::format("rank {}", peer), what);
    }
    if (terminating != 0) tell_and_end();
    answer_questions();
    if (std::chrono::steady_clock::now() - begin > limit_) {
      throw Error(explain_wait(rank_, limit_.count(), [&](int rank) { return ask(rank); }));
    }
    std::this_thread::sleep_for(kPause);
  }
}

/// Tells who asks what this rank waits for.
void MpiWaits::answer_questions() {
  answers_.remove_if([](auto& sent) {
    int done = 0;
    MPI_Test(&sent.first, &done, MPI_STATUS_IGNORE);
    return done != 0;
  });
  for (;;) {
    int asked = 0;
    MPI_Status status;
    MPI_Iprobe(MPI_ANY_SOURCE, kQuestion, channel_, &asked, &status);
    if (asked == 0) return;
    Question question{};
    MPI_Recv(&question, sizeof question, MPI_BYTE, status.MPI_SOURCE, kQuestion, channel_,
             MPI_STATUS_IGNORE);
    auto& [request, answer] = answers_.emplace_back();
    answer.number = question.number;
    answer.peer = now_->peer;
    now_->what.copy(answer.what.data(), answer.what.size() - 1);
    MPI_Isend(&answer, sizeof answer, MPI_BYTE, status.MPI_SOURCE, kAnswer, channel_, &request);
  }
}

/// What a rank waits for; nothing if it does not say so soon.
std::optional<Waiting> MpiWaits::ask(int other) {
  if (other == rank_) return now_;
  // Kept while it is under way: a stopped rank never takes it.
  auto& [sending, question] = questions_.emplace_back();
  question.number = static_cast<int>(questions_.size());
  MPI_Isend(&question, sizeof question, MPI_BYTE, other, kQuestion, channel_, &sending);
  const auto begin = std::chrono::steady_clock::now();
  while (std::chrono::steady_clock::now() - begin < kPatience) {
    answer_questions();
    int answered = 0;
    MPI_Iprobe(other, kAnswer, channel_, &answered, MPI_STATUS_IGNORE);
    if (answered != 0) {
      Answer answer;
      MPI_Recv(&answer, sizeof answer, MPI_BYTE, other, kAnswer, channel_, MPI_STATUS_IGNORE);
      if (answer.number == question.number) return Waiting{answer.peer, answer.what.data()};
    }
    std::this_thread::sleep_for(kPause);
  }
  return std::nullopt;
}

MpiDeadline::MpiDeadline(const std::string& what, double seconds)
    : thread_([this, what, seconds, rank = world_rank()] {
        std::unique_lock lock(mutex_);
        const std::chrono::duration<double> limit(seconds);
        if (changed_.wait_for(lock, limit, [&] { return done_; })) return;
        fmt::print(stderr, "rank {}: {} did not come back within {:.3g} s: a rank is missing\n",
                   rank, what, seconds);
        std::fflush(stderr);
        std::_Exit(1);
      }) {
  show_wait(world_rank(), "all ranks", what);
  if (terminating != 0) tell_and_end();
}
MpiDeadline::~MpiDeadline() {
  shown_text.store(-1);
  {
    const std::lock_guard lock(mutex_);
    done_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void report_waits_on_termination() {
  struct sigaction before {};
  if (sigaction(SIGTERM, nullptr, &before) != 0 || before.sa_handler != SIG_DFL) return;
  struct sigaction ours {};
  ours.sa_handler = on_termination;
  sigemptyset(&ours.sa_mask);
  sigaction(SIGTERM, &ours, nullptr);
}

}  // namespace researchkit::detail
