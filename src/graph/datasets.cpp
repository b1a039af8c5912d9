#include "researchkit/graph/datasets.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>

#include "researchkit/core/io/file.hpp"
#include "researchkit/core/io/npy.hpp"
#include "src/core/io/bytes.hpp"

namespace researchkit::graph {
namespace {

namespace fs = std::filesystem;

Tensor read_array(const fs::path& file, DType dtype, int rank) {
  Tensor array = read_npy(file);
  if (array.dtype() != dtype || array.rank() != rank) {
    io::fail(file.string(), "{} of rank {} wanted, {} of rank {} came", to_string(dtype), rank,
             to_string(array.dtype()), array.rank());
  }
  return array;
}

template <class T>
std::vector<T> list_of(const Tensor& tensor) {
  const auto values = tensor.values<T>();
  return {values.begin(), values.end()};
}

Split split_of(std::span<const std::uint8_t> roles, const fs::path& file) {
  Split split;
  for (const std::uint8_t role : roles) {
    if (role > 3) io::fail(file.string(), "role {} is not in [0, 3]", role);
    split.push_back(static_cast<Role>(role));
  }
  return split;
}

Csr<float> adjacency_of(const Context& ctx, std::span<const std::int32_t> from,
                        std::span<const std::int32_t> to, std::int64_t nodes, bool directed) {
  const EdgeListOptions options{.num_rows = nodes,
                                .num_cols = nodes,
                                .undirected = !directed,
                                .remove_self_loops = true,
                                .duplicates = Duplicates::first};
  // The row of an entry is its target.
  return {kernels::coo_to_csr<float, std::int32_t>(ctx, to, from, nullptr, options), nodes};
}

/// The number of features that the folder's meta.json states (the last ones may occur nowhere); 0
/// without one.
std::int64_t stated_features(const fs::path& file) {
  if (!fs::exists(file)) return 0;
  const FileBytes bytes = read_file(file);
  const auto meta = nlohmann::json::parse(io::as_text(bytes.bytes), nullptr, false);
  if (!meta.is_object()) io::fail(file.string(), "it is not a JSON object");
  const auto found = meta.find("num_features");
  if (found == meta.end()) return 0;
  const bool legal = found->is_number_unsigned() && found->get<std::uint64_t>() < (1u << 31);
  if (!legal) io::fail(file.string(), "num_features is not a number in [0, 2^31)");
  return found->get<std::int64_t>();
}

void read_features(const Context& ctx, const fs::path& folder, const LoadOptions& options,
                   NodeDataset& data) {
  CsrArrays<float> arrays;
  arrays.indptr = list_of<std::int32_t>(read_array(folder / "feat_indptr.npy", DType::i32, 1));
  arrays.indices = list_of<std::int32_t>(read_array(folder / "feat_indices.npy", DType::i32, 1));
  arrays.values = list_of<float>(read_array(folder / "feat_values.npy", DType::f32, 1));
  if (!std::all_of(arrays.values.begin(), arrays.values.end(),
                   [](float value) { return std::isfinite(value); })) {
    io::fail((folder / "feat_values.npy").string(), "a value is not finite");
  }
  const auto largest = std::max_element(arrays.indices.begin(), arrays.indices.end());
  const std::int64_t used = largest == arrays.indices.end() ? 0 : std::int64_t{*largest} + 1;
  const std::int64_t columns = std::max(used, stated_features(folder / "meta.json"));
  try {
    data.features = Csr<float>(arrays, columns);
  } catch (const Error& error) {
    io::fail((folder / "feat_indptr.npy").string(), "{}", error.what());
  }
  if (data.features.rows() != static_cast<std::int64_t>(data.labels.size())) {
    io::fail((folder / "feat_indptr.npy").string(), "features of {} nodes, labels of {}",
             data.features.rows(), data.labels.size());
  }
  if (!options.normalize_features) return;
  kernels::row_normalize(ctx, data.features.view(), 1.0, arrays.values.data());
  data.features = Csr<float>(std::move(arrays), columns);
}

}  // namespace

std::vector<std::uint8_t> mask_of(const Split& split, Role role) {
  std::vector<std::uint8_t> mask(split.size());
  std::transform(split.begin(), split.end(), mask.begin(),
                 [role](Role r) { return static_cast<std::uint8_t>(r == role ? 1 : 0); });
  return mask;
}

NodeDataset load_dataset(const Context& ctx, const fs::path& folder, const LoadOptions& options) {
  NodeDataset data;
  data.name = fs::absolute(folder).lexically_normal().filename().string();
  data.labels = list_of<std::int32_t>(read_array(folder / "labels.npy", DType::i32, 1));
  const auto nodes = static_cast<std::int64_t>(data.labels.size());
  for (const std::int32_t label : data.labels) {
    if (label < 0 || label >= nodes) {
      io::fail((folder / "labels.npy").string(), "label {} is not in [0, {})", label, nodes);
    }
    data.classes = std::max(data.classes, std::int64_t{label} + 1);
  }
  read_features(ctx, folder, options, data);

  const fs::path edge_file = folder / "edges.npy";
  const Tensor edges = read_array(edge_file, DType::i32, 2);
  if (edges.extent(1) != 2) io::fail(edge_file.string(), "{} columns, not 2", edges.extent(1));
  std::vector<std::int32_t> from, to;
  const auto ends = edges.values<std::int32_t>();
  for (std::size_t e = 0; e < ends.size(); e += 2) {
    for (const std::int32_t end : {ends[e], ends[e + 1]}) {
      if (end < 0 || end >= nodes) {
        io::fail(edge_file.string(), "node {} is not in [0, {})", end, nodes);
      }
    }
    from.push_back(ends[e]);
    to.push_back(ends[e + 1]);
  }
  data.adjacency = adjacency_of(ctx, from, to, nodes, options.directed);

  const fs::path split_file = folder / "splits.npy", public_file = folder / "public_split.npy";
  if (fs::exists(split_file)) {
    const Tensor splits = read_array(split_file, DType::u8, 2);
    if (splits.extent(1) != nodes) io::fail(split_file.string(), "it is not for {} nodes", nodes);
    for (std::int64_t k = 0; k < splits.extent(0); ++k) {
      data.fixed_splits.push_back(
          split_of(splits.values<std::uint8_t>().subspan(static_cast<std::size_t>(k * nodes),
                                                         static_cast<std::size_t>(nodes)),
                   split_file));
    }
  }
  if (fs::exists(public_file)) {
    const Tensor split = read_array(public_file, DType::u8, 1);
    if (split.extent(0) != nodes) io::fail(public_file.string(), "it is not for {} nodes", nodes);
    data.public_split = split_of(split.values<std::uint8_t>(), public_file);
  }
  return data;
}

NodeDataset open_dataset(const Context& ctx, const fs::path& folder, const std::string& name,
                         const LoadOptions& options) {
  if (name == "karate_club") return karate_club(ctx);
  if (folder.empty()) throw Error("'" + name + "' is stored: name the folder of data sets");
  return load_dataset(ctx, folder / name, options);
}

NodeDataset karate_club(const Context& ctx) {
  constexpr std::array<std::array<std::int32_t, 2>, 78> kEdges = {{
      {0, 1},   {0, 2},   {0, 3},   {0, 4},   {0, 5},   {0, 6},   {0, 7},   {0, 8},   {0, 10},
      {0, 11},  {0, 12},  {0, 13},  {0, 17},  {0, 19},  {0, 21},  {0, 31},  {1, 2},   {1, 3},
      {1, 7},   {1, 13},  {1, 17},  {1, 19},  {1, 21},  {1, 30},  {2, 3},   {2, 7},   {2, 8},
      {2, 9},   {2, 13},  {2, 27},  {2, 28},  {2, 32},  {3, 7},   {3, 12},  {3, 13},  {4, 6},
      {4, 10},  {5, 6},   {5, 10},  {5, 16},  {6, 16},  {8, 30},  {8, 32},  {8, 33},  {9, 33},
      {13, 33}, {14, 32}, {14, 33}, {15, 32}, {15, 33}, {18, 32}, {18, 33}, {19, 33}, {20, 32},
      {20, 33}, {22, 32}, {22, 33}, {23, 25}, {23, 27}, {23, 29}, {23, 32}, {23, 33}, {24, 25},
      {24, 27}, {24, 31}, {25, 31}, {26, 29}, {26, 33}, {27, 33}, {28, 31}, {28, 33}, {29, 32},
      {29, 33}, {30, 32}, {30, 33}, {31, 32}, {31, 33}, {32, 33},
  }};
  constexpr std::array<std::int32_t, 17> kFirstFaction = {0,  1,  2,  3,  4,  5,  6,  7, 8,
                                                          10, 11, 12, 13, 16, 17, 19, 21};
  constexpr std::int64_t kNodes = 34;
  NodeDataset data;
  data.name = "karate_club";
  data.classes = 2;
  std::vector<std::int32_t> from, to;
  for (const auto& edge : kEdges) {
    from.push_back(edge[0]);
    to.push_back(edge[1]);
  }
  data.adjacency = adjacency_of(ctx, from, to, kNodes, false);
  data.labels.assign(kNodes, 1);
  for (const std::int32_t node : kFirstFaction) data.labels[static_cast<std::size_t>(node)] = 0;
  CsrArrays<float> identity;
  identity.indptr.resize(kNodes + 1);
  std::iota(identity.indptr.begin(), identity.indptr.end(), 0);
  identity.indices.assign(identity.indptr.begin(), identity.indptr.end() - 1);
  identity.values.assign(kNodes, 1);
  data.features = Csr<float>(std::move(identity), kNodes);
  return data;
}

std::vector<double> local_homophily(const NodeDataset& data) {
  const auto a = data.adjacency.view();
  std::vector<double> fractions;
  for (std::int64_t i = 0; i < a.rows; ++i) {
    std::int64_t same = 0;
    for (std::int64_t e = a.begin(i); e < a.end(i); ++e) {
      same += data.labels[static_cast<std::size_t>(a.column(e))] ==
                      data.labels[static_cast<std::size_t>(i)]
                  ? 1
                  : 0;
    }
    const std::int64_t degree = data.adjacency.degree(i);
    fractions.push_back(degree == 0 ? -1 : static_cast<double>(same) / static_cast<double>(degree));
  }
  return fractions;
}

GraphFacts facts_of(const NodeDataset& data) {
  GraphFacts facts;
  facts.nodes = data.nodes();
  const auto a = data.adjacency.view();
  const auto label = [&](std::int64_t i) { return data.labels[static_cast<std::size_t>(i)]; };
  std::int64_t within = 0;
  for (std::int64_t i = 0; i < a.rows; ++i) {
    const std::int64_t degree = data.adjacency.degree(i);
    facts.isolated += degree == 0 ? 1 : 0;
    facts.max_degree = std::max(facts.max_degree, degree);
    for (std::int64_t e = a.begin(i); e < a.end(i); ++e) {
      within += label(a.column(e)) == label(i) ? 1 : 0;
    }
  }
  facts.undirected_edges = a.entries() / 2;
  if (a.entries() > 0) {
    facts.edge_homophily = static_cast<double>(within) / static_cast<double>(a.entries());
  }
  double sum = 0;
  for (const double fraction : local_homophily(data)) sum += std::max(fraction, 0.0);
  const auto connected = static_cast<double>(facts.nodes - facts.isolated);
  if (connected > 0) facts.node_homophily = sum / connected;
  return facts;
}

std::string describe(const NodeDataset& data) {
  const auto facts = facts_of(data);
  return fmt::format(
      "{}: {} nodes, {} edges, {} features, {} classes, homophily {:.3f} of edges, {:.3f} of nodes",
      data.name, facts.nodes, facts.undirected_edges, data.features.columns(), data.classes,
      facts.edge_homophily, facts.node_homophily);
}

}  // namespace researchkit::graph
