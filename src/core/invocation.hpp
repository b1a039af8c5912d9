#pragma once

#include <string>

#include "researchkit/core/operator.hpp"

namespace researchkit::detail {

/// One argument of a call that is being checked and run.
struct Invocation::Argument {
  const ArgumentSpec* spec = nullptr;
  Port port;
  TensorMap tensors;     // what the operator object points at
  TensorMap row_major;   // copies that stand in for strided tensors during a run
  TensorMap on_host;     // copies of what a device call reads on the host
  bool provided = true;  // outputs: the memory is the caller's

  bool is(ArgumentKind kind) const { return spec->kind == kind; }
  /// The name that a call uses for the tensor stored under `key`.
  std::string label(const std::string& key) const {
    if (spec->arity == Arity::list) return spec->name + "_" + key;
    if (spec->arity == Arity::map) return spec->prefix + key;
    return spec->name;
  }
};

}  // namespace researchkit::detail
