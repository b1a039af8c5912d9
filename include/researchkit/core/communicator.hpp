#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "researchkit/core/error.hpp"

namespace researchkit {

/// A transfer under way. Its memory stays untouched until wait() has returned.
class Transfer {
 public:
  virtual ~Transfer() = default;
  /// Returns when the transfer is done. Throws Error naming the other rank where that rank is gone
  /// or does not answer within the communicator's time limit.
  virtual void wait() = 0;
};

/// Ranks that exchange messages: `self`, threads of this process, or MPI processes.
///
/// Messages between two ranks with one tag arrive in the order in which they were sent. Collective
/// calls are made by all ranks in the same order; sums are taken in ascending order of the ranks, so
/// that results have the same bits for each run.
class Communicator {
 public:
  virtual ~Communicator() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;

  /// Begins to send or to receive; destroy the transfer only after wait().
  virtual std::unique_ptr<Transfer> start_send(std::span<const std::byte> data, int to,
                                               int tag) = 0;
  virtual std::unique_ptr<Transfer> start_receive(std::span<std::byte> data, int from, int tag) = 0;
  /// Tells the other ranks that this one fails: their transfers throw Error with these words.
  virtual void abandon(const std::string& why) = 0;

  void send(std::span<const std::byte> data, int to, int tag) { start_send(data, to, tag)->wait(); }
  void receive(std::span<std::byte> data, int from, int tag) {
    start_receive(data, from, tag)->wait();
  }

  /// Returns when all ranks have called it.
  void barrier();
  /// Copies the data of `root` to all ranks.
  void broadcast(std::span<std::byte> data, int root);
  /// Sums each entry over `members` (ascending ranks, this one among them), in their order.
  void all_reduce(std::span<float> data, std::span<const int> members);
  void all_reduce(std::span<double> data, std::span<const int> members);
  /// The data of all ranks behind one another, each as long as this rank's.
  std::vector<std::byte> all_gather(std::span<const std::byte> data);

 protected:
  /// Throws Error unless `peer` is another rank.
  void check_peer(int peer) const;
};

/// The one rank of a program without others.
std::unique_ptr<Communicator> self_communicator();

/// Runs `body` on `ranks` threads of this process, each with its communicator, and returns when all
/// have left. A rank that throws ends the others' transfers; the first failure is rethrown, with the
/// number of its rank. A transfer that nobody answers fails after
/// `seconds`.
void run_ranks(int ranks, const std::function<void(Communicator&)>& body, double seconds = 30);

}  // namespace researchkit
