#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "researchkit/core/error.hpp"

namespace researchkit {

/// A transfer under way. Its memory stays untouched until wait() has returned.
class Transfer {
 public:
  virtual ~Transfer() = default;
  /// Returns when the transfer is done. Throws Error where it cannot be: the words name the rank that
  /// failed or does not answer within the communicator's time limit (the one at the end of the chain
  /// where ranks wait for one another), and what was waited for.
  virtual void wait() = 0;
};

/// How numbers of several ranks become one.
enum class Reduction : std::uint8_t { sum, max, min };
constexpr std::array<std::string_view, 3> names_of(Reduction) { return {"sum", "max", "min"}; }

/// Ranks that exchange messages: `self`, threads of this process, MPI processes, or GPUs over NCCL.
///
///     auto group = ranks.split(ranks.rank() % stages, ranks.rank());
///     group->all_reduce(std::span(gradient));
///
/// Messages between two ranks with one tag arrive in the order in which they were sent. Collective
/// calls are made by all ranks in the same order and with sizes that fit. Reductions go in ascending
/// order of the ranks, so results have the same bits for each run and on all ranks.
/// Throws Error for a rank or tag that does not exist, sizes that do not fit, and as Transfer::wait.
class Communicator {
 public:
  /// Tags are 0 .. kLargestTag.
  static constexpr int kLargestTag = (1 << 20) - 1;
  /// The color of a rank that joins no group.
  static constexpr int kNoColor = -1;

  virtual ~Communicator() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;

  /// Begins to send or to receive; destroy the transfer only after wait(). `what` is told when the
  /// other rank does not answer.
  std::unique_ptr<Transfer> start_send(std::span<const std::byte> data, int to, int tag,
                                       std::string_view what = {});
  std::unique_ptr<Transfer> start_receive(std::span<std::byte> data, int from, int tag,
                                          std::string_view what = {});
  void send(std::span<const std::byte> data, int to, int tag) { start_send(data, to, tag)->wait(); }
  void receive(std::span<std::byte> data, int from, int tag) {
    start_receive(data, from, tag)->wait();
  }
  /// Tells the other ranks that this one fails: their transfers throw Error with these words, or
  /// their processes end.
  virtual void abandon(const std::string& why) = 0;

  /// The ranks of one color (at least 0) as a communicator of their own, ordered by key, then by
  /// rank; no communicator for kNoColor.
  std::unique_ptr<Communicator> split(int color, int key);

  /// Returns when all ranks have called it.
  void barrier();
  /// Copies the data of `root` to all ranks.
  void broadcast(std::span<std::byte> data, int root);
  /// Reduces each entry over all ranks.
  void all_reduce(std::span<float> data, Reduction how = Reduction::sum);
  void all_reduce(std::span<double> data, Reduction how = Reduction::sum);
  void all_reduce(std::span<std::int64_t> data, Reduction how = Reduction::sum);
  /// Reduces `data`, as many pieces of equal length as ranks; this rank's piece goes to `own`.
  void reduce_scatter(std::span<const float> data, std::span<float> own,
                      Reduction how = Reduction::sum);
  void reduce_scatter(std::span<const double> data, std::span<double> own,
                      Reduction how = Reduction::sum);
  void reduce_scatter(std::span<const std::int64_t> data, std::span<std::int64_t> own,
                      Reduction how = Reduction::sum);
  /// The data of all ranks behind one another, each as long as this rank's.
  void all_gather(std::span<const std::byte> own, std::span<std::byte> all);
  std::vector<std::byte> all_gather(std::span<const std::byte> own);
  /// Piece r of `data` goes to rank r; `received` gets this rank's pieces of all others. Pieces are
  /// equally long.
  void all_to_all(std::span<const std::byte> data, std::span<std::byte> received);
  /// The same with bytes[r] bytes to rank r, and received_bytes[r] from it.
  void all_to_all_v(std::span<const std::byte> data, std::span<const std::size_t> bytes,
                    std::span<std::byte> received, std::span<const std::size_t> received_bytes);

 protected:
  /// A message to or from another rank. Tags below 0 are those of collective calls.
  struct Message {
    int peer = 0;
    int tag = 0;
    std::string_view what;
  };
  /// Numbers that are reduced.
  enum class Number : std::uint8_t { f32, f64, i64 };

  virtual std::unique_ptr<Transfer> begin_send(std::span<const std::byte> data,
                                               const Message& message) = 0;
  virtual std::unique_ptr<Transfer> begin_receive(std::span<std::byte> data,
                                                  const Message& message) = 0;
  /// The communicator of `members`, ranks of this one in their new order; this rank is among them.
  /// Called by all of them, for all groups of a split at once.
  virtual std::unique_ptr<Communicator> group_of(std::span<const int> members, int color) = 0;

  /// all_gather of a few bytes of host memory, for split; a communicator of device memory has another
  /// way for that.
  virtual void gather_on_host(std::span<const std::byte> own, std::span<std::byte> all);

  // Collective calls with arguments that were checked. By default they are made of transfers, so
  // that each wait names a rank and sums have an order; NCCL has its own.
  virtual void run_barrier();
  virtual void run_broadcast(std::span<std::byte> data, int root);
  virtual void run_all_reduce(std::span<std::byte> data, Number number, Reduction how);
  virtual void run_reduce_scatter(std::span<const std::byte> data, std::span<std::byte> own,
                                  Number number, Reduction how);
  virtual void run_all_gather(std::span<const std::byte> own, std::span<std::byte> all);
  virtual void run_all_to_all(std::span<const std::byte> data, std::span<const std::size_t> bytes,
                              std::span<std::byte> received,
                              std::span<const std::size_t> received_bytes);

 private:
  void check_message(int peer, int tag) const;
  void check_root(int root) const;
  void exchange(std::span<const std::span<const std::byte>> sent,
                std::span<const std::span<std::byte>> received, std::string_view what);
  std::vector<std::size_t> piece_bounds(std::size_t entries) const;
};

/// The one rank of a program without others.
std::unique_ptr<Communicator> self_communicator();

/// Runs `body` on `ranks` threads of this process, each with its communicator, and returns when all
/// have left. A rank that throws ends the others' transfers; the first failure is rethrown, with the
/// number of its rank. A transfer that nobody answers fails after `seconds`.
void run_ranks(int ranks, const std::function<void(Communicator&)>& body, double seconds = 30);

}  // namespace researchkit
