// The kernels of graph, nfgnn and nn on shapes that reach each of their variants, bit for bit as on the
// CPU; and what a device call must refuse.
#include <cmath>
#include <limits>
#include <numeric>

#include "support/contains.hpp"
#include "support/device_parity.hpp"
#include "support/emulator/emulated_backend.hpp"
#include "support/random_sparse.hpp"

using namespace researchkit;
using test::check_call;
using test::integer_tensor;
using test::mixed_lengths;
using test::normal_tensor;
using test::on_cuda;
using test::sparse_operator;

namespace {

/// Rows of every length and columns of every number, in all types.
void check_products(Device device) {
  for (const auto& [real, index] : {std::pair{DType::f32, DType::i32},
                                    {DType::f64, DType::i64},
                                    {DType::f32, DType::i64},
                                    {DType::f64, DType::i32}}) {
    // One column to three, whole and partial lanes, two and four columns of a lane, and more
    // columns than a block has threads.
    for (const std::int64_t d : {1, 2, 3, 8, 21, 33, 64, 130, 300}) {
      if (d > 3 && (index == DType::i64) != (real == DType::f64)) continue;
      const std::int64_t n = d > 64 ? 37 : 150, m = 90;
      TensorMap csr = sparse_operator(real, index, mixed_lengths(n), m, 3);
      TensorMap inputs = csr;
      inputs.set("x", normal_tensor(real, {m, d}, 5));
      check_call(device, "graph.spmm", {.inputs = inputs});
      inputs.set("z", normal_tensor(real, {n, d}, 7));
      const AttributeMap factors = {{"alpha", 0.7}, {"beta", -0.3}};
      check_call(device, "graph.spmm", {.inputs = inputs, .attributes = factors});
      TensorMap backward = csr;
      backward.set("x", normal_tensor(real, {m, d}, 5));
      backward.set("d_y", normal_tensor(real, {n, d}, 9));
      check_call(device, "graph.spmm_backward", {.inputs = backward, .attributes = factors});
      TensorMap dots = {{"indptr", csr.at("indptr")},
                        {"indices", csr.at("indices")},
                        {"u", normal_tensor(real, {n, d}, 11)},
                        {"v", normal_tensor(real, {m, d}, 13)}};
      check_call(device, "graph.sddmm", {.inputs = dots});
      dots.set("d_values", csr.at("values"));
      check_call(device, "graph.sddmm_backward", {.inputs = dots});
    }
  }
}

/// NaN in z must not leak where beta is 0, and infinities meet zeros as on the CPU.
void check_special_values(Device device) {
  TensorMap inputs = sparse_operator(DType::f32, DType::i32, mixed_lengths(40), 40, 15);
  Tensor x = normal_tensor(DType::f32, {40, 3}, 17), z = x.clone();
  x.values<float>()[0] = std::numeric_limits<float>::infinity();
  x.values<float>()[4] = std::nanf("");
  for (float& value : z.values<float>()) value = std::nanf("");
  inputs.set("x", x);
  inputs.set("z", z);
  check_call(device, "graph.spmm", {.inputs = inputs});
}

/// Unsorted rows with duplicates and a diagonal; more nodes than one digit of the sort, and more
/// entries than one of its tiles.
void check_normalising(Device device) {
  // The last entries of all are duplicates.
  TensorMap last = sparse_operator(DType::f32, DType::i32, {1, 4}, 2, 19);
  last.set("indices", Tensor::from({1, 0, 0, 0, 0}, {5}));
  check_call(device, "graph.graph_norm",
             {.inputs = last, .attributes = {{"mode", std::string("none")}, {"self_loop", 0.0}}});
  for (const std::int64_t n : {1, 40, 700}) {
    for (const DType real : {DType::f32, DType::f64}) {
      TensorMap inputs = sparse_operator(real, DType::i32, mixed_lengths(n), n, 19);
      check_call(device, "graph.row_normalize",
                 {.inputs = inputs, .attributes = {{"clamp_min", 0.1}}});
      for (const char* mode : {"sym", "rw", "cheb", "none"}) {
        for (const double self_loop : {0.0, 1.5}) {
          check_call(device, "graph.graph_norm",
                     {.inputs = inputs,
                      .attributes = {{"mode", std::string(mode)}, {"self_loop", self_loop}}});
        }
      }
      inputs.erase("values");
      check_call(device, "graph.graph_norm", {.inputs = inputs});
    }
  }
}

void check_attention(Device device) {
  for (const DType real : {DType::f32, DType::f64}) {
    for (const std::int64_t heads : {1, 3}) {
      for (const std::int64_t d : {1, 8, 40}) {
        const std::int64_t n = 60, m = 50;
        TensorMap inputs = sparse_operator(real, DType::i32, mixed_lengths(n), m, 23);
        inputs.erase("values");
        inputs.set("h", normal_tensor(real, {m, heads, d}, 25));
        inputs.set("s_src", normal_tensor(real, {m, heads}, 27));
        inputs.set("s_dst", normal_tensor(real, {n, heads}, 29));
        check_call(device, "graph.edge_softmax_aggregate", {.inputs = inputs});
        const std::int64_t entries = inputs.at("indices").extent(0);
        inputs.set("alpha", normal_tensor(real, {entries, heads}, 31));
        inputs.set("d_y", normal_tensor(real, {n, heads, d}, 33));
        check_call(device, "graph.edge_softmax_aggregate_backward", {.inputs = inputs});
        inputs.set("d_alpha", normal_tensor(real, {entries, heads}, 35));
        check_call(device, "graph.edge_softmax_aggregate_backward", {.inputs = inputs});
      }
    }
  }
}

/// More rows than a block adds at a time; all masks.
void check_losses(Device device) {
  for (const DType real : {DType::f32, DType::f64}) {
    for (const std::int64_t n : {1, 255, 256, 1000}) {
      for (const int kind : {0, 1, 2}) {  // no row, some, all
        Tensor mask(DType::u8, {n});
        for (std::int64_t i = 0; i < n; ++i) {
          mask.values<std::uint8_t>()[static_cast<std::size_t>(i)] =
              kind == 2 || (kind == 1 && i % 3 == 1) ? 1 : 0;
        }
        TensorMap inputs = {{"logits", normal_tensor(real, {n, 7}, 37)},
                            {"labels", integer_tensor(DType::i32, {n}, 7, 39)},
                            {"mask", mask}};
        for (const char* reduction : {"mean", "sum"}) {
          const AttributeMap attributes = {{"reduction", std::string(reduction)}};
          check_call(device, "graph.log_softmax_nll", {.inputs = inputs, .attributes = attributes});
          TensorMap backward = inputs;
          backward.set("d_loss", normal_tensor(real, {1}, 41));
          check_call(device, "graph.log_softmax_nll_backward",
                     {.inputs = backward, .attributes = attributes});
        }
      }
    }
  }
}

/// Every function of entries, with infinities and NaN; sizes around a block of Philox and a grid.
void check_entries(Device device) {
  for (const DType real : {DType::f32, DType::f64}) {
    for (const std::int64_t n : {1, 3, 5, 257, 5000}) {
      Tensor x = normal_tensor(real, {n}, 43);
      const AttributeMap key = {
          {"p", 0.4}, {"seed", std::uint64_t{7} << 40}, {"stream", std::uint64_t{3} << 35}};
      check_call(device, "graph.dropout", {.inputs = {{"x", x}}, .attributes = key});
      check_call(device, "graph.dropout_backward", {.inputs = {{"d_y", x}}, .attributes = key});
      check_call(device, "graph.dropout", {.inputs = {{"x", x}}, .attributes = {{"p", 0.0}}});
      Tensor second = normal_tensor(real, {n}, 45);
      if (real == DType::f32) {
        for (float& value : second.values<float>()) value *= value;
        x.values<float>()[0] = std::nanf("");
      } else {
        for (double& value : second.values<double>()) value *= value;
        x.values<double>()[0] = -std::numeric_limits<double>::infinity();
      }
      for (const bool decoupled : {false, true}) {
        check_call(
            device, "graph.adam_step",
            {.inputs = {{"p", normal_tensor(real, {n}, 47)},
                        {"g", normal_tensor(real, {n}, 49)},
                        {"m", normal_tensor(real, {n}, 51)},
                        {"v", second}},
             .attributes = {
                 {"weight_decay", 0.01}, {"step", std::int64_t{3}}, {"decoupled", decoupled}}});
      }
      for (const char* kind : {"relu", "elu", "tanh", "sigmoid", "leaky_relu"}) {
        const AttributeMap attributes = {{"kind", std::string(kind)}};
        check_call(device, "nn.activate", {.inputs = {{"x", x}}, .attributes = attributes});
        check_call(device, "nn.activate_backward",
                   {.inputs = {{"x", x}, {"y", second}, {"d_y", normal_tensor(real, {n}, 53)}},
                    .attributes = attributes});
      }
      const Tensor rows = normal_tensor(real, {n, 5}, 55);
      check_call(device, "nn.log_softmax", {.inputs = {{"x", rows}}});
      check_call(device, "nn.log_softmax_backward",
                 {.inputs = {{"y", rows}, {"d_y", normal_tensor(real, {n, 5}, 57)}}});
    }
  }
}

/// One filter and everything that it is made of.
struct FilterCase {
  std::int64_t n, c, K, rank;
  const char* activation;
  const char* basis;
  bool shared, symmetric;
};

void check_filter(Device device, DType real, const FilterCase& shape) {
  const std::int64_t n = shape.n, c = shape.c, orders = shape.K + 1;
  const std::int64_t stored = shape.shared ? 1 : orders;
  const TensorMap csr = sparse_operator(real, DType::i32, mixed_lengths(n), n, 61);
  const TensorMap parameters = {{"w", normal_tensor(real, {stored, c, shape.rank}, 63)},
                                {"b", normal_tensor(real, {stored, shape.rank}, 65)},
                                {"gamma", normal_tensor(real, {shape.rank, orders}, 67)}};
  const Tensor x = normal_tensor(real, {n, c}, 69), eta = normal_tensor(real, {n, orders}, 71);
  const Tensor t = normal_tensor(real, {orders, n, c}, 73), d_y = normal_tensor(real, {n, c}, 75);
  const auto join = [](TensorMap map, const TensorMap& other) {
    for (const auto& [name, tensor] : other) map.set(name, tensor);
    return map;
  };
  const AttributeMap polynomial = {{"basis", std::string(shape.basis)},
                                   {"symmetric", shape.symmetric}};
  AttributeMap filter = polynomial;
  filter["K"] = shape.K;
  check_call(device, "nfgnn.propagate", {.inputs = join(csr, {{"x", x}}), .attributes = filter});
  check_call(device, "nfgnn.propagate_backward",
             {.inputs = join(csr, {{"d_t", t}}), .attributes = filter});
  check_call(device, "nfgnn.node_variant_filter",
             {.inputs = join(csr, {{"x", x}, {"eta", eta}}), .attributes = polynomial});
  check_call(
      device, "nfgnn.node_variant_filter_backward",
      {.inputs = join(csr, {{"x", x}, {"eta", eta}, {"d_y", d_y}}), .attributes = polynomial});
  const AttributeMap gate = {{"activation", std::string(shape.activation)},
                             {"normalize_by_rank", shape.shared}};
  check_call(device, "nfgnn.node_filter_coefficients",
             {.inputs = join(parameters, {{"t", t}}), .attributes = gate});
  check_call(device, "nfgnn.node_filter_coefficients_backward",
             {.inputs = join(parameters, {{"t", t}, {"d_eta", eta}}), .attributes = gate});
  for (const char* save : {"propagated", "recompute"}) {
    AttributeMap attributes = filter;
    attributes.insert(gate.begin(), gate.end());
    attributes["save"] = std::string(save);
    const TensorMap inputs = join(join(csr, parameters), {{"x", x}});
    check_call(device, "nfgnn.node_oriented_filter", {.inputs = inputs, .attributes = attributes});
    TensorMap backward = join(inputs, {{"eta", eta}, {"d_y", d_y}});
    check_call(device, "nfgnn.node_oriented_filter_backward",
               {.inputs = backward, .attributes = attributes});
    backward.set("d_eta", normal_tensor(real, {n, orders}, 77));
    check_call(device, "nfgnn.node_oriented_filter_backward",
               {.inputs = backward, .attributes = attributes});
  }
}

/// Filters that one block does, that many do, with rows of T in and out of shared memory; ranks above
/// those held at a time; pieces of 512 nodes and tiles of 64; few orders and none beyond the first.
void check_filters(Device device) {
  for (const FilterCase& shape : {FilterCase{1, 1, 0, 1, "tanh", "chebyshev", false, true},
                                  FilterCase{37, 5, 3, 3, "tanh", "chebyshev", false, false},
                                  FilterCase{65, 32, 1, 9, "sigmoid", "monomial", true, false},
                                  FilterCase{300, 7, 4, 3, "tanh", "chebyshev", true, true},
                                  FilterCase{70, 40, 2, 17, "none", "chebyshev", false, false},
                                  FilterCase{40, 70, 2, 2, "sigmoid", "chebyshev", true, false},
                                  FilterCase{1100, 3, 2, 2, "tanh", "monomial", false, true}}) {
    for (const DType real : {DType::f32, DType::f64}) check_filter(device, real, shape);
  }
}

/// Every argument of the gates, from where they are linear to where they are 1.
void check_gates(Device device) {
  const std::int64_t n = 4000;
  Tensor t(DType::f32, {1, n, 1});  // every fourth near 0 or far out, the others where gates bend
  for (std::int64_t i = 0; i < n; ++i) {
    const double step = static_cast<double>(i % 2000) / 2000;
    const double size = std::exp2(i % 4 == 0 ? step * 60 - 50 : step * 7 - 3);
    t.values<float>()[static_cast<std::size_t>(i)] = static_cast<float>(i < 2000 ? size : -size);
  }
  t.values<float>()[0] = std::nanf("");
  t.values<float>()[1] = std::numeric_limits<float>::infinity();
  t.values<float>()[2] = -0.f;
  Tensor one(DType::f32, {1, 1, 1}), none(DType::f32, {1, 1}), gamma(DType::f32, {1, 1});
  one.values<float>()[0] = gamma.values<float>()[0] = 1;
  for (const char* activation : {"tanh", "sigmoid"}) {
    const TensorMap inputs = {{"t", t}, {"w", one}, {"b", none}, {"gamma", gamma}};
    const AttributeMap attributes = {{"activation", std::string(activation)}};
    check_call(device, "nfgnn.node_filter_coefficients",
               {.inputs = inputs, .attributes = attributes});
    TensorMap backward = inputs;
    backward.set("d_eta", normal_tensor(DType::f32, {n, 1}, 79));
    check_call(device, "nfgnn.node_filter_coefficients_backward",
               {.inputs = backward, .attributes = attributes});
  }
}

/// What `argument` a call on the device is refused for, empty if it runs.
std::string refused(Device device, const std::string& name, const TensorMap& inputs) {
  Arguments call;
  for (const auto& [input, tensor] : inputs) call.inputs.set(input, tensor.to(device));
  try {
    default_registry().at(name).run(Context({.device = device}), call);
  } catch (const Error& error) {
    return std::string(error.argument());
  }
  return {};
}

void check_refusals(Device device) {
  TensorMap inputs =
      sparse_operator(DType::f32, DType::i32, std::vector<std::int64_t>(400, 2), 5, 81);
  inputs.set("x", normal_tensor(DType::f32, {5, 3}, 83));
  CHECK(refused(device, "graph.spmm", inputs).empty());
  const Tensor indptr = inputs.at("indptr"), indices = inputs.at("indices");
  const auto with = [&](std::size_t at, std::int32_t value) {
    Tensor changed = indptr.clone();
    changed.values<std::int32_t>()[at] = value;
    TensorMap bad = inputs;
    bad.set("indptr", changed);
    return bad;
  };
  CHECK(refused(device, "graph.spmm", with(0, 1)) == "indptr");
  CHECK(refused(device, "graph.spmm", with(0, -1)) == "indptr");
  CHECK(refused(device, "graph.spmm", with(300, 3)) == "indptr");
  CHECK(refused(device, "graph.spmm", with(399, 801)) == "indptr");
  CHECK(refused(device, "graph.spmm", with(400, 799)) == "indptr");
  CHECK(refused(device, "graph.spmm", with(400, 801)) == "indptr");
  Tensor beyond = indices.clone();
  beyond.values<std::int32_t>()[700] = 5;
  TensorMap bad = inputs;
  bad.set("indices", beyond);
  CHECK(refused(device, "graph.spmm", bad) == "indices");

  Tensor mask(DType::u8, {300});
  mask.values<std::uint8_t>()[299] = 1;
  Tensor labels(DType::i32, {300});
  labels.values<std::int32_t>()[298] = -1;  // not masked, not read
  TensorMap loss = {
      {"logits", normal_tensor(DType::f32, {300, 4}, 85)}, {"labels", labels}, {"mask", mask}};
  CHECK(refused(device, "graph.log_softmax_nll", loss).empty());
  for (const std::int32_t label : {-1, 4}) {
    labels.values<std::int32_t>()[299] = label;
    CHECK(refused(device, "graph.log_softmax_nll", loss) == "labels");
  }
}

}  // namespace

TEST_CASE("emulated device: sparse products of rows of every length") {
  check_products(emulated_device());
  check_special_values(emulated_device());
}
TEST_CASE("emulated device: normalised graphs") { check_normalising(emulated_device()); }
TEST_CASE("emulated device: attention over rows of every length") {
  check_attention(emulated_device());
}
TEST_CASE("emulated device: losses of all masks") { check_losses(emulated_device()); }
TEST_CASE("emulated device: dropout, Adam and activations") { check_entries(emulated_device()); }
TEST_CASE("emulated device: every variant of the filters") { check_filters(emulated_device()); }
TEST_CASE("emulated device: gates of every argument") { check_gates(emulated_device()); }
TEST_CASE("emulated device: bad graphs and labels are refused") {
  check_refusals(emulated_device());
}

TEST_CASE("CUDA device: sparse products of rows of every length") {
  on_cuda([](Device device) {
    check_products(device);
    check_special_values(device);
  });
}
TEST_CASE("CUDA device: normalised graphs") { on_cuda(check_normalising); }
TEST_CASE("CUDA device: attention over rows of every length") { on_cuda(check_attention); }
TEST_CASE("CUDA device: losses of all masks") { on_cuda(check_losses); }
TEST_CASE("CUDA device: dropout, Adam and activations") { on_cuda(check_entries); }
TEST_CASE("CUDA device: every variant of the filters") { on_cuda(check_filters); }
TEST_CASE("CUDA device: gates of every argument") { on_cuda(check_gates); }
TEST_CASE("CUDA device: bad graphs and labels are refused") { on_cuda(check_refusals); }
