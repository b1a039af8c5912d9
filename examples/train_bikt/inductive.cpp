#include "inductive.hpp"

#include <fmt/format.h>

#include <array>

namespace rk = researchkit;
namespace bikt = researchkit::bikt;

namespace {

/// Test accuracies in percent, one for each seed.
struct Accuracies {
  const char* name;
  std::vector<double> seen = {}, unseen = {};

  void add(double observed, double unobserved) {
    seen.push_back(100 * observed);
    unseen.push_back(100 * unobserved);
  }
  void print() const {
    const auto a = rk::nn::summarize(seen), b = rk::nn::summarize(unseen);
    fmt::print("  {:<38} {:6.2f} +- {:5.2f}   {:6.2f} +- {:5.2f}\n", name, a.mean, a.deviation,
               b.mean, b.deviation);
  }
};

}  // namespace

void run_inductive(const rk::Context& ctx, const Task& task, const Method& plain,
                   const Method& bikt, double unobserved, std::int64_t seeds) {
  std::array<Accuracies, 4> rows = {Accuracies{"host"}, Accuracies{"host with BiKT"},
                                    Accuracies{"derived model of the plain host"},
                                    Accuracies{"derived model of BiKT"}};
  for (std::int64_t k = 0; k < seeds; ++k) {
    for (const bool transfers : {false, true}) {
      Method method = transfers ? bikt : plain;
      const auto host = start(task, method, k);
      const auto result =
          bikt::train_inductive(ctx, host, task.data, task.cut(k), method.training, unobserved);
      rows[transfers ? 1 : 0].add(result.observed_accuracy, result.unobserved_accuracy);
      rows[transfers ? 3 : 2].add(result.derived_observed_accuracy,
                                  result.derived_unobserved_accuracy);
    }
    fmt::print(
        "seed {}: unseen nodes, host {:.2f} %, with BiKT {:.2f} %; derived {:.2f} -> {:.2f} %\n", k,
        rows[0].unseen.back(), rows[1].unseen.back(), rows[2].unseen.back(), rows[3].unseen.back());
    std::fflush(stdout);
  }
  fmt::print("\ntest accuracy in percent, {} seeds{:>21} seen{:>12} unseen\n", seeds, "", "");
  for (const Accuracies& row : rows) row.print();
}
