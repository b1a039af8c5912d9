#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace researchkit {

/// Names of the instruction sets that this build has kernels for and this processor can run, best
/// first, for example {"AVX3", "AVX2", "SSE4", "SSSE3", "SCALAR"}.
std::vector<std::string> simd_targets();

/// Name of the instruction set that kernels use now.
std::string simd_target();

/// Makes every kernel use the instruction set `name`; the empty name goes back to the best one.
///
///     for (const auto& target : simd_targets()) { force_simd_target(target); check_something(); }
///     force_simd_target("");
///
/// For tests and measurements: results have the same bits on every target. Call it while no kernel
/// is running. Throws Error if `name` is not one of simd_targets(). The environment variable
/// RESEARCHKIT_SIMD_TARGET, read before the first kernel runs, does the same from outside.
void force_simd_target(std::string_view name);

/// Reads RESEARCHKIT_SIMD_TARGET once. Every kernel calls it before its first dispatch; throws
/// Error if the variable names an instruction set that cannot run here.
void initialize_simd();

}  // namespace researchkit
