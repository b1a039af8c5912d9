#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <string>

#include "researchkit/core/context.hpp"
#include "researchkit/core/cost.hpp"
#include "researchkit/core/device.hpp"

namespace researchkit::tool {

// Exit states: 0 it worked; 1 it was refused or failed; 2 the command line makes no sense.
inline constexpr int kSuccess = 0;
inline constexpr int kFailure = 1;
inline constexpr int kUsage = 2;

/// What the verb on the command line does; its result is the exit status.
using Action = std::function<int()>;

// Each adds its verb to `app`; parsing a command line with that verb sets `action`.
void add_ops(CLI::App& app, Action& action);
void add_describe(CLI::App& app, Action& action);
void add_run(CLI::App& app, Action& action);
void add_verify(CLI::App& app, Action& action);
void add_demo(CLI::App& app, Action& action);
void add_doctor(CLI::App& app, Action& action);

/// A help text that shows how the verb is used, below its options.
std::string examples(std::initializer_list<std::string_view> lines);

/// "cpu", "cuda" or "cuda:1" as a device that this build can use. Throws Error for others.
Device parse_device(const std::string& text);

/// "12.3 ms", "1.50 s": a duration with a unit that suits it.
std::string show_seconds(double seconds);

/// Prints GFLOP/s and GB/s of a call and which share of this machine's peak, measured now, they are.
/// A rate above the memory's peak means that the data stayed in the caches.
void print_rates(const Cost& cost, double seconds, bool is_double, const Context& ctx);

}  // namespace researchkit::tool
