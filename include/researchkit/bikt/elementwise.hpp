#pragma once

#include <cstdint>

/// The loops over entries that a training step of a host spends its time in, compiled for each
/// instruction set; all on the calling thread, row-major, the same bits on every one.
namespace researchkit::bikt::kernels {

/// y = max(x + b, 0), b for each column.
void offset_relu(const float* x, const float* b, std::int64_t rows, std::int64_t columns, float* y);
void offset_relu(const double* x, const double* b, std::int64_t rows, std::int64_t columns,
                 double* y);

/// d_x = scale d where y > 0, else 0; the columns' sums of it are added to `sums`.
void relu_backward(const float* y, const float* d, float scale, std::int64_t rows,
                   std::int64_t columns, float* d_x, float* sums);
void relu_backward(const double* y, const double* d, double scale, std::int64_t rows,
                   std::int64_t columns, double* d_x, double* sums);

/// y = elu(x + b); in float32 the exponential is a polynomial within 2 units in the last place.
void offset_elu(const float* x, const float* b, std::int64_t rows, std::int64_t columns, float* y);
void offset_elu(const double* x, const double* b, std::int64_t rows, std::int64_t columns,
                double* y);

/// d_x = d where y > 0, else d (y + 1); the columns' sums of it are added to `sums`.
void elu_backward(const float* y, const float* d, std::int64_t rows, std::int64_t columns,
                  float* d_x, float* sums);
void elu_backward(const double* y, const double* d, std::int64_t rows, std::int64_t columns,
                  double* d_x, double* sums);

/// z = p x + q y; z may be x or y.
void axpby(float p, const float* x, float q, const float* y, std::int64_t count, float* z);
void axpby(double p, const double* x, double q, const double* y, std::int64_t count, double* z);

}  // namespace researchkit::bikt::kernels
