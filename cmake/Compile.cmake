# researchkit_compile_options(target): how every target of this project is compiled.
#
# -ffp-contract=off: results are specified bit by bit, so the compiler must not fuse a multiplication and an addition.
function(researchkit_compile_options target)
  target_compile_features(${target} PRIVATE cxx_std_20)
  target_compile_options(${target} PRIVATE -ffp-contract=off -Wall -Wextra -Wpedantic)
  if(CMAKE_CXX_COMPILER_ID STREQUAL GNU AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
    target_compile_options(${target} PRIVATE -Wno-restrict)  # cries wolf over std::string = "literal" (GCC bug 105651)
  endif()
  if(RESEARCHKIT_DEVELOPER)
    target_compile_options(${target} PRIVATE -Werror)
  endif()
  if(RESEARCHKIT_SANITIZE)
    target_compile_options(${target} PRIVATE
      -fsanitize=${RESEARCHKIT_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer -g)
    target_link_options(${target} PRIVATE -fsanitize=${RESEARCHKIT_SANITIZE})
  endif()
  target_compile_definitions(${target} PRIVATE RESEARCHKIT_VERSION="${PROJECT_VERSION}")
endfunction()

# Programs lie at the top of the build folder, where people look for them.
function(researchkit_program target)
  researchkit_compile_options(${target})
  set_target_properties(${target} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR})
endfunction()
