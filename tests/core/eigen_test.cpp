#include "researchkit/core/eigen.hpp"

#include "researchkit/core/tensor.hpp"
#include "support/catch.hpp"
#include "support/emulator/emulated_backend.hpp"

namespace {

using namespace researchkit;

TEST_CASE("eigen: maps see the view's elements, whatever its strides") {
  Tensor tensor = Tensor::from<double>({0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}, {3, 4});
  const auto rows = as_eigen(tensor.view<double, 2>());
  CHECK((rows.rows() == 3 && rows.cols() == 4));
  CHECK(rows(2, 1) == 9);
  const auto every_other = as_eigen(tensor.slice(1, 1, 4, 2).view<double, 2>());
  CHECK((every_other.rows() == 3 && every_other.cols() == 2));
  CHECK(every_other(1, 1) == 7);
  const TensorView<double, 2> transposed(tensor.view<double, 2>().data_handle(), {4, 3}, {1, 4});
  CHECK(as_eigen(transposed) == rows.transpose());
  const TensorView<double, 1> column(tensor.view<double, 2>().data_handle() + 1, {3}, {4});
  CHECK(as_eigen(column).sum() == 1 + 5 + 9);
  CHECK(as_eigen_rows(tensor.view<double, 2>()).row(1).sum() == 4 + 5 + 6 + 7);
}

TEST_CASE("eigen: writing through a map writes the tensor, and const views cannot be written") {
  Tensor tensor(DType::f32, {2, 2});
  as_eigen(tensor.view<float, 2>()) = Eigen::Matrix2f::Identity() * 3;
  CHECK(tensor.values<float>()[3] == 3);
  const Tensor& constant = tensor;
  const auto map = as_eigen(constant.view<float, 2>());
  static_assert(std::is_same_v<decltype(map(0, 0)), const float&> ||
                std::is_same_v<decltype(map(0, 0)), float>);
  static_assert(std::is_same_v<decltype(map.data()), const float*>);
  CHECK(map.trace() == 6);
}

TEST_CASE("eigen: views without elements, and what is refused") {
  const TensorView<float, 2> empty(nullptr, {0, 3});
  CHECK(as_eigen(empty).size() == 0);
  CHECK(as_eigen(empty).cols() == 3);
  float value[4] = {};
  const TensorView<float, 2> columns(value, {2, 2}, {1, 2});
  CHECK_THROWS_AS(as_eigen_rows(columns), Error);
  const TensorView<float, 1> remote(value, {4}, emulated_device());
  CHECK_THROWS_AS(as_eigen(remote), Error);
}

}  // namespace
