# libresearchkit: everything under src/ but the tool, and the CPU kernels.
file(GLOB_RECURSE library_sources CONFIGURE_DEPENDS
  ${PROJECT_SOURCE_DIR}/src/*.cpp ${PROJECT_SOURCE_DIR}/kernels/cpu/*.cpp)
list(FILTER library_sources EXCLUDE REGEX "^${PROJECT_SOURCE_DIR}/src/(tool|mpi|nccl|report|cuda)/")

add_library(researchkit ${library_sources})
add_library(researchkit::researchkit ALIAS researchkit)
researchkit_compile_options(researchkit)
target_compile_features(researchkit PUBLIC cxx_std_20)
set_target_properties(researchkit PROPERTIES
  VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR} POSITION_INDEPENDENT_CODE ON
  DEFINE_SYMBOL "")  # shared and static objects are the same, so ccache makes the second for nothing
if(NOT RESEARCHKIT_SANITIZE AND NOT APPLE)
  target_link_options(researchkit PRIVATE LINKER:--no-undefined)  # a missing library shows here, not at the user's
endif()
target_include_directories(researchkit
  PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>
  PRIVATE ${PROJECT_SOURCE_DIR})
target_link_libraries(researchkit
  PUBLIC Eigen3::Eigen fmt::fmt
  PRIVATE hwy::hwy OpenMP::OpenMP_CXX BLAS::BLAS ZLIB::ZLIB $<BUILD_INTERFACE:nlohmann_json::nlohmann_json>)
# Kernels keep vectors in fields and arrays, which vectors without a fixed length do not allow: 64-bit ARM runs NEON.
target_compile_definitions(researchkit PRIVATE
  "HWY_DISABLED_TARGETS=(HWY_SVE|HWY_SVE2|HWY_SVE_256|HWY_SVE2_128|HWY_RVV)")
