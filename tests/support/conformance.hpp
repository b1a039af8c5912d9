#pragma once

// What every registered operator must do, checked without a line written for it. Each check returns
// what it found wrong, so that a test can also see it find something.

#include <string>
#include <vector>

#include "researchkit/core/registry.hpp"

namespace researchkit::conformance {

using Failures = std::vector<std::string>;

/// run() gives what reference() gives, within the operator's tolerance, on random legal calls with
/// sizes 0, 1, odd and even, in every instantiation.
Failures run_equals_reference(const Operator& op);
/// 1, 2, 3 and 7 threads give the same bits, small and large calls.
Failures threads_do_not_matter(const Operator& op);
/// Every instruction set of this processor gives the same bits.
Failures instruction_sets_do_not_matter(const Operator& op);
/// Strided inputs and outputs, with an offset, give the same bits as row-major ones, and nothing
/// between the entries of an output is written.
Failures strides_do_not_matter(const Operator& op);
/// A call with its tensors on `device` gives the bits of the CPU, or numbers within the tolerance.
Failures device_equals_host(const Operator& op, Device device, const Tolerance& tolerance = {});
/// The same call twice gives the same bits.
Failures calls_leave_no_trace(const Operator& op);
/// The operator `<name>_backward` gives the derivative that central differences in double see.
/// Empty for operators without one.
Failures gradients_match_differences(const Registry& registry, const Operator& op);
/// Calls made illegal in every way that the schema knows are refused in the argument's name, and
/// memory given for outputs is not touched.
Failures illegal_calls_are_refused(const Operator& op);
/// cost() is the number of operations that the plain loops do. A cost that depends on the data,
/// flagged as a bound, has no such number before the run: the operator's own tests hold its
/// measured_cost().
Failures cost_matches_counted_flops(const Operator& op);

}  // namespace researchkit::conformance
