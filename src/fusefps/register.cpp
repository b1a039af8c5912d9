#include "researchkit/core/registry.hpp"
#include "researchkit/fusefps/operators.hpp"

namespace researchkit::fusefps {

void register_fusefps(Registry& registry) {
  registry.add<FarthestPointSample>();
  registry.add<FarthestPointSampleBackward>();
  registry.add<BucketFarthestPointSample>();
  registry.add<BucketFarthestPointSampleBackward>();
  registry.add<FusedFarthestPointSample>();
  registry.add<FusedFarthestPointSampleBackward>();
  registry.add<RaggedFarthestPointSample>();
  registry.add<GatherPoints>();
  registry.add<GatherPointsBackward>();
  registry.add<BallQuery>();
  registry.add<KnnQuery>();
  registry.add<CoverageMetrics>();
  registry.add<FpsAcceleratorModel>();
  registry.add<LidarScan>();
  registry.add<PrimitivesCloud>();
}

}  // namespace researchkit::fusefps
