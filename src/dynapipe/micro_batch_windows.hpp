#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "researchkit/core/context.hpp"
#include "researchkit/dynapipe/microbatch_dp.hpp"
#include "researchkit/dynapipe/planner.hpp"
#include "researchkit/dynapipe/window_packing.hpp"

namespace researchkit::dynapipe::detail {

/// Windows of ordered samples as micro-batches within memory, with `pack` packed where that is cheaper.
class MicroBatchWindows {
 public:
  /// Limits in MB. Everything that is handed in outlives this.
  MicroBatchWindows(std::span<const SampleLength> ordered, const LayerTables& tables,
                    StageShape stage, const PlanOptions& options, bool pack, double stored_limit,
                    double peak_limit);

  /// The windows that fit, in ticks.
  WindowRows rows(const Context& ctx);

  /// The micro-batch of samples [begin, end), whose window fits; `order` has their names.
  MicroBatch micro_batch(std::int64_t begin, std::int64_t end, std::span<const std::int32_t> order);

 private:
  void add_row(std::int64_t begin, WindowRows& rows);
  Ticks ticks(const ShapeCosts::Shape& shape, std::int64_t sequences) const;
  const ShapeCosts::Shape& shape_of(const SampleLength& longest);

  std::span<const SampleLength> ordered_;
  const PlanOptions& options_;
  bool pack_;
  double stored_limit_, peak_limit_;
  ShapeCosts costs_;
  WindowPacking packing_;
  std::vector<SampleLength> ahead_;  // the longest sequences from each sample on
};

}  // namespace researchkit::dynapipe::detail
