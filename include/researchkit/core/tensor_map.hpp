#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "researchkit/core/tensor.hpp"

namespace researchkit {

/// Tensors by name, in the order in which they were put in. Names may contain dots.
class TensorMap {
 public:
  using Entry = std::pair<std::string, Tensor>;
  TensorMap() = default;
  TensorMap(std::initializer_list<Entry> entries) : entries_(entries) {}

  /// Adds a tensor, or replaces the one of that name.
  void set(std::string name, Tensor tensor);
  /// Null if there is none.
  const Tensor* find(std::string_view name) const;
  Tensor* find(std::string_view name);
  /// Throws Error if there is none.
  const Tensor& at(std::string_view name) const;
  bool contains(std::string_view name) const { return find(name) != nullptr; }
  bool erase(std::string_view name);

  std::size_t size() const { return entries_.size(); }
  bool empty() const { return entries_.empty(); }
  void clear() { entries_.clear(); }
  auto begin() const { return entries_.begin(); }
  auto end() const { return entries_.end(); }
  auto begin() { return entries_.begin(); }
  auto end() { return entries_.end(); }

 private:
  std::vector<Entry> entries_;
};

/// Inputs whose number or names are the caller's: every tensor of the call that no other input
/// claims (the weights of a model).
template <class T>
struct InMap : TensorMap {
  using TensorMap::TensorMap;
};
/// Outputs named like the entries of an InMap.
template <class T>
struct OutMap : TensorMap {
  using TensorMap::TensorMap;
};
/// A list of inputs of one rank: one tensor per rank of a communicator, ragged pieces, ...
template <class T, int Rank>
using InList = std::vector<In<T, Rank>>;
template <class T, int Rank>
using OutList = std::vector<Out<T, Rank>>;

}  // namespace researchkit
