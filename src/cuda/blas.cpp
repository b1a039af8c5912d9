#include "researchkit/core/cuda/blas.hpp"

#include <cublas_v2.h>
#include <dlfcn.h>
#include <fmt/format.h>

#include <string>

#include "researchkit/core/cuda/check_cuda.cuh"
#include "src/cuda/gemm_layout.hpp"

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

cublasOperation_t operation(const GemmOperand& operand) {
  return operand.is_transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
}

template <class Real, class Function>
void multiply(const Context& ctx, Real alpha, const In<Real, 2>& a, const In<Real, 2>& b, Real beta,
              const Out<Real, 2>& c, Function Library::*function) {
  const GemmLayout at = gemm_layout<Real>(a, b, c, cuda_backend());
  if (c.size() == 0) return;
  const int device = c.device().index;
  const device::CurrentDevice current(device);
  const auto handle = ctx.reuse_pool().take<Handle>();
  library().check(
      (library().*function)(handle->on(device, ctx.stream().handle()), operation(at.first),
                            operation(at.second), at.rows, at.columns, at.depth, &alpha,
                            b.data_handle(), at.first.leading, a.data_handle(), at.second.leading,
                            &beta, c.data_handle(), at.result_leading),
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
