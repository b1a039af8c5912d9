#pragma once

/// Marks a function that device code may call as well: `RESEARCHKIT_HOST_DEVICE constexpr int f()`.
/// Expands to nothing where no CUDA compiler is at work.
#if defined(__CUDACC__)
#define RESEARCHKIT_HOST_DEVICE __host__ __device__
#else
#define RESEARCHKIT_HOST_DEVICE
#endif
