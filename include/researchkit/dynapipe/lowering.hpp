#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <queue>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "researchkit/core/attribute.hpp"
#include "researchkit/dynapipe/communication.hpp"

namespace researchkit::dynapipe {

enum class Opcode : std::int32_t {
  load_input,
  forward,
  backward,
  send_act_start,
  recv_act_start,
  send_act_finish,
  recv_act_finish,
  send_grad_start,
  recv_grad_start,
  send_grad_finish,
  recv_grad_finish,
  free_buffer,
};
constexpr std::array<std::string_view, 12> names_of(Opcode) {
  return {"LoadInput",     "Forward",        "Backward",       "SendActStart",
          "RecvActStart",  "SendActFinish",  "RecvActFinish",  "SendGradStart",
          "RecvGradStart", "SendGradFinish", "RecvGradFinish", "FreeBuffer"};
}

/// One step of a device: eleven int32, the first ten as in a table of instructions. `Start` does not block, `Finish`
/// waits for the transfer; sizes are 0 where an instruction has no tensors.
struct Instruction {
  std::int32_t stage = 0;  ///< the device: without chunks that is the stage of the model
  Opcode op = Opcode::load_input;
  std::int32_t micro_batch = 0;
  std::int32_t peer = -1;                      ///< device at the other end, -1: none
  std::array<std::int32_t, 2> buffer{-1, -1};  ///< slots, -1: none
  std::int32_t mbs = 0;                        ///< samples
  std::array<std::int32_t, 2> length{0, 0};    ///< padded lengths of the tensors
  std::int32_t hidden = 0;
  std::int32_t chunk = 0;  ///< of this device
  friend bool operator==(const Instruction&, const Instruction&) = default;
};
static_assert(sizeof(Instruction) == 11 * sizeof(std::int32_t));

/// Padded shape of a micro-batch.
struct MicroBatchShape {
  std::int32_t samples = 0;  ///< sequences: fewer than samples where these are packed
  std::int32_t input = 0, target = 0;
  friend bool operator==(const MicroBatchShape&, const MicroBatchShape&) = default;
};

/// What every device does, and how many buffer slots it needs for that.
struct Program {
  std::vector<std::vector<Instruction>> stages;
  std::vector<std::int32_t> slots;
};

/// Which stages work on what: stages below n_enc_stages carry the encoder's activations, later ones
/// those of encoder and decoder.
struct ModelLayout {
  std::int32_t hidden = 0;
  std::int32_t n_enc_stages = 1;
  std::int64_t chunks = 1;  ///< stages of the model on each device
};

namespace detail {

/// A device's part of the lowering.
class DeviceLowering {
 public:
  DeviceLowering(std::int32_t device, const Interleaving& places,
                 std::span<const MicroBatchShape> shapes, const ModelLayout& layout)
      : device_(device), places_(places), shapes_(shapes), layout_(layout) {}

  void transfer(const TransferEnd& end) {
    // The link into the first decoder stage carries the encoder's part alone, both ways.
    const std::int64_t stage = stage_of(end, device_, places_.devices);
    const bool to_the_left =
        end.kind == TransferKind::recv_act || end.kind == TransferKind::send_grad;
    constexpr std::array<Opcode, 4> kStart = {Opcode::send_act_start, Opcode::recv_act_start,
                                              Opcode::send_grad_start, Opcode::recv_grad_start};
    add(kStart[static_cast<std::size_t>(end.kind)], stage, end.micro_batch, end.peer,
        decodes(stage) && !(to_the_left && stage == layout_.n_enc_stages) ? Carries::both
                                                                          : Carries::input);
    if (end.kind == TransferKind::send_grad) gradients_sent_.push_back(end);
  }

  void compute(OperationCode code) {
    const ChunkOperation at = places_.operation(device_, code);
    const std::int64_t v = at.stage;
    const auto m = static_cast<std::int32_t>(at.micro_batch);
    const Carries all = decodes(v) ? Carries::both : Carries::input;
    if (is_backward(code)) {
      if (!last(v) && !places_.alone()) {
        add(Opcode::recv_grad_finish, v, m, device_of(v + 1), Carries::nothing);
        add(Opcode::send_act_finish, v, m, device_of(v + 1), Carries::nothing);
      }
      add(Opcode::backward, v, m, -1, all);
      return;
    }
    if (v == 0) {
      add(Opcode::load_input, v, m, -1, Carries::input);
    } else if (!places_.alone()) {
      add(Opcode::recv_act_finish, v, m, device_of(v - 1), Carries::nothing);
    }
    if (v == layout_.n_enc_stages) add(Opcode::load_input, v, m, -1, Carries::target);
    add(Opcode::forward, v, m, -1, all);
  }

  /// Waits for the gradients that were sent, then gives every instruction its slots and frees them
  /// after their last use. A micro-batch owns slots for its forward and others for its backward.
  std::vector<Instruction> finish(std::int32_t& slots) {
    for (const TransferEnd& end : gradients_sent_) {
      add(Opcode::send_grad_finish, stage_of(end, device_, places_.devices), end.micro_batch,
          end.peer, Carries::nothing);
    }
    const std::size_t owners = 2 * static_cast<std::size_t>(places_.chunks) * shapes_.size();
    std::vector<std::size_t> last_use(owners, 0);
    for (std::size_t i = 0; i < steps_.size(); ++i) {
      if (steps_[i].tensors > 0) last_use[owner_of(steps_[i].row)] = i;
    }
    std::priority_queue<std::int32_t, std::vector<std::int32_t>, std::greater<>> free;
    std::vector<std::vector<std::int32_t>> owned(owners);
    std::vector<Instruction> program;
    program.reserve(2 * steps_.size());
    slots = 0;
    for (std::size_t i = 0; i < steps_.size(); ++i) {
      Instruction& row = program.emplace_back(steps_[i].row);
      if (steps_[i].tensors == 0) continue;
      auto& own = owned[owner_of(row)];
      const bool allocates = row.op == Opcode::load_input || row.op == Opcode::recv_act_start ||
                             row.op == Opcode::recv_grad_start;
      for (std::size_t t = 0; t < steps_[i].tensors; ++t) {
        if (allocates) {
          own.push_back(free.empty() ? slots++ : free.top());
          if (!free.empty()) free.pop();
          row.buffer[t] = own.back();
        } else {
          row.buffer[t] = own.at(t);
        }
      }
      if (last_use[owner_of(row)] != i) continue;
      Instruction release{device_, Opcode::free_buffer, row.micro_batch};
      release.chunk = row.chunk;
      std::copy_n(own.begin(), std::min<std::size_t>(own.size(), 2), release.buffer.begin());
      for (const std::int32_t slot : own) free.push(slot);
      own.clear();
      program.push_back(release);
    }
    return program;
  }

 private:
  enum class Carries : std::uint8_t { nothing, input, target, both };
  struct Step {
    Instruction row;
    std::size_t tensors;
  };

  bool last(std::int64_t stage) const { return stage + 1 == places_.stages(); }
  bool decodes(std::int64_t stage) const { return stage >= layout_.n_enc_stages; }
  std::int32_t device_of(std::int64_t stage) const {
    return static_cast<std::int32_t>(places_.device_of(stage));
  }

  void add(Opcode op, std::int64_t stage, std::int32_t m, std::int32_t peer, Carries carries) {
    const MicroBatchShape& shape = shapes_[static_cast<std::size_t>(m)];
    Instruction row{device_, op, m, peer};
    row.chunk = static_cast<std::int32_t>(places_.chunk_of(stage));
    if (carries != Carries::nothing) {
      row.mbs = shape.samples;
      row.hidden = layout_.hidden;
      row.length[0] = carries == Carries::target ? shape.target : shape.input;
      if (carries == Carries::both) row.length[1] = shape.target;
    }
    steps_.push_back({row, carries == Carries::nothing ? 0U : carries == Carries::both ? 2U : 1U});
  }

  /// On the last stage the backward works in the slots of the forward; on a device that is alone all
  /// stages work in the slots of the first.
  std::size_t owner_of(const Instruction& row) const {
    if (places_.alone()) return 2 * static_cast<std::size_t>(row.micro_batch);
    const bool gradient = row.op == Opcode::backward || row.op == Opcode::send_grad_start ||
                          row.op == Opcode::recv_grad_start;
    const std::int64_t stage = row.chunk * places_.devices + device_;
    const std::int64_t k = row.chunk * places_.micro_batches + row.micro_batch;
    return 2 * static_cast<std::size_t>(k) + (gradient && !last(stage) ? 1 : 0);
  }

  std::int32_t device_;
  Interleaving places_;
  std::span<const MicroBatchShape> shapes_;
  ModelLayout layout_;
  std::vector<Step> steps_;
  std::vector<TransferEnd> gradients_sent_;
};

}  // namespace detail

/// What keeps a plan from being lowered, in words; nothing if every device has each transfer that the
/// order needs exactly once, at positions that ascend, after what it sends was made and before what
/// it receives is used.
inline std::optional<std::string> find_transfer_fault(In<std::int32_t, 2> order,
                                                      const CommunicationPlan& plan,
                                                      std::int64_t chunks = 1) {
  const Interleaving places = interleaving_of(order, chunks);
  const auto operations = static_cast<std::int32_t>(order.extent(1));
  const auto positions = detail::positions_of(order);
  for (std::int64_t s = 0; s < places.devices; ++s) {
    const auto& list = plan[static_cast<std::size_t>(s)];
    const auto& place = positions[static_cast<std::size_t>(s)];
    std::vector<char> seen(static_cast<std::size_t>(2 * operations), 0);
    std::int32_t last = 0;
    for (const TransferEnd& end : list) {
      const bool gradient =
          end.kind == TransferKind::send_grad || end.kind == TransferKind::recv_grad;
      const bool to_right =
          end.kind == TransferKind::send_act || end.kind == TransferKind::recv_grad;
      const auto what = [&](std::string_view fault) {
        return "stage " + std::to_string(s) + ", micro-batch " + std::to_string(end.micro_batch) +
               ", kind " + std::to_string(static_cast<int>(end.kind)) + ": " + std::string(fault);
      };
      if (end.micro_batch < 0 || end.micro_batch >= places.micro_batches) {
        return what("no such micro-batch");
      }
      const std::int64_t stage = stage_of(end, s, places.devices);
      const std::int64_t other = to_right ? stage + 1 : stage - 1;
      if (std::min(stage, other) < 0 || std::max(stage, other) >= places.stages() ||
          places.device_of(stage) != s || places.device_of(other) != end.peer) {
        return what("the peer is not the neighbour");
      }
      const std::int32_t forward_code = places.code(stage, end.micro_batch, false);
      char& once =
          seen[static_cast<std::size_t>(2 * forward_code) + static_cast<std::size_t>(end.kind)];
      if (once != 0) return what("twice");
      once = 1;
      if (end.position < last || end.position > operations) return what("positions do not ascend");
      last = end.position;
      const auto pair = static_cast<std::size_t>(forward_code);
      const std::int32_t forward = place[pair], backward = place[pair + 1];
      const std::int32_t operation = gradient ? backward : forward;
      if (is_send(end.kind) && end.position <= operation) return what("sent before it is made");
      if (end.kind == TransferKind::send_act && end.position > backward) {
        return what("sent after its gradient is back");
      }
      if (!is_send(end.kind) && end.position > operation) return what("received after its use");
    }
    std::int64_t links = 0;  // of this device's stages, to the left and to the right
    for (std::int64_t v = s; v < places.stages() && !places.alone(); v += places.devices) {
      links += (v > 0 ? 1 : 0) + (v + 1 < places.stages() ? 1 : 0);
    }
    const auto wanted = static_cast<std::size_t>(2 * links * places.micro_batches);
    if (list.size() != wanted) {
      return "stage " + std::to_string(s) + ": " + std::to_string(list.size()) + " of " +
             std::to_string(wanted) + " transfers";
    }
  }
  return std::nullopt;
}

/// Turns order and transfers into instructions: at each position first the transfers that stand
/// there, then the operation with the waits that it needs. Buffers take the lowest free slot.
///
/// The plan has no transfer fault; `layout.n_enc_stages` is 1 .. V, V for decoder-only models.
/// O(K log K) for K instructions. Source: DynaPipe (arXiv 2311.10418), execution plans.
inline Program lower_plan(In<std::int32_t, 2> order, const CommunicationPlan& plan,
                          std::span<const MicroBatchShape> shapes, const ModelLayout& layout) {
  const Interleaving places = interleaving_of(order, layout.chunks);
  Program program;
  for (std::int32_t s = 0; s < places.devices; ++s) {
    detail::DeviceLowering device(s, places, shapes, layout);
    const auto& list = plan[static_cast<std::size_t>(s)];
    auto next = list.begin();
    for (std::int64_t p = 0; p <= order.extent(1); ++p) {
      for (; next != list.end() && next->position == p; ++next) device.transfer(*next);
      if (p < order.extent(1)) device.compute(order(s, p));
    }
    program.stages.push_back(device.finish(program.slots.emplace_back()));
  }
  return program;
}

}  // namespace researchkit::dynapipe
