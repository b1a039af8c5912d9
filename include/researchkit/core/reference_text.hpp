#pragma once

#include <string>

#include "researchkit/core/registry.hpp"

/// The operator reference, generated from the schemas. `T` stands for the floating type that a call
/// may choose: an operator that is a template over Real is shown once.
namespace researchkit {

/// A page for a terminal: every argument on a line of its own.
std::string to_text(const Operator& op);
/// A JSON object with everything that the schemas hold.
std::string to_json(const Operator& op);
/// A section of a document: heading, summary, one table of arguments.
std::string to_markdown(const Operator& op);

/// A table of all operators in Markdown, a row each.
std::string markdown_table(const Registry& registry);

}  // namespace researchkit
