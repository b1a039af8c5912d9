# examples/<name>/ is a project of its own that finds an installed researchkit. Built from here, it finds this build instead:
# the package that researchkit_DIR points to says no more than that the target exists.
set(researchkit_DIR ${PROJECT_BINARY_DIR}/cmake/in-tree)
file(WRITE ${researchkit_DIR}/researchkit-config.cmake "set(researchkit_FOUND TRUE)\n")

add_custom_target(researchkit_examples)
file(GLOB examples CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/examples/*/CMakeLists.txt)
foreach(list_file IN LISTS examples)
  get_filename_component(folder ${list_file} DIRECTORY)
  get_filename_component(name ${folder} NAME)
  add_subdirectory(${folder} ${PROJECT_BINARY_DIR}/examples/${name})
  get_property(targets DIRECTORY ${folder} PROPERTY BUILDSYSTEM_TARGETS)
  foreach(target IN LISTS targets)
    researchkit_compile_options(${target})
  endforeach()
  add_dependencies(researchkit_examples ${targets})
endforeach()
