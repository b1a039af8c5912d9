#pragma once

#include <cstdint>
#include <vector>

#include "researchkit/core/tensor.hpp"
#include "researchkit/dynapipe/schedule.hpp"

namespace researchkit::dynapipe {

/// Durations of the operations and transfers of a pipeline of V stages, in ms.
struct StageTimes {
  In<double, 2> fw;       ///< [M, V]
  In<double, 2> bw;       ///< [M, V]
  In<double, 2> comm_fw;  ///< [M, V - 1]: activations of m from stage v to v + 1
  In<double, 2> comm_bw;  ///< [M, V - 1]: their gradient from stage v + 1 to v
};

/// What a simulation writes.
struct Timeline {
  Out<double, 2> start;       ///< [S, 2 C M]: ms, -1 where never started
  Out<double, 2> comm_start;  ///< [S, 2 C M]: start of the transfer of the result, -1 where none is
};

/// Memory and work of each device.
struct StageUse {
  Out<double, 1> peak_mem;  ///< [S]: MB
  Out<double, 1> busy;      ///< [S]: ms
};

/// Simulates a schedule of S devices with V = C S stages: devices run their operations strictly in
/// order, an operation starts when its device is free and its input has arrived, results are sent in
/// the order in which they appear on a send stream of each device (or of each direction); between
/// stages of one device nothing is sent. Gives the makespan; -1 where the order can never finish, and
/// then no memory and no work.
///
/// O(M V), no event queue: whoever can go on, does. Source: DynaPipe (arXiv 2311.10418).
double simulate_schedule(In<std::int32_t, 2> order, const StageTimes& times,
                         const StageMemory& memory, CommStreams streams, const Timeline& timeline,
                         const StageUse& use);

/// ms of a transfer: latency plus size over bandwidth; 0 on one device.
struct Link {
  double bandwidth_gbps = 4800;  ///< Gbit/s
  double latency_us = 0;
  double transfer_ms(double megabytes) const {
    return latency_us / 1000 + megabytes * 8 / 1000 / bandwidth_gbps * 1000;
  }
};
/// Between nodes of a cluster.
inline constexpr Link kInterNodeLink = {100, 4000};

namespace reference {

/// simulate_schedule by the definition: start times are raised until none changes. O((M S)^2).
double simulate_schedule(In<std::int32_t, 2> order, const StageTimes& times,
                         const StageMemory& memory, CommStreams streams, const Timeline& timeline,
                         const StageUse& use);

}  // namespace reference
}  // namespace researchkit::dynapipe
