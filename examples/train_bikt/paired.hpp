#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "researchkit/bikt/bikt.hpp"
#include "researchkit/graph/splits.hpp"
#include "researchkit/nn/metrics.hpp"

/// A data set, of nodes or of graphs, and how it is cut.
struct Task {
  researchkit::graph::NodeDataset data;                    // empty with `graphs`
  std::optional<researchkit::graph::GraphDataset> graphs;  // whose classes are told, if given
  researchkit::bikt::HostGraph<float> graph;
  std::string split = "random";  // random, fixed, public
  double train = 0.6, validation = 0.2;
  std::uint64_t seed = 0;

  const std::string& name() const { return graphs ? graphs->name : data.name; }
  std::int64_t classes() const { return graphs ? graphs->classes : data.classes; }
  const researchkit::graph::Csr<float>& features() const {
    return graphs ? graphs->features : data.features;
  }
  const std::vector<std::int32_t>& labels() const { return graphs ? graphs->labels : data.labels; }
  researchkit::graph::Split cut(std::int64_t k) const {
    if (!graphs) return split_of(data, split, k, seed, train, validation);
    return researchkit::graph::balanced_split(graphs->labels, graphs->classes, train, validation,
                                              seed + static_cast<std::uint64_t>(k));
  }
};

/// A host and how it is trained.
struct Method {
  researchkit::bikt::HostOptions host;
  researchkit::bikt::TrainingOptions training;
};

/// A host that was trained, and what came of it.
struct Trained {
  std::shared_ptr<researchkit::bikt::BuiltinHost<float>> host;
  researchkit::bikt::TrainingResult result;
};

/// Trains a host on split `k`, of nodes or of graphs.
researchkit::bikt::TrainingResult train_host(
    const researchkit::Context& ctx, const Task& task,
    const std::shared_ptr<const researchkit::bikt::DerivableHost<float>>& host,
    const researchkit::bikt::TrainingOptions& training, std::int64_t k);

/// A host with first values of that seed, and the training with masks of it.
std::shared_ptr<researchkit::bikt::BuiltinHost<float>> start(const Task& task, Method& method,
                                                             std::int64_t k);

/// Trains on split `k` from first values and masks of that seed.
Trained train_once(const researchkit::Context& ctx, const Task& task, Method method,
                   std::int64_t k);

/// The same split and seed with and without transfer.
struct Pair {
  std::int64_t seed = 0;
  researchkit::bikt::TrainingResult plain = {}, bikt = {};
  double mlp = 0;  // test accuracy of the derived model's form trained alone
  double plain_distance = 0, bikt_distance = 0;
};
struct PairOptions {
  bool with_mlp = true;
  bool with_distance = true;
  std::function<void(const Trained& bikt, std::int64_t seed)> keep = {};
};
Pair train_pair(const researchkit::Context& ctx, const Task& task, const Method& plain,
                const Method& bikt, std::int64_t k, const PairOptions& options);

/// Mean differences over seeds, in points.
struct Gain {
  researchkit::nn::Summary difference;  // of test accuracies, in percent
  double standard_error = 0;
};
Gain gain_of(const std::vector<Pair>& pairs);

/// Mean and deviation in percent of what `of` gives of each pair.
researchkit::nn::Summary percent(const std::vector<Pair>& pairs,
                                 const std::function<double(const Pair&)>& of);

void print_pair(const Pair& pair);
void print_table(const std::vector<Pair>& pairs, const PairOptions& options);
