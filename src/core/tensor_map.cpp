#include "researchkit/core/tensor_map.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "researchkit/core/error.hpp"

namespace researchkit {

void TensorMap::set(std::string name, Tensor tensor) {
  if (Tensor* existing = find(name)) {
    *existing = std::move(tensor);
  } else {
    entries_.emplace_back(std::move(name), std::move(tensor));
  }
}

const Tensor* TensorMap::find(std::string_view name) const {
  for (const auto& [known, tensor] : entries_) {
    if (known == name) return &tensor;
  }
  return nullptr;
}

Tensor* TensorMap::find(std::string_view name) {
  return const_cast<Tensor*>(std::as_const(*this).find(name));
}

const Tensor& TensorMap::at(std::string_view name) const {
  if (const Tensor* tensor = find(name)) return *tensor;
  throw Error(fmt::format("there is no tensor named '{}'", name));
}

bool TensorMap::erase(std::string_view name) {
  return std::erase_if(entries_, [&](const Entry& entry) { return entry.first == name; }) > 0;
}

}  // namespace researchkit
