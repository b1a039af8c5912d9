#include "src/dynapipe/stage_tables.hpp"

#include <fmt/format.h>

#include <cmath>

#include "researchkit/core/error.hpp"

namespace researchkit::dynapipe::detail {
namespace {

/// One kind of layer for one micro-batch.
struct LayerParts {
  double fw = 0, bw = 0, stored = 0, peak = 0;
};

struct ShapeParts {
  LayerParts encoder, decoder;
  double post_fw = 0, post_bw = 0;
  bool covered = false;
};

ShapeParts parts_of(const MicroBatchShape& shape, const LayerTables& tables) {
  ShapeParts parts;
  const auto batch = locate(tables.mbs_grid, shape.samples, tables.below);
  const auto in = locate(tables.seq_grid, shape.input, tables.below);
  const bool has_target = shape.target > 0;
  const auto out = has_target ? locate(tables.seq_grid, shape.target, tables.below) : in;
  if (!batch || !in || !out) return parts;
  const auto encoder = [&](int q) { return interpolate(tables.encoder[q], {*batch, *in}); };
  parts.encoder = {encoder(0), encoder(1), encoder(4), encoder(5)};
  parts.post_fw = interpolate(tables.encoder[2], {*batch, *out});
  parts.post_bw = interpolate(tables.encoder[3], {*batch, *out});
  if (has_target) {
    const auto decoder = [&](int q) { return interpolate(tables.decoder[q], {*batch, *in, *out}); };
    parts.decoder = {decoder(0), decoder(1), decoder(2), decoder(3)};
  }
  const double sum = parts.encoder.fw + parts.encoder.bw + parts.encoder.stored +
                     parts.encoder.peak + parts.decoder.fw + parts.decoder.bw +
                     parts.decoder.stored + parts.decoder.peak + parts.post_fw + parts.post_bw;
  parts.covered = std::isfinite(sum);
  return parts;
}

/// The link between stages v and v + 1.
Link link_between(const Cluster& cluster, std::int64_t tp, std::int64_t v) {
  const auto node = [&](std::int64_t stage) {
    return stage % cluster.stages * tp / cluster.devices_per_node;
  };
  return node(v) == node(v + 1) ? cluster.within_node : cluster.between_nodes;
}

}  // namespace

StageTables stage_tables(std::span<const MicroBatch> micro_batches, const Model& model,
                         const Cluster& cluster, const Pipeline& pipeline, Recompute recompute) {
  const auto count = static_cast<std::int64_t>(micro_batches.size());
  const std::int64_t stages = cluster.stages * pipeline.chunks;
  const LayerTables layer = model.profile->tables(recompute);
  const auto layers = static_cast<double>(pipeline.layers);
  StageTables tables{Array<double, 2>({count, stages}),     Array<double, 2>({count, stages}),
                     Array<double, 2>({count, stages - 1}), Array<double, 2>({count, stages - 1}),
                     Array<double, 2>({count, stages}),     Array<double, 2>({count, stages}),
                     Array<double, 1>({cluster.stages})};
  for (std::int64_t s = 0; s < cluster.stages; ++s) tables.state_mem(s) = pipeline.state_mb;
  for (std::int64_t m = 0; m < count; ++m) {
    const MicroBatchShape& shape = micro_batches[static_cast<std::size_t>(m)].shape;
    const ShapeParts parts = parts_of(shape, layer);
    if (!parts.covered) {
      throw Error(fmt::format(
          "dynapipe.plan: micro-batch {} of {} samples of {} + {} tokens: the profile '{}' says "
          "nothing about it (tp {}, recompute {})",
          m, shape.samples, shape.input, shape.target, model.profile->model, model.profile->tp,
          name_of(recompute)));
    }
    const bool both_on_one = pipeline.shape.chunks > pipeline.chunks;
    for (std::int64_t s = 0; s < stages; ++s) {
      LayerParts part = s < pipeline.n_enc_stages ? parts.encoder : parts.decoder;
      if (both_on_one) {
        part = {parts.encoder.fw + parts.decoder.fw, parts.encoder.bw + parts.decoder.bw,
                parts.encoder.stored + parts.decoder.stored,
                std::max(parts.encoder.peak, parts.decoder.peak)};
      }
      const bool last = s == stages - 1;
      tables.fw(m, s) = part.fw * layers + (last ? parts.post_fw : 0);
      tables.bw(m, s) = part.bw * layers + (last ? parts.post_bw : 0);
      tables.stored(m, s) = part.stored * layers;
      tables.peak(m, s) = part.peak + part.stored * (layers - 1);
    }
    for (std::int64_t s = 0; s + 1 < stages; ++s) {
      const bool both = s >= pipeline.n_enc_stages;  // past the first decoder stage
      const double tokens = shape.samples * (double{1} * shape.input + (both ? shape.target : 0));
      const double megabytes = tokens * static_cast<double>(model.profile->hidden) * 2 / 1e6;
      tables.comm_fw(m, s) = tables.comm_bw(m, s) =
          link_between(cluster, model.profile->tp, s).transfer_ms(megabytes);
    }
  }
  return tables;
}

}  // namespace researchkit::dynapipe::detail
