#pragma once

#include <algorithm>
#include <string>

#include "researchkit/core/arbitrary.hpp"
#include "researchkit/core/operator.hpp"
#include "researchkit/graph/csr_view.hpp"

/// What operators on raw CSR tensors refuse, and how the conformance suite makes legal ones.
namespace researchkit::graph {

/// Refuses an `indptr` that does not ascend from 0 to the number of entries. The range of `indices` is
/// said by the operator's description. On a device its kernels look.
template <class Index>
void require_csr(const Check& check, In<Index, 1> indptr, std::int64_t entries) {
  if (!indptr.device().is_host()) return;
  const std::int64_t rows = indptr.extent(0) - 1;
  if (indptr(0) != 0) check.refuse("indptr", "0 at the start", std::to_string(indptr(0)));
  for (std::int64_t i = 0; i < rows; ++i) {
    if (indptr(i + 1) < indptr(i)) {
      check.refuse("indptr", "ascending numbers",
                   std::to_string(indptr(i + 1)) + " after " + std::to_string(indptr(i)) + " at " +
                       to_string(Shape{i + 1}));
    }
  }
  if (static_cast<std::int64_t>(indptr(rows)) != entries) {
    check.refuse("indptr", "the number of entries, " + std::to_string(entries) + ", at the end",
                 std::to_string(indptr(rows)));
  }
}

/// Describes `indptr` [n + 1] and `indices` of sparse rows; a column lies in `columns`, and `entries` is
/// the symbol of their number.
inline void describe_pattern(Description& io, auto& indptr, auto& indices,
                             std::string_view columns = "[0, n)", std::string_view entries = "nnz",
                             std::string_view index = "column of each entry") {
  io.input(indptr, "indptr", "n+1", "where each row begins", {.contiguous = true});
  io.input(indices, "indices", entries, index, {.in = columns, .contiguous = true});
}
/// The same where entries are edges, whose columns are their sources.
inline void describe_sources(Description& io, auto& indptr, auto& indices,
                             std::string_view columns = "[0, n)") {
  describe_pattern(io, indptr, indices, columns, "nnz", "source of each entry");
}

/// Makes `indptr` of a random call ascend from 0 to the number of `indices`, and gives every entry a
/// legal column. Rows of all lengths, none too.
inline void arbitrary_csr(Arbitrary& random, std::string_view columns_symbol,
                          std::string_view indices_symbol = "nnz") {
  const Tensor* old = random.call.inputs.find("indptr");
  const Tensor* indices = random.call.inputs.find("indices");
  if (old == nullptr || indices == nullptr || old->extent(0) == 0) return;
  const std::int64_t rows = old->extent(0) - 1;
  const std::int64_t entries =
      rows == 0 || random.size(columns_symbol) == 0 ? 0 : indices->extent(0);
  if (entries != indices->extent(0)) random.resize(indices_symbol, 0);
  const DType dtype = random.call.inputs.at("indptr").dtype();
  Tensor indptr(dtype, {rows + 1}), columns(dtype, {entries});
  visit_dtype(dtype, [&]<class T>(T) {
    const auto ends = indptr.values<T>();
    for (std::int64_t i = 1; i < rows; ++i) {
      ends[static_cast<std::size_t>(i)] = static_cast<T>(random.integer(0, entries));
    }
    if (rows > 0) ends.back() = static_cast<T>(entries);
    std::sort(ends.begin(), ends.end());
    for (T& column : columns.values<T>()) {
      column = static_cast<T>(random.integer(0, random.size(columns_symbol) - 1));
    }
  });
  random.call.inputs.set("indptr", indptr);
  random.call.inputs.set("indices", columns);
}

/// The same for a square matrix whose rows have the size "n".
inline void arbitrary_square_csr(Arbitrary& random) {
  arbitrary_csr(random, "n", random.sizes.find("e") ? "e" : "nnz");
}

/// Refuses a label outside [0, classes) in a masked row. On a device its kernels look.
template <class Index>
void require_labels(const Check& check, In<Index, 1> labels, In<std::uint8_t, 1> mask,
                    std::int64_t classes) {
  if (!labels.device().is_host()) return;
  for (std::int64_t i = 0; i < labels.extent(0); ++i) {
    const bool legal = labels(i) >= 0 && static_cast<std::int64_t>(labels(i)) < classes;
    if (mask(i) == 0 || legal) continue;
    check.refuse("labels", "classes in [0, " + std::to_string(classes) + ") where masked",
                 std::to_string(labels(i)) + " at " + to_string(Shape{i}));
  }
}

/// Makes the labels of a random call legal; "c" is the number of classes.
inline void arbitrary_labels(Arbitrary& random) {
  const Tensor* old = random.call.inputs.find("labels");
  if (old == nullptr) return;
  Tensor labels = old->clone();
  visit_dtype(labels.dtype(), [&]<class T>(T) {
    for (T& label : labels.values<T>()) {
      label = static_cast<T>(random.integer(0, random.size("c") - 1));
    }
  });
  random.call.inputs.set("labels", labels);
}

}  // namespace researchkit::graph
