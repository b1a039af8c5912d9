# RESEARCHKIT_CUDA: kernels/cuda/**/*.cu compiled by nvcc into libresearchkit, for sm_80, sm_90 and, as PTX, what comes after.
# The CUDA runtime is linked statically: the library loads where there is no driver, and finds no devices there.
include(CheckLanguage)
if(RESEARCHKIT_CUDA AND NOT CMAKE_CUDA_COMPILER AND NOT DEFINED ENV{CUDACXX})
  find_program(RESEARCHKIT_NVCC nvcc PATHS ENV CUDA_PATH /usr/local/cuda PATH_SUFFIXES bin)
  mark_as_advanced(RESEARCHKIT_NVCC)
  if(RESEARCHKIT_NVCC)
    set(CMAKE_CUDA_COMPILER ${RESEARCHKIT_NVCC})
  endif()
endif()
if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
  set(CMAKE_CUDA_ARCHITECTURES 80-real 90-real 90-virtual)
endif()
if(RESEARCHKIT_CUDA STREQUAL "AUTO")
  if(NOT CMAKE_CUDA_COMPILER)
    check_language(CUDA)
  endif()
  if(CMAKE_CUDA_COMPILER)
    set(RESEARCHKIT_CUDA ON)
  else()
    message(STATUS "RESEARCHKIT_CUDA: no nvcc, device code left out")
    set(RESEARCHKIT_CUDA OFF)
  endif()
endif()
if(NOT RESEARCHKIT_CUDA)
  return()
endif()
enable_language(CUDA)
if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)  # which CMake does not know before 3.26
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
endif()
find_package(CUDAToolkit REQUIRED)

file(GLOB_RECURSE device_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/kernels/cuda/*.cu)
file(GLOB cuda_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/cuda/*.cpp)

# Objects of their own, as nvcc has other options. The launcher keeps what ptxas says of each kernel beside the object, as
# <object>.ptxas, for tests/device/resources_test.cpp.
add_library(researchkit_device OBJECT ${device_sources})
set_target_properties(researchkit_device PROPERTIES
  POSITION_INDEPENDENT_CODE ON CUDA_STANDARD 20 CUDA_STANDARD_REQUIRED ON CUDA_EXTENSIONS OFF
  CUDA_COMPILER_LAUNCHER ${PROJECT_SOURCE_DIR}/cmake/keep_ptxas_report)
target_compile_options(researchkit_device PRIVATE
  -Xptxas=-v -Xcompiler=-ffp-contract=off,-Wall,-Wextra $<$<BOOL:${RESEARCHKIT_DEVELOPER}>:-Werror=all-warnings>)
target_include_directories(researchkit_device PRIVATE ${PROJECT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/include)
target_link_libraries(researchkit_device PRIVATE Eigen3::Eigen fmt::fmt)

target_sources(researchkit PRIVATE ${cuda_sources} $<TARGET_OBJECTS:researchkit_device>)
set_target_properties(researchkit PROPERTIES LINKER_LANGUAGE CXX CUDA_RUNTIME_LIBRARY None)
target_compile_definitions(researchkit PRIVATE RESEARCHKIT_HAS_CUDA
  RESEARCHKIT_CUDA_LIBRARY_DIR="${CUDAToolkit_LIBRARY_DIR}")
target_include_directories(researchkit PRIVATE SYSTEM ${CUDAToolkit_INCLUDE_DIRS})
target_link_libraries(researchkit PRIVATE CUDA::cudart_static ${CMAKE_DL_LIBS})
