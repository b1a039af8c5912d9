#pragma once

#include <cstdint>
#include <random>
#include <string_view>

#include "researchkit/core/expression.hpp"
#include "researchkit/core/registry.hpp"

namespace researchkit {

/// A random call of an operator, made from its schema. An operator whose arguments hang together in
/// ways that a schema cannot say (ascending offsets, exactly one of several attributes) mends the
/// call in a static function `arbitrary(Arbitrary&)`; what is refused all the same is thrown away.
class Arbitrary {
 public:
  /// Draws sizes, attributes and tensors for the instantiation with this schema. Sizes are at most
  /// `largest`, among them 0, 1 and odd ones; floating inputs are standard normal numbers, some of
  /// them repeated.
  Arbitrary(const Schema& schema, std::uint64_t seed, std::int64_t largest);

  Arguments call;
  SymbolTable sizes;

  /// A uniform integer in [low, high].
  std::int64_t integer(std::int64_t low, std::int64_t high);
  /// True with this probability.
  bool chance(double probability);
  double normal();
  /// The size drawn for a symbol of the input shapes.
  std::int64_t size(std::string_view symbol) const { return sizes.find(symbol).value_or(0); }
  /// Sets a size and draws all tensors again that have it.
  void resize(std::string_view symbol, std::int64_t extent);

 private:
  void draw_sizes(std::int64_t largest);
  void draw_attributes();
  void draw_inputs(std::string_view only_with_symbol = {});
  Tensor draw_tensor(const ArgumentSpec& spec);

  const Schema& schema_;
  std::mt19937_64 engine_;
};

}  // namespace researchkit
