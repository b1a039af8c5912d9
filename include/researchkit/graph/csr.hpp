#pragma once

#include <algorithm>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "researchkit/core/error.hpp"
#include "researchkit/graph/build.hpp"
#include "researchkit/graph/row_groups.hpp"
#include "researchkit/graph/sparse.hpp"

namespace researchkit::graph {

/// A validated sparse matrix that owns its memory: offsets ascend, columns ascend strictly in each
/// row and are in range. Immutable, and cheap to copy: copies share everything, the transpose too.
///
///     const Csr<float> a(kernels::coo_to_csr<float, std::int32_t>(ctx, from, to, nullptr, options), n);
///     multiply(ctx, a, x, y);
///     multiply(ctx, a.transposed(), d_y, d_x);     // made on first use; `a` itself if it is symmetric
template <class Real>
class Csr {
 public:
  using Index = std::int32_t;

  Csr() : Csr(CsrArrays<Real, Index>{}, 0) {}
  /// Throws Error if `arrays` break one of the rules above.
  Csr(CsrArrays<Real, Index> arrays, std::int64_t columns)
      : state_(std::make_shared<State>(std::move(arrays), columns)) {
    check();
  }

  std::int64_t rows() const { return static_cast<std::int64_t>(state_->arrays.indptr.size()) - 1; }
  std::int64_t columns() const { return state_->columns; }
  std::int64_t entries() const { return static_cast<std::int64_t>(state_->arrays.indices.size()); }
  std::span<const Index> indptr() const { return state_->arrays.indptr; }
  std::span<const Index> indices() const { return state_->arrays.indices; }
  std::span<const Real> values() const { return state_->arrays.values; }
  std::int64_t degree(std::int64_t row) const { return view().end(row) - view().begin(row); }

  CsrView<Real, Index> view() const {
    return {indptr().data(), indices().data(), values().data(), rows(), columns()};
  }
  /// The view for products with `d` columns: with its rows in groups where that is faster (d <= 8), which are
  /// made on first use.
  CsrView<Real, Index> view_for(std::int64_t d) const {
    CsrView<Real, Index> result = view();
    if (d <= kGroupedColumns) {
      std::call_once(state_->grouping, [&] { state_->groups = RowGroups<Real, Index>(result); });
      result.groups = &state_->groups;
    }
    return result;
  }
  /// The same pattern with other values, `entries()` of them.
  CsrView<Real, Index> view_with(const Real* values) const {
    return {indptr().data(), indices().data(), values, rows(), columns()};
  }

  /// Whether structure and values equal those of the transpose. Computed once.
  bool is_symmetric() const { return transposition().symmetric; }

  /// The transpose, made once; this matrix itself if it is symmetric.
  Csr transposed() const {
    const Transposition& t = transposition();
    return t.symmetric ? *this : Csr(t.matrix);
  }
  /// For each entry of the transpose the position of the entry here.
  std::span<const std::int64_t> transposed_positions() const { return transposition().positions; }

 private:
  struct State;
  struct Transposition {
    std::shared_ptr<State> matrix;
    std::vector<std::int64_t> positions;
    bool symmetric = false;
  };
  struct State {
    State(CsrArrays<Real, Index> a, std::int64_t c) : arrays(std::move(a)), columns(c) {}
    CsrArrays<Real, Index> arrays;
    std::int64_t columns;
    std::once_flag once, grouping;
    Transposition transposition;
    RowGroups<Real, Index> groups;
  };
  explicit Csr(std::shared_ptr<State> state) : state_(std::move(state)) {}

  const Transposition& transposition() const {
    std::call_once(state_->once, [this] {
      CsrArrays<Real, Index> out;
      Transposition& t = state_->transposition;
      out.indptr.resize(static_cast<std::size_t>(columns()) + 1);
      out.indices.resize(indices().size());
      out.values.resize(indices().size());
      t.positions.resize(indices().size());
      kernels::transpose<Real, Index>(view(), {out.indptr, out.indices, t.positions, out.values});
      t.symmetric = out.indptr == state_->arrays.indptr && out.indices == state_->arrays.indices &&
                    out.values == state_->arrays.values;
      if (!t.symmetric) t.matrix = std::make_shared<State>(std::move(out), rows());
    });
    return state_->transposition;
  }

  void check() const {
    const auto& [indptr, indices, values] = state_->arrays;
    const auto refuse = [](const std::string& what) { throw Error("sparse matrix: " + what); };
    if (indptr.empty() || indptr.front() != 0) refuse("its offsets begin with 0");
    if (!std::is_sorted(indptr.begin(), indptr.end())) refuse("its offsets ascend");
    if (static_cast<std::size_t>(indptr.back()) != indices.size() ||
        indices.size() != values.size()) {
      refuse("it has one column and one value for each entry");
    }
    for (std::int64_t i = 0; i < rows(); ++i) {
      for (std::int64_t e = view().begin(i); e < view().end(i); ++e) {
        const std::int64_t j = view().column(e);
        const bool ascends = e == view().begin(i) || view().column(e - 1) < j;
        if (j < 0 || j >= state_->columns || !ascends) {
          refuse("columns ascend within [0, " + std::to_string(state_->columns) + "), row " +
                 std::to_string(i) + " has " + std::to_string(j));
        }
      }
    }
  }

  std::shared_ptr<State> state_;
};

/// y = A x of row-major x [columns, d] and y [rows, d]; see kernels::spmm.
template <class Real>
void multiply(const Context& ctx, const Csr<Real>& a, In<Real, 2> x, Out<Real, 2> y) {
  kernels::spmm<Real, std::int32_t>(ctx, a.view_for(x.extent(1)), Real(1), x.data_handle(),
                                    x.extent(1), Real(0), nullptr, y.data_handle());
}

/// The propagation operator that `mode` makes of a square matrix; see GraphNorm.
template <class Real>
Csr<Real> normalized(const Context& ctx, const Csr<Real>& a, Normalization mode, double self_loop) {
  return {kernels::graph_norm<Real, std::int32_t>(ctx, a.view(), mode, self_loop), a.columns()};
}

}  // namespace researchkit::graph
