#include "researchkit/dynapipe/profile.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "researchkit/core/error.hpp"
#include "researchkit/core/io/npy.hpp"

namespace researchkit::dynapipe {
namespace {

namespace fs = std::filesystem;
constexpr double kMissing = std::numeric_limits<double>::quiet_NaN();

/// The leading axes of a measured tensor at fixed positions, as a copy.
template <int Rank>
Array<double, Rank> part_of(const Tensor& tensor, std::int64_t tp, std::int64_t recompute) {
  const Tensor part = tensor.slice(0, tp, tp + 1).slice(1, recompute, recompute + 1).clone();
  return Array<double, Rank>(part.reshape(Shape(part.shape().begin() + 2, part.shape().end())));
}

Tensor read_table(const fs::path& file, const Shape& shape) {
  Tensor table = read_npy(file);
  if (table.dtype() != DType::f64 || table.shape() != shape) {
    throw Error(fmt::format("{}: wanted float64 of shape {}, got {} of shape {}", file.string(),
                            to_string(shape), to_string(table.dtype()), to_string(table.shape())));
  }
  return table;
}

std::vector<std::int32_t> read_grid(const nlohmann::json& meta, const char* name,
                                    const fs::path& file) {
  auto grid = meta.at(name).get<std::vector<std::int32_t>>();
  const bool ascends =
      std::adjacent_find(grid.begin(), grid.end(), std::greater_equal<>()) == grid.end();
  if (grid.empty() || grid.front() < 1 || !ascends) {
    throw Error(
        fmt::format("{}: '{}' is no ascending list of positive numbers", file.string(), name));
  }
  return grid;
}

ModelProfile read_profile(const fs::path& file, const nlohmann::json& meta, std::int64_t tp) {
  if (meta.value("format", "") != "researchkit-dynapipe-profile" || meta.value("version", 0) != 1) {
    throw Error(fmt::format("{}: no researchkit-dynapipe-profile of version 1", file.string()));
  }
  ModelProfile profile;
  profile.model = meta.at("model").get<std::string>();
  profile.hidden = meta.at("hidden").get<std::int64_t>();
  profile.tp = tp;
  profile.mbs_grid = read_grid(meta, "mbs", file);
  profile.seq_grid = read_grid(meta, "seqlen", file);
  const auto degrees = meta.at("tp").get<std::vector<std::int64_t>>();
  const auto modes = meta.at("recompute").get<std::vector<std::string>>();
  const auto degree = std::find(degrees.begin(), degrees.end(), tp);
  if (degree == degrees.end()) {
    throw Error(fmt::format("{}: tp {} was not measured", file.string(), tp));
  }
  const std::int64_t at = degree - degrees.begin();
  const auto t = static_cast<std::int64_t>(degrees.size());
  const auto r = static_cast<std::int64_t>(modes.size());
  const auto g = static_cast<std::int64_t>(profile.mbs_grid.size());
  const auto l = static_cast<std::int64_t>(profile.seq_grid.size());
  const fs::path stem = file.parent_path() / file.stem();
  const Tensor encoder = read_table(stem.string() + "_encoder.npy", {t, r, 6, g, l});
  const Tensor params = read_table(stem.string() + "_param_mb.npy", {t, r, 3});
  const bool has_decoder = !meta.at("decoder_quantities").empty();
  Tensor decoder;
  if (has_decoder) decoder = read_table(stem.string() + "_decoder.npy", {t, r, 4, g, l, l});
  for (std::size_t mode = 0; mode < profile.encoder.size(); ++mode) {
    const auto name = name_of(static_cast<Recompute>(mode));
    const auto found = std::find(modes.begin(), modes.end(), name);
    if (found == modes.end()) {
      throw Error(fmt::format("{}: recompute '{}' was not measured", file.string(), name));
    }
    const std::int64_t m = found - modes.begin();
    profile.encoder[mode] = part_of<3>(encoder, at, m);
    profile.decoder[mode] =
        has_decoder ? part_of<4>(decoder, at, m) : Array<double, 4>({4, 0, 0, 0});
  }
  const auto numbers = params.view<double, 3>();
  profile.embedding_mb = numbers(at, 0, 0);
  profile.encoder_layer_mb = numbers(at, 0, 1);
  profile.decoder_layer_mb = has_decoder ? numbers(at, 0, 2) : 0;
  return profile;
}

/// One file of the text form.
struct TextProfile {
  std::int64_t tp = 0, hidden = 0, enc = 0, dec = 0, mbs = 0;
  Recompute recompute = Recompute::none;
  std::map<std::string, double> values;
};

TextProfile read_text_profile(const fs::path& file) {
  std::ifstream stream(file);
  if (!stream) throw Error(fmt::format("cannot read {}", file.string()));
  TextProfile profile;
  std::string line, mode;
  std::int64_t heads = 0, kv = 0, ffn = 0;
  const auto refuse = [&](int number, std::string_view what) {
    throw Error(fmt::format("{}:{}: wanted {}", file.string(), number, what));
  };
  std::getline(stream, line);
  std::istringstream header(line);
  header >> profile.tp >> profile.hidden >> heads >> kv >> ffn >> profile.enc >> profile.dec >>
      profile.mbs >> mode;
  const auto names = names_of(Recompute{});
  const auto found = std::find(names.begin(), names.end(), mode);
  if (!header || found == names.end() || profile.mbs < 1 || profile.enc < 1 || profile.dec < 0 ||
      std::max({profile.mbs, profile.enc, profile.dec}) > kMaxLength) {
    refuse(1, "tp hidden heads kv ffn enc dec mbs recompute");
  }
  profile.recompute = static_cast<Recompute>(found - names.begin());
  for (int number = 2; std::getline(stream, line); ++number) {
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    std::istringstream words(line);
    std::string name;
    double value = 0;
    if (!(words >> name >> value) || !std::isfinite(value) || value < 0) {
      refuse(number, "a name and a number of at least 0");
    }
    profile.values[name] = value;
  }
  return profile;
}

}  // namespace

LayerTables ModelProfile::tables(Recompute recompute) const {
  const auto mode = static_cast<std::size_t>(recompute);
  return {mbs_grid, seq_grid, encoder[mode], decoder[mode], Below::clamp};
}

ModelProfile load_profile(const fs::path& json, std::int64_t tp) {
  std::ifstream stream(json);
  if (!stream) throw Error(fmt::format("cannot read {}", json.string()));
  try {
    return read_profile(json, nlohmann::json::parse(stream), tp);
  } catch (const nlohmann::json::exception& error) {
    throw Error(fmt::format("{}: {}", json.string(), error.what()));
  }
}

void save_profile(const fs::path& json, const ModelProfile& profile) {
  const fs::path stem = json.parent_path() / json.stem();
  const auto modes = static_cast<std::int64_t>(profile.encoder.size());
  const bool has_decoder = profile.kind() == ModelKind::encdec;
  const auto write = [&](const char* end, const auto& tables) {
    const Shape shape = tables[0].tensor().shape();
    Shape all = {1, modes};
    all.insert(all.end(), shape.begin(), shape.end());
    Tensor joined(DType::f64, all);
    for (std::int64_t mode = 0; mode < modes; ++mode) {
      Tensor part = joined.slice(1, mode, mode + 1);
      Shape one = {1, 1};
      one.insert(one.end(), shape.begin(), shape.end());
      part.copy_from(tables[static_cast<std::size_t>(mode)].tensor().reshape(one));
    }
    write_npy(stem.string() + end, joined);
  };
  write("_encoder.npy", profile.encoder);
  if (has_decoder) write("_decoder.npy", profile.decoder);
  Tensor params(DType::f64, {1, modes, 3});
  for (std::int64_t mode = 0; mode < modes; ++mode) {
    const auto at = params.view<double, 3>();
    at(0, mode, 0) = profile.embedding_mb;
    at(0, mode, 1) = profile.encoder_layer_mb;
    at(0, mode, 2) = profile.decoder_layer_mb;
  }
  write_npy(stem.string() + "_param_mb.npy", params);
  nlohmann::json meta = {{"format", "researchkit-dynapipe-profile"},
                         {"version", 1},
                         {"model", profile.model},
                         {"hidden", profile.hidden},
                         {"tp", {profile.tp}},
                         {"recompute", {"none", "selective", "full"}},
                         {"mbs", profile.mbs_grid},
                         {"seqlen", profile.seq_grid},
                         {"encoder_quantities",
                          {"fw_ms", "bw_ms", "post_fw_ms", "post_bw_ms", "stored_mb", "peak_mb"}},
                         {"decoder_quantities", nlohmann::json::array()}};
  if (has_decoder) meta["decoder_quantities"] = {"fw_ms", "bw_ms", "stored_mb", "peak_mb"};
  std::ofstream stream(json);
  stream << meta.dump(1) << '\n';
  if (!stream.flush()) throw Error(fmt::format("cannot write {}", json.string()));
}

ModelProfile read_text_profiles(const std::vector<fs::path>& files, std::int64_t tp,
                                Repeated repeated) {
  std::vector<TextProfile> profiles;
  std::set<std::int32_t> mbs, seq;
  bool has_decoder = false;
  for (const fs::path& file : files) {
    TextProfile profile = read_text_profile(file);
    if (profile.tp != tp) continue;
    mbs.insert(static_cast<std::int32_t>(profile.mbs));
    seq.insert(static_cast<std::int32_t>(profile.enc));
    if (profile.dec > 0) seq.insert(static_cast<std::int32_t>(profile.dec));
    has_decoder = has_decoder || profile.dec > 0;
    profiles.push_back(std::move(profile));
  }
  if (profiles.empty()) throw Error(fmt::format("no text profile is of tp {}", tp));
  ModelProfile model;
  model.model = "text profile";
  model.hidden = profiles.front().hidden;
  model.tp = tp;
  model.mbs_grid.assign(mbs.begin(), mbs.end());
  model.seq_grid.assign(seq.begin(), seq.end());
  const auto g = static_cast<std::int64_t>(mbs.size()), l = static_cast<std::int64_t>(seq.size());
  // All values of a place, by name, before they become one.
  std::map<std::pair<double*, const char*>, std::vector<double>> places;
  const auto offer = [&](double& place, const TextProfile& from, const char* name) {
    const auto value = from.values.find(name);
    if (value != from.values.end()) places[{&place, name}].push_back(value->second);
  };
  for (std::size_t mode = 0; mode < 3; ++mode) {
    model.encoder[mode] = Array<double, 3>({6, g, l});
    model.decoder[mode] =
        has_decoder ? Array<double, 4>({4, g, l, l}) : Array<double, 4>({4, 0, 0, 0});
    for (const Tensor& table : {model.encoder[mode].tensor(), model.decoder[mode].tensor()}) {
      Tensor filled = table;
      for (double& value : filled.values<double>()) value = kMissing;
    }
  }
  const auto index_in = [](const auto& grid, std::int64_t value) {
    return std::lower_bound(grid.begin(), grid.end(), value) - grid.begin();
  };
  for (const TextProfile& profile : profiles) {
    const auto mode = static_cast<std::size_t>(profile.recompute);
    const auto m = index_in(model.mbs_grid, profile.mbs);
    const auto e = index_in(model.seq_grid, profile.enc);
    const auto d = index_in(model.seq_grid, profile.dec);
    auto& encoder = model.encoder[mode];
    offer(encoder(0, m, e), profile, "forward_encoder");
    offer(encoder(1, m, e), profile, "backward_encoder");
    const auto post = profile.dec > 0 ? d : e;
    offer(encoder(2, m, post), profile, "forward_postprocess");
    offer(encoder(3, m, post), profile, "backward_postprocess");
    offer(encoder(4, m, e), profile, "encoder_activation");
    offer(encoder(5, m, e), profile, "peak_encoder_activation");
    if (profile.dec > 0) {
      auto& decoder = model.decoder[mode];
      offer(decoder(0, m, e, d), profile, "forward_decoder");
      offer(decoder(1, m, e, d), profile, "backward_decoder");
      offer(decoder(2, m, e, d), profile, "decoder_activation");
      offer(decoder(3, m, e, d), profile, "peak_decoder_activation");
    }
    offer(model.embedding_mb, profile, "model_embedding");
    offer(model.encoder_layer_mb, profile, "model_encoder");
    offer(model.decoder_layer_mb, profile, "model_decoder");
  }
  for (auto& [place, values] : places) {
    const auto middle = values.begin() + static_cast<std::ptrdiff_t>((values.size() - 1) / 2);
    std::sort(values.begin(), values.end());
    *place.first = repeated == Repeated::maximum ? values.back() : *middle;
  }
  return model;
}

ModelProfile analytic_profile(const LayerShape& layer, ModelKind kind, const DeviceModel& device) {
  ModelProfile profile;
  profile.model = kind == ModelKind::decoder ? "analytic GPT" : "analytic T5";
  profile.hidden = layer.hidden;
  profile.tp = layer.tp;
  for (std::int32_t b = 1; b <= 2048; b *= 2) profile.mbs_grid.push_back(b);
  for (std::int32_t s = 16; s <= 4096; s *= 2) profile.seq_grid.push_back(s);
  profile.seq_grid.insert(profile.seq_grid.end(), {6144, 8192});
  const auto g = static_cast<std::int64_t>(profile.mbs_grid.size());
  const auto l = static_cast<std::int64_t>(profile.seq_grid.size());
  LayerShape encoder_layer = layer, decoder_layer = layer;
  encoder_layer.decoder = false;
  decoder_layer.decoder = true;
  for (std::size_t mode = 0; mode < 3; ++mode) {
    const auto recompute = static_cast<Recompute>(mode);
    auto& encoder = profile.encoder[mode] = Array<double, 3>({6, g, l});
    auto& decoder = profile.decoder[mode] =
        Array<double, 4>(kind == ModelKind::encdec ? std::array<std::int64_t, 4>{4, g, l, l}
                                                   : std::array<std::int64_t, 4>{4, 0, 0, 0});
    for (std::int64_t b = 0; b < g; ++b) {
      const std::int32_t samples = profile.mbs_grid[static_cast<std::size_t>(b)];
      for (std::int64_t e = 0; e < l; ++e) {
        const std::int32_t input = profile.seq_grid[static_cast<std::size_t>(e)];
        const LayerCost cost =
            transformer_cost(samples, input, 0, encoder_layer, recompute, device);
        encoder(0, b, e) = cost.fw_ms;
        encoder(1, b, e) = cost.bw_ms;
        encoder(4, b, e) = cost.stored_mb;
        encoder(5, b, e) = cost.peak_mb;
        for (std::int64_t d = 0; d < decoder.extent(3); ++d) {
          const std::int32_t target = profile.seq_grid[static_cast<std::size_t>(d)];
          const LayerCost both =
              transformer_cost(samples, input, target, decoder_layer, recompute, device);
          decoder(0, b, e, d) = both.fw_ms;
          decoder(1, b, e, d) = both.bw_ms;
          decoder(2, b, e, d) = both.stored_mb;
          decoder(3, b, e, d) = both.peak_mb;
        }
      }
    }
  }
  const auto h = static_cast<double>(layer.hidden), f = static_cast<double>(layer.ffn);
  const auto p = static_cast<double>(layer.heads * layer.kv_channels);
  const auto t = static_cast<double>(layer.tp);
  constexpr double kVocabulary = 51200, kBytes = 2;
  profile.embedding_mb = kBytes * kVocabulary * h / t / 1e6;
  profile.encoder_layer_mb = kBytes * (4 * h * p + 2 * h * f) / t / 1e6;
  profile.decoder_layer_mb = kBytes * (8 * h * p + 2 * h * f) / t / 1e6;
  return profile;
}

}  // namespace researchkit::dynapipe
