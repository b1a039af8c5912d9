# NCCL_FOUND and NCCL::NCCL. Debian's libnccl-dev, NVIDIA's packages, or the folder of a Python wheel (nvidia-nccl-cu13) given as
# NCCL_ROOT.
find_path(NCCL_INCLUDE_DIR nccl.h PATH_SUFFIXES include PATHS /usr/local/cuda)
find_library(NCCL_LIBRARY NAMES nccl libnccl.so.2 PATH_SUFFIXES lib lib64 PATHS /usr/local/cuda)
mark_as_advanced(NCCL_INCLUDE_DIR NCCL_LIBRARY)
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(NCCL REQUIRED_VARS NCCL_LIBRARY NCCL_INCLUDE_DIR)
if(NCCL_FOUND AND NOT TARGET NCCL::NCCL)
  add_library(NCCL::NCCL UNKNOWN IMPORTED)
  set_target_properties(NCCL::NCCL PROPERTIES
    IMPORTED_LOCATION ${NCCL_LIBRARY} INTERFACE_INCLUDE_DIRECTORIES ${NCCL_INCLUDE_DIR})
endif()
