// Trains NFGNN, a graph network whose every node has a spectral filter of its own, and prints its
// accuracy over several splits beside that of the most frequent class.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "output.hpp"
#include "researchkit/core/io/file.hpp"
#include "researchkit/core/io/npy.hpp"
#include "researchkit/graph/graph.hpp"
#include "researchkit/nfgnn/search.hpp"
#include "researchkit/nn/metrics.hpp"

namespace rk = researchkit;
namespace graph = researchkit::graph;
namespace nfgnn = researchkit::nfgnn;

namespace {

struct Options {
  std::string data;  // folder of stored data sets
  std::string dataset = "karate_club";
  std::string split = "random";  // random, fixed, public
  std::int64_t splits = 10;
  std::uint64_t seed = 0;
  std::string mode = "transductive";  // inductive, scalable
  bool directed = false;
  int threads = 0;
  std::int64_t batch = nfgnn::ScalableOptions().batch;
  std::string storage = "float32";
  std::int64_t search = 0;  // trials
  std::string search_log;
  std::string report, csv, save;
};

/// A stored data set, or one of the two that need no files.
graph::NodeDataset load(const rk::Context& ctx, const Options& options) {
  if (options.dataset == "csbm") {
    return graph::csbm(ctx, {.nodes = 1000, .average_degree = 8, .features = 200, .phi = -0.6});
  }
  return graph::open_dataset(ctx, options.data, options.dataset, {.directed = options.directed});
}

void write_report(const Options& options, const graph::NodeDataset& data,
                  const std::vector<SplitResult>& results, const rk::nn::Summary& summary) {
  const std::filesystem::path folder = options.report;
  std::filesystem::create_directories(folder);
  write_csv(folder / "splits.csv", results);
  write_curves(folder / "curves.svg", data.name + ": training of the first split",
               results.front().training);
  write_responses(folder / "responses.svg", data, results.front());
  rk::write_npy(folder / "coefficients.npy", results.front().training.coefficients);
  const nlohmann::ordered_json json = {
      {"title", "A spectral filter for every node: " + data.name},
      {"paper", {{"title", "NFGNN"}, {"url", "https://arxiv.org/abs/2212.03654"}}},
      {"headline",
       "Nodes whose neighbours agree with them and nodes whose neighbours do not get filters of "
       "their own; published test accuracy on chameleon: 72.5 %."},
      {"measured", fmt::format("{}: {:.2f} % +- {:.2f} over {} splits", data.name,
                               100 * summary.mean, 100 * summary.deviation, results.size())},
      {"rows",
       {{{"name", "test accuracy"}, {"value", 100 * summary.mean}, {"unit", "%"}},
        {{"name", "epoch with its evaluation"},
         {"value",
          results.front().training.seconds / static_cast<double>(results.front().training.epochs)},
         {"unit", "s"}}}},
      {"pictures",
       {{{"file", "responses.svg"},
         {"caption", "mean filter of each fifth of the nodes by local homophily"}},
        {{"file", "curves.svg"}, {"caption", "training of the first split"}}}}};
  rk::write_file(folder / "summary.json", json.dump(2) + "\n");
}

/// The settings with the best mean validation accuracy; test accuracies are not looked at.
nfgnn::TrainingOptions find_settings(const rk::Context& ctx, const graph::NodeDataset& data,
                                     const Options& options, nfgnn::TrainingOptions training) {
  std::vector<graph::Split> splits;
  for (std::int64_t k = 0; k < options.splits; ++k) {
    splits.push_back(split_of(data, options.split, k, options.seed));
  }
  training.model.seed = options.seed;
  nfgnn::SearchOptions search{
      .trials = options.search, .seed = options.seed, .log = options.search_log};
  std::erase_if(search.rounds, [&](std::int64_t count) { return count > options.splits; });
  if (search.rounds.back() < options.splits) search.rounds.push_back(options.splits);
  const auto describe_trial = [](const nfgnn::Trial& trial) {
    const auto& t = trial.options;
    return fmt::format(
        "trial {}: validation {:.2f} % on {} splits; lr {}, prop-lr {}, wd {}, prop-wd {}, hidden "
        "{}, "
        "rank {}, dprate {}",
        trial.number, 100 * trial.mean_validation(), trial.validation.size(), t.lr, t.filter_lr,
        t.weight_decay, t.filter_weight_decay, t.model.hidden, t.model.rank,
        t.model.filter_dropout);
  };
  const auto found = nfgnn::search(ctx, data, splits, training, search,
                                   [&](const nfgnn::Trial& trial, std::int64_t) {
                                     fmt::print(stderr, "{}\n", describe_trial(trial));
                                   });
  fmt::print("best of {} settings: {}\n", options.search, describe_trial(found.front()));
  return found.front().options;
}

/// Progress of a split every hundred epochs.
nfgnn::EpochCallback progress_of(std::int64_t k) {
  return [k](std::int64_t epoch, const nfgnn::TrainingResult& so_far) {
    if ((epoch + 1) % 100 == 0) {
      fmt::print(stderr, "split {} epoch {}: loss {:.4f}, validation {:.2f} %\n", k, epoch + 1,
                 so_far.losses.back(), 100 * so_far.validation_accuracies.back());
    }
    return true;
  };
}

rk::nn::Summary print_summary(std::string_view of, const std::vector<double>& accuracies) {
  const auto summary = rk::nn::summarize(accuracies);
  fmt::print("{} {:.2f} % +- {:.2f} over {} splits, 95 % interval of the mean [{:.2f}, {:.2f}]\n",
             of, 100 * summary.mean, 100 * summary.deviation, accuracies.size(), 100 * summary.low,
             100 * summary.high);
  return summary;
}

/// Hides a fifth of the test nodes from training.
void run_inductive(const rk::Context& ctx, const graph::NodeDataset& data, const Options& options,
                   nfgnn::TrainingOptions training) {
  std::vector<double> seen, unseen;
  for (std::int64_t k = 0; k < options.splits; ++k) {
    const graph::Split split = split_of(data, options.split, k, options.seed);
    training.model.seed = options.seed + static_cast<std::uint64_t>(k);
    const auto result = nfgnn::train_inductive(ctx, data, split, training, 0.2, progress_of(k));
    fmt::print(
        "split {}: {} epochs, validation {:.2f} %, test {:.2f} % of observed, {:.2f} % of "
        "unobserved nodes\n",
        k, result.training.epochs, 100 * result.training.validation_accuracy,
        100 * result.observed_accuracy, 100 * result.unobserved_accuracy);
    seen.push_back(result.observed_accuracy);
    unseen.push_back(result.unobserved_accuracy);
  }
  print_summary("test accuracy of observed nodes", seen);
  print_summary("test accuracy of unobserved nodes", unseen);
}

/// Trains one split on the whole graph, or on features that are propagated once.
SplitResult train_split(const rk::Context& ctx, const graph::NodeDataset& data,
                        const Options& options, nfgnn::TrainingOptions training, std::int64_t k) {
  const graph::Split split = split_of(data, options.split, k, options.seed);
  training.model.seed = options.seed + static_cast<std::uint64_t>(k);
  SplitResult result{.split = k};
  result.majority = graph::majority_accuracy(data.labels, data.classes, split, graph::Role::test);
  std::optional<std::filesystem::path> save;
  if (!options.save.empty()) {
    std::filesystem::create_directories(options.save);
    save = std::filesystem::path(options.save) / fmt::format("split_{}.safetensors", k);
  }
  if (options.mode != "scalable") {
    result.training = nfgnn::train(ctx, data, split, training, progress_of(k), save);
    return result;
  }
  const nfgnn::ScalableOptions scalable{.training = training,
                                        .batch = options.batch,
                                        .storage = *rk::dtype_from_string(options.storage)};
  auto trained = nfgnn::train_scalable(ctx, data, split, scalable, progress_of(k), save);
  if (k == 0) {
    fmt::print("propagated features of {} nodes: {:.1f} MB of {}, made in {:.2f} s\n",
               trained.nodes.size(), 1e-6 * static_cast<double>(trained.stored_bytes),
               options.storage, trained.propagation_seconds);
  }
  result.training = std::move(trained.training);
  result.nodes = std::move(trained.nodes);
  return result;
}

int run(const Options& options, nfgnn::TrainingOptions training) {
  const rk::Context ctx({.threads = options.threads});
  const graph::NodeDataset data = load(ctx, options);
  fmt::print("{}\n", describe(data));
  if (options.search > 0 && options.mode == "scalable") {
    throw rk::Error("--search looks for settings of the transductive mode");
  }
  if (options.search > 0) training = find_settings(ctx, data, options, training);
  if (options.mode == "inductive") {
    run_inductive(ctx, data, options, training);
    return 0;
  }
  std::vector<SplitResult> results;
  std::vector<double> accuracies;
  for (std::int64_t k = 0; k < options.splits; ++k) {
    SplitResult result = train_split(ctx, data, options, training, k);
    const auto& t = result.training;
    fmt::print(
        "split {}: {} epochs, best {}, validation {:.2f} %, test {:.2f} % (majority {:.2f} %), "
        "{:.2f} ms per epoch\n",
        k, t.epochs, t.best_epoch, 100 * t.validation_accuracy, 100 * t.test_accuracy,
        100 * result.majority, 1e3 * t.seconds / static_cast<double>(t.epochs));
    accuracies.push_back(t.test_accuracy);
    results.push_back(std::move(result));
  }
  const auto summary = print_summary("test accuracy", accuracies);
  if (!options.csv.empty()) write_csv(options.csv, results);
  if (!options.report.empty()) write_report(options, data, results, summary);
  return 0;
}

/// An option whose values are the names of an enumeration.
template <class Enumeration>
CLI::Option* add_choice(CLI::App& app, const std::string& flag, Enumeration& value,
                        const std::string& help) {
  std::vector<std::string> names;
  for (const std::string_view name : names_of(value)) names.emplace_back(name);
  const auto choose = [&value](const std::string& name) {
    value = *rk::value_named<Enumeration>(name);
  };
  return app.add_option_function<std::string>(flag, choose, help)->check(CLI::IsMember(names));
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app("Trains NFGNN: a graph network whose every node has a spectral filter of its own.");
  app.add_option("--data", options.data, "folder of stored data sets");
  app.add_option("--dataset", options.dataset, "its folder, karate_club, or csbm (generated)");
  app.add_option("--split", options.split, "which splits")
      ->check(CLI::IsMember({"random", "fixed", "public"}));
  app.add_option("--splits", options.splits, "how many")->check(CLI::Range(1, 1000));
  app.add_option("--seed", options.seed, "of splits, first values and dropout");
  app.add_option(
         "--mode", options.mode,
         "on the whole graph; without a fifth of the test nodes; or in batches of nodes, on "
         "features that are propagated once")
      ->check(CLI::IsMember({"transductive", "inductive", "scalable"}));
  app.add_option("--batch", options.batch, "nodes of a step, in scalable mode")
      ->check(CLI::PositiveNumber);
  app.add_option("--storage", options.storage, "of propagated features, in scalable mode")
      ->check(CLI::IsMember({"float32", "bfloat16"}));
  app.add_flag("--directed", options.directed, "keep the direction of stored edges");
  app.add_option("--threads", options.threads, "0: all");
  app.add_option("--search", options.search,
                 "try so many settings first and take the one with the best validation accuracy")
      ->check(CLI::Range(0, 1000000));
  app.add_option("--search-log", options.search_log,
                 "file with a JSON line for each trial; a search that was cut off goes on from it");
  app.add_option("--report", options.report, "folder for pictures, CSV and coefficients");
  app.add_option("--csv", options.csv, "file for one line per split");
  app.add_option("--save", options.save, "folder for the best model of each split");

  // Settings that are not given are those of the data set's preset.
  nfgnn::TrainingOptions given;
  auto* epochs = app.add_option("--epochs", given.epochs, "at most");
  auto* stop = app.add_option("--early-stop", given.early_stop,
                              "window of the stopping rule; in scalable mode patience");
  auto* lr = app.add_option("--lr", given.lr, "learning rate of the dense layers");
  auto* filter_lr = app.add_option("--prop-lr", given.filter_lr, "learning rate of the filter");
  auto* decay = app.add_option("--wd", given.weight_decay, "weight decay of the dense layers");
  auto* filter_decay =
      app.add_option("--prop-wd", given.filter_weight_decay, "weight decay of the filter");
  auto* hidden = app.add_option("--hidden", given.model.hidden, "hidden units");
  auto* rank = app.add_option("--rank", given.model.rank, "rank of the coefficients");
  auto* order = app.add_option("--K", given.model.K, "highest order");
  auto* dropout = app.add_option("--dropout", given.model.dropout, "of features and hidden units");
  auto* dprate =
      app.add_option("--dprate", given.model.filter_dropout, "dropout of what is filtered");
  auto* filter = add_choice(app, "--filter", given.model.filter, "what coefficients are made of");
  auto* init = add_choice(app, "--init", given.model.init, "first values of the global part");
  auto* basis = add_choice(app, "--basis", given.model.basis, "polynomials of the filter");
  CLI11_PARSE(app, argc, argv);

  const bool scalable = options.mode == "scalable";
  nfgnn::TrainingOptions training =
      scalable ? nfgnn::scalable_preset() : nfgnn::preset(options.dataset);
  const auto take = [](const CLI::Option* option, auto& to, const auto& from) {
    if (option->count() != 0) to = from;
  };
  take(epochs, training.epochs, given.epochs);
  take(stop, training.early_stop, given.early_stop);
  take(lr, training.lr, given.lr);
  take(filter_lr, training.filter_lr, given.filter_lr);
  take(decay, training.weight_decay, given.weight_decay);
  take(filter_decay, training.filter_weight_decay, given.filter_weight_decay);
  take(hidden, training.model.hidden, given.model.hidden);
  take(rank, training.model.rank, given.model.rank);
  take(order, training.model.K, given.model.K);
  take(dropout, training.model.dropout, given.model.dropout);
  take(dprate, training.model.filter_dropout, given.model.filter_dropout);
  take(filter, training.model.filter, given.model.filter);
  take(init, training.model.init, given.model.init);
  take(basis, training.model.basis, given.model.basis);
  try {
    return run(options, training);
  } catch (const std::exception& error) {
    fmt::print(stderr, "train_nfgnn: {}\n", error.what());
    return 1;
  }
}
