#include "researchkit/core/blas.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <type_traits>
#include <utility>
#include <vector>

#include "researchkit/core/error.hpp"
#include "researchkit/core/parallel.hpp"
#include "src/core/blas_vendor.hpp"

// The Fortran interface, which every BLAS has; integers of 32 bits.
// NOLINTBEGIN(readability-identifier-naming)
extern "C" {
void sgemm_(const char* trans_a, const char* trans_b, const int* m, const int* n, const int* k,
            const float* alpha, const float* a, const int* lda, const float* b, const int* ldb,
            const float* beta, float* c, const int* ldc);
void dgemm_(const char* trans_a, const char* trans_b, const int* m, const int* n, const int* k,
            const double* alpha, const double* a, const int* lda, const double* b, const int* ldb,
            const double* beta, double* c, const int* ldc);
}
// NOLINTEND(readability-identifier-naming)

namespace researchkit {
namespace {

using std::int64_t;

// Tiles: large enough that BLAS packs its panels seldom, small enough to feed many threads. The
// large one costs a 2048^3 product 2 % of one BLAS call's speed, the small one 8 %.
constexpr int64_t kTile = 256;
constexpr int64_t kLargeTile = 512;
constexpr int64_t kManyTiles = 16;  // of the large kind
constexpr int64_t kMaxTile = 1024;
// A long k is cut when there are fewer tiles than this, into parts of at least kSplitLength.
constexpr int64_t kFewTiles = 8;
constexpr int64_t kSplitLength = 1024;
// Multiply-adds that are worth handing to a thread (about 10 us).
constexpr int64_t kBlockWork = int64_t{1} << 19;

constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

/// A matrix as BLAS takes it: rows without gaps (or columns, then `transposed`), `ld` apart.
template <class Real>
struct Matrix {
  const Real* data = nullptr;
  int64_t ld = 1;
  bool transposed = false;

  const Real* at(int64_t row, int64_t column) const {
    return data + (transposed ? column * ld + row : row * ld + column);
  }
};

/// Whether the rows have no gaps inside and do not overlap, which is what BLAS can take.
template <class T>
bool has_dense_rows(const TensorView<T, 2>& view) {
  const bool dense = view.extent(1) <= 1 || view.stride(1) == 1;
  return dense && (view.extent(0) <= 1 || view.stride(0) >= std::max<int64_t>(view.extent(1), 1));
}

template <class T>
int64_t leading_dimension(const TensorView<T, 2>& view) {
  const int64_t least = std::max<int64_t>(view.extent(1), 1);
  return view.extent(0) <= 1 ? least : view.stride(0);
}

template <class Real>
void copy(const In<Real, 2>& from, const Out<Real, 2>& to) {
  for (int64_t i = 0; i < from.extent(0); ++i) {
    for (int64_t j = 0; j < from.extent(1); ++j) to(i, j) = from(i, j);
  }
}

/// A piece of one product that is one call of BLAS.
struct Tile {
  std::size_t product;
  int64_t row, rows, column, columns, begin, length;  // of m, n and k
  int64_t part;                                       // of a k that is cut
};

/// One product with its operands made fit for BLAS.
template <class Real>
class Product {
 public:
  explicit Product(const Gemm<Real>& gemm)
      : m_(gemm.c.extent(0)), n_(gemm.c.extent(1)), k_(gemm.a.extent(1)), gemm_(gemm) {
    if (gemm_.c.empty()) return;
    if (!has_dense_rows(gemm_.c) && has_dense_rows(transposed(gemm_.c))) {
      // c^T = b^T a^T has dense rows.
      const In<Real, 2> b = gemm_.b;
      gemm_.b = transposed(gemm_.a);
      gemm_.a = transposed(b);
      gemm_.c = transposed(gemm_.c);
      std::swap(m_, n_);
    }
    a_ = fit(gemm_.a, a_copy_);
    b_ = fit(gemm_.b, b_copy_);
    c_ = gemm_.c;
    if (!has_dense_rows(c_)) {
      c_copy_.resize(static_cast<std::size_t>(m_ * n_));
      c_ = {c_copy_.data(), {m_, n_}};
      if (gemm_.beta != 0) copy<Real>(gemm_.c, c_);
    }
    cut();
    if (parts_ > 1) partial_.resize(static_cast<std::size_t>(parts_ * m_ * n_));
  }

  void append_tiles(std::vector<Tile>& tiles, std::size_t product) const {
    const int64_t length = ceil_div(k_, parts_);
    for (int64_t row = 0; row < m_; row += tile_rows_) {
      for (int64_t column = 0; column < n_; column += tile_columns_) {
        for (int64_t part = 0; part < parts_; ++part) {
          tiles.push_back({product, row, std::min(tile_rows_, m_ - row), column,
                           std::min(tile_columns_, n_ - column), part * length,
                           std::clamp<int64_t>(k_ - part * length, 0, length), part});
        }
      }
    }
  }

  void run(const Tile& tile) {
    // BLAS thinks in columns: what it computes is c^T = b^T a^T.
    const char trans_b = b_.transposed ? 'T' : 'N', trans_a = a_.transposed ? 'T' : 'N';
    const int rows = int_of(tile.columns), columns = int_of(tile.rows),
              length = int_of(tile.length);
    const int lda = int_of(a_.ld), ldb = int_of(b_.ld);
    const bool whole = parts_ == 1;
    const int ldc = int_of(whole ? leading_dimension(c_) : n_);
    Real* const c =
        whole ? &c_(tile.row, tile.column)
              : &partial_[static_cast<std::size_t>((tile.part * m_ + tile.row) * n_ + tile.column)];
    const Real beta = whole ? gemm_.beta : Real{0};
    const Real* const a = a_.at(tile.row, tile.begin);
    const Real* const b = b_.at(tile.begin, tile.column);
    if constexpr (std::is_same_v<Real, float>) {
      sgemm_(&trans_b, &trans_a, &rows, &columns, &length, &gemm_.alpha, b, &ldb, a, &lda, &beta, c,
             &ldc);
    } else {
      dgemm_(&trans_b, &trans_a, &rows, &columns, &length, &gemm_.alpha, b, &ldb, a, &lda, &beta, c,
             &ldc);
    }
  }

  /// Adds the parts of a cut k, and puts a copied c back.
  void finish(const Context& ctx) {
    if (parts_ > 1) {
      parallel_for(ctx, m_, ceil_div(kBlockWork, parts_ * n_), [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) add_parts(i);
      });
    }
    if (!c_copy_.empty()) copy<Real>(c_, gemm_.c);
  }

 private:
  static int int_of(int64_t value) { return static_cast<int>(value); }  // checked beforehand

  static Matrix<Real> fit(const In<Real, 2>& view, std::vector<Real>& storage) {
    if (has_dense_rows(view)) return {view.data_handle(), leading_dimension(view), false};
    const auto columns = transposed(view);
    if (has_dense_rows(columns)) return {view.data_handle(), leading_dimension(columns), true};
    storage.resize(static_cast<std::size_t>(view.size()));
    copy<Real>(view, {storage.data(), view.extents()});
    return {storage.data(), std::max<int64_t>(view.extent(1), 1), false};
  }

  /// Chooses the tiles, from m, n and k alone.
  void cut() {
    tile_rows_ = m_;
    tile_columns_ = n_;
    if (m_ * n_ <= kBlockWork / std::max<int64_t>(k_, 1)) return;
    // A narrow product has long tiles, so that every tile is about as much work.
    const bool many = ceil_div(m_, kLargeTile) * ceil_div(n_, kLargeTile) >= kManyTiles;
    const int64_t tile = many ? kLargeTile : kTile;
    tile_rows_ = std::clamp(tile * tile / std::min(n_, tile), tile, kMaxTile);
    tile_columns_ = std::clamp(tile * tile / std::min(m_, tile), tile, kMaxTile);
    const int64_t tiles = ceil_div(m_, tile_rows_) * ceil_div(n_, tile_columns_);
    if (tiles < kFewTiles) parts_ = std::clamp<int64_t>(k_ / kSplitLength, 1, kFewTiles / tiles);
  }

  void add_parts(int64_t row) {
    for (int64_t j = 0; j < n_; ++j) {
      Real sum = 0;
      for (int64_t part = 0; part < parts_; ++part) {
        sum += partial_[static_cast<std::size_t>((part * m_ + row) * n_ + j)];
      }
      Real& c = c_(row, j);
      c = gemm_.beta == 0 ? sum : gemm_.beta * c + sum;
    }
  }

  int64_t m_, n_, k_;
  int64_t tile_rows_ = 1, tile_columns_ = 1, parts_ = 1;
  Gemm<Real> gemm_;
  Matrix<Real> a_, b_;
  Out<Real, 2> c_;
  std::vector<Real> a_copy_, b_copy_, c_copy_, partial_;
};

template <class T>
void check_view(const TensorView<T, 2>& view, std::string_view name) {
  if (!view.device().is_host()) {
    throw Error("gemm", name, "a matrix on the host", "one on " + to_string(view.device()));
  }
  for (int axis = 0; axis < 2; ++axis) {
    constexpr int64_t kMax = std::numeric_limits<int>::max();
    if (view.extent(axis) > kMax || (view.extent(axis) > 1 && view.stride(axis) > kMax)) {
      throw Error("gemm", name, fmt::format("extents and strides up to {}", kMax),
                  fmt::format("extent {}, stride {}", view.extent(axis), view.stride(axis)));
    }
  }
}

template <class Real>
void check(const Gemm<Real>& gemm) {
  check_view(gemm.a, "a");
  check_view(gemm.b, "b");
  check_view(gemm.c, "c");
  const auto shape = [](const auto& view) {
    return fmt::format("[{}, {}]", view.extent(0), view.extent(1));
  };
  if (gemm.b.extent(0) != gemm.a.extent(1)) {
    throw Error("gemm", "b", fmt::format("[{}, n] to follow a {}", gemm.a.extent(1), shape(gemm.a)),
                shape(gemm.b));
  }
  if (gemm.c.extent(0) != gemm.a.extent(0) || gemm.c.extent(1) != gemm.b.extent(1)) {
    throw Error("gemm", "c", fmt::format("[{}, {}]", gemm.a.extent(0), gemm.b.extent(1)),
                shape(gemm.c));
  }
  for (int axis = 0; axis < 2; ++axis) {
    if (!gemm.c.empty() && gemm.c.extent(axis) > 1 && gemm.c.stride(axis) == 0) {
      throw Error("gemm", "c", "elements of their own", fmt::format("stride 0 in axis {}", axis));
    }
  }
}

template <class Real>
void run_group(const Context& ctx, std::span<const Gemm<Real>> group) {
  for (const auto& gemm : group) check(gemm);
  use_single_threaded_blas();
  std::vector<Product<Real>> products;
  products.reserve(group.size());
  std::vector<Tile> tiles;
  for (const auto& gemm : group) {
    products.emplace_back(gemm);
    if (!gemm.c.empty()) products.back().append_tiles(tiles, products.size() - 1);
  }
  // Small tiles go to a thread together. Where a block ends depends on the shapes alone.
  std::vector<std::size_t> ends;
  int64_t work = 0;
  for (std::size_t i = 0; i < tiles.size(); ++i) {
    work += tiles[i].rows * tiles[i].columns * std::max<int64_t>(tiles[i].length, 1);
    if (work < kBlockWork && i + 1 < tiles.size()) continue;
    ends.push_back(i + 1);
    work = 0;
  }
  parallel_blocks(ctx, static_cast<int64_t>(ends.size()), [&](int64_t block) {
    const auto b = static_cast<std::size_t>(block);
    for (std::size_t i = b == 0 ? 0 : ends[b - 1]; i < ends[b]; ++i) {
      products[tiles[i].product].run(tiles[i]);
    }
  });
  for (auto& product : products) product.finish(ctx);
}

template <class Real>
void run_batch(const Context& ctx, Real alpha, const In<Real, 3>& a, const In<Real, 3>& b,
               Real beta, const Out<Real, 3>& c) {
  const int64_t batch = c.extent(0);
  for (const auto& [view, name] : {std::pair(a, "a"), std::pair(b, "b")}) {
    if (view.extent(0) != batch) {
      throw Error("gemm", name, fmt::format("a batch of {} as c has", batch),
                  std::to_string(view.extent(0)));
    }
  }
  if (batch > 1 && !c.empty() && c.stride(0) == 0) {
    throw Error("gemm", "c", "elements of their own", "stride 0 in the batch axis");
  }
  std::vector<Gemm<Real>> group;
  group.reserve(static_cast<std::size_t>(batch));
  for (int64_t i = 0; i < batch; ++i) group.push_back({alpha, a[i], b[i], beta, c[i]});
  run_group<Real>(ctx, group);
}

}  // namespace

void gemm(const Context& ctx, float alpha, In<float, 2> a, In<float, 2> b, float beta,
          Out<float, 2> c) {
  const Gemm<float> one{alpha, a, b, beta, c};
  run_group<float>(ctx, {&one, 1});
}
void gemm(const Context& ctx, double alpha, In<double, 2> a, In<double, 2> b, double beta,
          Out<double, 2> c) {
  const Gemm<double> one{alpha, a, b, beta, c};
  run_group<double>(ctx, {&one, 1});
}
void gemm(const Context& ctx, float alpha, In<float, 3> a, In<float, 3> b, float beta,
          Out<float, 3> c) {
  run_batch(ctx, alpha, a, b, beta, c);
}
void gemm(const Context& ctx, double alpha, In<double, 3> a, In<double, 3> b, double beta,
          Out<double, 3> c) {
  run_batch(ctx, alpha, a, b, beta, c);
}
void gemm(const Context& ctx, std::span<const Gemm<float>> group) { run_group(ctx, group); }
void gemm(const Context& ctx, std::span<const Gemm<double>> group) { run_group(ctx, group); }

}  // namespace researchkit
