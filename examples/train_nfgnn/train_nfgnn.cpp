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
  std::string filter = "node";
  bool directed = false;
  int threads = 0;
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
  write_responses(folder / "responses.svg", data, results.front().training);
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

int run(const Options& options, nfgnn::TrainingOptions training) {
  const rk::Context ctx({.threads = options.threads});
  const graph::NodeDataset data = load(ctx, options);
  fmt::print("{}\n", describe(data));
  for (const auto kind :
       {nfgnn::FilterKind::node, nfgnn::FilterKind::global, nfgnn::FilterKind::local}) {
    if (options.filter == names_of(kind)[static_cast<std::size_t>(kind)])
      training.model.filter = kind;
  }
  std::vector<SplitResult> results;
  std::vector<double> accuracies;
  for (std::int64_t k = 0; k < options.splits; ++k) {
    const graph::Split split = split_of(data, options.split, k, options.seed);
    training.model.seed = options.seed + static_cast<std::uint64_t>(k);
    const auto progress = [&](std::int64_t epoch, const nfgnn::TrainingResult& so_far) {
      if ((epoch + 1) % 100 == 0) {
        fmt::print(stderr, "split {} epoch {}: loss {:.4f}, validation {:.2f} %\n", k, epoch + 1,
                   so_far.losses.back(), 100 * so_far.validation_accuracies.back());
      }
      return true;
    };
    std::optional<std::filesystem::path> save;
    if (!options.save.empty()) {
      std::filesystem::create_directories(options.save);
      save = std::filesystem::path(options.save) / fmt::format("split_{}.safetensors", k);
    }
    SplitResult result{
        k, graph::majority_accuracy(data.labels, data.classes, split, graph::Role::test),
        nfgnn::train(ctx, data, split, training, progress, save)};
    const auto& t = result.training;
    fmt::print(
        "split {}: {} epochs, best {}, validation {:.2f} %, test {:.2f} % (majority {:.2f} %), "
        "{:.2f} ms per epoch\n",
        k, t.epochs, t.best_epoch, 100 * t.validation_accuracy, 100 * t.test_accuracy,
        100 * result.majority, 1e3 * t.seconds / static_cast<double>(t.epochs));
    accuracies.push_back(t.test_accuracy);
    results.push_back(std::move(result));
  }
  const auto summary = rk::nn::summarize(accuracies);
  fmt::print(
      "test accuracy {:.2f} % +- {:.2f} over {} splits, 95 % interval of the mean [{:.2f}, "
      "{:.2f}]\n",
      100 * summary.mean, 100 * summary.deviation, accuracies.size(), 100 * summary.low,
      100 * summary.high);
  if (!options.csv.empty()) write_csv(options.csv, results);
  if (!options.report.empty()) write_report(options, data, results, summary);
  return 0;
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
  app.add_option("--filter", options.filter, "what coefficients are made of")
      ->check(CLI::IsMember({"node", "global", "local"}));
  app.add_flag("--directed", options.directed, "keep the direction of stored edges");
  app.add_option("--threads", options.threads, "0: all");
  app.add_option("--report", options.report, "folder for pictures, CSV and coefficients");
  app.add_option("--csv", options.csv, "file for one line per split");
  app.add_option("--save", options.save, "folder for the best model of each split");

  // Settings that are not given are those of the data set's preset.
  nfgnn::TrainingOptions given;
  auto* epochs = app.add_option("--epochs", given.epochs, "at most");
  auto* stop = app.add_option("--early-stop", given.early_stop, "window of the stopping rule");
  auto* lr = app.add_option("--lr", given.lr, "learning rate of the dense layers");
  auto* filter_lr = app.add_option("--prop-lr", given.filter_lr, "learning rate of the filter");
  auto* decay = app.add_option("--wd", given.weight_decay, "weight decay of the dense layers");
  auto* filter_decay =
      app.add_option("--prop-wd", given.filter_weight_decay, "weight decay of the filter");
  auto* hidden = app.add_option("--hidden", given.model.hidden, "hidden units");
  auto* rank = app.add_option("--rank", given.model.rank, "rank of the coefficients");
  auto* order = app.add_option("--K", given.model.K, "highest order");
  auto* dropout = app.add_option("--dropout", given.model.dropout, "of features and hidden units");
  auto* dprate = app.add_option("--dprate", given.model.filter_dropout, "dropout of the logits");
  CLI11_PARSE(app, argc, argv);

  nfgnn::TrainingOptions training = nfgnn::preset(options.dataset);
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
  try {
    return run(options, training);
  } catch (const std::exception& error) {
    fmt::print(stderr, "train_nfgnn: {}\n", error.what());
    return 1;
  }
}
