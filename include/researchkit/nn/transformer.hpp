#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "researchkit/autograd/tape.hpp"

// Pre-norm transformer layers on a tape.
namespace researchkit::nn {

/// Sizes of a layer.
struct TransformerShape {
  std::int64_t width = 0;
  std::int64_t heads = 1;  ///< a divisor of width
  std::int64_t inner = 0;  ///< of the feed-forward part
};

/// What a layer looks at.
enum class TransformerLayer : std::uint8_t {
  encoder,  ///< itself
  causal,   ///< itself, backwards: a decoder-only model
  decoder,  ///< itself, backwards, and an encoder's output
};

/// Sequences of a batch, padded: rows [b * t, width] and valid rows of each [b].
struct Sequences {
  autograd::Variable rows;
  std::int64_t batch = 0, length = 0;
  autograd::Variable lengths;
  /// Where samples are packed: numbers of the sample of each row [b, t], ascending along a sequence,
  /// the same in an encoder's and a decoder's sequences. A row then sees rows of its sample alone.
  std::optional<autograd::Variable> segments = {};
};

/// Weights by name.
using WeightVariables = std::map<std::string, autograd::Variable, std::less<>>;

/// Names and shapes of a layer's weights, each name behind `prefix`, in a fixed order.
std::vector<std::pair<std::string, Shape>> transformer_weights(const TransformerShape& shape,
                                                               TransformerLayer kind,
                                                               const std::string& prefix);
/// First values: scales 1, offsets 0, matrices uniform (Glorot). What a weight gets depends on its
/// name and the seed alone.
Tensor initial_weight(DType dtype, const std::string& name, const Shape& shape, std::uint64_t seed);

/// One pre-norm layer: x + attention(norm(x)), for a decoder + attention(norm(x), memory), then
/// + linear(gelu(linear(norm(x)))).
///
///     y = transformer_layer(tape, shape, TransformerLayer::causal, weights, "layer.3.", x);
///
/// `memory`, the encoder's output, is for decoder layers alone. Padding never reaches valid rows.
/// Throws Error for a missing weight and as the operators do.
/// Source: Vaswani et al., arXiv 1706.03762; pre-norm: Xiong et al., arXiv 2002.04745.
autograd::Variable transformer_layer(autograd::Tape& tape, const TransformerShape& shape,
                                     TransformerLayer kind, const WeightVariables& weights,
                                     const std::string& prefix, const Sequences& x,
                                     const Sequences* memory = nullptr);

/// Rows normalised, with the weights `prefix`scale and `prefix`shift.
autograd::Variable normalized(autograd::Tape& tape, const WeightVariables& weights,
                              const std::string& prefix, const autograd::Variable& rows);

/// Adds sin and cos of its position to each row of [r, width]; rows of negative positions stay as
/// they are. Source: arXiv 1706.03762, section 3.5.
void add_positions(Tensor& rows, std::span<const std::int32_t> positions);

}  // namespace researchkit::nn
