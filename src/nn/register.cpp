#include "researchkit/core/registry.hpp"
#include "researchkit/nn/operators.hpp"

namespace researchkit::nn {

void register_nn(Registry& registry) {
  registry.add<Linear>();
  registry.add<LinearBackward>();
  registry.add<Activate>();
  registry.add<ActivateBackward>();
  registry.add<LogSoftmax>();
  registry.add<LogSoftmaxBackward>();
  registry.add<LayerNorm>();
  registry.add<LayerNormBackward>();
  registry.add<BatchNorm>();
  registry.add<BatchNormBackward>();
  registry.add<Attention>();
  registry.add<AttentionBackward>();
  registry.add<Embedding>();
  registry.add<EmbeddingBackward>();
}

}  // namespace researchkit::nn
