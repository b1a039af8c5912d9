#pragma once

#include <memory>

#include "researchkit/core/communicator.hpp"

namespace researchkit {

/// MPI for the lifetime of the object; one per process, made before and destroyed after all else.
/// In the library researchkit::mpi, which is there where MPI was found.
///
///     MpiSession mpi(argc, argv);
///     auto ranks = mpi.world();
///
/// While a rank waits it tells others, when asked, for whom: a rank whose time is up follows that
/// chain and names the rank at its end. A process that mpirun ends (because another died) says what it
/// waited for, or comes to within a second: it has a handler of SIGTERM unless the program has set one.
class MpiSession {
 public:
  MpiSession(int& argc, char**& argv);
  /// Waits for all ranks, for as long as world() said; ends the process where one does not come.
  ~MpiSession();
  MpiSession(const MpiSession&) = delete;
  MpiSession& operator=(const MpiSession&) = delete;

  /// All processes. A transfer that nobody answers fails after `seconds`; a rank that abandons ends
  /// all of them.
  std::unique_ptr<Communicator> world(double seconds = 30);

 private:
  double seconds_ = 30;
};

}  // namespace researchkit
