# benchmarks/bench_<namespace>.cpp -> <build folder>/bench_<namespace>; benchmarks/support/*.cpp is shared by all of them.
file(GLOB benchmark_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/benchmarks/bench_*.cpp)
file(GLOB benchmark_support CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/benchmarks/support/*.cpp)
add_custom_target(researchkit_benchmarks)
foreach(source IN LISTS benchmark_sources)
  get_filename_component(name ${source} NAME_WE)
  add_executable(${name} ${source} ${benchmark_support})
  researchkit_program(${name})
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR}/benchmarks)
  target_link_libraries(${name} PRIVATE
    researchkit::researchkit benchmark::benchmark nlohmann_json::nlohmann_json)
  add_dependencies(researchkit_benchmarks ${name})
endforeach()
