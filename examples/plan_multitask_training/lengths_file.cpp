#include "lengths_file.hpp"

#include <fmt/format.h>

#include <charconv>
#include <fstream>
#include <nlohmann/json.hpp>

#include "researchkit/core/error.hpp"
#include "researchkit/core/io/npy.hpp"

namespace {

namespace rk = researchkit;
using rk::dynapipe::SampleLength;

std::int32_t checked(std::int64_t length) {
  if (length < 0 || length > rk::dynapipe::kMaxLength) {
    throw rk::Error(fmt::format("{} is no length", length));
  }
  return static_cast<std::int32_t>(length);
}

SampleLength from_json(const std::string& line) {
  const auto json = nlohmann::json::parse(line);
  return {checked(json.at("input").get<std::int64_t>()),
          checked(json.value("target", std::int64_t{0}))};
}

SampleLength from_csv(const std::string& line) {
  std::int64_t numbers[2] = {0, 0};
  const char *at = line.data(), *end = line.data() + line.size();
  for (std::int64_t& number : numbers) {
    const auto [stop, error] = std::from_chars(at, end, number);
    if (error != std::errc{}) throw rk::Error("wanted two numbers");
    at = stop < end && *stop == ',' ? stop + 1 : stop;
    if (at == end) break;
  }
  return {checked(numbers[0]), checked(numbers[1])};
}

std::vector<SampleLength> from_npy(const std::filesystem::path& file) {
  const rk::Tensor tensor = rk::read_npy(file);
  if (tensor.rank() != 2 || tensor.extent(1) != 2) {
    throw rk::Error(
        fmt::format("{}: wanted [n, 2], got {}", file.string(), rk::to_string(tensor.shape())));
  }
  std::vector<SampleLength> samples;
  const auto add = [&](const auto& table) {
    for (std::int64_t i = 0; i < table.extent(0); ++i) {
      samples.push_back({checked(table(i, 0)), checked(table(i, 1))});
    }
  };
  if (tensor.dtype() == rk::DType::i64) {
    add(tensor.view<std::int64_t, 2>());
  } else {
    add(tensor.view<std::int32_t, 2>());
  }
  return samples;
}

}  // namespace

std::vector<SampleLength> read_lengths(const std::filesystem::path& file) {
  if (file.extension() == ".npy") return from_npy(file);
  const bool is_csv = file.extension() == ".csv";
  if (!is_csv && file.extension() != ".jsonl") {
    throw rk::Error(file.string() + ": wanted .jsonl, .csv or .npy");
  }
  std::ifstream stream(file);
  std::vector<SampleLength> samples;
  std::string line;
  for (int number = 1; std::getline(stream, line); ++number) {
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    const bool is_heading = is_csv && number == 1 && line.find_first_of("0123456789") != 0;
    if (is_heading) continue;
    try {
      samples.push_back(is_csv ? from_csv(line) : from_json(line));
    } catch (const std::exception& error) {
      throw rk::Error(fmt::format("{}:{}: {}", file.string(), number, error.what()));
    }
  }
  return samples;
}
