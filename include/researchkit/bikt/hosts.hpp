#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

#include "researchkit/core/tensor_map.hpp"
#include "researchkit/core/view.hpp"

namespace researchkit::bikt {

/// The graph networks that can be hosts; docs/bikt.md has their layers side by side.
enum class Host : std::uint8_t { gcn, gat, mixhop, gcnii, fagcn, sage, appnp, gin };
constexpr std::array<std::string_view, 8> names_of(Host) {
  return {"gcn", "gat", "mixhop", "gcnii", "fagcn", "sage", "appnp", "gin"};
}

/// The weights of a host and their shapes in the symbols f (features), h (hidden), c (classes), m
/// (heads), l (layers), d (width of a head). Three powers are those of MixHop.
struct WeightShape {
  std::string_view name, shape;
};
inline std::vector<WeightShape> weights_of(Host host) {
  switch (host) {
    case Host::gcn:
    case Host::appnp:
      return {{"w1", "f h"}, {"b1", "h"}, {"w2", "h c"}, {"b2", "c"}};
    case Host::gat:
      return {{"as1", "m d"},     {"ad1", "m d"},     {"w1", "f m*d"},       {"b1", "m*d"},
              {"as2", "heads c"}, {"ad2", "heads c"}, {"w2", "m*d heads*c"}, {"b2", "c"}};
    case Host::mixhop:
      return {{"w1", "3 f h"}, {"w2", "3 3*h h2"}, {"w3", "3*h2 c"}, {"b3", "c"}};
    case Host::gcnii:
      return {{"w_in", "f h"}, {"b_in", "h"}, {"w", "l h h"}, {"w_out", "h c"}, {"b_out", "c"}};
    case Host::fagcn:
      return {{"w_in", "f h"}, {"b_in", "h"}, {"g", "l 2*h"}, {"w_out", "h c"}, {"b_out", "c"}};
    case Host::sage:
      return {{"ws1", "f h"}, {"wn1", "f h"}, {"b1", "h"},
              {"ws2", "h c"}, {"wn2", "h c"}, {"b2", "c"}};
    case Host::gin:
      break;
  }
  return {{"wa1", "f h1"},  {"ba1", "h1"}, {"wb1", "h1 h2"}, {"bb1", "h2"},
          {"wa2", "h2 h3"}, {"ba2", "h3"}, {"wb2", "h3 c"},  {"bb2", "c"}};
}

/// A row-major matrix of a host's forward pass.
template <class Real>
struct Dense {
  std::int64_t rows = 0, columns = 0;
  std::vector<Real> values;

  Dense() = default;
  Dense(std::int64_t r, std::int64_t c)
      : rows(r), columns(c), values(static_cast<std::size_t>(r * c)) {}
  Real& operator()(std::int64_t i, std::int64_t j) {
    return values[static_cast<std::size_t>(i * columns + j)];
  }
  Real operator()(std::int64_t i, std::int64_t j) const {
    return values[static_cast<std::size_t>(i * columns + j)];
  }
  Out<Real, 2> view() { return {values.data(), {rows, columns}}; }
  In<Real, 2> view() const { return {values.data(), {rows, columns}}; }
};

/// How a host multiplies and propagates: fast or plain. The derived model propagates by the identity
/// (GIN, which sums neighbours without the node: by zero).
template <class Real>
struct HostBackend {
  std::function<void(In<Real, 2> a, In<Real, 2> b, Out<Real, 2> c)> product;  // c = a b
  std::function<Dense<Real>(const Dense<Real>&)> propagate;
  /// y [n, heads d] and s_src, s_dst [n, heads] to the attention's mean, or FAGCN's signed sum.
  std::function<Dense<Real>(const Dense<Real>& h, const Dense<Real>& s_src,
                            const Dense<Real>& s_dst, std::int64_t heads)>
      attend;
  bool derived = false;
};

/// One forward pass in evaluation mode.
template <class Real>
class HostForward {
 public:
  HostForward(const HostBackend<Real>& backend, const TensorMap& weights)
      : backend_(backend), weights_(weights) {}

  Dense<Real> operator()(Host host, const Dense<Real>& x) const {
    switch (host) {
      case Host::gcn:
        return gcn(x);
      case Host::gat:
        return gat(x);
      case Host::mixhop:
        return mixhop(x);
      case Host::gcnii:
        return gcnii(x);
      case Host::fagcn:
        return fagcn(x);
      case Host::sage:
        return sage(x);
      case Host::appnp:
        return appnp(x);
      case Host::gin:
        break;
    }
    return gin(x);
  }

 private:
  static constexpr double kTeleport = 0.1;     // share of the first rows in GCNII and APPNP
  static constexpr double kGcniiLambda = 0.5;  // beta_l = log(lambda / (l + 1) + 1)
  static constexpr double kFagcnEps = 0.3;
  static constexpr double kGinEps = 0.1;
  static constexpr int kAppnpSteps = 10;

  /// Weight `name`, of a stack its matrix number `at`, as a matrix.
  In<Real, 2> weight(std::string_view name, std::int64_t at = 0) const {
    const Tensor& tensor = weights_.at(name);
    const auto* data = static_cast<const Real*>(tensor.data());
    if (tensor.rank() == 1) return {data, {1, tensor.extent(0)}};
    const std::int64_t rows = tensor.extent(tensor.rank() - 2);
    const std::int64_t columns = tensor.extent(tensor.rank() - 1);
    return {data + at * rows * columns, {rows, columns}};
  }
  Dense<Real> times(const Dense<Real>& a, In<Real, 2> w) const {
    Dense<Real> result(a.rows, w.extent(1));
    backend_.product(a.view(), w, result.view());
    return result;
  }
  Dense<Real> with_bias(Dense<Real> a, std::string_view name) const {
    const In<Real, 2> b = weight(name);
    for (std::int64_t i = 0; i < a.rows; ++i) {
      for (std::int64_t j = 0; j < a.columns; ++j) a(i, j) += b(0, j);
    }
    return a;
  }
  static Dense<Real> relu(Dense<Real> a) {
    for (Real& value : a.values) value = value > Real(0) ? value : Real(0);
    return a;
  }
  /// p a + q b.
  static Dense<Real> mix(double p, Dense<Real> a, double q, const Dense<Real>& b) {
    for (std::size_t i = 0; i < a.values.size(); ++i) {
      a.values[i] = Real(p) * a.values[i] + Real(q) * b.values[i];
    }
    return a;
  }
  Dense<Real> propagate(const Dense<Real>& a) const {
    return backend_.derived ? a : backend_.propagate(a);
  }
  Dense<Real> input_layer(const Dense<Real>& x) const {
    return relu(with_bias(times(x, weight("w_in")), "b_in"));
  }
  Dense<Real> output_layer(const Dense<Real>& h) const {
    return with_bias(times(h, weight("w_out")), "b_out");
  }

  Dense<Real> gcn(const Dense<Real>& x) const {
    const auto h = relu(with_bias(propagate(times(x, weight("w1"))), "b1"));
    return with_bias(propagate(times(h, weight("w2"))), "b2");
  }

  Dense<Real> mixhop_layer(const Dense<Real>& x, std::string_view name) const {
    const std::int64_t width = weight(name).extent(1);
    Dense<Real> result(x.rows, 3 * width), power = x;
    for (std::int64_t j = 0; j < 3; ++j) {
      const auto part = times(power, weight(name, j));
      for (std::int64_t i = 0; i < x.rows; ++i) {
        for (std::int64_t c = 0; c < width; ++c) result(i, j * width + c) = part(i, c);
      }
      if (j < 2) power = propagate(power);
    }
    return relu(std::move(result));
  }
  Dense<Real> mixhop(const Dense<Real>& x) const {
    const auto h = mixhop_layer(mixhop_layer(x, "w1"), "w2");
    return with_bias(times(h, weight("w3")), "b3");
  }

  Dense<Real> gcnii(const Dense<Real>& x) const {
    const Dense<Real> first = input_layer(x);
    Dense<Real> h = first;
    const std::int64_t layers = weights_.at("w").extent(0);
    for (std::int64_t l = 0; l < layers; ++l) {
      const double beta = std::log(kGcniiLambda / static_cast<double>(l + 1) + 1);
      const auto s = mix(1 - kTeleport, propagate(h), kTeleport, first);
      h = relu(mix(1 - beta, s, beta, times(s, weight("w", l))));
    }
    return output_layer(h);
  }

  Dense<Real> fagcn(const Dense<Real>& x) const {
    const Dense<Real> first = input_layer(x);
    Dense<Real> h = first;
    const In<Real, 2> g = weight("g");
    for (std::int64_t l = 0; l < g.extent(0); ++l) {
      Dense<Real> sum = h;
      if (!backend_.derived) {
        Dense<Real> target(h.rows, 1), source(h.rows, 1);
        for (std::int64_t i = 0; i < h.rows; ++i) {
          for (std::int64_t c = 0; c < h.columns; ++c) {
            target(i, 0) += h(i, c) * g(l, c);
            source(i, 0) += h(i, c) * g(l, h.columns + c);
          }
        }
        sum = backend_.attend(h, source, target, 1);
      }
      h = mix(1, std::move(sum), kFagcnEps, first);
    }
    return output_layer(h);
  }

  Dense<Real> gat_layer(const Dense<Real>& x, std::string_view w, std::string_view as,
                        std::string_view ad) const {
    auto h = times(x, weight(w));
    if (backend_.derived) return h;
    const In<Real, 2> source = weight(as), target = weight(ad);
    const std::int64_t heads = source.extent(0), d = source.extent(1);
    Dense<Real> s_src(h.rows, heads), s_dst(h.rows, heads);
    for (std::int64_t i = 0; i < h.rows; ++i) {
      for (std::int64_t head = 0; head < heads; ++head) {
        for (std::int64_t c = 0; c < d; ++c) {
          s_src(i, head) += h(i, head * d + c) * source(head, c);
          s_dst(i, head) += h(i, head * d + c) * target(head, c);
        }
      }
    }
    return backend_.attend(h, s_src, s_dst, heads);
  }
  Dense<Real> gat(const Dense<Real>& x) const {
    using std::exp;
    Dense<Real> h = with_bias(gat_layer(x, "w1", "as1", "ad1"), "b1");
    for (Real& value : h.values) value = value > Real(0) ? value : exp(value) - Real(1);
    const auto y = gat_layer(h, "w2", "as2", "ad2");
    const std::int64_t heads = weight("as2").extent(0), classes = weight("as2").extent(1);
    Dense<Real> mean(x.rows, classes);
    for (std::int64_t i = 0; i < x.rows; ++i) {
      for (std::int64_t c = 0; c < classes; ++c) {
        for (std::int64_t head = 0; head < heads; ++head) mean(i, c) += y(i, head * classes + c);
        mean(i, c) /= Real(static_cast<double>(heads));
      }
    }
    return with_bias(std::move(mean), "b2");
  }

  Dense<Real> sage_layer(const Dense<Real>& x, std::string_view own, std::string_view neighbours,
                         std::string_view bias) const {
    return with_bias(mix(1, times(x, weight(own)), 1, times(propagate(x), weight(neighbours))),
                     bias);
  }
  Dense<Real> sage(const Dense<Real>& x) const {
    return sage_layer(relu(sage_layer(x, "ws1", "wn1", "b1")), "ws2", "wn2", "b2");
  }

  Dense<Real> appnp(const Dense<Real>& x) const {
    const auto h = relu(with_bias(times(x, weight("w1")), "b1"));
    const Dense<Real> first = with_bias(times(h, weight("w2")), "b2");
    Dense<Real> z = first;
    for (int step = 0; step < kAppnpSteps; ++step) {
      z = mix(1 - kTeleport, propagate(z), kTeleport, first);
    }
    return z;
  }

  Dense<Real> gin_layer(const Dense<Real>& x, std::string_view wa, std::string_view ba,
                        std::string_view wb, std::string_view bb) const {
    const double own = 1 + kGinEps;
    const auto sum = backend_.derived ? mix(own, x, 0, x) : mix(own, x, 1, backend_.propagate(x));
    return with_bias(times(relu(with_bias(times(sum, weight(wa)), ba)), weight(wb)), bb);
  }
  Dense<Real> gin(const Dense<Real>& x) const {
    const auto h = relu(gin_layer(x, "wa1", "ba1", "wb1", "bb1"));
    return gin_layer(h, "wa2", "ba2", "wb2", "bb2");
  }

  const HostBackend<Real>& backend_;
  const TensorMap& weights_;
};

}  // namespace researchkit::bikt
