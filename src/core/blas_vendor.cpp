#include "src/core/blas_vendor.hpp"

#include <array>
#include <cstdint>
#include <string_view>

#include "researchkit/core/blas.hpp"

// What only one BLAS library has. Weak: the address is null where another one is linked.
// Names of other libraries: NOLINTBEGIN(readability-identifier-naming)
extern "C" {
[[gnu::weak]] void openblas_set_num_threads(int threads);
[[gnu::weak]] int openblas_get_num_threads(void);
[[gnu::weak]] char* openblas_get_config(void);
[[gnu::weak]] char* openblas_get_corename(void);
[[gnu::weak]] int MKL_Set_Num_Threads_Local(int threads);
[[gnu::weak]] void MKL_Get_Version_String(char* text, int length);
[[gnu::weak]] void bli_thread_set_num_threads(std::int64_t threads);
[[gnu::weak]] const char* bli_info_get_version_str(void);
}
// NOLINTEND(readability-identifier-naming)

namespace researchkit {
namespace {

/// The word after `name` in `text`, "0.3.21" of "OpenBLAS 0.3.21 NO_LAPACKE".
std::string word_after(std::string_view text, std::string_view name) {
  const auto at = text.find(name);
  if (at == std::string_view::npos) return "";
  text.remove_prefix(at + name.size());
  while (text.starts_with(' ')) text.remove_prefix(1);
  return std::string(text.substr(0, text.find(' ')));
}

}  // namespace

void use_single_threaded_blas() {
  if (openblas_set_num_threads != nullptr && openblas_get_num_threads != nullptr) {
    if (openblas_get_num_threads() != 1) openblas_set_num_threads(1);
  }
  if (MKL_Set_Num_Threads_Local != nullptr) MKL_Set_Num_Threads_Local(1);
  if (bli_thread_set_num_threads != nullptr) bli_thread_set_num_threads(1);
}

BlasInfo blas_info() {
  if (openblas_get_config != nullptr) {
    return {"OpenBLAS", word_after(openblas_get_config(), "OpenBLAS"),
            openblas_get_corename != nullptr ? openblas_get_corename() : ""};
  }
  if (MKL_Get_Version_String != nullptr) {
    std::array<char, 256> text{};
    MKL_Get_Version_String(text.data(), static_cast<int>(text.size()) - 1);
    return {"MKL", word_after(text.data(), "Version"), ""};
  }
  if (bli_info_get_version_str != nullptr) return {"BLIS", bli_info_get_version_str(), ""};
  return {"unknown", "", ""};
}

}  // namespace researchkit
