#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <type_traits>

namespace researchkit {

/// Element types of a Tensor. f16 and bf16 are storage formats: kernels convert at the border.
enum class DType : std::uint8_t { f32, f64, i32, i64, u8, boolean, f16, bf16 };

/// The bits of an IEEE binary16 number.
struct Half {
  std::uint16_t bits = 0;
};
/// The upper 16 bits of an IEEE binary32 number.
struct BFloat16 {
  std::uint16_t bits = 0;
};

constexpr std::size_t size_of(DType dtype) {
  switch (dtype) {
    case DType::f64:
    case DType::i64:
      return 8;
    case DType::f32:
    case DType::i32:
      return 4;
    case DType::f16:
    case DType::bf16:
      return 2;
    case DType::u8:
    case DType::boolean:
      return 1;
  }
  return 0;
}

/// NumPy's name of the type ("float32", "int64", "bool", ...).
constexpr std::string_view to_string(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return "float32";
    case DType::f64:
      return "float64";
    case DType::i32:
      return "int32";
    case DType::i64:
      return "int64";
    case DType::u8:
      return "uint8";
    case DType::boolean:
      return "bool";
    case DType::f16:
      return "float16";
    case DType::bf16:
      return "bfloat16";
  }
  return "?";
}

inline constexpr DType kAllDTypes[] = {DType::f32, DType::f64,     DType::i32, DType::i64,
                                       DType::u8,  DType::boolean, DType::f16, DType::bf16};

/// The inverse of to_string, nothing for an unknown name.
constexpr std::optional<DType> dtype_from_string(std::string_view name) {
  for (const DType dtype : kAllDTypes) {
    if (to_string(dtype) == name) return dtype;
  }
  return std::nullopt;
}

constexpr bool is_floating(DType dtype) {
  return dtype == DType::f32 || dtype == DType::f64 || dtype == DType::f16 || dtype == DType::bf16;
}

/// `DTypeOf<T>::value` is the DType that stores a T; specialise it for a scalar wrapper.
template <class T>
struct DTypeOf;
template <>
struct DTypeOf<float> : std::integral_constant<DType, DType::f32> {};
template <>
struct DTypeOf<double> : std::integral_constant<DType, DType::f64> {};
template <>
struct DTypeOf<std::int32_t> : std::integral_constant<DType, DType::i32> {};
template <>
struct DTypeOf<std::int64_t> : std::integral_constant<DType, DType::i64> {};
template <>
struct DTypeOf<std::uint8_t> : std::integral_constant<DType, DType::u8> {};
template <>
struct DTypeOf<bool> : std::integral_constant<DType, DType::boolean> {};
template <>
struct DTypeOf<Half> : std::integral_constant<DType, DType::f16> {};
template <>
struct DTypeOf<BFloat16> : std::integral_constant<DType, DType::bf16> {};

template <class T>
inline constexpr DType dtype_of = DTypeOf<std::remove_cv_t<T>>::value;

/// Calls `body(T{})` with the C++ type that `dtype` stores, and returns true; returns false, without a
/// call, for the storage formats f16 and bf16, which have no arithmetic.
///
///     visit_dtype(tensor.dtype(), [&]<class T>(T) { fill(tensor.values<T>()); });
template <class Body>
constexpr bool visit_dtype(DType dtype, Body&& body) {
  switch (dtype) {
    case DType::f32:
      return body(float{}), true;
    case DType::f64:
      return body(double{}), true;
    case DType::i32:
      return body(std::int32_t{}), true;
    case DType::i64:
      return body(std::int64_t{}), true;
    case DType::u8:
      return body(std::uint8_t{}), true;
    case DType::boolean:
      return body(bool{}), true;
    case DType::f16:
    case DType::bf16:
      break;
  }
  return false;
}

}  // namespace researchkit
