#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "researchkit/core/error.hpp"
#include "researchkit/core/tensor.hpp"
#include "researchkit/dynapipe/attributes.hpp"
#include "researchkit/dynapipe/transformer_cost.hpp"
#include "researchkit/dynapipe/window_cost.hpp"

namespace researchkit::dynapipe {

/// Costs of a model's layers for one degree of tensor parallelism, for all ways to recompute.
struct ModelProfile {
  std::string model;
  std::int64_t hidden = 0;
  std::int64_t tp = 1;
  std::vector<std::int32_t> mbs_grid, seq_grid;
  std::array<Array<double, 3>, 3> encoder;  ///< by Recompute: [6, mbs, seq]
  std::array<Array<double, 4>, 3> decoder;  ///< by Recompute: [4, mbs, seq, seq]; empty: none
  double embedding_mb = 0;                  ///< parameters, 2 bytes each, on one rank
  double encoder_layer_mb = 0;
  double decoder_layer_mb = 0;

  ModelKind kind() const { return decoder[0].size() > 0 ? ModelKind::encdec : ModelKind::decoder; }
  LayerTables tables(Recompute recompute) const;
};

/// Reads a measured profile: `<name>.json` and the .npy files beside it, as documented there.
/// Throws Error for what is missing, malformed or of another version, and where `tp` was not
/// measured.
ModelProfile load_profile(const std::filesystem::path& json, std::int64_t tp);

/// Writes a profile as load_profile reads it: `<name>.json` and .npy files beside it. Throws Error where
/// that cannot be done.
void save_profile(const std::filesystem::path& json, const ModelProfile& profile);

/// What happens to a shape that a text profile holds several times.
enum class Repeated : std::uint8_t { maximum, median };

/// Reads a profile in text form, one file per measured shape: a line of the numbers tp hidden heads
/// kv ffn enc dec mbs recompute, then lines of a name and a value (forward_encoder, ... in ms and
/// MB). Files of another tp are left out. Throws Error naming file and line.
ModelProfile read_text_profiles(const std::vector<std::filesystem::path>& files, std::int64_t tp,
                                Repeated repeated = Repeated::maximum);

/// The profile that transformer_cost predicts, on the usual grid of shapes.
ModelProfile analytic_profile(const LayerShape& layer, ModelKind kind,
                              const DeviceModel& device = {});

}  // namespace researchkit::dynapipe
