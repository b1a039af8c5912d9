#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

/// The points of one level, and the neighbourhood of one of them.
struct LevelPicture {
  std::string title, note;
  std::vector<std::array<float, 3>> points;
  std::vector<std::array<float, 3>> neighbours;
  std::array<float, 3> centre{};
};

/// Draws the levels beside one another, seen at an angle, coloured by height.
void write_levels(const std::filesystem::path& file, const std::vector<LevelPicture>& levels);
