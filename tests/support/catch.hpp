#pragma once

// Catch2 as it is installed: version 3 has its parts in many headers, version 2 is one.
#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>
#else
#include <catch2/catch.hpp>
#endif
