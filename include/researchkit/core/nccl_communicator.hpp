#pragma once

#include <memory>

#include "researchkit/core/communicator.hpp"

namespace researchkit {

/// GPUs that exchange device memory over NCCL; in the library researchkit::nccl, which is there where
/// NCCL and the CUDA Toolkit were found. All spans given to it lie on `device`.
///
///     auto gpus = nccl_communicator(mpi.world(), local_rank);
///
/// `hosts` is a communicator of the same ranks for host memory: over it NCCL's ids travel, and ranks
/// that fail tell the others. Each pair of ranks that exchanges messages has a communicator and a stream
/// of its own, made at the first message. Unlike elsewhere, the two ends of a pair must start their
/// messages in one order, whatever the tags: planned pipelines do. Sums are NCCL's: in an order of its
/// own. Transfers fail after `seconds`, in words that name the other rank.
/// Throws Error where there is no such device, and as Communicator does.
std::unique_ptr<Communicator> nccl_communicator(std::shared_ptr<Communicator> hosts, int device,
                                                double seconds = 30);

}  // namespace researchkit
