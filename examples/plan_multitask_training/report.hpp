#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>

#include "compare.hpp"

/// One point of the sweep: a model, a length, a batch size, and what the methods made of it.
struct SweepPoint {
  std::string model;
  std::int64_t max_seqlen, tokens;
  Score dynapipe;
  std::optional<Score> packing, artifact;  // none: packing does not fit into memory at all
};

void print_scores(const std::vector<Score>& scores);
void print_iteration(std::size_t number, std::size_t samples, const dynapipe::IterationPlan& plan);
void print_sweep(const std::vector<SweepPoint>& points);

/// Writes text; throws researchkit::Error if that fails.
void write_text(const std::filesystem::path& file, std::string_view text);

/// Writes summary.json for the report page, and drawing.json for draw.py. `same_division` are
/// methods whose timelines are drawn above one another.
void write_report(const std::filesystem::path& folder, const std::vector<SweepPoint>& points,
                  const std::vector<Score>& same_division);
