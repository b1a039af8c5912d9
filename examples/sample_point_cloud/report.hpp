#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "measure.hpp"
#include "pictures.hpp"

/// What a run found, for files and pictures.
struct Findings {
  std::int64_t n = 0, k = 0;
  int threads = 1;
  bool same = true;               // all methods chose the same points
  std::vector<Measured> methods;  // plain sampling first, the fastest last
  std::vector<std::pair<double, double>> from_above;
  std::vector<std::int32_t> random;  // as many points, chosen at random
  Curve random_radius;               // covering radius of the first of them
};

/// Throws if the file cannot be written.
void write_json(const std::filesystem::path& file, const nlohmann::ordered_json& json);

/// Everything measured, for programs.
nlohmann::ordered_json to_json(const Findings& findings);

/// The page of the demo: pictures, and summary.json.
void write_report(const std::filesystem::path& folder, const Findings& findings);
