#include "researchkit/bikt/layers.hpp"

#include "researchkit/bikt/elementwise.hpp"
#include "researchkit/core/blas.hpp"
#include "researchkit/nn/column_sums.hpp"
#include "src/bikt/matrix.hpp"

namespace researchkit::bikt {
namespace {

/// use(float{}) or use(double{}), by the dtype of a matrix.
template <class Use>
Variable visit_real(const Variable& x, Use&& use) {
  if (x.value().dtype() == DType::f32) return use(float{});
  if (x.value().dtype() == DType::f64) return use(double{});
  throw Error("a layer of a host: float32 or float64 wanted");
}

void require(bool fits, const char* layer, const Variable& a, const Variable& b) {
  if (fits && a.value().dtype() == b.value().dtype()) return;
  throw Error(std::string(layer) + ": operands that fit wanted, shapes " +
              to_string(a.value().shape()) + " and " + to_string(b.value().shape()) + " came");
}

/// d slope(y), entry by entry.
template <class Real>
Tensor through_activation(const Context& ctx, Activation activation, const Tensor& y,
                          const Tensor& d_y) {
  Tensor d_x = fresh<Real>(ctx, y.shape());
  const Real *at = data_of<Real>(y), *d = data_of<Real>(d_y);
  Real* to = data_of<Real>(d_x);
  for_entries<Real>(ctx, y.size(), [=](std::int64_t i) {
    const Real upstream = d[i];
    to[i] = upstream * slope(activation, at[i]);
  });
  return d_x;
}

template <class Real>
Tensor product(const Context& ctx, Real alpha, In<Real, 2> a, In<Real, 2> b) {
  Tensor c = fresh<Real>(ctx, {a.extent(0), b.extent(1)});
  gemm(ctx, alpha, a, b, Real(0), matrix<Real>(c));
  return c;
}

template <class Real>
Tensor scaled(const Context& ctx, double factor, const Tensor& x) {
  if (factor == 1) return x;
  Tensor y = fresh<Real>(ctx, x.shape());
  const Real* from = data_of<Real>(x);
  Real* to = data_of<Real>(y);
  const auto by = static_cast<Real>(factor);
  for_entries<Real>(ctx, x.size(), [=](std::int64_t i) { to[i] = by * from[i]; });
  return y;
}

}  // namespace

template <class Real>
Variable propagate(Tape& tape, const graph::Csr<Real>& a, const Variable& x, double alpha,
                   double beta, const Variable& z) {
  if (x.value().rank() != 2 || x.value().extent(0) != a.columns() ||
      x.value().dtype() != dtype_of<Real>) {
    throw Error("propagate: " + std::to_string(a.columns()) + " rows wanted, shape " +
                to_string(x.value().shape()) + " came");
  }
  const Context ctx = tape.context();
  const std::int64_t d = x.value().extent(1);
  const auto multiply = [ctx, d](const graph::Csr<Real>& m, double factor, const Tensor& from,
                                 double share, const Real* added) {
    Tensor y = fresh<Real>(ctx, {m.rows(), d});
    graph::kernels::spmm<Real, std::int32_t>(ctx, m.view_for(d), Real(factor), data_of<Real>(from),
                                             d, Real(share), added, data_of<Real>(y));
    return y;
  };
  const bool mixed = beta != 0;
  if (mixed) require(z.value().shape() == Shape{a.rows(), d}, "propagate", x, z);
  Tensor y = multiply(a, alpha, x.value(), beta, mixed ? data_of<Real>(z.value()) : nullptr);
  std::vector<Variable> inputs = {x};
  if (mixed) inputs.push_back(z);
  return tape.record(y, std::move(inputs), [=](const Tensor& d_y) {
    std::vector gradients = {multiply(a.transposed(), alpha, d_y, 0, nullptr)};
    if (mixed) gradients.push_back(scaled<Real>(ctx, beta, d_y));
    return gradients;
  });
}

Variable linear(Tape& tape, const Variable& x, const Variable& w) {
  require(
      x.value().rank() == 2 && w.value().rank() == 2 && x.value().extent(1) == w.value().extent(0),
      "linear", x, w);
  return visit_real(x, [&]<class Real>(Real) {
    const Context ctx = tape.context();
    const Tensor &a = x.value(), &b = w.value();
    return tape.record(product<Real>(ctx, Real(1), matrix<Real>(a), matrix<Real>(b)), {x, w},
                       [=](const Tensor& d_y) {
                         const auto d = matrix<Real>(d_y);
                         return std::vector{
                             product<Real>(ctx, Real(1), d, transposed(matrix<Real>(b))),
                             product<Real>(ctx, Real(1), transposed(matrix<Real>(a)), d)};
                       });
  });
}

Variable identity_linear(Tape& tape, double p, const Variable& x, double q, const Variable& w) {
  require(
      x.value().rank() == 2 && w.value().shape() == Shape{x.value().extent(1), x.value().extent(1)},
      "identity_linear", x, w);
  return visit_real(x, [&]<class Real>(Real) {
    const Context ctx = tape.context();
    const Tensor &a = x.value(), &b = w.value();
    const auto keep = static_cast<Real>(p), by = static_cast<Real>(q);
    // A sum of two roundings, as (1 - beta) S + beta (S W) is written.
    const auto combine = [ctx, keep, by](const Tensor& from, In<Real, 2> weight) {
      Tensor y = product<Real>(ctx, Real(1), matrix<Real>(from), weight);
      const Real* old = data_of<Real>(from);
      Real* to = data_of<Real>(y);
      for_entries<Real>(ctx, y.size(), [=](std::int64_t i) { to[i] = keep * old[i] + by * to[i]; });
      return y;
    };
    return tape.record(combine(a, matrix<Real>(b)), {x, w}, [=](const Tensor& d_y) {
      return std::vector{combine(d_y, transposed(matrix<Real>(b))),
                         product<Real>(ctx, by, transposed(matrix<Real>(a)), matrix<Real>(d_y))};
    });
  });
}

namespace {

/// act(x + b) then dropout, where forward(x, b, rows, columns, y) and backward(y, d, rows, columns, d_x,
/// sums) do pieces of rows.
template <class Real, class Forward, class Backward>
Variable offset_layer(Tape& tape, const Variable& x, const Variable& b,
                      const graph::DropoutKey& mask, Forward&& forward, Backward&& backward) {
  constexpr std::int64_t kRows = graph::kernels::kDropoutAlignment;
  const Context ctx = tape.context();
  Tensor y = fresh<Real>(ctx, x.value().shape());
  const std::int64_t n = y.extent(0), columns = y.extent(1);
  const Real *from = data_of<Real>(x.value()), *offset = data_of<Real>(b.value());
  Real* const to = data_of<Real>(y);
  parallel_for(ctx, n, kRows, [&](std::int64_t begin, std::int64_t end) {
    const std::int64_t at = begin * columns;
    forward(from + at, offset, end - begin, columns, to + at);
    if (mask.p > 0) graph::kernels::dropout_range<Real>(mask, to, at, end * columns, to);
  });
  return tape.record(y, {x, b}, [=](const Tensor& d_y) {
    Tensor d_x = fresh<Real>(ctx, y.shape()), d_b = fresh<Real>(ctx, {columns});
    const std::int64_t pieces = (n + kRows - 1) / kRows;
    std::vector<Real> sums(static_cast<std::size_t>(pieces * columns));
    parallel_for(ctx, n, kRows, [&](std::int64_t begin, std::int64_t end) {
      const std::int64_t at = begin * columns;
      backward(data_of<Real>(y) + at, data_of<Real>(d_y) + at, end - begin, columns,
               data_of<Real>(d_x) + at, sums.data() + begin / kRows * columns);
    });
    nn::column_sums<Real>(ctx, {sums.data(), {pieces, columns}}, data_of<Real>(d_b));
    return std::vector{d_x, d_b};
  });
}

}  // namespace

Variable offset_relu(Tape& tape, const Variable& x, const Variable& b,
                     const graph::DropoutKey& mask) {
  require(x.value().rank() == 2 && b.value().shape() == Shape{x.value().extent(1)}, "offset_relu",
          x, b);
  return visit_real(x, [&]<class Real>(Real) {
    // What was dropped is 0 as well.
    const auto scale = static_cast<Real>(1 / (1 - mask.p));
    return offset_layer<Real>(
        tape, x, b, mask, [](auto... arguments) { kernels::offset_relu(arguments...); },
        [scale](const Real* y, const Real* d, auto... rest) {
          kernels::relu_backward(y, d, scale, rest...);
        });
  });
}

Variable add_offset(Tape& tape, const Variable& x, const Variable& b, Activation activation) {
  if (activation == Activation::relu) return offset_relu(tape, x, b, {});
  require(x.value().rank() == 2 && b.value().shape() == Shape{x.value().extent(1)}, "add_offset", x,
          b);
  return visit_real(x, [&]<class Real>(Real) {
    if (activation == Activation::elu) {
      return offset_layer<Real>(
          tape, x, b, {}, [](auto... arguments) { kernels::offset_elu(arguments...); },
          [](auto... arguments) { kernels::elu_backward(arguments...); });
    }
    const Context ctx = tape.context();
    Tensor y = fresh<Real>(ctx, x.value().shape());
    const Real *from = data_of<Real>(x.value()), *offset = data_of<Real>(b.value());
    Real* const to = data_of<Real>(y);
    const std::int64_t columns = y.extent(1);
    parallel_for(ctx, y.extent(0), 1024, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        for (std::int64_t j = 0; j < columns; ++j) {
          to[i * columns + j] = from[i * columns + j] + offset[j];
        }
      }
    });
    return tape.record(y, {x, b}, [=](const Tensor& d_y) {
      Tensor d_b = fresh<Real>(ctx, {columns});
      nn::column_sums<Real>(ctx, matrix<Real>(d_y), data_of<Real>(d_b));
      return std::vector{d_y, d_b};
    });
  });
}

Variable activate(Tape& tape, const Variable& x, Activation activation) {
  return visit_real(x, [&]<class Real>(Real) {
    const Context ctx = tape.context();
    Tensor y = fresh<Real>(ctx, x.value().shape());
    const Real* from = data_of<Real>(x.value());
    Real* to = data_of<Real>(y);
    for_entries<Real>(ctx, y.size(),
                      [=](std::int64_t i) { to[i] = bikt::activate(activation, from[i]); });
    return tape.record(y, {x}, [=](const Tensor& d_y) {
      return std::vector{through_activation<Real>(ctx, activation, y, d_y)};
    });
  });
}

Variable mix(Tape& tape, double p, const Variable& x, double q, const Variable& y) {
  require(x.value().shape() == y.value().shape(), "mix", x, y);
  return visit_real(x, [&]<class Real>(Real) {
    const Context ctx = tape.context();
    Tensor sum = fresh<Real>(ctx, x.value().shape());
    const Real *a = data_of<Real>(x.value()), *b = data_of<Real>(y.value());
    Real* to = data_of<Real>(sum);
    const auto f = static_cast<Real>(p), g = static_cast<Real>(q);
    parallel_for(ctx, sum.size(), kEntries, [=](std::int64_t begin, std::int64_t end) {
      kernels::axpby(f, a + begin, g, b + begin, end - begin, to + begin);
    });
    return tape.record(sum, {x, y}, [=](const Tensor& d) {
      return std::vector{scaled<Real>(ctx, p, d),
                         p == 1 && q == 1 ? d.clone() : scaled<Real>(ctx, q, d)};
    });
  });
}

Variable dropout(Tape& tape, const Variable& x, const graph::DropoutKey& mask) {
  if (mask.p == 0) return x;
  return visit_real(x, [&]<class Real>(Real) {
    const Context ctx = tape.context();
    const auto masked = [ctx, mask](const Tensor& from) {
      Tensor to = fresh<Real>(ctx, from.shape());
      graph::kernels::dropout<Real>(ctx, mask, data_of<Real>(from), from.size(), data_of<Real>(to),
                                    nullptr);
      return to;
    };
    return tape.record(masked(x.value()), {x},
                       [=](const Tensor& d) { return std::vector{masked(d)}; });
  });
}

Variable concatenate(Tape& tape, std::span<const Variable> parts, Activation activation) {
  if (parts.empty()) throw Error("concatenate: at least one matrix wanted");
  std::vector<std::int64_t> widths;
  std::int64_t columns = 0;
  const std::int64_t n = parts[0].value().extent(0);
  for (const Variable& part : parts) {
    require(part.value().rank() == 2 && part.value().extent(0) == n, "concatenate", parts[0], part);
    widths.push_back(part.value().extent(1));
    columns += widths.back();
  }
  return visit_real(parts[0], [&]<class Real>(Real) {
    const Context ctx = tape.context();
    Tensor y = fresh<Real>(ctx, {n, columns});
    std::int64_t at = 0;
    for (std::size_t k = 0; k < parts.size(); ++k) {
      const Real* from = data_of<Real>(parts[k].value());
      Real* to = data_of<Real>(y) + at;
      const std::int64_t width = widths[k];
      parallel_for(ctx, n, 1024, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i) {
          for (std::int64_t j = 0; j < width; ++j) {
            to[i * columns + j] = bikt::activate(activation, from[i * width + j]);
          }
        }
      });
      at += width;
    }
    return tape.record(y, {parts.begin(), parts.end()}, [=](const Tensor& d_y) {
      std::vector<Tensor> gradients;
      const Real *value = data_of<Real>(y), *d = data_of<Real>(d_y);
      for (const std::int64_t width : widths) {
        Tensor part = fresh<Real>(ctx, {n, width});
        Real* to = data_of<Real>(part);
        parallel_for(ctx, n, 1024, [&](std::int64_t begin, std::int64_t end) {
          for (std::int64_t i = begin; i < end; ++i) {
            for (std::int64_t j = 0; j < width; ++j) {
              to[i * width + j] = d[i * columns + j] * slope(activation, value[i * columns + j]);
            }
          }
        });
        gradients.push_back(part);
        value += width;
        d += width;
      }
      return gradients;
    });
  });
}

Variable head_scores(Tape& tape, const Variable& x, const Variable& weights) {
  const std::int64_t heads = weights.value().extent(0), d = weights.value().extent(1);
  const std::int64_t n = x.value().extent(0);
  require(x.value().rank() == 2 && x.value().extent(1) == heads * d, "head_scores", x, weights);
  return visit_real(x, [&]<class Real>(Real) {
    const Context ctx = tape.context();
    const Tensor &rows = x.value(), &a = weights.value();
    Tensor scores = fresh<Real>(ctx, {n, heads});
    const Real *from = data_of<Real>(rows), *by = data_of<Real>(a);
    Real* to = data_of<Real>(scores);
    parallel_for(ctx, n * heads, 4096, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t at = begin; at < end; ++at) {
        to[at] = graph::interleaved_dot(from + at * d, by + at % heads * d, d);
      }
    });
    return tape.record(scores, {x, weights}, [=](const Tensor& d_scores) {
      Tensor d_x = fresh<Real>(ctx, rows.shape()), product = fresh<Real>(ctx, rows.shape());
      Tensor d_weights = fresh<Real>(ctx, a.shape());
      const Real *upstream = data_of<Real>(d_scores), *old = data_of<Real>(rows);
      const Real* factor = data_of<Real>(a);
      Real *out = data_of<Real>(d_x), *terms = data_of<Real>(product);
      parallel_for(ctx, n * heads, 4096, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t at = begin; at < end; ++at) {
          for (std::int64_t c = 0; c < d; ++c) {
            out[at * d + c] = upstream[at] * factor[at % heads * d + c];
            terms[at * d + c] = upstream[at] * old[at * d + c];
          }
        }
      });
      nn::column_sums<Real>(ctx, matrix<Real>(std::as_const(product)), data_of<Real>(d_weights));
      return std::vector{d_x, d_weights};
    });
  });
}

template <class Real>
Variable attend(Tape& tape, const graph::Csr<Real>& a, const Variable& x, const Variable& s_src,
                const Variable& s_dst, double negative_slope) {
  const std::int64_t heads = s_src.value().extent(1), d = x.value().extent(1) / heads;
  const bool fits = x.value().extent(0) == a.columns() && heads * d == x.value().extent(1) &&
                    s_src.value().shape() == s_dst.value().shape();
  require(fits, "attend", x, s_src);
  const Context ctx = tape.context();
  const Tensor &h = x.value(), &source = s_src.value(), &target = s_dst.value();
  Tensor y = fresh<Real>(ctx, {a.rows(), heads * d}),
         alpha = fresh<Real>(ctx, {a.entries(), heads});
  graph::kernels::edge_softmax<Real, std::int32_t>(
      ctx, a.view(), heads, d, negative_slope, data_of<Real>(h), data_of<Real>(source),
      data_of<Real>(target), data_of<Real>(y), data_of<Real>(alpha));
  return tape.record(y, {x, s_src, s_dst}, [=](const Tensor& d_y) {
    Tensor d_h = fresh<Real>(ctx, h.shape()), d_source = fresh<Real>(ctx, source.shape()),
           d_target = fresh<Real>(ctx, target.shape());
    graph::kernels::edge_softmax_backward<Real, std::int32_t>(
        ctx, a.view(), heads, d, negative_slope, data_of<Real>(h), data_of<Real>(source),
        data_of<Real>(target), data_of<Real>(alpha), data_of<Real>(d_y), nullptr,
        data_of<Real>(d_h), data_of<Real>(d_source), data_of<Real>(d_target));
    return std::vector{d_h, d_source, d_target};
  });
}

template <class Real>
Variable signed_attend(Tape& tape, const HostGraph<Real>& graph, const Variable& h,
                       const Variable& h0, const Variable& s_src, const Variable& s_dst,
                       double eps) {
  const auto& a = graph.adjacency();
  const std::int64_t n = a.rows();
  const auto flat = [&](const Variable& scores) {
    return tape.record(scores.value().reshape({n}), {scores}, [n](const Tensor& d) {
      return std::vector{d.reshape({n, 1})};
    });
  };
  const auto constant = [](const auto& values) {
    return autograd::constant(Tensor::from(values, {static_cast<std::int64_t>(values.size())}));
  };
  return tape
      .apply("bikt.fagcn_aggregate",
             {{"indptr", constant(a.indptr())},
              {"indices", constant(a.indices())},
              {"h", h},
              {"h0", h0},
              {"s_src", flat(s_src)},
              {"s_dst", flat(s_dst)},
              {"deg_inv_sqrt", autograd::constant(graph.inverse_root_degrees())}},
             {{"eps", eps}})
      .at("y");
}

Variable mean_of_heads(Tape& tape, const Variable& x, std::int64_t heads) {
  if (heads == 1) return x;
  return visit_real(x, [&]<class Real>(Real) {
    const Context ctx = tape.context();
    const std::int64_t n = x.value().extent(0), d = x.value().extent(1) / heads;
    Tensor mean = fresh<Real>(ctx, {n, d});
    const Real* from = data_of<Real>(x.value());
    Real* to = data_of<Real>(mean);
    const auto divisor = static_cast<Real>(heads);
    parallel_for(ctx, n, 1024, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        for (std::int64_t c = 0; c < d; ++c) {
          Real sum = 0;
          for (std::int64_t head = 0; head < heads; ++head) sum += from[(i * heads + head) * d + c];
          to[i * d + c] = sum / divisor;
        }
      }
    });
    return tape.record(mean, {x}, [=](const Tensor& d_mean) {
      Tensor d_x = fresh<Real>(ctx, {n, heads * d});
      const Real* upstream = data_of<Real>(d_mean);
      Real* out = data_of<Real>(d_x);
      for (std::int64_t i = 0; i < n * heads; ++i) {
        for (std::int64_t c = 0; c < d; ++c) {
          out[i * d + c] = upstream[i / heads * d + c] / divisor;
        }
      }
      return std::vector{d_x};
    });
  });
}

#define RESEARCHKIT_INSTANTIATE(Real)                                                              \
  template Variable propagate(Tape&, const graph::Csr<Real>&, const Variable&, double, double,     \
                              const Variable&);                                                    \
  template Variable attend(Tape&, const graph::Csr<Real>&, const Variable&, const Variable&,       \
                           const Variable&, double);                                               \
  template Variable signed_attend(Tape&, const HostGraph<Real>&, const Variable&, const Variable&, \
                                  const Variable&, const Variable&, double)
RESEARCHKIT_INSTANTIATE(float);
RESEARCHKIT_INSTANTIATE(double);
#undef RESEARCHKIT_INSTANTIATE

}  // namespace researchkit::bikt
