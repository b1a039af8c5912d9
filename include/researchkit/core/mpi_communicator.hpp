#pragma once

#include <memory>

#include "researchkit/core/communicator.hpp"

namespace researchkit {

/// MPI for the lifetime of the object; one per process, made before and destroyed after all else.
/// In the library researchkit::mpi, which is there where MPI was found.
///
///     MpiSession mpi(argc, argv);
///     auto ranks = mpi.world();
class MpiSession {
 public:
  MpiSession(int& argc, char**& argv);
  ~MpiSession();
  MpiSession(const MpiSession&) = delete;
  MpiSession& operator=(const MpiSession&) = delete;

  /// All processes. A transfer that nobody answers fails after `seconds`; a rank that abandons ends
  /// all of them.
  std::unique_ptr<Communicator> world(double seconds = 30) const;
};

}  // namespace researchkit
