#pragma once

#include <Eigen/Core>
#include <concepts>
#include <type_traits>

#include "researchkit/core/error.hpp"
#include "researchkit/core/view.hpp"

namespace researchkit {
namespace detail {

template <class T, class Matrix>
using MatchConst = std::conditional_t<std::is_const_v<T>, const Matrix, Matrix>;

template <class T>
using EigenVector = MatchConst<T, Eigen::Matrix<std::remove_const_t<T>, Eigen::Dynamic, 1>>;

template <class T>
using EigenRows = MatchConst<
    T, Eigen::Matrix<std::remove_const_t<T>, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>>;

inline void require_host(Device device) {
  if (!device.is_host()) throw Error("as_eigen: the view's memory is on " + to_string(device));
}

}  // namespace detail

template <class T>
using EigenVectorMap = Eigen::Map<detail::EigenVector<T>, Eigen::Unaligned, Eigen::InnerStride<>>;
template <class T>
using EigenMatrixMap = Eigen::Map<detail::EigenRows<T>, Eigen::Unaligned,
                                  Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>>;
template <class T>
using EigenRowsMap = Eigen::Map<detail::EigenRows<T>, Eigen::Unaligned, Eigen::OuterStride<>>;

/// The view [n] as a column vector, or [n, m] as a matrix, of Eigen: same memory, same strides.
///
///     as_eigen(y) = as_eigen(a) * as_eigen(x);
///
/// A view of const elements gives a map that cannot be written. Throws Error for device memory.
template <class T>
EigenVectorMap<T> as_eigen(const TensorView<T, 1>& view) {
  detail::require_host(view.device());
  return {view.data_handle(), view.extent(0), Eigen::InnerStride<>(view.stride(0))};
}
template <class T>
EigenMatrixMap<T> as_eigen(const TensorView<T, 2>& view) {
  detail::require_host(view.device());
  return {view.data_handle(), view.extent(0), view.extent(1),
          Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>(view.stride(0), view.stride(1))};
}

/// as_eigen for a matrix whose rows have no gaps between elements, which Eigen can then vectorise.
/// Throws Error if neighbours in a row are not neighbours in memory, and for device memory.
template <class T>
EigenRowsMap<T> as_eigen_rows(const TensorView<T, 2>& view) {
  detail::require_host(view.device());
  if (view.extent(1) > 1 && view.stride(1) != 1) {
    throw Error("as_eigen_rows: wanted rows without gaps, got a stride of " +
                std::to_string(view.stride(1)));
  }
  return {view.data_handle(), view.extent(0), view.extent(1), Eigen::OuterStride<>(view.stride(0))};
}

}  // namespace researchkit
