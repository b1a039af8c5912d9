#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "researchkit/core/attribute.hpp"
#include "researchkit/core/dtype.hpp"
#include "researchkit/core/expression.hpp"

namespace researchkit {

enum class ArgumentKind : std::uint8_t { input, output, attribute, extent };

/// How many tensors stand behind an argument.
enum class Arity : std::uint8_t { single, list, map };

/// Everything that is known of one argument without a call at hand.
struct ArgumentSpec {
  ArgumentKind kind = ArgumentKind::input;
  std::string name;
  std::string doc;

  // Inputs and outputs.
  DType dtype = DType::f32;
  Arity arity = Arity::single;
  int rank = 0;  // -1: any
  bool optional = false;
  std::string shape_text;           // "b n d"
  std::vector<Expression> shape;    // the same, per axis
  bool finite = false;              // inputs: NaN and infinities are refused
  bool contiguous = false;          // the operator only ever sees row-major memory
  bool host = false;                // a device call has these on the host
  std::string when;                 // outputs: the bool attribute that switches it on
  std::string like;                 // outputs of any rank: the input whose shape they have;
                                    // maps: the map of inputs whose entries they mirror
  std::string prefix;               // maps: what stands before an entry's name in a call
  std::optional<Expression> count;  // lists of outputs: how many

  // Inputs (every entry) and attributes.
  std::optional<Interval> interval;

  // Attributes.
  AttributeType type = AttributeType::int64;
  std::vector<std::string> choices;             // of an enumeration
  std::optional<AttributeValue> default_value;  // nothing: not given

  // Extents that only the run knows.
  std::optional<Expression> at_most;

  /// Whether one tensor of any rank stands behind the argument.
  bool any_rank() const { return arity == Arity::single && rank < 0; }
};

/// A legal range for a symbol of the shapes.
struct DimensionSpec {
  std::string symbol;
  Interval interval;
  std::string doc;
};

/// The arguments of an operator, in the order in which `describe` names them.
struct Schema {
  std::string operator_name;
  std::string summary;
  std::vector<ArgumentSpec> arguments;
  std::vector<DimensionSpec> dimensions;

  /// Null if there is none of that name.
  const ArgumentSpec* find(std::string_view name) const;
};

/// One line per argument, for people.
std::string to_text(const Schema& schema);
/// A JSON object with everything the schema holds.
std::string to_json(const Schema& schema);

}  // namespace researchkit
