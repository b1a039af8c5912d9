#include "output.hpp"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "researchkit/core/io/file.hpp"
#include "researchkit/core/io/line_plot.hpp"

namespace rk = researchkit;

void write_csv(const std::filesystem::path& file, const std::vector<Pair>& pairs) {
  std::string text =
      "seed,plain_epochs,plain_validation,plain_test,plain_derived_test,bikt_epochs,"
      "bikt_validation,bikt_test,bikt_derived_test,bikt_derived_best_test,mlp_test,plain_distance,"
      "bikt_distance,plain_ms_per_epoch,bikt_ms_per_epoch\n";
  for (const Pair& p : pairs) {
    text += fmt::format(
        "{},{},{:.6f},{:.6f},{:.6f},{},{:.6f},{:.6f},{:.6f},{:.6f},{:.6f},{:.4f},{:.4f},{:.4f},"
        "{:.4f}\n",
        p.seed, p.plain.epochs, p.plain.validation_accuracy, p.plain.test_accuracy,
        p.plain.derived_test_accuracy, p.bikt.epochs, p.bikt.validation_accuracy,
        p.bikt.test_accuracy, p.bikt.derived_test_accuracy, p.bikt.derived_best_test_accuracy,
        p.mlp, p.plain_distance, p.bikt_distance,
        1e3 * p.plain.seconds / static_cast<double>(p.plain.epochs),
        1e3 * p.bikt.seconds / static_cast<double>(p.bikt.epochs));
  }
  rk::write_file(file, text);
}

void write_curves(const std::filesystem::path& file, const std::string& title, const Pair& pair) {
  rk::write_file(file, rk::line_plot(title, "epoch", 0, static_cast<double>(pair.bikt.epochs),
                                     {{"host", pair.bikt.test_accuracies},
                                      {"derived model", pair.bikt.derived_test_accuracies},
                                      {"agreement of both", pair.bikt.agreement}}));
}

void write_report(const std::filesystem::path& folder, const Task& task, const std::string& host,
                  const std::vector<Pair>& pairs) {
  std::filesystem::create_directories(folder);
  write_csv(folder / "seeds.csv", pairs);
  write_curves(folder / "curves.svg", task.name() + ": " + host + " with BiKT, test accuracy",
               pairs.front());
  const Gain gain = gain_of(pairs);
  const auto mean = [&](const auto& of) { return percent(pairs, of).mean; };
  const double plain = mean([](const Pair& p) { return p.plain.test_accuracy; });
  const double bikt = mean([](const Pair& p) { return p.bikt.test_accuracy; });
  const nlohmann::ordered_json json = {
      {"title", "A graph network and its derived model teach one another: " + task.name()},
      {"paper", {{"title", "BiKT"}, {"url", "https://arxiv.org/abs/2310.17132"}}},
      {"headline",
       "What is left of a graph network without its propagations is a perceptron. Trained "
       "together, "
       "both gain; published: 0.5 to 4 points for the network, and a perceptron that competes with "
       "it."},
      {"measured", fmt::format("{} on {}: {:.2f} % -> {:.2f} %, difference {:+.2f} (95 % interval "
                               "[{:+.2f}, {:+.2f}]) over {} seeds",
                               host, task.name(), plain, bikt, gain.difference.mean,
                               gain.difference.low, gain.difference.high, pairs.size())},
      {"rows",
       {{{"name", "host alone"}, {"value", plain}, {"unit", "%"}},
        {{"name", "host with BiKT"}, {"value", bikt}, {"unit", "%"}},
        {{"name", "derived model of the host alone"},
         {"value", mean([](const Pair& p) { return p.plain.derived_test_accuracy; })},
         {"unit", "%"}},
        {{"name", "derived model with BiKT"},
         {"value", mean([](const Pair& p) { return p.bikt.derived_test_accuracy; })},
         {"unit", "%"}},
        {{"name", "epoch with BiKT, evaluation included"},
         {"value", pairs.front().bikt.seconds / static_cast<double>(pairs.front().bikt.epochs)},
         {"unit", "s"}}}},
      {"pictures",
       {{{"file", "curves.svg"}, {"caption", "both branches over the epochs of the first seed"}}}}};
  rk::write_file(folder / "summary.json", json.dump(2) + "\n");
}
