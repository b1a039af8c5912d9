// Trains a graph network alone and by BiKT, where it and its derived model (what is left without
// propagation) teach one another, on the same splits and seeds, and prints what that is worth.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <filesystem>

#include "inductive.hpp"
#include "output.hpp"
#include "researchkit/core/io/npy.hpp"
#include "researchkit/graph/graph.hpp"
#include "search.hpp"

namespace rk = researchkit;
namespace graph = researchkit::graph;
namespace bikt = researchkit::bikt;

namespace {

struct Options {
  std::string data;  // folder of stored data sets
  std::string dataset = "karate_club";
  std::string split = "random";
  double train = 0.6, validation = 0.2;
  std::int64_t seeds = 10;
  std::uint64_t seed = 0;
  std::string host = "gcn", schedule = "joint", gate = "agree", teacher = "eval";
  std::string class_weights = "none";
  std::int64_t graphs = 0;
  double inductive = 0, hint = graph::MotifOptions().hint;
  bool plain = false, ablation = false, no_mlp = false;
  std::int64_t search = 0, search_seeds = 2;
  std::string search_log;
  int threads = 0;
  std::string report, csv, save;
  std::string predict, features, predictions;
};

template <class Enum>
std::vector<std::string> names() {
  const auto all = names_of(Enum{});
  return {all.begin(), all.end()};
}
graph::NodeDataset load(const rk::Context& ctx, const Options& options) {
  if (options.dataset == "csbm") {
    return graph::csbm(ctx, {.nodes = 800, .average_degree = 8, .features = 200, .phi = 0.6});
  }
  return graph::open_dataset(ctx, options.data, options.dataset);
}

Task task_of(const rk::Context& ctx, const Options& options) {
  Task task;
  if (options.graphs > 0) {
    task.graphs = graph::motif_graphs(
        ctx, {.graphs = options.graphs, .hint = options.hint, .seed = options.seed});
  } else {
    task.data = load(ctx, options);
  }
  task.graph =
      bikt::HostGraph<float>(ctx, task.graphs ? task.graphs->adjacency : task.data.adjacency);
  task.split = options.split;
  task.train = options.train;
  task.validation = options.validation;
  task.seed = options.seed;
  return task;
}

/// The customary settings of graphs whose neighbours differ.
void use_preset(const std::string& dataset, bikt::TrainingOptions& training) {
  for (const char* name : {"chameleon", "squirrel"}) {
    if (!dataset.starts_with(name)) continue;
    training.lr = 0.05;
    training.weight_decay = 5e-5;
  }
}

/// One row of the ablation: what differs from the defaults.
struct Ablation {
  const char* name;
  std::function<void(bikt::TransferOptions&)> change;
};

const std::vector<Ablation>& ablations() {
  using bikt::Gate;
  static const std::vector<Ablation> rows = {
      {"default: mu 0.1, a_m 1, a_f 0.3, gate agree, T 2", [](auto&) {}},
      {"mu 1, a_m 1, a_f 1, gate none",
       [](auto& t) { t.mu = t.alpha_host = 1, t.gate = Gate::none; }},
      {"the same, nu 0.2",
       [](auto& t) { t.mu = t.alpha_host = 1, t.gate = Gate::none, t.nu = 0.2; }},
      {"mu 1, a_m 1, a_f 0 (host to derived only)", [](auto& t) { t.mu = 1, t.alpha_host = 0; }},
      {"mu 1, a_m 0, a_f 1 (derived to host only)",
       [](auto& t) { t.mu = t.alpha_host = 1, t.alpha_derived = 0, t.gate = Gate::none; }},
      {"mu 1, a_m 1, a_f 0.5, gate agree, T 1",
       [](auto& t) { t.mu = 1, t.alpha_host = 0.5, t.temperature = 1; }},
      {"mu 0.1, a_m 1, a_f 0", [](auto& t) { t.alpha_host = 0; }},
      {"mu 0.1, a_m 3, a_f 0.3, gate agree", [](auto& t) { t.alpha_derived = 3; }},
      {"mu 0.1, a_m 0.3, a_f 0.3, gate agree, T 4",
       [](auto& t) { t.alpha_derived = 0.3, t.temperature = 4; }},
      {"mu 1, a_m 5, a_f 1, gate none, warmup 20",
       [](auto& t) {
         t.mu = t.alpha_host = 1, t.alpha_derived = 5, t.gate = Gate::none, t.warmup = 20;
       }},
      {"mu 1, a_m 10, a_f 2, gate none, T 1, warmup 20",
       [](auto& t) {
         t.mu = t.temperature = 1, t.alpha_host = 2, t.alpha_derived = 10;
         t.gate = Gate::none, t.warmup = 20;
       }},
  };
  return rows;
}

int run_ablation(const rk::Context& ctx, const Task& task, const Method& plain, const Method& bikt,
                 std::int64_t seeds) {
  const auto measure = [&](const Method& method) {
    std::vector<double> host, derived;
    for (std::int64_t k = 0; k < seeds; ++k) {
      const auto result = train_once(ctx, task, method, k).result;
      host.push_back(100 * result.test_accuracy);
      derived.push_back(100 * result.derived_test_accuracy);
    }
    return std::pair(rk::nn::summarize(host), rk::nn::summarize(derived));
  };
  const auto [base, base_derived] = measure(plain);
  fmt::print("| setting | host | derived | difference |\n| --- | --- | --- | --- |\n");
  fmt::print("| plain | {:.2f} +- {:.2f} | {:.2f} | |\n", base.mean, base.deviation,
             base_derived.mean);
  for (const Ablation& row : ablations()) {
    Method method = bikt;
    row.change(method.training.transfer);
    const auto [host, derived] = measure(method);
    fmt::print("| {} | {:.2f} +- {:.2f} | {:.2f} | {:+.2f} |\n", row.name, host.mean,
               host.deviation, derived.mean, host.mean - base.mean);
    std::fflush(stdout);
  }
  return 0;
}

template <class Call>
double fastest_ms(Call&& call) {
  double best = HUGE_VAL;
  for (int i = 0; i < 20; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    call();
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - begin;
    best = std::min(best, 1e3 * elapsed.count());
  }
  return best;
}

/// Rows of an .npy file of float32, zeros left out.
graph::Csr<float> features_from(const std::string& file) {
  const rk::Tensor dense = rk::read_npy(file);
  const auto rows = dense.view<float, 2>();
  graph::CsrArrays<float> arrays;
  for (std::int64_t i = 0; i < rows.extent(0); ++i) {
    for (std::int64_t j = 0; j < rows.extent(1); ++j) {
      if (rows(i, j) == 0) continue;
      arrays.indices.push_back(static_cast<std::int32_t>(j));
      arrays.values.push_back(rows(i, j));
    }
    arrays.indptr.push_back(static_cast<std::int32_t>(arrays.indices.size()));
  }
  return {std::move(arrays), rows.extent(1)};
}

/// Uses a saved derived model: no graph is needed, and where there is one the host's time is told too.
int run_predict(const rk::Context& ctx, const Options& options) {
  const bikt::DerivedModel model = bikt::load_derived(options.predict);
  std::optional<graph::NodeDataset> data;
  if (options.features.empty()) data = load(ctx, options);
  const graph::Csr<float> x = data ? data->features : features_from(options.features);
  if (x.columns() != model.features) {
    throw rk::Error(
        fmt::format("the model takes {} features, {} came", model.features, x.columns()));
  }
  rk::Tensor logits;
  const double derived_ms = fastest_ms(
      [&] { logits = bikt::predict(ctx, *model.host, bikt::HostGraph<float>(), x, false); });
  const auto predicted = rk::nn::predictions(std::as_const(logits).view<float, 2>());
  fmt::print("derived model: {} nodes in {:.3f} ms, {:.1f} ns each, no graph\n", x.rows(),
             derived_ms,
             1e6 * derived_ms / static_cast<double>(std::max<std::int64_t>(x.rows(), 1)));
  if (data) {
    const bikt::HostGraph<float> graph(ctx, data->adjacency);
    bikt::predict(ctx, *model.host, graph, x, true);  // makes the operator
    const double host_ms = fastest_ms([&] { bikt::predict(ctx, *model.host, graph, x, true); });
    const std::vector<std::uint8_t> all(data->labels.size(), 1);
    fmt::print("host:          {:.3f} ms with the graph, {:.2f} x\n", host_ms,
               host_ms / derived_ms);
    fmt::print("the derived model is right on {:.2f} % of all nodes\n",
               100 * rk::nn::accuracy(predicted, data->labels, all));
  }
  if (!options.predictions.empty()) {
    rk::write_npy(options.predictions,
                  rk::Tensor::from(std::span<const std::int32_t>(predicted), {x.rows()}));
  }
  return 0;
}

int run_plain(const rk::Context& ctx, const Task& task, const Method& plain, std::int64_t seeds) {
  std::vector<double> accuracies;
  for (std::int64_t k = 0; k < seeds; ++k) {
    const auto result = train_once(ctx, task, plain, k).result;
    fmt::print("seed {}: {} epochs, validation {:.2f} %, test {:.2f} %, derived {:.2f} %\n", k,
               result.epochs, 100 * result.validation_accuracy, 100 * result.test_accuracy,
               100 * result.derived_test_accuracy);
    accuracies.push_back(100 * result.test_accuracy);
  }
  const auto summary = rk::nn::summarize(accuracies);
  fmt::print("test accuracy {:.2f} % +- {:.2f} over {} seeds\n", summary.mean, summary.deviation,
             seeds);
  return 0;
}

std::string describe(const Task& task) {
  if (!task.graphs) return graph::describe(task.data);
  const graph::GraphDataset& data = *task.graphs;
  return fmt::format("{}: {} graphs of {} nodes and {} edges, {} types of nodes", data.name,
                     data.graphs(), data.adjacency.rows(), data.adjacency.entries() / 2,
                     data.features.columns());
}

int run(const Options& options, const Method& given) {
  const rk::Context ctx({.threads = options.threads});
  if (!options.predict.empty()) return run_predict(ctx, options);
  const Task task = task_of(ctx, options);
  fmt::print("{}\nmajority of the test {}: {:.2f} %\n", describe(task),
             task.graphs ? "graphs" : "nodes",
             100 * graph::majority_accuracy(task.labels(), task.classes(), task.cut(0),
                                            graph::Role::test));
  Method plain = given, bikt = given;
  plain.training.schedule = bikt::Schedule::plain;
  if (options.plain) return run_plain(ctx, task, plain, options.seeds);
  if (options.ablation) return run_ablation(ctx, task, plain, bikt, options.seeds);
  if (options.inductive > 0 && options.graphs > 0) {
    throw rk::Error("--inductive hides nodes of one graph, not --graphs");
  }
  if (options.inductive > 0) {
    run_inductive(ctx, task, plain, bikt, options.inductive, options.seeds);
    return 0;
  }
  if (options.search > 0) {
    const Found found =
        search(ctx, task, plain, bikt, options.search, options.search_seeds, options.search_log);
    plain = found.plain;
    bikt = found.bikt;
    const auto& t = bikt.training.transfer;
    fmt::print(
        "searched {} trials each: alone lr {} wd {} dropout {} (validation {:.2f} %); BiKT lr {} "
        "wd "
        "{} dropout {} T {} a_m {} a_f {} mu {} gate {} nu {} (validation {:.2f} %)\n",
        options.search, plain.training.lr, plain.training.weight_decay, plain.training.dropout,
        100 * found.plain_validation, bikt.training.lr, bikt.training.weight_decay,
        bikt.training.dropout, t.temperature, t.alpha_derived, t.alpha_host, t.mu,
        rk::name_of(t.gate), t.nu, 100 * found.bikt_validation);
  }
  PairOptions pair_options{.with_mlp = !options.no_mlp};
  if (!options.save.empty()) {
    std::filesystem::create_directories(options.save);
    pair_options.keep = [&](const Trained& trained, std::int64_t seed) {
      save_derived(
          std::filesystem::path(options.save) / fmt::format("derived_{}.safetensors", seed),
          *trained.host, task.features().columns(), task.classes());
    };
  }
  std::vector<Pair> pairs;
  for (std::int64_t k = 0; k < options.seeds; ++k) {
    pairs.push_back(train_pair(ctx, task, plain, bikt, k, pair_options));
    print_pair(pairs.back());
    std::fflush(stdout);
    const auto& p = pairs.back().bikt;
    if (k == 0 && p.validation_accuracy - p.derived_validation_accuracy > 0.08) {
      fmt::print(
          "warning: the derived model is {:.1f} points behind the host on validation nodes, a poor "
          "teacher; --auto lowers its feedback\n",
          100 * (p.validation_accuracy - p.derived_validation_accuracy));
    }
  }
  print_table(pairs, pair_options);
  if (!options.csv.empty()) write_csv(options.csv, pairs);
  if (!options.report.empty()) write_report(options.report, task, options.host, pairs);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  Options o;
  Method m;
  CLI::App app("Trains a graph network alone and by transfer between it and its derived model.");
  app.add_option("--data", o.data, "folder of stored data sets");
  app.add_option("--dataset", o.dataset, "its folder, karate_club, or csbm (generated)");
  app.add_option("--host", o.host, "which graph network")
      ->check(CLI::IsMember(names<bikt::Host>()));
  app.add_option("--split", o.split, "which splits")
      ->check(CLI::IsMember({"random", "fixed", "public"}));
  app.add_option("--train", o.train, "fraction of random splits")->check(CLI::Range(0.0, 1.0));
  app.add_option("--validation", o.validation, "likewise")->check(CLI::Range(0.0, 1.0));
  app.add_option("--seeds", o.seeds, "how many; fixed splits take turns")
      ->check(CLI::Range(1, 1000));
  app.add_option("--seed", o.seed, "the first: of splits, first values and dropout");
  app.add_flag("--plain", o.plain, "the host alone");
  app.add_option("--inductive", o.inductive, "hide this fraction of the test nodes from training")
      ->check(CLI::Range(0.0, 1.0));
  app.add_option("--graphs", o.graphs,
                 "tell the classes of so many generated graphs, a ring or a star in each")
      ->check(CLI::Range(0, 1000000));
  app.add_option("--hint", o.hint, "fraction of their motifs' nodes whose type tells the class")
      ->check(CLI::Range(0.0, 1.0));
  app.add_option("--class-weights", o.class_weights, "what classes weigh in the cross entropies")
      ->check(CLI::IsMember(names<bikt::ClassWeights>()));
  app.add_option("--schedule", o.schedule, "what steps minimise")
      ->check(CLI::IsMember(names<bikt::Schedule>()));
  auto& t = m.training.transfer;
  app.add_option("--gate", o.gate, "which nodes teach the host")
      ->check(CLI::IsMember(names<bikt::Gate>()));
  app.add_option("--teacher", o.teacher, "whose logits teach")
      ->check(CLI::IsMember(names<bikt::Teacher>()));
  app.add_option("--T", t.temperature, "temperature of transfer");
  app.add_option("--mu", t.mu, "weight of the derived model's labels");
  app.add_option("--alpha-derived", t.alpha_derived, "weight of what the host teaches");
  app.add_option("--alpha-host", t.alpha_host, "weight of the feedback");
  app.add_option("--nu", t.nu, "weight of the alignment to prototypes");
  app.add_option("--tau", t.tau, "its temperature");
  app.add_option("--warmup", t.warmup, "epochs without transfer");
  app.add_option("--ramp", t.ramp, "epochs until it has its full weight");
  app.add_flag("--auto", t.automatic, "a poor derived model is heard less");
  app.add_flag("--by-homophily", t.by_homophily,
               "transfer only as far as labelled neighbours agree");
  app.add_option("--hidden", m.host.hidden, "hidden units");
  app.add_option("--layers", m.host.layers, "of gcnii and fagcn");
  const auto* dropout =
      app.add_option("--dropout", m.training.dropout, "of features and hidden units");
  const auto* lr = app.add_option("--lr", m.training.lr, "learning rate");
  const auto* wd = app.add_option("--wd", m.training.weight_decay, "weight decay");
  app.add_option("--epochs", m.training.epochs, "at most");
  app.add_option("--patience", m.training.patience, "epochs without a better validation accuracy");
  app.add_option("--threads", o.threads, "0: all");
  app.add_flag("--ablation", o.ablation, "the table of settings, for this host and data set");
  app.add_option("--search", o.search, "trials of a search on validation accuracy, for both");
  app.add_option("--search-seeds", o.search_seeds, "seeds of each trial")
      ->check(CLI::Range(1, 100));
  app.add_option("--search-log", o.search_log, "file of its trials, to go on from");
  app.add_flag("--no-mlp", o.no_mlp, "leave out the perceptron trained alone");
  app.add_option("--csv", o.csv, "file of one line for each seed");
  app.add_option("--report", o.report, "folder for summary.json, pictures, CSV");
  app.add_option("--save", o.save, "folder for the derived models");
  app.add_option("--predict", o.predict,
                 "a saved derived model to use, on the data set's features");
  app.add_option("--features", o.features, "or on those of this .npy file");
  app.add_option("--predictions", o.predictions, ".npy file for the classes that it predicts");
  CLI11_PARSE(app, argc, argv);
  m.host.host = *rk::value_named<bikt::Host>(o.host);
  m.training.schedule = *rk::value_named<bikt::Schedule>(o.schedule);
  t.gate = *rk::value_named<bikt::Gate>(o.gate);
  t.teacher = *rk::value_named<bikt::Teacher>(o.teacher);
  m.training.class_weights = *rk::value_named<bikt::ClassWeights>(o.class_weights);
  bikt::TrainingOptions preset;
  use_preset(o.dataset, preset);
  if (lr->count() == 0) m.training.lr = preset.lr;
  if (wd->count() == 0) m.training.weight_decay = preset.weight_decay;
  // The only feature of a node of a generated graph is its type.
  if (dropout->count() == 0 && o.graphs > 0) m.training.dropout = 0;
  try {
    return run(o, m);
  } catch (const std::exception& error) {
    fmt::print(stderr, "train_bikt: {}\n", error.what());
    return 1;
  }
}
