#include "researchkit/core/registry.hpp"
#include "researchkit/fusefps/operators.hpp"

namespace researchkit {

const Registry& default_registry() {
  static const Registry registry = [] {
    Registry all;
    fusefps::register_fusefps(all);
    return all;
  }();
  return registry;
}

}  // namespace researchkit
