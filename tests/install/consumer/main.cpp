#include <fmt/format.h>
#include <researchkit/core/version.hpp>

int main() { fmt::print("{}\n", researchkit::version()); }
