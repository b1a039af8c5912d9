# tests/<area>/*.cpp -> <build folder>/tests/test_<area>, one test of ctest per test case.
# tests/support/*.cpp is linked into each of them. Test cases include "support/<file>.hpp".
enable_testing()
include(Catch)

set(tests ${PROJECT_SOURCE_DIR}/tests)
file(GLOB support_sources CONFIGURE_DEPENDS ${tests}/support/*.cpp)
add_library(researchkit_test_support STATIC EXCLUDE_FROM_ALL ${support_sources})
researchkit_compile_options(researchkit_test_support)
target_include_directories(researchkit_test_support PUBLIC ${tests} ${PROJECT_SOURCE_DIR})
target_compile_definitions(researchkit_test_support PUBLIC
  RESEARCHKIT_TEST_SOURCE_DIR="${PROJECT_SOURCE_DIR}"
  RESEARCHKIT_TEST_GOLDEN_DIR="${tests}/golden"
  RESEARCHKIT_TEST_BINARY_DIR="${PROJECT_BINARY_DIR}")
target_link_libraries(researchkit_test_support PUBLIC
  researchkit::researchkit researchkit_emulator Catch2::Catch2WithMain nlohmann_json::nlohmann_json OpenMP::OpenMP_CXX)

add_custom_target(researchkit_tests)
file(GLOB test_files CONFIGURE_DEPENDS RELATIVE ${tests} ${tests}/*/*.cpp)
list(TRANSFORM test_files REPLACE "/.*" "" OUTPUT_VARIABLE areas)
list(REMOVE_DUPLICATES areas)
list(REMOVE_ITEM areas support fuzz mpi nccl)
foreach(area IN LISTS areas)
  set(target test_${area})
  set(area_sources ${test_files})
  list(FILTER area_sources INCLUDE REGEX "^${area}/")
  list(TRANSFORM area_sources PREPEND ${tests}/)
  add_executable(${target} ${area_sources})
  researchkit_compile_options(${target})
  set_target_properties(${target} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests)
  target_link_libraries(${target} PRIVATE researchkit_test_support)
  if(area STREQUAL "tool" AND TARGET researchkit_tool)
    add_dependencies(${target} researchkit_tool)
    target_compile_definitions(${target} PRIVATE RESEARCHKIT_TEST_TOOL="$<TARGET_FILE:researchkit_tool>")
  endif()
  # A test that cannot run here says so with support/skip.hpp and is listed as skipped.
  catch_discover_tests(${target} TEST_PREFIX "${area}: "
    PROPERTIES TIMEOUT 1200 SKIP_REGULAR_EXPRESSION "test skipped:")
  add_dependencies(researchkit_tests ${target})
endforeach()

# Ranks that are MPI processes. As root, and with more ranks than processors: a test machine is like that.
if(RESEARCHKIT_MPI)
  set(mpi_environment OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
    OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_mpi_yield_when_idle=1)
  set(mpirun ${MPIEXEC_EXECUTABLE} ${MPIEXEC_NUMPROC_FLAG})
  function(researchkit_mpi_test name)
    add_test(NAME "mpi: ${name}" COMMAND ${ARGN})
    set_tests_properties("mpi: ${name}" PROPERTIES ENVIRONMENT "${mpi_environment}" TIMEOUT 120
      RUN_SERIAL ON)
  endfunction()

  add_executable(mpi_ranks ${tests}/mpi/mpi_ranks.cpp)
  researchkit_compile_options(mpi_ranks)
  set_target_properties(mpi_ranks PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests)
  target_link_libraries(mpi_ranks PRIVATE researchkit_test_support researchkit::mpi)
  add_dependencies(researchkit_tests mpi_ranks)
  foreach(ranks IN ITEMS 1 2 4 8)
    researchkit_mpi_test("every operation on ${ranks} ranks" ${mpirun} ${ranks} $<TARGET_FILE:mpi_ranks> check)
  endforeach()
  foreach(how IN ITEMS throw exit kill stop sleep leave)
    researchkit_mpi_test("a rank lost by ${how} ends all others, in its name"
      ${tests}/mpi/lose_rank.sh ${MPIEXEC_EXECUTABLE} $<TARGET_FILE:mpi_ranks> ${how})
  endforeach()

  if(TARGET run_pipeline)
    add_dependencies(researchkit_tests run_pipeline)
    foreach(ranks IN ITEMS 2 4 8)
      foreach(model IN ITEMS mlp decoder encdec)
        set(name "${ranks} ranks of a pipeline of kind ${model} have the gradients of one process")
        researchkit_mpi_test("${name}" ${mpirun} ${ranks} $<TARGET_FILE:run_pipeline>
          --mpi --model ${model} --stages ${ranks} --samples 24 --hidden 16 --ffn 32 --max-seqlen 128)
        set_tests_properties("mpi: ${name}"
          PROPERTIES PASS_REGULAR_EXPRESSION "largest relative difference to one process: 0\n")
      endforeach()
    endforeach()
    researchkit_mpi_test("two replicas of two stages have the gradients of one process" ${mpirun} 4
      $<TARGET_FILE:run_pipeline> --mpi --model encdec --stages 2 --replicas 2 --samples 24 --hidden 16 --ffn 32
      --max-seqlen 128 --recompute full --iterations 2)
    set_tests_properties("mpi: two replicas of two stages have the gradients of one process"
      PROPERTIES PASS_REGULAR_EXPRESSION "largest relative difference to one process: 0\n")
    researchkit_mpi_test("a rank killed while it trains ends all others, in its name"
      ${tests}/mpi/kill_rank.sh ${MPIEXEC_EXECUTABLE} $<TARGET_FILE:run_pipeline>)
    researchkit_mpi_test("a pipeline that loses a rank ends in its name"
      ${tests}/mpi/lose_rank.sh ${MPIEXEC_EXECUTABLE} $<TARGET_FILE:run_pipeline> --mpi --stages 4
        --samples 32 --hidden 16 --ffn 32 --seconds 3 --lose 2)
  endif()
endif()

if(TARGET researchkit_nccl)
  add_executable(nccl_alone ${tests}/nccl/nccl_alone.cpp)
  researchkit_compile_options(nccl_alone)
  set_target_properties(nccl_alone PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests)
  target_include_directories(nccl_alone SYSTEM PRIVATE ${CUDAToolkit_INCLUDE_DIRS})
  target_link_libraries(nccl_alone PRIVATE researchkit::nccl CUDA::cudart NCCL::NCCL)
  add_dependencies(researchkit_tests nccl_alone)
  add_test(NAME "nccl: one rank on a device, or a refusal without one" COMMAND nccl_alone)
  set_tests_properties("nccl: one rank on a device, or a refusal without one" PROPERTIES
    TIMEOUT 120 SKIP_REGULAR_EXPRESSION "test skipped:")
endif()
