#pragma once

#include <mpi.h>

#include <array>
#include <chrono>
#include <condition_variable>
#include <list>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "src/core/wait_chain.hpp"

namespace researchkit::detail {

/// What the communicators of a process share: how long they wait, for whom they wait now, and a
/// channel on which ranks ask one another for that.
class MpiWaits {
 public:
  explicit MpiWaits(double seconds);
  ~MpiWaits();
  MpiWaits(const MpiWaits&) = delete;
  MpiWaits& operator=(const MpiWaits&) = delete;

  int rank() const { return rank_; }
  double seconds() const { return limit_.count(); }

  /// Returns when the request is done. Answers other ranks' questions meanwhile. Throws Error as
  /// Transfer::wait does; `peer` is a rank of the world.
  MPI_Status wait(MPI_Request& request, int peer, const std::string& what);

 private:
  struct Question {
    int number = 0;
  };
  struct Answer {
    int number = 0, peer = -1;
    std::array<char, 200> what{};
  };
  void answer_questions();
  std::optional<Waiting> ask(int other);

  std::chrono::duration<double> limit_;
  MPI_Comm channel_ = MPI_COMM_NULL;
  int rank_ = 0;
  std::optional<Waiting> now_;
  std::list<std::pair<MPI_Request, Answer>> answers_;      // under way
  std::list<std::pair<MPI_Request, Question>> questions_;  // all that were asked
};

/// Ends the process, with words, if it lives longer than the limit: for calls of MPI that block.
class MpiDeadline {
 public:
  MpiDeadline(const std::string& what, double seconds);
  ~MpiDeadline();
  MpiDeadline(const MpiDeadline&) = delete;
  MpiDeadline& operator=(const MpiDeadline&) = delete;

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool done_ = false;
  std::thread thread_;
};

/// Has SIGTERM tell what this process waits for. Does nothing where the program has a handler.
void report_waits_on_termination();

/// Throws Error with MPI's words where `code` is one of its errors.
void check_mpi(int code, int rank, const std::string& what);

}  // namespace researchkit::detail
