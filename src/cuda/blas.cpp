#include "researchkit/core/cuda/blas.hpp"

#include <cublas_v2.h>
#include <dlfcn.h>
#include <fmt/format.h>

#include <algorithm>
#include <string>

#include "researchkit/core/cuda/check_cuda.cuh"

namespace researchkit::cuda {
namespace {

/// The functions of cuBLAS that are used, found when first needed: a program that multiplies no
/// matrices runs where cuBLAS, half a gigabyte, is not installed.
struct Library {
  decltype(&cublasCreate_v2) create = nullptr;
  decltype(&cublasDestroy_v2) destroy = nullptr;
  decltype(&cublasSetStream_v2) set_stream = nullptr;
  decltype(&cublasSetMathMode) set_math_mode = nullptr;
  decltype(&cublasGetStatusString) status_string = nullptr;
  decltype(&cublasSgemm_v2_64) gemm_f32 = nullptr;
  decltype(&cublasDgemm_v2_64) gemm_f64 = nullptr;

  Library() {
    const std::string file = fmt::format("libcublas.so.{}", CUBLAS_VER_MAJOR);
    void* library = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) {
      library = dlopen((RESEARCHKIT_CUDA_LIBRARY_DIR "/" + file).c_str(), RTLD_NOW | RTLD_LOCAL);
    }
    if (library == nullptr) throw Error("cuBLAS is not there: " + std::string(dlerror()));
    find(library, create, "cublasCreate_v2");
    find(library, destroy, "cublasDestroy_v2");
    find(library, set_stream, "cublasSetStream_v2");
    find(library, set_math_mode, "cublasSetMathMode");
    find(library, status_string, "cublasGetStatusString");
    find(library, gemm_f32, "cublasSgemm_v2_64");
    find(library, gemm_f64, "cublasDgemm_v2_64");
  }

  void check(cublasStatus_t status, const char* what) const {
    if (status == CUBLAS_STATUS_SUCCESS) return;
    throw Error(fmt::format("cuBLAS: {}: {}", what, status_string(status)));
  }

 private:
  template <class Function>
  static void find(void* library, Function& function, const char* name) {
    function = reinterpret_cast<Function>(dlsym(library, name));
    if (function == nullptr) throw Error(fmt::format("this cuBLAS has no {}", name));
  }
};

const Library& library() {
  static const Library loaded;
  return loaded;
}

/// A handle of the device that was asked for last.
class Handle {
 public:
  Handle() = default;
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  ~Handle() { close(); }

  /// The handle, set to work on `stream`. The device is the current one.
  cublasHandle_t on(int device, void* stream) {
    if (handle_ == nullptr || device != device_) {
      close();
      library().check(library().create(&handle_), "a handle");
      device_ = device;
      library().check(library().set_math_mode(handle_, CUBLAS_PEDANTIC_MATH), "the math mode");
    }
    library().check(library().set_stream(handle_, static_cast<cudaStream_t>(stream)), "the stream");
    return handle_;
  }

 private:
  void close() {
    if (handle_ != nullptr) (void)library().destroy(handle_);
    handle_ = nullptr;
  }
  cublasHandle_t handle_ = nullptr;
  int device_ = 0;
};

/// A matrix as cuBLAS takes it: column-major with a leading dimension, or the transpose of one.
struct Operand {
  cublasOperation_t operation;
  std::int64_t leading;
};

/// cuBLAS computes c^T = b^T a^T, whose columns are our rows.
template <class View>
Operand operand(const View& matrix, std::string_view name) {
  const std::int64_t rows = matrix.extent(0), columns = matrix.extent(1);
  const auto fits = [](std::int64_t unit_stride, std::int64_t unit_extent, std::int64_t stride,
                       std::int64_t extent) {
    return (unit_stride == 1 || unit_extent == 1) && (stride >= unit_extent || extent == 1);
  };
  if (fits(matrix.stride(1), columns, matrix.stride(0), rows)) {
    return {CUBLAS_OP_N, std::max(matrix.stride(0), columns)};
  }
  if (fits(matrix.stride(0), rows, matrix.stride(1), columns)) {
    return {CUBLAS_OP_T, std::max(matrix.stride(1), rows)};
  }
  throw Error("cuda::gemm", name, "rows or columns without gaps",
              fmt::format("strides [{}, {}]", matrix.stride(0), matrix.stride(1)));
}

void require(bool fits, std::string_view name, std::string_view wanted, std::int64_t rows,
             std::int64_t columns) {
  if (!fits) throw Error("cuda::gemm", name, wanted, fmt::format("[{}, {}]", rows, columns));
}

template <class Real, class Function>
void multiply(const Context& ctx, Real alpha, const In<Real, 2>& a, const In<Real, 2>& b, Real beta,
              const Out<Real, 2>& c, Function Library::*function) {
  const std::int64_t m = c.extent(0), n = c.extent(1), k = a.extent(1);
  require(a.extent(0) == m, "a", fmt::format("{} rows", m), a.extent(0), a.extent(1));
  require(b.extent(0) == k && b.extent(1) == n, "b", fmt::format("[{}, {}]", k, n), b.extent(0),
          b.extent(1));
  const Device device = c.device();
  if (device.is_host() || device.backend != cuda_backend()) {
    throw Error("cuda::gemm", "c", "a matrix on a CUDA device", "one on " + to_string(device));
  }
  if (a.device() != device) {
    throw Error("cuda::gemm", "a", "a matrix on " + to_string(device), to_string(a.device()));
  }
  if (b.device() != device) {
    throw Error("cuda::gemm", "b", "a matrix on " + to_string(device), to_string(b.device()));
  }
  if (m == 0 || n == 0) return;
  // With k = 0 only beta counts, but cuBLAS still wants leading dimensions of at least 1.
  const Operand left = k == 0 ? Operand{CUBLAS_OP_N, 1} : operand(a, "a");
  const Operand right = k == 0 ? Operand{CUBLAS_OP_N, n} : operand(b, "b");
  const Operand result = operand(c, "c");
  if (result.operation != CUBLAS_OP_N) {
    throw Error("cuda::gemm", "c", "rows without gaps",
                fmt::format("strides [{}, {}]", c.stride(0), c.stride(1)));
  }
  const device::CurrentDevice current(device.index);
  const auto handle = ctx.reuse_pool().take<Handle>();
  library().check(
      (library().*function)(handle->on(device.index, ctx.stream().handle()), right.operation,
                            left.operation, n, m, k, &alpha, b.data_handle(), right.leading,
                            a.data_handle(), left.leading, &beta, c.data_handle(), result.leading),
      "matrix product");
}

}  // namespace

void gemm(const Context& ctx, float alpha, In<float, 2> a, In<float, 2> b, float beta,
          Out<float, 2> c) {
  multiply(ctx, alpha, a, b, beta, c, &Library::gemm_f32);
}
void gemm(const Context& ctx, double alpha, In<double, 2> a, In<double, 2> b, double beta,
          Out<double, 2> c) {
  multiply(ctx, alpha, a, b, beta, c, &Library::gemm_f64);
}

}  // namespace researchkit::cuda
