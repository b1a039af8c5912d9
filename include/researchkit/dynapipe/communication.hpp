#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <tuple>
#include <vector>

#include "researchkit/core/view.hpp"
#include "researchkit/dynapipe/attributes.hpp"
#include "researchkit/dynapipe/schedule.hpp"

namespace researchkit::dynapipe {

enum class TransferKind : std::int32_t { send_act, recv_act, send_grad, recv_grad };

/// What stands at the other end.
inline constexpr TransferKind partner_of(TransferKind kind) {
  return static_cast<TransferKind>(static_cast<std::int32_t>(kind) ^ 1);
}
inline constexpr bool is_send(TransferKind kind) {
  return kind == TransferKind::send_act || kind == TransferKind::send_grad;
}

/// One end of a transfer in the list of a device.
struct TransferEnd {
  TransferKind kind;
  std::int32_t micro_batch;
  std::int32_t peer;       ///< device at the other end
  std::int32_t position;   ///< operations of this device that come before it
  std::int32_t chunk = 0;  ///< of the sender
};

/// The stage of the model that an end of a transfer belongs to.
inline std::int64_t stage_of(const TransferEnd& end, std::int64_t device, std::int64_t devices) {
  const bool gradient = end.kind == TransferKind::send_grad || end.kind == TransferKind::recv_grad;
  const std::int64_t sender = end.chunk * devices + (is_send(end.kind) ? device : end.peer);
  if (is_send(end.kind)) return sender;
  return gradient ? sender - 1 : sender + 1;
}

/// The transfers of every device, in the order in which its channels run them.
using CommunicationPlan = std::vector<std::vector<TransferEnd>>;

namespace detail {

/// A transfer as it is sorted: by start, sender, direction, micro-batch and chunk of the sender.
struct Transfer {
  double start;
  std::int32_t sender, direction, micro_batch, chunk, producer;
  auto key() const { return std::tie(start, sender, direction, micro_batch, chunk); }
};

inline std::vector<Transfer> transfers_by_start(In<std::int32_t, 2> order, In<double, 2> comm_start,
                                                std::int64_t chunks = 1) {
  const Interleaving places = interleaving_of(order, chunks);
  std::vector<Transfer> transfers;
  for (std::int64_t s = 0; s < order.extent(0); ++s) {
    for (std::int64_t p = 0; p < order.extent(1); ++p) {
      if (!(comm_start(s, p) >= 0)) continue;
      const std::int32_t code = order(s, p);
      const ChunkOperation made = places.operation(s, code);
      transfers.push_back({comm_start(s, p), static_cast<std::int32_t>(s),
                           is_backward(code) ? 1 : 0, static_cast<std::int32_t>(made.micro_batch),
                           static_cast<std::int32_t>(made.chunk), static_cast<std::int32_t>(p)});
    }
  }
  std::sort(transfers.begin(), transfers.end(),
            [](const Transfer& a, const Transfer& b) { return a.key() < b.key(); });
  return transfers;
}

/// Where each operation stands in the order of its device: [S][2 C M].
inline std::vector<std::vector<std::int32_t>> positions_of(In<std::int32_t, 2> order) {
  std::vector<std::vector<std::int32_t>> positions(static_cast<std::size_t>(order.extent(0)));
  for (std::int64_t s = 0; s < order.extent(0); ++s) {
    auto& row = positions[static_cast<std::size_t>(s)];
    row.resize(static_cast<std::size_t>(order.extent(1)));
    for (std::int64_t p = 0; p < order.extent(1); ++p) {
      row[static_cast<std::size_t>(order(s, p))] = static_cast<std::int32_t>(p);
    }
  }
  return positions;
}

}  // namespace detail

/// Plans every send and receive of a simulated schedule so that ordered blocking channels cannot
/// deadlock: the list of each device is the part that concerns it of one order of all transfers, by
/// their start, and every position is that of a timeline that can run.
///
/// `start` ascends along each device. O(K log K) for K transfers.
/// Source: DynaPipe (arXiv 2311.10418), communication planning.
inline CommunicationPlan plan_communication(In<std::int32_t, 2> order, In<double, 2> start,
                                            In<double, 2> comm_start, std::int64_t chunks = 1) {
  const auto devices = static_cast<std::size_t>(order.extent(0));
  const Interleaving places = interleaving_of(order, chunks);
  const auto positions = detail::positions_of(order);
  CommunicationPlan plan(devices);
  std::vector<std::int32_t> last(devices, 0), started(devices, 0);
  for (const detail::Transfer& transfer : detail::transfers_by_start(order, comm_start, chunks)) {
    const auto sender = static_cast<std::size_t>(transfer.sender);
    const bool gradient = transfer.direction == 1;
    const std::int64_t next =
        transfer.chunk * places.devices + transfer.sender + (gradient ? -1 : 1);
    const auto receiver = static_cast<std::size_t>(places.device_of(next));
    // Transfers come by ascending start, so the count of started operations only grows.
    const auto started_before = [&](std::size_t s) {
      std::int32_t& count = started[s];
      while (count < order.extent(1) && start(s, count) < transfer.start) ++count;
      return count;
    };
    const OperationCode code = places.code(next, transfer.micro_batch, gradient);
    last[sender] = std::max({transfer.producer + 1, last[sender], started_before(sender)});
    last[receiver] = std::min(std::max(last[receiver], started_before(receiver)),
                              positions[receiver][static_cast<std::size_t>(code)]);
    const auto s = static_cast<std::int32_t>(sender), r = static_cast<std::int32_t>(receiver);
    plan[sender].push_back({gradient ? TransferKind::send_grad : TransferKind::send_act,
                            transfer.micro_batch, r, last[sender], transfer.chunk});
    plan[receiver].push_back({gradient ? TransferKind::recv_grad : TransferKind::recv_act,
                              transfer.micro_batch, s, last[receiver], transfer.chunk});
  }
  return plan;
}

/// What goes wrong without a plan: each device receives right before the use and sends right after
/// the production.
inline CommunicationPlan naive_communication(In<std::int32_t, 2> order, std::int64_t chunks = 1) {
  const Interleaving places = interleaving_of(order, chunks);
  CommunicationPlan plan(static_cast<std::size_t>(places.devices));
  for (std::int64_t s = 0; s < places.devices && !places.alone(); ++s) {
    auto& list = plan[static_cast<std::size_t>(s)];
    for (std::int64_t p = 0; p < order.extent(1); ++p) {
      const ChunkOperation at = places.operation(s, order(s, p));
      const bool backward = is_backward(order(s, p));
      const auto add = [&](TransferKind kind, std::int64_t other, std::int64_t position) {
        if (other < 0 || other >= places.stages()) return;
        list.push_back(
            {kind, static_cast<std::int32_t>(at.micro_batch),
             static_cast<std::int32_t>(places.device_of(other)),
             static_cast<std::int32_t>(position),
             static_cast<std::int32_t>(places.chunk_of(is_send(kind) ? at.stage : other))});
      };
      const std::int64_t before = at.stage - 1, behind = at.stage + 1;
      add(backward ? TransferKind::recv_grad : TransferKind::recv_act, backward ? behind : before,
          p);
      add(backward ? TransferKind::send_grad : TransferKind::send_act, backward ? before : behind,
          p + 1);
    }
  }
  return plan;
}

enum class ChannelStatus : std::int32_t {
  ok,
  deadlock,  ///< stages wait for one another, or for a transfer that nobody posts
  mismatch,  ///< the two ends of a channel disagree about what comes next
};

struct ChannelCheck {
  ChannelStatus status = ChannelStatus::ok;
  std::vector<std::int32_t> done;  ///< transfers of each device that happened
};

namespace detail {

inline bool pairs(const TransferEnd& a, const TransferEnd& b) {
  return partner_of(a.kind) == b.kind && a.micro_batch == b.micro_batch && a.chunk == b.chunk;
}

inline ChannelCheck check_single_channels(const CommunicationPlan& plan) {
  const std::size_t stages = plan.size();
  ChannelCheck check{ChannelStatus::ok, std::vector<std::int32_t>(stages, 0)};
  const auto head = [&](std::size_t s) -> const TransferEnd* {
    const auto at = static_cast<std::size_t>(check.done[s]);
    return at < plan[s].size() ? &plan[s][at] : nullptr;
  };
  for (bool progress = true; progress;) {
    progress = false;
    for (std::size_t s = 0; s < stages; ++s) {
      while (const TransferEnd* mine = head(s)) {
        const auto peer = static_cast<std::size_t>(mine->peer);
        const TransferEnd* theirs = head(peer);
        if (theirs == nullptr || static_cast<std::size_t>(theirs->peer) != s) break;
        if (!pairs(*mine, *theirs)) {
          check.status = ChannelStatus::mismatch;
          return check;
        }
        ++check.done[s];
        ++check.done[peer];
        progress = true;
      }
    }
  }
  return check;
}

inline ChannelCheck check_pair_channels(const CommunicationPlan& plan) {
  const std::size_t stages = plan.size();
  ChannelCheck check{ChannelStatus::ok, std::vector<std::int32_t>(stages, 0)};
  std::vector<std::map<std::size_t, std::vector<const TransferEnd*>>> channels(stages);
  for (std::size_t s = 0; s < stages; ++s) {
    for (const TransferEnd& end : plan[s]) {
      channels[s][static_cast<std::size_t>(end.peer)].push_back(&end);
    }
  }
  for (std::size_t s = 0; s < stages; ++s) {
    for (const auto& [peer, mine] : channels[s]) {
      if (peer < s) continue;
      const auto found = channels[peer].find(s);
      if (found == channels[peer].end()) continue;
      const auto& theirs = found->second;
      for (std::size_t k = 0; k < std::min(mine.size(), theirs.size()); ++k) {
        if (!pairs(*mine[k], *theirs[k])) {
          check.status = ChannelStatus::mismatch;
          return check;
        }
        ++check.done[s];
        ++check.done[peer];
      }
    }
  }
  return check;
}

}  // namespace detail

/// Whether ordered blocking channels can run a plan to its end. `single`: one channel for each
/// stage, a transfer happens when it is at the head of both ends. `pair`: one channel for each pair
/// of stages, whose two lists must agree. O(K). No stage addresses itself.
inline ChannelCheck check_deadlock(const CommunicationPlan& plan, Channel channel) {
  ChannelCheck check = channel == Channel::single ? detail::check_single_channels(plan)
                                                  : detail::check_pair_channels(plan);
  if (check.status == ChannelStatus::mismatch) return check;
  for (std::size_t s = 0; s < plan.size(); ++s) {
    if (static_cast<std::size_t>(check.done[s]) < plan[s].size()) {
      check.status = ChannelStatus::deadlock;
    }
  }
  return check;
}

}  // namespace researchkit::dynapipe
