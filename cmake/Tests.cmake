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
list(REMOVE_ITEM areas support fuzz)
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

# Pipelines on real MPI ranks. As root, and with more ranks than processors: a test machine is like that.
if(RESEARCHKIT_MPI AND TARGET run_pipeline)
  add_dependencies(researchkit_tests run_pipeline)
  set(mpi_environment OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
    OMPI_MCA_rmaps_base_oversubscribe=1)
  foreach(ranks IN ITEMS 2 4 8)
    add_test(NAME "mpi: the gradients of ${ranks} ranks are those of one process"
      COMMAND ${MPIEXEC_EXECUTABLE} ${MPIEXEC_NUMPROC_FLAG} ${ranks} $<TARGET_FILE:run_pipeline>
        --mpi --stages ${ranks} --samples 32 --hidden 16 --ffn 32)
    set_tests_properties("mpi: the gradients of ${ranks} ranks are those of one process"
      PROPERTIES ENVIRONMENT "${mpi_environment}" TIMEOUT 120
      PASS_REGULAR_EXPRESSION "largest relative difference to one process")
  endforeach()
  add_test(NAME "mpi: a lost rank ends all others"
    COMMAND ${MPIEXEC_EXECUTABLE} ${MPIEXEC_NUMPROC_FLAG} 4 $<TARGET_FILE:run_pipeline>
      --mpi --stages 4 --lose 2 --samples 32 --hidden 16 --ffn 32)
  set_tests_properties("mpi: a lost rank ends all others" PROPERTIES
    ENVIRONMENT "${mpi_environment}" TIMEOUT 60 WILL_FAIL ON)
endif()
