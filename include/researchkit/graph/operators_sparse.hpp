#pragma once

#include "researchkit/graph/checks.hpp"
#include "researchkit/graph/reference.hpp"
#include "researchkit/graph/sparse.hpp"

namespace researchkit::graph {

/// Bytes of a product with a sparse matrix when each row of x is read once.
template <class Real, class Index>
double spmm_bytes(double rows, double columns, double entries, double d) {
  return sizeof(Index) * (rows + 1 + entries) + sizeof(Real) * (entries + d * (columns + rows));
}

/// Sparse times dense: y = alpha A x + beta z.
///
///     auto y = spmm(ctx, {.indptr = a.indptr(), .indices = a.indices(), .x = x,
///                         .values = a.values()}).y;
///
/// A [n, m] in compressed rows, unsorted rows and duplicates allowed. With beta = 0, `z` may be
/// absent and is not read. Each row is summed in stored order. 2 nnz d operations; bytes as
/// spmm_bytes when x stays in cache, up to sizeof(Real) nnz d for x otherwise.
template <class Real, class Index>
struct Spmm {
  static constexpr std::string_view name = "graph.spmm";
  static constexpr std::string_view summary = "Sparse matrix times dense matrix.";

  In<Index, 1> indptr = {};      // [n+1]
  In<Index, 1> indices = {};     // [nnz]
  In<Real, 2> x = {};            // [m, d]
  In<Real, 1> values = {};       // [nnz]
  Optional<In<Real, 2>> z = {};  // [n, d]
  Out<Real, 2> y = {};           // [n, d]
  double alpha = 1;
  double beta = 0;

  void describe(Description& io) {
    io.input(indptr, "indptr", "n+1", "where each row begins, and the last ends",
             {.contiguous = true});
    io.input(indices, "indices", "nnz", "column of each entry",
             {.in = "[0, m)", .contiguous = true});
    io.input(x, "x", "m d", "dense matrix", {.contiguous = true});
    io.input(values, "values", "nnz", "entries of A", {.contiguous = true});
    io.input(z, "z", "n d", "added beta times; needed unless beta is 0", {.contiguous = true});
    io.output(y, "y", "n d", "alpha A x + beta z", {.contiguous = true});
    io.attribute(alpha, "alpha", "factor of the product");
    io.attribute(beta, "beta", "factor of z; 0: z is not read");
  }
  void validate(const Check& check) const {
    require_csr(check, indptr, indices.extent(0));
    if (beta != 0 && !z) check.refuse("z", "a tensor, since beta is not 0", "none");
  }
  Cost cost() const {
    const auto out = static_cast<double>(y.size()), d = static_cast<double>(x.extent(1));
    const auto entries = static_cast<double>(indices.extent(0));
    const double flops = 2 * entries * d + (alpha == 1 ? 0 : out) + (beta == 0 ? 0 : 2 * out);
    return {flops,
            spmm_bytes<Real, Index>(static_cast<double>(y.extent(0)),
                                    static_cast<double>(x.extent(0)), entries, d) +
                (beta == 0 ? 0 : sizeof(Real) * out),
            false};
  }
  void run(const Context& ctx) const {
    kernels::spmm(ctx, view(), Real(alpha), x.data_handle(), x.extent(1), Real(beta), added(),
                  y.data_handle());
  }
  void reference() const { reference::spmm(view(), Real(alpha), x, Real(beta), added(), y); }
  static void arbitrary(Arbitrary& random) { arbitrary_csr(random, "m"); }

 private:
  CsrView<Real, Index> view() const {
    return csr_view<Real>(indptr, indices, values.data_handle(), x.extent(0));
  }
  const Real* added() const { return z ? z->data_handle() : nullptr; }
};

static_assert(OperatorStruct<Spmm<float, std::int32_t>>);
inline constexpr IndexedFunction<Spmm> spmm;

/// Gradient of spmm: d_x = alpha A^T d_y, d_values[e] = alpha <d_y[row(e)], x[col(e)]>,
/// d_z = beta d_y. Columns are summed in the stored order of their entries, by a transpose in the
/// workspace.
template <class Real, class Index>
struct SpmmBackward {
  static constexpr std::string_view name = "graph.spmm_backward";
  static constexpr std::string_view summary = "Gradient of spmm.";

  In<Index, 1> indptr = {};    // [n+1]
  In<Index, 1> indices = {};   // [nnz]
  In<Real, 2> x = {};          // [m, d]
  In<Real, 1> values = {};     // [nnz]
  In<Real, 2> d_y = {};        // [n, d]
  Out<Real, 2> d_x = {};       // [m, d]
  Out<Real, 1> d_values = {};  // [nnz]
  Out<Real, 2> d_z = {};       // [n, d]
  double alpha = 1;
  double beta = 0;

  void describe(Description& io) {
    describe_pattern(io, indptr, indices, "[0, m)");
    io.input(x, "x", "m d", "dense matrix", {.contiguous = true});
    io.input(values, "values", "nnz", "entries of A", {.contiguous = true});
    io.input(d_y, "d_y", "n d", "gradient of y", {.contiguous = true});
    io.output(d_x, "d_x", "m d", "gradient of x", {.contiguous = true});
    io.output(d_values, "d_values", "nnz", "gradient of values", {.contiguous = true});
    io.output(d_z, "d_z", "n d", "gradient of z", {.contiguous = true});
    io.attribute(alpha, "alpha", "factor of the product");
    io.attribute(beta, "beta", "factor of z");
  }
  void validate(const Check& check) const { require_csr(check, indptr, indices.extent(0)); }
  Cost cost() const {
    const auto entries = static_cast<double>(indices.extent(0));
    const auto in = static_cast<double>(x.size()), out = static_cast<double>(d_y.size());
    const std::int64_t d = x.extent(1);
    const double scaling = alpha == 1 ? 0 : in + entries;
    return {entries * (2 * static_cast<double>(d) + interleaved_dot_flops(d)) + scaling + out,
            sizeof(Real) * (2 * in + 2 * out + 2 * entries) + sizeof(Index) * entries, false};
  }
  void run(const Context& ctx) const {
    Workspace::Scope scratch(ctx.workspace());
    const std::int64_t d = x.extent(1);
    const auto transposed = kernels::transposed(scratch, view(), true);
    kernels::spmm<Real, Index>(ctx, transposed.view(d_y.extent(0)), Real(alpha), d_y.data_handle(),
                               d, Real(0), nullptr, d_x.data_handle());
    kernels::sddmm(ctx, view(), Real(alpha), d_y.data_handle(), x.data_handle(), d,
                   d_values.data_handle());
    scale_upstream();
  }
  void reference() const {
    reference::spmm_transposed(view(), Real(alpha), d_y, d_x);
    reference::sddmm(view(), Real(alpha), d_y, x, d_values);
    scale_upstream();
  }
  static void arbitrary(Arbitrary& random) { arbitrary_csr(random, "m"); }

 private:
  CsrView<Real, Index> view() const {
    return csr_view<Real>(indptr, indices, values.data_handle(), x.extent(0));
  }
  void scale_upstream() const {
    for (std::int64_t i = 0; i < d_y.size(); ++i) {
      d_z.data_handle()[i] = Real(beta) * d_y.data_handle()[i];
    }
  }
};

static_assert(OperatorStruct<SpmmBackward<float, std::int32_t>>);
inline constexpr IndexedFunction<SpmmBackward> spmm_backward;

/// Sampled dense-dense product: values[e] = <u[row(e)], v[col(e)]> for the entries of a pattern.
///
///     auto scores = sddmm(ctx, {.indptr = a.indptr(), .indices = a.indices(), .u = q, .v = k});
///
/// Dot products round as interleaved_dot. 2 nnz d operations.
template <class Real, class Index>
struct Sddmm {
  static constexpr std::string_view name = "graph.sddmm";
  static constexpr std::string_view summary = "Dot products of rows at the entries of a pattern.";

  In<Index, 1> indptr = {};   // [n+1]
  In<Index, 1> indices = {};  // [nnz]
  In<Real, 2> u = {};         // [n, d]
  In<Real, 2> v = {};         // [m, d]
  Out<Real, 1> values = {};   // [nnz]

  void describe(Description& io) {
    describe_pattern(io, indptr, indices, "[0, m)");
    io.input(u, "u", "n d", "one row per row of the pattern", {.contiguous = true});
    io.input(v, "v", "m d", "one row per column of the pattern", {.contiguous = true});
    io.output(values, "values", "nnz", "dot products", {.contiguous = true});
  }
  void validate(const Check& check) const { require_csr(check, indptr, indices.extent(0)); }
  Cost cost() const {
    const auto entries = static_cast<double>(indices.extent(0));
    return {
        entries * interleaved_dot_flops(u.extent(1)),
        spmm_bytes<Real, Index>(static_cast<double>(u.extent(0)), static_cast<double>(v.extent(0)),
                                entries, static_cast<double>(u.extent(1))),
        false};
  }
  void run(const Context& ctx) const {
    kernels::sddmm(ctx, pattern(), Real(1), u.data_handle(), v.data_handle(), u.extent(1),
                   values.data_handle());
  }
  void reference() const { reference::sddmm(pattern(), Real(1), u, v, values); }
  static void arbitrary(Arbitrary& random) { arbitrary_csr(random, "m"); }

 private:
  CsrView<Real, Index> pattern() const {
    return csr_view<Real, Index>(indptr, indices, nullptr, v.extent(0));
  }
};

static_assert(OperatorStruct<Sddmm<float, std::int32_t>>);
inline constexpr IndexedFunction<Sddmm> sddmm;

/// Gradient of sddmm: d_u = D v and d_v = D^T u, with D the pattern filled with d_values.
template <class Real, class Index>
struct SddmmBackward {
  static constexpr std::string_view name = "graph.sddmm_backward";
  static constexpr std::string_view summary = "Gradient of sddmm.";

  In<Index, 1> indptr = {};   // [n+1]
  In<Index, 1> indices = {};  // [nnz]
  In<Real, 2> u = {};         // [n, d]
  In<Real, 2> v = {};         // [m, d]
  In<Real, 1> d_values = {};  // [nnz]
  Out<Real, 2> d_u = {};      // [n, d]
  Out<Real, 2> d_v = {};      // [m, d]

  void describe(Description& io) {
    describe_pattern(io, indptr, indices, "[0, m)");
    io.input(u, "u", "n d", "one row per row of the pattern", {.contiguous = true});
    io.input(v, "v", "m d", "one row per column of the pattern", {.contiguous = true});
    io.input(d_values, "d_values", "nnz", "gradient of values", {.contiguous = true});
    io.output(d_u, "d_u", "n d", "gradient of u", {.contiguous = true});
    io.output(d_v, "d_v", "m d", "gradient of v", {.contiguous = true});
  }
  void validate(const Check& check) const { require_csr(check, indptr, indices.extent(0)); }
  Cost cost() const {
    const auto entries = static_cast<double>(indices.extent(0));
    const auto d = static_cast<double>(u.extent(1));
    return {4 * entries * d,
            2 * spmm_bytes<Real, Index>(static_cast<double>(u.extent(0)),
                                        static_cast<double>(v.extent(0)), entries, d),
            false};
  }
  void run(const Context& ctx) const {
    Workspace::Scope scratch(ctx.workspace());
    const std::int64_t d = u.extent(1);
    kernels::spmm<Real, Index>(ctx, view(), Real(1), v.data_handle(), d, Real(0), nullptr,
                               d_u.data_handle());
    const auto transposed = kernels::transposed(scratch, view(), true);
    kernels::spmm<Real, Index>(ctx, transposed.view(u.extent(0)), Real(1), u.data_handle(), d,
                               Real(0), nullptr, d_v.data_handle());
  }
  void reference() const {
    reference::spmm<Real, Index>(view(), Real(1), v, Real(0), nullptr, d_u);
    reference::spmm_transposed<Real, Index>(view(), Real(1), u, d_v);
  }
  static void arbitrary(Arbitrary& random) { arbitrary_csr(random, "m"); }

 private:
  CsrView<Real, Index> view() const {
    return csr_view<Real>(indptr, indices, d_values.data_handle(), v.extent(0));
  }
};

static_assert(OperatorStruct<SddmmBackward<float, std::int32_t>>);
inline constexpr IndexedFunction<SddmmBackward> sddmm_backward;

}  // namespace researchkit::graph
