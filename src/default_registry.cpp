#include "researchkit/bikt/operators.hpp"
#include "researchkit/core/registry.hpp"
#include "researchkit/dynapipe/operators.hpp"
#include "researchkit/fusefps/operators.hpp"
#include "researchkit/graph/operators.hpp"
#include "researchkit/nfgnn/operators.hpp"
#include "researchkit/nn/operators.hpp"

namespace researchkit {

const Registry& default_registry() {
  static const Registry registry = [] {
    Registry all;
    bikt::register_bikt(all);
    dynapipe::register_dynapipe(all);
    fusefps::register_fusefps(all);
    graph::register_graph(all);
    nfgnn::register_nfgnn(all);
    nn::register_nn(all);
    return all;
  }();
  return registry;
}

}  // namespace researchkit
