#include "researchkit/graph/import.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <optional>

#include "researchkit/core/io/file.hpp"
#include "researchkit/core/io/npy.hpp"
#include "src/core/io/bytes.hpp"

namespace researchkit::graph {
namespace {

/// Offsets count one more than the nodes, in int32.
constexpr std::int64_t kMostNodes = std::numeric_limits<std::int32_t>::max() - 1;

bool is_separator(char c) { return c == ' ' || c == '\t' || c == ',' || c == ';' || c == '\r'; }

/// A text taken apart line by line; knows where it is, for messages.
class Lines {
 public:
  Lines(std::string_view text, std::string_view file) : text_(text), file_(file) {}

  /// The fields of the next line that has any and is no comment; false at the end.
  bool next(std::string_view comment_signs) {
    while (!text_.empty()) {
      const std::size_t end = std::min(text_.find('\n'), text_.size());
      const std::string_view line = text_.substr(0, end);
      text_.remove_prefix(std::min(end + 1, text_.size()));
      ++number_;
      split(line);
      if (!fields_.empty() && comment_signs.find(fields_[0].front()) == std::string_view::npos) {
        return true;
      }
    }
    return false;
  }
  const std::vector<std::string_view>& fields() const { return fields_; }

  template <class T>
  T number(std::size_t field) const {
    const std::string_view text = fields_[field];
    T value{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    bool legal = error == std::errc() && end == text.data() + text.size();
    if constexpr (std::is_floating_point_v<T>) legal = legal && std::isfinite(value);
    if (!legal) fail("'{}' is not a number that counts here", io::printable(text));
    return value;
  }
  /// A number in [first, last].
  std::int64_t index(std::size_t field, std::int64_t first, std::int64_t last) const {
    const auto value = number<std::int64_t>(field);
    if (value < first || value > last) fail("{} is not in [{}, {}]", value, first, last);
    return value;
  }
  template <class... Args>
  [[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) const {
    io::fail(file_, "line {}: {}", number_, fmt::format(format, std::forward<Args>(args)...));
  }

 private:
  void split(std::string_view line) {
    fields_.clear();
    for (std::size_t at = 0; at < line.size();) {
      while (at < line.size() && is_separator(line[at])) ++at;
      const std::size_t begin = at;
      while (at < line.size() && !is_separator(line[at])) ++at;
      if (at > begin) fields_.push_back(line.substr(begin, at - begin));
    }
  }

  std::string_view text_;
  std::string_view file_;
  std::vector<std::string_view> fields_;
  std::size_t number_ = 0;
};

void add(EdgeList& list, std::int64_t row, std::int64_t col, double value) {
  list.rows.push_back(static_cast<std::int32_t>(row));
  list.cols.push_back(static_cast<std::int32_t>(col));
  list.values.push_back(value);
}

EdgeList parse_edge_list(io::Bytes bytes, std::string_view file) {
  EdgeList list;
  Lines lines(io::as_text(bytes), file);
  std::size_t columns = 0;
  while (lines.next("#%")) {
    const std::size_t fields = lines.fields().size();
    if (columns == 0) columns = fields;
    if (fields != columns || fields < 2 || fields > 3) {
      lines.fail("{} fields where {} are wanted", fields,
                 columns == 2 || columns == 3 ? std::to_string(columns) : "2 or 3");
    }
    const std::int64_t row = lines.index(0, 0, kMostNodes - 1);
    const std::int64_t col = lines.index(1, 0, kMostNodes - 1);
    add(list, row, col, fields == 3 ? lines.number<double>(2) : 1);
    list.num_rows = std::max({list.num_rows, row + 1, col + 1});
  }
  list.num_cols = list.num_rows;
  return list;
}

std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  return out;
}

EdgeList parse_matrix_market(io::Bytes bytes, std::string_view file) {
  Lines lines(io::as_text(bytes), file);
  const auto banner = [&](std::size_t field) { return lower(lines.fields()[field]); };
  if (!lines.next("") || lines.fields().size() != 5 || banner(0) != "%%matrixmarket" ||
      banner(1) != "matrix" || banner(2) != "coordinate") {
    io::fail(file, "it does not begin with '%%MatrixMarket matrix coordinate <field> <symmetry>'");
  }
  const std::string field = banner(3), symmetry = banner(4);
  const bool pattern = field == "pattern", symmetric = symmetry == "symmetric";
  const bool skew = symmetry == "skew-symmetric";
  if (!pattern && field != "real" && field != "integer") {
    lines.fail("'{}' is not one of real, integer, pattern", io::printable(field));
  }
  if (!symmetric && !skew && symmetry != "general") {
    lines.fail("'{}' is not one of general, symmetric, skew-symmetric", io::printable(symmetry));
  }
  if (!lines.next("%") || lines.fields().size() != 3) lines.fail("rows, columns, entries wanted");
  EdgeList list;
  list.num_rows = lines.index(0, 0, kMostNodes);
  list.num_cols = lines.index(1, 0, kMostNodes);
  // An entry takes at least four bytes, so that a count cannot ask for more memory than the file.
  const std::int64_t entries = lines.index(2, 0, static_cast<std::int64_t>(bytes.size() / 4) + 1);
  if ((symmetric || skew) && list.num_rows != list.num_cols) lines.fail("it is not square");
  for (std::int64_t e = 0; e < entries; ++e) {
    if (!lines.next("%")) io::fail(file, "{} entries where {} are announced", e, entries);
    const std::size_t wanted = pattern ? 2 : 3;
    if (lines.fields().size() != wanted) lines.fail("{} fields wanted", wanted);
    const std::int64_t row = lines.index(0, 1, list.num_rows) - 1;
    const std::int64_t col = lines.index(1, 1, list.num_cols) - 1;
    const double value = pattern ? 1 : lines.number<double>(2);
    add(list, row, col, value);
    if (row != col && (symmetric || skew)) add(list, col, row, skew ? -value : value);
  }
  if (lines.next("%")) lines.fail("more than the {} entries announced", entries);
  return list;
}

/// The entries of an integer array of one axis.
std::vector<std::int64_t> integers(const Tensor& tensor, std::string_view what,
                                   std::string_view file) {
  std::vector<std::int64_t> values;
  if (tensor.dtype() == DType::i32) {
    const auto entries = tensor.values<std::int32_t>();
    values.assign(entries.begin(), entries.end());
  } else if (tensor.dtype() == DType::i64) {
    const auto entries = tensor.values<std::int64_t>();
    values.assign(entries.begin(), entries.end());
  } else {
    io::fail(file, "{} holds {}, not int32 or int64", what, to_string(tensor.dtype()));
  }
  return values;
}

EdgeList parse_npz_graph(io::Bytes bytes, std::string_view file) {
  constexpr std::string_view kNames[] = {"indptr", "indices", "data", "shape", "edges"};
  const auto arrays = parse_npz(bytes, file, kNames);
  const auto wanted = [&](const char* name, int rank) -> const Tensor& {
    const auto found = arrays.find(name);
    if (found == arrays.end()) io::fail(file, "there is no array '{}'", name);
    if (found->second.rank() != rank) io::fail(file, "'{}' is not of rank {}", name, rank);
    return found->second;
  };
  const auto check_index = [&](std::int64_t index, std::int64_t bound) {
    if (index < 0 || index >= bound) io::fail(file, "index {} is not in [0, {})", index, bound);
  };
  EdgeList list;
  if (arrays.contains("edges")) {
    const Tensor& edges = wanted("edges", 2);
    if (edges.extent(1) != 2) io::fail(file, "'edges' has {} columns, not 2", edges.extent(1));
    const auto ends = integers(edges, "edges", file);
    for (std::size_t e = 0; e + 1 < ends.size(); e += 2) {
      check_index(ends[e], kMostNodes), check_index(ends[e + 1], kMostNodes);
      add(list, ends[e], ends[e + 1], 1);
      list.num_rows = std::max({list.num_rows, ends[e] + 1, ends[e + 1] + 1});
    }
    list.num_cols = list.num_rows;
    return list;
  }
  const auto indptr = integers(wanted("indptr", 1), "indptr", file);
  const auto indices = integers(wanted("indices", 1), "indices", file);
  const auto shape = integers(wanted("shape", 1), "shape", file);
  if (shape.size() != 2 || shape[0] < 0 || shape[1] < 0 || shape[0] > kMostNodes ||
      shape[1] > kMostNodes) {
    io::fail(file, "'shape' does not hold two sizes in [0, {}]", kMostNodes);
  }
  const bool offsets_fit = static_cast<std::int64_t>(indptr.size()) == shape[0] + 1 &&
                           indptr.front() == 0 && std::is_sorted(indptr.begin(), indptr.end()) &&
                           static_cast<std::size_t>(indptr.back()) == indices.size();
  if (!offsets_fit) {
    io::fail(file, "'indptr' does not ascend from 0 to the {} entries of {} rows", indices.size(),
             shape[0]);
  }
  const Tensor& data = wanted("data", 1);
  if (static_cast<std::size_t>(data.size()) != indices.size()) {
    io::fail(file, "{} values for {} entries", data.size(), indices.size());
  }
  std::vector<double> values(indices.size());
  const bool numeric = visit_dtype(data.dtype(), [&]<class T>(T) {
    std::transform(data.values<T>().begin(), data.values<T>().end(), values.begin(),
                   [](T value) { return static_cast<double>(value); });
  });
  if (!numeric ||
      !std::all_of(values.begin(), values.end(), [](double v) { return std::isfinite(v); })) {
    io::fail(file, "'data' does not hold finite numbers");
  }
  list.num_rows = shape[0];
  list.num_cols = shape[1];
  for (std::size_t row = 0; row + 1 < indptr.size(); ++row) {
    for (auto e = static_cast<std::size_t>(indptr[row]);
         e < static_cast<std::size_t>(indptr[row + 1]); ++e) {
      check_index(indices[e], list.num_cols);
      add(list, static_cast<std::int64_t>(row), indices[e], values[e]);
    }
  }
  return list;
}

}  // namespace

EdgeList parse_graph(std::span<const std::byte> bytes, GraphFormat format, std::string_view name) {
  switch (format) {
    case GraphFormat::matrix_market:
      return parse_matrix_market(bytes, name);
    case GraphFormat::npz:
      return parse_npz_graph(bytes, name);
    case GraphFormat::edge_list:
      break;
  }
  return parse_edge_list(bytes, name);
}

EdgeList read_graph(const std::filesystem::path& path) {
  const std::string extension = lower(path.extension().string());
  const GraphFormat format = extension == ".mtx"   ? GraphFormat::matrix_market
                             : extension == ".npz" ? GraphFormat::npz
                                                   : GraphFormat::edge_list;
  const FileBytes file = read_file(path);
  return parse_graph(file.bytes, format, path.string());
}

}  // namespace researchkit::graph
