# researchkit::nccl, GPUs behind researchkit::Communicator. Where there is no GPU it is compiled and linked, no more.
find_package(CUDAToolkit QUIET)
if(NOT CUDAToolkit_FOUND)
  if(RESEARCHKIT_NCCL_ASKED)
    message(FATAL_ERROR "RESEARCHKIT_NCCL=ON, but there is no CUDA Toolkit")
  endif()
  message(STATUS "RESEARCHKIT_NCCL: no CUDA Toolkit, left out")
  set(RESEARCHKIT_NCCL OFF)
  return()
endif()
file(GLOB nccl_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/nccl/*.cpp)
add_library(researchkit_nccl ${nccl_sources})
add_library(researchkit::nccl ALIAS researchkit_nccl)
researchkit_compile_options(researchkit_nccl)
set_target_properties(researchkit_nccl PROPERTIES EXPORT_NAME nccl DEFINE_SYMBOL ""
  VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR} POSITION_INDEPENDENT_CODE ON)
target_include_directories(researchkit_nccl SYSTEM PRIVATE ${CUDAToolkit_INCLUDE_DIRS})
target_link_libraries(researchkit_nccl PUBLIC researchkit::researchkit
  PRIVATE $<BUILD_INTERFACE:NCCL::NCCL> $<BUILD_INTERFACE:CUDA::cudart>)
