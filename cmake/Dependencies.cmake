# Everything the build looks for. Public dependencies appear again in researchkit-config.cmake.in.

# Public: seen through the headers.
find_package(Eigen3 3.3 REQUIRED NO_MODULE)
find_package(fmt REQUIRED)

# Private: hidden behind compiled code.
find_package(hwy REQUIRED)
find_package(OpenMP REQUIRED COMPONENTS CXX)
find_package(nlohmann_json 3.10 REQUIRED)
find_package(ZLIB REQUIRED)

# OpenBLAS unless the user names a vendor (-DBLA_VENDOR=Intel10_64lp, FLAME, ...); any BLAS as the last resort.
set(researchkit_blas_vendor OpenBLAS)
if(BLA_VENDOR)
  set(researchkit_blas_vendor ${BLA_VENDOR})
  find_package(BLAS REQUIRED)
else()
  set(BLA_VENDOR OpenBLAS)
  find_package(BLAS QUIET)
  unset(BLA_VENDOR)
  if(NOT BLAS_FOUND)
    set(researchkit_blas_vendor All)
    find_package(BLAS REQUIRED)
  endif()
endif()
message(STATUS "BLAS: ${BLAS_LIBRARIES}")

if(RESEARCHKIT_TOOL)
  find_package(CLI11 2.0 REQUIRED)
endif()

# Looks for a package as an AUTO/ON/OFF option says. Afterwards the option's variable is ON or OFF.
macro(researchkit_resolve option package)
  if(${option} STREQUAL "AUTO")
    find_package(${package} QUIET ${ARGN})
    set(${option} ${${package}_FOUND})
    if(NOT ${option})
      message(STATUS "${option}: ${package} not found, left out")
    endif()
  elseif(${option})
    find_package(${package} REQUIRED ${ARGN})
  endif()
endmacro()
researchkit_resolve(RESEARCHKIT_TESTS Catch2)
set(RESEARCHKIT_EMULATOR ${RESEARCHKIT_TESTS})
researchkit_resolve(RESEARCHKIT_BENCHMARKS benchmark)

# The optional parts are built where there is code for them.
macro(researchkit_optional_part option folder)
  file(GLOB_RECURSE part_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/${folder}/*)
  if(NOT part_sources)
    if(${option} AND NOT ${option} STREQUAL "AUTO")
      message(FATAL_ERROR "${option}=ON, but this version has no code under ${folder}")
    endif()
    set(${option} OFF)
  endif()
endmacro()
researchkit_optional_part(RESEARCHKIT_CUDA kernels/cuda)
researchkit_optional_part(RESEARCHKIT_MPI src/mpi)
researchkit_resolve(RESEARCHKIT_MPI MPI COMPONENTS CXX)
