#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "researchkit/core/tensor.hpp"
#include "researchkit/graph/datasets.hpp"

// Cases on graphs that Google Benchmark runs, and that a peer's program asks for call by call.
namespace researchkit::bench {

/// One thing to measure, ready to run; flops of a call, and bytes that its buffers hold.
struct Case {
  std::function<void()> call;
  double flops = 0;
  std::size_t buffer_bytes = 0;
};
using MakeCase = Case (*)(const std::string& dataset, const std::string& name, int threads);

/// A data set below $RESEARCHKIT_DATA/graphs; whether there is such a folder.
std::shared_ptr<graph::NodeDataset> stored_dataset(const std::string& name);
bool has_stored_datasets();

/// Normal numbers; `stream` sets matrices apart.
Array<float, 2> random_matrix(std::int64_t rows, std::int64_t columns, std::uint64_t stream = 1);

/// Registers a case with Google Benchmark, on one thread and on all.
void register_case(MakeCase make, const std::string& dataset, const std::string& name);

/// The same for a case on a device; a call ends when the device is done.
using MakeDeviceCase = Case (*)(const std::string& dataset, const std::string& name, Device device);
void register_case(MakeDeviceCase make, const std::string& dataset, const std::string& name,
                   Device device);

/// `--serve DATASET CASE THREADS`: answers each number of the input with the wall and processor seconds of
/// the fastest of so many calls in a row. Anything else: Google Benchmark, after register_cases() for the device that
/// `--device` names. The exit status.
int run_program(int argc, char** argv, MakeCase make, void (*register_cases)(Device));

}  // namespace researchkit::bench
