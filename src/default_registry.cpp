#include "researchkit/core/registry.hpp"
#include "researchkit/dynapipe/operators.hpp"
#include "researchkit/fusefps/operators.hpp"

namespace researchkit {

const Registry& default_registry() {
  static const Registry registry = [] {
    Registry all;
    dynapipe::register_dynapipe(all);
    fusefps::register_fusefps(all);
    return all;
  }();
  return registry;
}

}  // namespace researchkit
