#include "training.hpp"

#include <algorithm>
#include <cmath>

#include "researchkit/nn/initialize.hpp"

namespace rk = researchkit;
namespace dynapipe = researchkit::dynapipe;

namespace {

void fill(rk::Tensor tensor, double bound, std::uint64_t seed, std::uint64_t stream) {
  rk::nn::uniform(tensor.values<double>(), bound, seed, stream);
}

}  // namespace

dynapipe::TransformerModel transformer_of(const Options& o) {
  const bool encdec = o.model == "encdec";
  return {{o.hidden, o.heads, o.ffn},
          encdec ? o.layers / 2 : o.layers,
          encdec ? o.layers - o.layers / 2 : 0,
          o.vocabulary};
}

Training::Training(const Options& options) : options_(options) {
  const dynapipe::LayerShape layer{options.hidden,
                                   options.heads,
                                   std::max<std::int64_t>(options.hidden / options.heads, 1),
                                   options.ffn,
                                   1,
                                   false};
  profile_ = options.profile.empty() ? dynapipe::analytic_profile(layer, kind())
                                     : dynapipe::load_profile(options.profile, 1);
}

dynapipe::ModelKind Training::kind() const {
  return options_.model == "encdec" ? dynapipe::ModelKind::encdec : dynapipe::ModelKind::decoder;
}

std::vector<dynapipe::SampleLength> Training::samples(std::int64_t iteration) const {
  return dynapipe::flan_lengths(options_.seed + static_cast<std::uint64_t>(iteration),
                                options_.samples, kind(), options_.longest);
}

namespace {

dynapipe::Cluster cluster_of(const Options& o) {
  dynapipe::Cluster cluster;
  cluster.stages = o.stages;
  cluster.chunks = o.chunks;
  cluster.replicas = o.replicas;
  cluster.device_memory_mb = o.device_memory_mb;
  return cluster;
}
dynapipe::Model model_of(const Options& o, const dynapipe::ModelProfile& profile) {
  if (o.model == "mlp") return {&profile, o.all_stages(), 0};
  const auto transformer = transformer_of(o);
  return {&profile, transformer.encoder_layers, transformer.decoder_layers};
}

}  // namespace

double Training::state_mb() const {
  return dynapipe::pipeline_of(model_of(options_, profile_), cluster_of(options_)).state_mb;
}

dynapipe::IterationPlan Training::plan(const rk::Context& ctx, std::int64_t iteration) const {
  dynapipe::PlanOptions options;
  options.longest_window = options_.largest_batch;
  options.pack_windows = options_.pack_windows;
  if (kind() == dynapipe::ModelKind::encdec) options.order = dynapipe::OrderMethod::path;
  const auto names = names_of(dynapipe::Recompute{});
  const auto named = std::find(names.begin(), names.end(), options_.recompute);
  if (named != names.end()) {
    options.recompute = {static_cast<dynapipe::Recompute>(named - names.begin())};
  }
  return dynapipe::plan(ctx, samples(iteration), model_of(options_, profile_), cluster_of(options_),
                        options);
}

Learner::Learner(const Options& options, const Training& training)
    : options_(options), training_(training) {}

void Learner::load(std::int64_t iteration) {
  const auto samples = training_.samples(iteration);
  const auto seed = options_.seed + static_cast<std::uint64_t>(iteration);
  if (options_.model != "mlp") {
    language_ = dynapipe::synthetic_language(samples, options_.vocabulary, seed);
    tokens_ = language_.norm;
    return;
  }
  inputs_ = rk::Array<double, 3>({options_.samples, options_.longest, options_.hidden});
  targets_ = rk::Array<double, 3>({options_.samples, options_.longest, options_.hidden});
  lengths_ = rk::Array<std::int32_t, 1>({options_.samples});
  fill(inputs_.tensor(), 1, seed, 0);
  fill(targets_.tensor(), 1, seed, 1);
  tokens_ = 0;
  for (std::int64_t i = 0; i < options_.samples; ++i) {
    lengths_(i) = samples[static_cast<std::size_t>(i)].input;
    tokens_ += lengths_(i);
  }
}

std::unique_ptr<dynapipe::PipelineStage> Learner::mlp_stage(std::int64_t number) const {
  const std::int64_t h = options_.hidden, f = options_.ffn;
  rk::TensorMap weights{{"w1", rk::Tensor(rk::DType::f64, {h, f})},
                        {"b1", rk::Tensor(rk::DType::f64, {f})},
                        {"w2", rk::Tensor(rk::DType::f64, {f, h})},
                        {"b2", rk::Tensor(rk::DType::f64, {h})}};
  auto stream = static_cast<std::uint64_t>(8 + 4 * number);
  for (auto& [name, weight] : weights) {
    fill(weight, rk::nn::fan_in_bound(h), options_.seed, stream++);
  }
  return std::make_unique<dynapipe::MlpPipelineStage<double>>(
      rk::Context({.threads = 1}), std::move(weights),
      dynapipe::PipelineData<double>{inputs_, targets_, lengths_, tokens_},
      number + 1 == options_.all_stages());
}

std::unique_ptr<dynapipe::PipelineStage> Learner::stage(std::int64_t number) const {
  if (options_.model == "mlp") return mlp_stage(number);
  return std::make_unique<dynapipe::TransformerPipelineStage>(
      rk::Context({.threads = 1}), transformer_of(options_), rk::DType::f64, number,
      options_.all_stages(), options_.seed, language_);
}

void Learner::use_data(dynapipe::PipelineStage& stage) const {
  if (auto* transformer = dynamic_cast<dynapipe::TransformerPipelineStage*>(&stage)) {
    transformer->use(language_);
  } else if (auto* mlp = dynamic_cast<dynapipe::MlpPipelineStage<double>*>(&stage)) {
    mlp->use({inputs_, targets_, lengths_, tokens_});
  }
}

double relative_difference(const rk::TensorMap& a, const rk::TensorMap& b) {
  double difference = 0, size = 0;
  for (const auto& [name, tensor] : b) {
    const auto x = a.at(name).values<double>(), y = tensor.values<double>();
    for (std::size_t i = 0; i < y.size(); ++i) {
      difference = std::max(difference, std::fabs(x[i] - y[i]));
      size = std::max(size, std::fabs(y[i]));
    }
  }
  return size > 0 ? difference / size : 0;
}
