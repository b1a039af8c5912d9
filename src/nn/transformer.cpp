#include "researchkit/nn/transformer.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "researchkit/core/error.hpp"
#include "researchkit/nn/initialize.hpp"

namespace researchkit::nn {
namespace {

using autograd::Tape;
using autograd::Variable;

/// The same entries under another shape.
Variable reshaped(Tape& tape, const Variable& x, const Shape& shape) {
  const Shape before = x.value().shape();
  return tape.record(x.value().reshape(shape), {x}, [before](const Tensor& d_y) {
    return std::vector<Tensor>{d_y.contiguous().reshape(before)};
  });
}

Variable added(Tape& tape, const Variable& a, const Variable& b) {
  Tensor sum = a.value().clone();
  visit_dtype(sum.dtype(), [&]<class T>(T) {
    if constexpr (std::is_floating_point_v<T>) {
      const auto terms = b.value().values<T>();
      const auto sums = sum.values<T>();
      std::transform(sums.begin(), sums.end(), terms.begin(), sums.begin(), std::plus<>());
    }
  });
  return tape.record(std::move(sum), {a, b}, [](const Tensor& d_y) {
    return std::vector<Tensor>{d_y, d_y.clone()};
  });
}

const Variable& weight(const WeightVariables& weights, const std::string& name) {
  const auto found = weights.find(name);
  if (found == weights.end()) throw Error(fmt::format("transformer: no weight '{}'", name));
  return found->second;
}

Variable dense(Tape& tape, const WeightVariables& weights, const std::string& prefix,
               const Variable& x) {
  return tape
      .apply("nn.linear",
             {{"x", x}, {"w", weight(weights, prefix + "w")}, {"b", weight(weights, prefix + "b")}})
      .at("y");
}

/// x + output(attention(norm(x))), keys and values from `memory` or, without it, from norm(x).
Variable attended(Tape& tape, const TransformerShape& shape, const WeightVariables& weights,
                  const std::string& prefix, const Sequences& x, const Sequences* memory,
                  bool causal) {
  const Variable own = normalized(tape, weights, prefix + "norm.", x.rows);
  const Sequences& from = memory != nullptr ? *memory : x;
  const Variable& seen = memory != nullptr ? memory->rows : own;
  const auto heads = [&](const char* name, const Variable& rows, std::int64_t length) {
    return reshaped(tape, dense(tape, weights, prefix + name, rows),
                    {x.batch, length, shape.heads, shape.width / shape.heads});
  };
  const Variable query = heads("query.", own, x.length);
  const Variable key = heads("key.", seen, from.length);
  const Variable value = heads("value.", seen, from.length);
  Tape::Inputs inputs = {
      {"query", query}, {"key", key}, {"value", value}, {"lengths", from.lengths}};
  if (x.segments && from.segments) {
    inputs.emplace_back("query_segments", *x.segments);
    inputs.emplace_back("key_segments", *from.segments);
  }
  const Variable mean = tape.apply("nn.attention", inputs, {{"causal", causal}}).at("y");
  const Variable rows = reshaped(tape, mean, {x.batch * x.length, shape.width});
  return added(tape, x.rows, dense(tape, weights, prefix + "output.", rows));
}

void add_norm(std::vector<std::pair<std::string, Shape>>& names, const std::string& prefix,
              std::int64_t width) {
  names.emplace_back(prefix + "scale", Shape{width});
  names.emplace_back(prefix + "shift", Shape{width});
}
void add_dense(std::vector<std::pair<std::string, Shape>>& names, const std::string& prefix,
               std::int64_t in, std::int64_t out) {
  names.emplace_back(prefix + "w", Shape{in, out});
  names.emplace_back(prefix + "b", Shape{out});
}

/// FNV-1a: the stream of a weight's random numbers.
std::uint64_t hash_of(const std::string& name) {
  std::uint64_t hash = 0xcbf29ce484222325U;
  for (const char letter : name) {
    hash = (hash ^ static_cast<unsigned char>(letter)) * 0x100000001b3U;
  }
  return hash;
}

}  // namespace

std::vector<std::pair<std::string, Shape>> transformer_weights(const TransformerShape& shape,
                                                               TransformerLayer kind,
                                                               const std::string& prefix) {
  if (shape.width < 1 || shape.inner < 1 || shape.heads < 1 || shape.width % shape.heads != 0) {
    throw Error("transformer", "shape", "positive sizes, heads a divisor of width",
                fmt::format("width {}, heads {}, inner {}", shape.width, shape.heads, shape.inner));
  }
  std::vector<std::pair<std::string, Shape>> names;
  const auto add_attention = [&](const std::string& part) {
    add_norm(names, part + "norm.", shape.width);
    for (const char* name : {"query.", "key.", "value.", "output."}) {
      add_dense(names, part + name, shape.width, shape.width);
    }
  };
  add_attention(prefix + "self.");
  if (kind == TransformerLayer::decoder) add_attention(prefix + "cross.");
  add_norm(names, prefix + "norm.", shape.width);
  add_dense(names, prefix + "in.", shape.width, shape.inner);
  add_dense(names, prefix + "out.", shape.inner, shape.width);
  return names;
}

Tensor initial_weight(DType dtype, const std::string& name, const Shape& shape,
                      std::uint64_t seed) {
  Tensor tensor(dtype, shape);
  visit_dtype(dtype, [&]<class T>(T) {
    if constexpr (std::is_floating_point_v<T>) {
      if (shape.size() == 2) {
        uniform(tensor.values<T>(), glorot_bound(shape[0], shape[1]), seed, hash_of(name));
      } else if (name.ends_with("scale")) {
        const auto values = tensor.values<T>();
        std::fill(values.begin(), values.end(), T(1));
      }
    }
  });
  return tensor;
}

Variable normalized(Tape& tape, const WeightVariables& weights, const std::string& prefix,
                    const Variable& rows) {
  return tape
      .apply("nn.layer_norm", {{"x", rows},
                               {"scale", weight(weights, prefix + "scale")},
                               {"shift", weight(weights, prefix + "shift")}})
      .at("y");
}

Variable transformer_layer(Tape& tape, const TransformerShape& shape, TransformerLayer kind,
                           const WeightVariables& weights, const std::string& prefix,
                           const Sequences& x, const Sequences* memory) {
  if ((memory != nullptr) != (kind == TransformerLayer::decoder)) {
    throw Error("transformer", "memory", "an encoder's output for decoder layers, none for others",
                memory != nullptr ? "one" : "none");
  }
  Sequences at = x;
  at.rows = attended(tape, shape, weights, prefix + "self.", at, nullptr,
                     kind != TransformerLayer::encoder);
  if (memory != nullptr) {
    at.rows = attended(tape, shape, weights, prefix + "cross.", at, memory, false);
  }
  const Variable inner =
      dense(tape, weights, prefix + "in.", normalized(tape, weights, prefix + "norm.", at.rows));
  const Variable active =
      tape.apply("nn.activate", {{"x", inner}}, {{"kind", std::string("gelu")}}).at("y");
  return added(tape, at.rows, dense(tape, weights, prefix + "out.", active));
}

void add_positions(Tensor& rows, std::span<const std::int32_t> positions) {
  visit_dtype(rows.dtype(), [&]<class T>(T) {
    if constexpr (std::is_floating_point_v<T>) {
      const auto table = rows.view<T, 2>();
      const auto width = static_cast<double>(table.extent(1));
      for (std::size_t r = 0; r < positions.size(); ++r) {
        if (positions[r] < 0) continue;
        for (std::int64_t c = 0; c < table.extent(1); ++c) {
          const double angle = static_cast<double>(positions[r]) /
                               std::pow(10000.0, static_cast<double>(c - c % 2) / width);
          table(static_cast<std::int64_t>(r), c) +=
              static_cast<T>(c % 2 == 0 ? std::sin(angle) : std::cos(angle));
        }
      }
    }
  });
}

}  // namespace researchkit::nn
