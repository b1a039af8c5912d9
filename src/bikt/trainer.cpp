#include <algorithm>
#include <chrono>
#include <cmath>

#include "researchkit/core/error.hpp"
#include "researchkit/graph/splits.hpp"
#include "researchkit/nn/metrics.hpp"
#include "src/bikt/trainer_state.hpp"

namespace researchkit::bikt {
namespace {

constexpr double kPoor = 0.08;    // how far behind a teacher may be before `automatic` acts
constexpr double kLowered = 0.1;  // its settings then

// Below it nothing is transferred. Small weights would not do: once the labels are learned, Adam scales
// up whatever gradient is left.
constexpr double kLeastTrust = 0.2;

void check(const TrainingOptions& o, const Problem& problem, const graph::Split& split) {
  const auto refuse = [](const char* wanted) {
    throw Error(std::string("bikt::Trainer: ") + wanted + " wanted");
  };
  const TransferOptions& t = o.transfer;
  if (split.size() != problem.labels.size()) refuse("a split with a role for each label");
  for (const double weight : {t.mu, t.alpha_derived, t.alpha_host, t.nu, o.weight_decay}) {
    if (!(weight >= 0) || std::isinf(weight)) refuse("finite weights of at least 0");
  }
  if (!(t.temperature > 0) || !(t.tau > 0)) refuse("temperature and tau above 0");
  if (!(t.ema_decay >= 0 && t.ema_decay < 1)) refuse("ema_decay in [0, 1)");
  if (!(o.dropout >= 0 && o.dropout < 1)) refuse("dropout in [0, 1)");
  if (!(o.lr > 0)) refuse("a learning rate above 0");
  if (t.warmup < 0 || t.ramp < 1 || o.epochs < 1 || o.patience < 0) {
    refuse("warmup and patience of at least 0, ramp and epochs of at least 1");
  }
}

const float* floats(const Tensor& tensor) {
  return tensor.defined() ? tensor.values<float>().data() : nullptr;
}

double agreement(std::span<const std::int32_t> a, std::span<const std::int32_t> b) {
  std::int64_t equal = 0;
  for (std::size_t i = 0; i < a.size(); ++i) equal += a[i] == b[i] ? 1 : 0;
  return a.empty() ? 0 : static_cast<double>(equal) / static_cast<double>(a.size());
}

}  // namespace

Trainer::State::State(Context c, std::shared_ptr<const DerivableHost<float>> h, HostGraph<float> g,
                      const Problem& problem, const graph::Split& split, const TrainingOptions& o)
    : ctx(std::move(c)),
      host(std::move(h)),
      graph(std::move(g)),
      features(problem.features),
      options(o) {
  check(options, problem, split);
  if (graph.adjacency().rows() != problem.nodes) {
    throw Error("bikt::Trainer: a graph of the data's nodes wanted");
  }
  const auto n = static_cast<std::int64_t>(problem.labels.size());
  labels = Tensor::from(problem.labels, {n});
  train_mask = Tensor::from(std::span<const std::uint8_t>(mask_of(split, graph::Role::train)), {n});
  validation_mask = mask_of(split, graph::Role::validation);
  test_mask = mask_of(split, graph::Role::test);
  if (options.class_weights == ClassWeights::balanced) {
    class_weights =
        graph::balanced_class_weights(problem.labels, problem.classes, split, graph::Role::train);
  }
  begin_stage(0);
}

void Trainer::State::begin_stage(std::int64_t number) {
  stage = number;
  stage_begin = result.epochs;
  adam = std::make_unique<autograd::Adam>(
      std::vector<autograd::ParameterGroup>{{.parameters = host->parameters(),
                                             .lr = options.lr / (stage == 0 ? 1 : 2),
                                             .weight_decay = options.weight_decay}});
  stop.emplace(options.patience);
}

StepWeights Trainer::State::weights_now() const {
  const TransferOptions& t = options.transfer;
  if (plain_now()) return {.host = 1};
  const std::int64_t epoch = result.epochs - stage_begin;
  const double ramp =
      epoch < t.warmup
          ? 0
          : std::min(1.0, static_cast<double>(epoch - t.warmup + 1) / static_cast<double>(t.ramp));
  const double r = trust * ramp;
  StepWeights w{1, trust * t.mu, r * t.alpha_derived, r * t.alpha_host, r * t.nu, r * t.nu};
  if (options.schedule == Schedule::host_to_derived) w.to_host = 0;
  if (options.schedule == Schedule::derived_to_host) w.to_derived = 0;
  if (options.schedule == Schedule::alternating) {
    if (result.epochs % 2 == 1) {
      w.derived = w.to_derived = w.align_derived = 0;
    } else {
      w.host = w.to_host = w.align_host = 0;
    }
  }
  return w;
}

Pass Trainer::State::pass(bool propagate) const {
  return {.propagate = propagate,
          .training = true,
          .dropout = options.dropout,
          .seed = options.seed,
          .step = result.epochs};
}

std::pair<Tensor, Tensor> Trainer::State::teachers(const std::optional<HostOutput>& f,
                                                   const std::optional<HostOutput>& m) {
  if (options.transfer.teacher == Teacher::train) return {f->logits.value(), m->logits.value()};
  if (!eval_host.defined() || !eval_derived.defined()) evaluate();
  if (options.transfer.teacher == Teacher::eval) return {eval_host, eval_derived};
  if (!ema_host.defined()) {
    ema_host = eval_host.clone();
    ema_derived = eval_derived.clone();
  }
  return {ema_host, ema_derived};
}

float Trainer::State::step() {
  const StepWeights weights = weights_now();
  adam->clear_gradients();
  Tape tape(ctx);
  HostInput<float> x(ctx, features, pass(true).mask(0));
  const bool all =
      weights.aligns() || (weights.teaches() && options.transfer.teacher == Teacher::train);
  std::optional<HostOutput> f, m;
  if (all || weights.trains_host()) f = host->forward(tape, graph, x, pass(true));
  if (all || weights.trains_derived()) m = host->forward(tape, graph, x, pass(false));
  const float loss = backward(tape, weights, f, m);
  adam->step(ctx);
  return loss;
}

float Trainer::State::backward(Tape& tape, const StepWeights& weights,
                               const std::optional<HostOutput>& f,
                               const std::optional<HostOutput>& m) {
  const TransferOptions& t = options.transfer;
  const std::int64_t n = labels.size(), c = (f ? f : m)->logits.value().extent(1);
  TransferRows<> rows{.n = n, .c = c};
  rows.labels = label_list().data();
  rows.class_weights = class_weights.empty() ? nullptr : class_weights.data();
  rows.mask = std::as_const(train_mask).values<std::uint8_t>().data();
  Tensor teacher_host, teacher_derived, gate;
  if (weights.teaches()) {
    std::tie(teacher_host, teacher_derived) = teachers(f, m);
    if (weights.to_derived > 0) rows.host_teacher = floats(teacher_host);
    if (weights.to_host > 0) {
      gate = Tensor(DType::f32, {n});
      const In<float, 2> zf = std::as_const(teacher_host).view<float, 2>(),
                         zm = std::as_const(teacher_derived).view<float, 2>();
      if (t.custom_gate) {
        t.custom_gate(zf, zm, gate.values<float>());
      } else {
        kernels::gate(ctx, t.gate, zf, zm, gate.values<float>().data());
      }
      rows.derived_teacher = floats(teacher_derived);
      rows.weight = floats(gate);
    }
  }
  std::vector<Variable> results;
  std::vector<Tensor> upstream;
  float *d_host = nullptr, *d_derived = nullptr;
  const auto add = [&](const Variable& logits) {
    results.push_back(logits);
    return upstream.emplace_back(DType::f32, logits.value().shape()).values<float>().data();
  };
  if (f && weights.trains_host()) {
    rows.host = floats(f->logits.value());
    d_host = add(f->logits);
  }
  if (m && weights.trains_derived()) {
    rows.derived = floats(m->logits.value());
    d_derived = add(m->logits);
  }
  const TransferScales scales{static_cast<float>(weights.host), static_cast<float>(weights.derived),
                              static_cast<float>(weights.to_derived),
                              static_cast<float>(weights.to_host)};
  const auto parts = kernels::transfer_loss(ctx, rows, static_cast<float>(t.temperature), scales,
                                            d_host, d_derived);
  float loss = scales.host * parts[0] + scales.derived * parts[1] + scales.to_derived * parts[2] +
               scales.to_host * parts[3];
  // Each branch is drawn to the prototypes of the other.
  const auto align = [&](double weight, const HostOutput& own, const HostOutput& other) {
    if (!(weight > 0)) return;
    const Variable y = autograd::constant(labels), mask = autograd::constant(train_mask);
    const auto p =
        tape.apply("bikt.class_prototypes",
                   {{"z", autograd::constant(other.hidden.value())}, {"labels", y}, {"mask", mask}},
                   {{"num_classes", c}});
    const Variable r = tape.apply("bikt.prototype_align_loss",
                                  {{"z", own.hidden},
                                   {"prototypes", p.at("prototypes")},
                                   {"counts", p.at("counts")},
                                   {"labels", y},
                                   {"mask", mask}},
                                  {{"tau", t.tau}})
                           .at("loss");
    results.push_back(r);
    upstream.push_back(Tensor::from<float>({static_cast<float>(weight)}, {1}));
    loss += static_cast<float>(weight) * r.value().values<float>()[0];
  };
  if (weights.aligns()) {
    align(weights.align_derived, *m, *f);
    align(weights.align_host, *f, *m);
  }
  tape.backward(results, upstream);
  return loss;
}

void Trainer::State::evaluate() {
  Tape tape = Tape::without_gradients(ctx);
  HostInput<float> x(ctx, features, {});
  eval_host = host->forward(tape, graph, x, {}).logits.value();
  if (both()) eval_derived = host->forward(tape, graph, x, {.propagate = false}).logits.value();
}

void Trainer::State::average_teachers() {
  if (options.transfer.teacher != Teacher::ema || !ema_host.defined()) return;
  const auto keep = static_cast<float>(options.transfer.ema_decay);
  const auto average = [&](Tensor& mean, const Tensor& now) {
    const auto to = mean.values<float>();
    const auto from = now.values<float>();
    for (std::size_t i = 0; i < to.size(); ++i) to[i] = keep * to[i] + (1 - keep) * from[i];
  };
  average(ema_host, eval_host);
  average(ema_derived, eval_derived);
}

void Trainer::State::record(float loss) {
  const auto logits = std::as_const(eval_host).view<float, 2>();
  const auto predicted = nn::predictions(logits);
  const auto accuracy = [&](const std::vector<std::int32_t>& of, const auto& mask) {
    return nn::accuracy(of, label_list(), mask);
  };
  result.losses.push_back(loss);
  result.validation_losses.push_back(graph::kernels::log_softmax_nll<float, std::int32_t>(
      ctx, logits, label_list().data(), validation_mask.data(), graph::Reduction::mean));
  result.validation_accuracies.push_back(accuracy(predicted, validation_mask));
  result.test_accuracies.push_back(accuracy(predicted, test_mask));
  if (both()) {
    const auto derived = nn::predictions(std::as_const(eval_derived).view<float, 2>());
    result.derived_validation_accuracies.push_back(accuracy(derived, validation_mask));
    result.derived_test_accuracies.push_back(accuracy(derived, test_mask));
    result.agreement.push_back(agreement(predicted, derived));
  }
}

void Trainer::State::follow(std::int64_t epoch, bool keep) {
  const auto at = static_cast<std::size_t>(epoch);
  const double score = result.validation_accuracies[at];
  const float loss = result.validation_losses[at];
  const bool better = epoch == 0 || score > result.validation_accuracy ||
                      (score == result.validation_accuracy && loss < best_loss);
  result.epochs = epoch + 1;
  if (better) {
    result.best_epoch = epoch;
    result.validation_accuracy = score;
    result.test_accuracy = result.test_accuracies[at];
    best_loss = loss;
    if (both()) {
      result.derived_validation_accuracy = result.derived_validation_accuracies[at];
      result.derived_test_accuracy = result.derived_test_accuracies[at];
    }
  }
  if (both() && result.derived_validation_accuracies[at] > derived_best_validation) {
    derived_best_validation = result.derived_validation_accuracies[at];
    result.derived_best_test_accuracy = result.derived_test_accuracies[at];
  }
  if (keep && better) {
    for (const auto& [name, variable] : host->parameters()) best[name] = variable.value().clone();
  }
  const std::int64_t in_stage = epoch - stage_begin + 1;
  const TransferOptions& t = options.transfer;
  const bool patient = stop->stop_after(score, static_cast<double>(loss)) &&
                       in_stage >= t.warmup + t.ramp + options.patience;
  ended = patient || in_stage >= options.epochs;
}

void Trainer::State::lower_if_poor() {
  const TransferOptions& t = options.transfer;
  const bool now = t.automatic && !plain_now() && result.epochs - stage_begin == t.warmup;
  if (!now || result.derived_validation_accuracies.empty()) return;
  const double behind =
      result.validation_accuracies.back() - result.derived_validation_accuracies.back();
  if (behind <= kPoor) return;
  lower();
}

void Trainer::State::lower() {
  TransferOptions& t = options.transfer;
  t.mu = std::min(t.mu, kLowered);
  t.alpha_host = std::min(t.alpha_host, kLowered);
  result.lowered = true;
}

void Trainer::State::restore_best() {
  for (auto& [name, variable] : host->parameters()) {
    const auto found = best.find(name);
    if (found == best.end()) continue;
    Variable to = variable;
    to.mutable_value().copy_from(found->second);
  }
  eval_host = eval_derived = Tensor();
}

Trainer::Trainer(Context ctx, std::shared_ptr<const DerivableHost<float>> host,
                 HostGraph<float> graph, const graph::NodeDataset& data, const graph::Split& split,
                 const TrainingOptions& options)
    : state_(std::make_unique<State>(
          std::move(ctx), std::move(host), std::move(graph),
          Problem{data.features, data.labels, data.classes, data.nodes()}, split, options)) {
  if (!options.transfer.by_homophily) return;
  const double homophily = labelled_homophily(data, split);
  state_->trust = homophily < kLeastTrust ? 0 : homophily;
}
Trainer::Trainer(Context ctx, std::shared_ptr<const DerivableHost<float>> host,
                 HostGraph<float> graph, const graph::GraphDataset& data, const graph::Split& split,
                 const TrainingOptions& options)
    : state_(std::make_unique<State>(
          std::move(ctx), std::move(host), std::move(graph),
          Problem{data.features, data.labels, data.classes, data.adjacency.rows()}, split,
          options)) {
  if (options.transfer.by_homophily) {
    throw Error("bikt::Trainer: by_homophily wants the classes of nodes, not those of graphs");
  }
}
Trainer::~Trainer() = default;
Trainer::Trainer(Trainer&&) noexcept = default;
Trainer& Trainer::operator=(Trainer&&) noexcept = default;

float Trainer::step() { return state_->step(); }
void Trainer::evaluate() { state_->evaluate(); }
bool Trainer::done() const { return state_->ended; }
const TrainingResult& Trainer::result() const { return state_->result; }
void Trainer::restore_best() { state_->restore_best(); }

void Trainer::epoch() {
  State& s = *state_;
  if (s.ended) return;
  s.ctx.check_cancelled();
  s.lower_if_poor();
  const auto begin = std::chrono::steady_clock::now();
  const float loss = s.step();
  s.evaluate();
  s.average_teachers();
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - begin;
  s.result.seconds += elapsed.count();
  s.record(loss);
  s.follow(s.result.epochs, true);
  if (s.ended && s.options.schedule == Schedule::two_stage && s.stage == 0) {
    s.restore_best();
    s.begin_stage(1);
    s.ended = false;
  }
}

}  // namespace researchkit::bikt
