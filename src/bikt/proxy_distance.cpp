#include <Eigen/Dense>
#include <algorithm>
#include <cmath>
#include <numeric>

#include "researchkit/bikt/training.hpp"
#include "researchkit/core/error.hpp"
#include "researchkit/core/shuffle.hpp"

namespace researchkit::bikt {
namespace {

constexpr std::int64_t kMostNodes = 1000;
constexpr std::int64_t kFolds = 5;
constexpr int kNewtonSteps = 8;
constexpr double kRidge = 1e-2;  // keeps the weights of separable data finite

/// Weights of a logistic regression with offset: Newton's method on the ridged log likelihood.
Eigen::VectorXd fit(const Eigen::MatrixXd& x, const Eigen::VectorXd& y) {
  Eigen::VectorXd w = Eigen::VectorXd::Zero(x.cols());
  for (int step = 0; step < kNewtonSteps; ++step) {
    const Eigen::ArrayXd p = 1 / (1 + (-(x * w).array()).exp());
    const Eigen::VectorXd gradient = x.transpose() * (p.matrix() - y) + kRidge * w;
    const Eigen::MatrixXd scaled = x.array().colwise() * (p * (1 - p));
    Eigen::MatrixXd hessian = x.transpose() * scaled;
    hessian.diagonal().array() += kRidge;
    const Eigen::VectorXd move = hessian.ldlt().solve(gradient);
    w -= move;
    if (move.norm() < 1e-8 * (1 + w.norm())) break;
  }
  return w;
}

}  // namespace

double proxy_distance(In<float, 2> hidden_host, In<float, 2> hidden_derived, std::uint64_t seed) {
  const std::int64_t n = hidden_host.extent(0), d = hidden_host.extent(1);
  if (hidden_derived.extent(0) != n || hidden_derived.extent(1) != d) {
    throw Error("proxy_distance: representations of one shape wanted");
  }
  if (n < kFolds || d == 0) return 0;
  std::vector<std::int64_t> order(static_cast<std::size_t>(n));
  std::iota(order.begin(), order.end(), std::int64_t{0});
  shuffle<std::int64_t>(order, Philox(seed));
  order.resize(static_cast<std::size_t>(std::min(n, kMostNodes)));

  // Rows 2 i and 2 i + 1 are host and derived of one node; columns standardised, the last one 1.
  const auto nodes = static_cast<std::int64_t>(order.size());
  Eigen::MatrixXd x(2 * nodes, d + 1);
  Eigen::VectorXd y(2 * nodes);
  for (std::int64_t i = 0; i < nodes; ++i) {
    for (std::int64_t j = 0; j < d; ++j) {
      x(2 * i, j) = static_cast<double>(hidden_host(order[static_cast<std::size_t>(i)], j));
      x(2 * i + 1, j) = static_cast<double>(hidden_derived(order[static_cast<std::size_t>(i)], j));
    }
    y(2 * i) = 1;
    y(2 * i + 1) = 0;
  }
  for (std::int64_t j = 0; j < d; ++j) {
    const double mean = x.col(j).mean();
    const double deviation = std::sqrt((x.col(j).array() - mean).square().mean());
    x.col(j) = (x.col(j).array() - mean) / (deviation > 0 ? deviation : 1);
  }
  x.col(d).setOnes();

  std::int64_t wrong = 0;
  for (std::int64_t fold = 0; fold < kFolds; ++fold) {
    const std::int64_t begin = 2 * (nodes * fold / kFolds), end = 2 * (nodes * (fold + 1) / kFolds);
    Eigen::MatrixXd others(x.rows() - (end - begin), d + 1);
    Eigen::VectorXd labels(others.rows());
    others << x.topRows(begin), x.bottomRows(x.rows() - end);
    labels << y.head(begin), y.tail(y.size() - end);
    const Eigen::VectorXd w = fit(others, labels);
    for (std::int64_t i = begin; i < end; ++i)
      wrong += (x.row(i).dot(w) > 0) != (y(i) > 0.5) ? 1 : 0;
  }
  const double error = static_cast<double>(wrong) / static_cast<double>(2 * nodes);
  return 2 * (1 - 2 * std::min(error, 0.5));
}

double proxy_distance(const Context& ctx, const DerivableHost<float>& host,
                      const HostGraph<float>& graph, const graph::Csr<float>& features) {
  Tape tape = Tape::without_gradients(ctx);
  HostInput<float> x(ctx, features, {});
  const Tensor f = host.forward(tape, graph, x, {}).hidden.value();
  const Tensor m = host.forward(tape, graph, x, {.propagate = false}).hidden.value();
  return proxy_distance(f.view<float, 2>(), m.view<float, 2>());
}

}  // namespace researchkit::bikt
