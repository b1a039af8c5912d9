# Headers, library, tool, `find_package(researchkit CONFIG)` and `pkg-config researchkit`.
include(CMakePackageConfigHelpers)

# What the install rules below want built.
add_custom_target(researchkit_installed DEPENDS researchkit)
foreach(part IN ITEMS researchkit_mpi researchkit_nccl researchkit_tool)
  if(TARGET ${part})
    add_dependencies(researchkit_installed ${part})
  endif()
endforeach()

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/researchkit)

install(TARGETS researchkit EXPORT researchkit-targets
  RUNTIME COMPONENT runtime
  LIBRARY COMPONENT runtime NAMELINK_COMPONENT development
  ARCHIVE COMPONENT development
  INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/researchkit
  DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT development FILES_MATCHING PATTERN "*.hpp")

if(RESEARCHKIT_TOOL)
  # A prefix of one's own is not on the loader's path, so the tool says where its library is.
  if(NOT CMAKE_INSTALL_PREFIX STREQUAL "/usr")
    file(RELATIVE_PATH libdir_from_bindir
      ${CMAKE_INSTALL_FULL_BINDIR} ${CMAKE_INSTALL_FULL_LIBDIR})
    set_target_properties(researchkit_tool PROPERTIES INSTALL_RPATH "$ORIGIN/${libdir_from_bindir}")
  endif()
  install(TARGETS researchkit_tool EXPORT researchkit-tool-targets RUNTIME COMPONENT tool)
  set_target_properties(researchkit_tool PROPERTIES EXPORT_NAME tool)
  install(EXPORT researchkit-tool-targets NAMESPACE researchkit:: DESTINATION ${package_dir} COMPONENT tool)
endif()

foreach(part IN ITEMS mpi nccl)
  if(NOT TARGET researchkit_${part})
    continue()
  endif()
  install(TARGETS researchkit_${part} EXPORT researchkit-${part}-targets
    RUNTIME COMPONENT runtime
    LIBRARY COMPONENT runtime NAMELINK_COMPONENT development
    ARCHIVE COMPONENT development)
  install(EXPORT researchkit-${part}-targets NAMESPACE researchkit:: DESTINATION ${package_dir} COMPONENT development)
endforeach()
install(EXPORT researchkit-targets NAMESPACE researchkit:: DESTINATION ${package_dir} COMPONENT development)
configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/researchkit-config.cmake.in
  ${PROJECT_BINARY_DIR}/cmake/researchkit-config.cmake INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/cmake/researchkit-config-version.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES
  ${PROJECT_BINARY_DIR}/cmake/researchkit-config.cmake
  ${PROJECT_BINARY_DIR}/cmake/researchkit-config-version.cmake
  DESTINATION ${package_dir} COMPONENT development)

# The .pc file finds its prefix from where it lies, so that an installed tree can be moved.
file(RELATIVE_PATH prefix_from_pc
  ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
string(REGEX REPLACE "/$" "" prefix_from_pc "${prefix_from_pc}")
list(JOIN BLAS_LIBRARIES " " pc_private_libs)
string(APPEND pc_private_libs " ${OpenMP_CXX_FLAGS}")
if(RESEARCHKIT_CUDA)
  string(APPEND pc_private_libs " -L${CUDAToolkit_LIBRARY_DIR} -lcudart_static -ldl -lrt -lpthread")
endif()
configure_file(${PROJECT_SOURCE_DIR}/cmake/researchkit.pc.in ${PROJECT_BINARY_DIR}/cmake/researchkit.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/cmake/researchkit.pc
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT development)
