// The arguments that cuda::gemm hands to cuBLAS, checked without one: a plain column-major product
// of the same arguments must be the product that was asked for.
#include <cstdint>

#include "researchkit/core/blas.hpp"
#include "researchkit/core/tensor.hpp"
#include "src/cuda/gemm_layout.hpp"
#include "support/catch.hpp"
#include "support/contains.hpp"
#include "support/emulator/emulated_backend.hpp"

using namespace researchkit;

namespace {

/// Small whole numbers, so that every order of summation is exact.
Tensor numbers(const Shape& shape, int seed) {
  Tensor tensor(DType::f64, shape);
  int next = seed;
  for (double& value : tensor.values<double>()) value = (next = (next * 7 + 3) % 11) - 5;
  return tensor.to(emulated_device());
}

/// What the BLAS says of gemm: column-major, c = op(first) op(second).
void column_major_gemm(const cuda::GemmLayout& at, const double* first, const double* second,
                       double* result) {
  const auto entry = [](const double* matrix, const cuda::GemmOperand& operand, std::int64_t row,
                        std::int64_t column) {
    return operand.is_transposed ? matrix[row * operand.leading + column]
                                 : matrix[column * operand.leading + row];
  };
  for (std::int64_t column = 0; column < at.columns; ++column) {
    for (std::int64_t row = 0; row < at.rows; ++row) {
      double sum = 0;
      for (std::int64_t i = 0; i < at.depth; ++i) {
        sum += entry(first, at.first, row, i) * entry(second, at.second, i, column);
      }
      result[column * at.result_leading + row] = sum;
    }
  }
}

using Matrix = TensorView<const double, 2>;

cuda::GemmLayout layout_of(const Matrix& a, const Matrix& b, const TensorView<double, 2>& c) {
  return cuda::gemm_layout<double>(a, b, c, emulated_device().backend);
}
Matrix matrix(const Tensor& tensor) { return tensor.view<double, 2>(); }

void check_product(const Matrix& a, const Matrix& b, Tensor result) {
  const auto c = result.view<double, 2>();
  INFO(c.extent(0) << " by " << c.extent(1) << ", depth " << a.extent(1));
  const cuda::GemmLayout at = layout_of(a, b, c);
  CHECK(at.first.leading >= (at.first.is_transposed ? at.depth : at.rows));
  CHECK(at.second.leading >= (at.second.is_transposed ? at.columns : at.depth));
  CHECK(at.result_leading >= at.rows);
  column_major_gemm(at, b.data_handle(), a.data_handle(), c.data_handle());
  bool same = true;
  for (std::int64_t i = 0; i < c.extent(0); ++i) {
    for (std::int64_t j = 0; j < c.extent(1); ++j) {
      double sum = 0;
      for (std::int64_t p = 0; p < a.extent(1); ++p) sum += a(i, p) * b(p, j);
      same = same && c(i, j) == sum;
    }
  }
  CHECK(same);
}

}  // namespace

TEST_CASE("device gemm: the arguments for cuBLAS mean the product, transposed and strided too") {
  for (const std::int64_t m : {1, 3, 8}) {
    for (const std::int64_t n : {1, 2, 9}) {
      for (const std::int64_t k : {0, 1, 5}) {
        const Tensor a = numbers({m, k}, 1), a_flipped = numbers({k, m}, 1);
        const Tensor b = numbers({k, n}, 2), b_flipped = numbers({n, k}, 2);
        for (const Matrix& left : {matrix(a), transposed(matrix(a_flipped))}) {
          for (const Matrix& right : {matrix(b), transposed(matrix(b_flipped))}) {
            check_product(left, right, numbers({m, n}, 3));
            check_product(left, right, numbers({m, n + 4}, 3).slice(1, 2, n + 2));
          }
        }
        const Tensor wide = numbers({m, k + 3}, 4), tall = numbers({2 * k, n}, 5);
        check_product(matrix(wide.slice(1, 1, k + 1)), matrix(tall.slice(0, 0, 2 * k, 2)),
                      numbers({m, n}, 6));
      }
    }
  }
}

TEST_CASE("device gemm: refusals name the matrix") {
  const Tensor a = numbers({3, 4}, 1), b = numbers({4, 5}, 2), on_host(DType::f64, {4, 5});
  Tensor c = numbers({3, 5}, 3), c_on_host(DType::f64, {3, 5}), flipped = numbers({5, 3}, 3);
  const auto z = c.view<double, 2>();
  CHECK_NOTHROW(layout_of(matrix(a), matrix(b), z));
  CHECK_THROWS_WITH(layout_of(matrix(numbers({2, 4}, 1)), matrix(b), z), test::contains("'a'"));
  CHECK_THROWS_WITH(layout_of(matrix(a), matrix(numbers({3, 5}, 1)), z), test::contains("'b'"));
  CHECK_THROWS_WITH(layout_of(matrix(a), matrix(numbers({4, 6}, 1)), z), test::contains("'b'"));
  CHECK_THROWS_WITH(layout_of(matrix(a), matrix(on_host), z), test::contains("'b'"));
  CHECK_THROWS_WITH(layout_of(matrix(a.to(Device::host())), matrix(b), z), test::contains("'a'"));
  CHECK_THROWS_WITH(layout_of(matrix(a), matrix(b), c_on_host.view<double, 2>()),
                    test::contains("CUDA device"));
  const Tensor gaps = numbers({6, 8}, 1).slice(0, 0, 6, 2).slice(1, 0, 8, 2);
  CHECK_THROWS_WITH(layout_of(matrix(gaps), matrix(b), z), test::contains("without gaps"));
  CHECK_THROWS_WITH(layout_of(matrix(a), matrix(b), transposed(flipped.view<double, 2>())),
                    test::contains("rows without gaps"));
}
