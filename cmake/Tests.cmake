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
