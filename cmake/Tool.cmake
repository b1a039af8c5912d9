# The command line tool, <build folder>/researchkit.
file(GLOB tool_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/tool/*.cpp)
add_executable(researchkit_tool ${tool_sources})
researchkit_program(researchkit_tool)
set_target_properties(researchkit_tool PROPERTIES OUTPUT_NAME researchkit)
target_include_directories(researchkit_tool PRIVATE ${PROJECT_SOURCE_DIR})
target_link_libraries(researchkit_tool PRIVATE
  researchkit::researchkit CLI11::CLI11 nlohmann_json::nlohmann_json)
if(RESEARCHKIT_EMULATOR)
  target_link_libraries(researchkit_tool PRIVATE researchkit_emulator)
  target_compile_definitions(researchkit_tool PRIVATE RESEARCHKIT_HAS_EMULATOR)
endif()
