# researchkit::mpi, the ranks of MPI behind researchkit::Communicator.
file(GLOB mpi_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/mpi/*.cpp)
add_library(researchkit_mpi ${mpi_sources})
add_library(researchkit::mpi ALIAS researchkit_mpi)
researchkit_compile_options(researchkit_mpi)
set_target_properties(researchkit_mpi PROPERTIES EXPORT_NAME mpi DEFINE_SYMBOL ""
  VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR} POSITION_INDEPENDENT_CODE ON)
target_link_libraries(researchkit_mpi PUBLIC researchkit::researchkit PRIVATE MPI::MPI_CXX)
target_include_directories(researchkit_mpi PRIVATE ${PROJECT_SOURCE_DIR})
