// Ranks as MPI processes: every operation of the communicator, and what happens when rank 2 is lost.
//
//   mpirun -n 4 mpi_ranks check
//   mpirun -n 4 mpi_ranks kill
#include <fmt/format.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <string_view>
#include <thread>

#include "researchkit/core/mpi_communicator.hpp"
#include "support/communicator_checks.hpp"

namespace {

using researchkit::Communicator;

constexpr int kLost = 2;
constexpr double kSeconds = 2;

void lose(Communicator& ranks, std::string_view how) {
  if (how == "throw") throw researchkit::Error("out of memory");
  if (how == "exit") std::_Exit(9);
  if (how == "kill") std::raise(SIGKILL);
  if (how == "stop") std::raise(SIGSTOP);
  if (how == "sleep") std::this_thread::sleep_for(std::chrono::hours(1));
  if (how == "leave") return;  // to the end of the program, where it waits for the others
  throw researchkit::Error(fmt::format("rank {}: no way '{}' to be lost", ranks.rank(), how));
}

/// Rank 0 waits for 1, 1 for 2, 3 for 1, and 2 is lost.
void wait_for_one_another(Communicator& ranks, std::string_view how) {
  int word = ranks.rank();
  const auto bytes = std::as_writable_bytes(std::span(&word, 1));
  if (ranks.rank() == kLost) return lose(ranks, how);
  ranks.start_receive(bytes, ranks.rank() == 1 ? kLost : 1, 5, "the word")->wait();
  ranks.send(bytes, 0, 5);
}

int run(Communicator& ranks, std::string_view mode) {
  try {
    if (mode == "check") {
      researchkit::test::check_communicator(ranks);
      if (ranks.rank() == 0) fmt::print("{} ranks: all operations hold\n", ranks.size());
    } else {
      wait_for_one_another(ranks, mode);
    }
    return 0;
  } catch (const std::exception& error) {
    ranks.abandon(error.what());
    return 1;
  }
}

}  // namespace

int main(int argc, char** argv) {
  researchkit::MpiSession mpi(argc, argv);
  const auto ranks = mpi.world(argc > 1 && std::string_view(argv[1]) == "check" ? 60 : kSeconds);
  return run(*ranks, argc > 1 ? argv[1] : "check");
}
