#include "researchkit/dynapipe/transformer_pipeline.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "researchkit/core/error.hpp"
#include "researchkit/core/random.hpp"
#include "researchkit/nn/operators.hpp"

namespace researchkit::dynapipe {
namespace {

using autograd::constant;
using autograd::parameter;
using autograd::Tape;
using autograd::Variable;

constexpr const char* kInputTable = "embed.inputs";
constexpr const char* kTargetTable = "embed.targets";

Tensor as_rows(const Tensor& tensor) {
  return tensor.reshape({tensor.extent(0) * tensor.extent(1), tensor.extent(2)});
}
Tensor like(const Tensor& rows, const Tensor& shaped) { return rows.reshape(shaped.shape()); }

Tensor scalar_like(DType dtype, double value) {
  Tensor scalar(dtype, {1});
  visit_dtype(dtype, [&]<class T>(T) { scalar.values<T>()[0] = static_cast<T>(value); });
  return scalar;
}

double number_of(const Tensor& scalar) {
  double value = 0;
  visit_dtype(scalar.dtype(),
              [&]<class T>(T) { value = static_cast<double>(scalar.values<T>()[0]); });
  return value;
}

}  // namespace

LanguageData synthetic_language(std::span<const SampleLength> samples, std::int64_t vocabulary,
                                std::uint64_t seed) {
  if (vocabulary < 2) {
    throw Error("dynapipe.synthetic_language", "vocabulary", "at least 2",
                fmt::format("{}", vocabulary));
  }
  const auto n = static_cast<std::int64_t>(samples.size());
  SampleLength longest;
  for (const SampleLength& sample : samples) {
    longest = {std::max(longest.input, sample.input), std::max(longest.target, sample.target)};
  }
  const bool encdec = longest.target > 0;
  const std::int64_t most = encdec ? longest.target + 1 : longest.input;
  LanguageData data{Array<std::int32_t, 2>({n, longest.input}),
                    Array<std::int32_t, 1>({n}),
                    encdec ? Array<std::int32_t, 2>({n, most}) : Array<std::int32_t, 2>(),
                    Array<std::int32_t, 2>({n, most}),
                    Array<std::int32_t, 1>({n}),
                    0};
  for (std::int64_t i = 0; i < n; ++i) {
    const SampleLength& sample = samples[static_cast<std::size_t>(i)];
    const Philox random(seed, static_cast<std::uint64_t>(i));
    std::uint64_t draw = 0;
    const auto token = [&] {  // 0 begins and ends sequences
      return static_cast<std::int32_t>(
          1 + random.below(draw++, static_cast<std::uint64_t>(vocabulary - 1)));
    };
    for (std::int32_t t = 0; t < sample.input; ++t) data.inputs(i, t) = token();
    data.input_lengths(i) = sample.input;
    data.label_lengths(i) = encdec ? sample.target + 1 : sample.input;
    data.norm += data.label_lengths(i);
    for (std::int32_t t = 0; t + 1 < data.label_lengths(i); ++t) {
      data.labels(i, t) = encdec ? token() : data.inputs(i, t + 1);
      if (encdec) data.decoder_inputs(i, t + 1) = data.labels(i, t);
    }
  }
  return data;
}

TransformerPipelineStage::TransformerPipelineStage(const Context& ctx,
                                                   const TransformerModel& model, DType dtype,
                                                   std::int64_t stage, std::int64_t stages,
                                                   std::uint64_t seed, const LanguageData& data)
    : ctx_(ctx),
      model_(model),
      dtype_(dtype),
      first_(stage == 0),
      last_(stage + 1 == stages),
      data_(&data) {
  const std::int64_t layers = model.encoder_layers + model.decoder_layers;
  const std::int64_t each = stages > 0 ? layers / stages : 0;
  const bool encdec = model.decoder_layers > 0;
  if (each < 1 || each * stages != layers || stage < 0 || stage >= stages ||
      (stages > 1 && model.encoder_layers % each != 0)) {
    throw Error("dynapipe.transformer_pipeline", "stages",
                fmt::format("a division of {} + {} layers into equal stages", model.encoder_layers,
                            model.decoder_layers),
                fmt::format("stage {} of {}", stage, stages));
  }
  for (std::int64_t i = stage * each; i < (stage + 1) * each; ++i) {
    const std::int64_t d = i - model.encoder_layers;
    if (d >= 0) {
      layers_.push_back({nn::TransformerLayer::decoder, fmt::format("decoder.{}.", d)});
    } else {
      layers_.push_back({encdec ? nn::TransformerLayer::encoder : nn::TransformerLayer::causal,
                         fmt::format("encoder.{}.", i)});
    }
    ends_encoder_ = ends_encoder_ || (encdec && d == -1);
  }
  add_weights(seed);
}

void TransformerPipelineStage::add_weight(const std::string& name, const Shape& shape,
                                          std::uint64_t seed) {
  Tensor weight = nn::initial_weight(dtype_, name, shape, seed);
  weights_.set(name, weight);
  variables_.emplace(name, parameter(weight));
}

void TransformerPipelineStage::add_weights(std::uint64_t seed) {
  const std::int64_t width = model_.layer.width;
  const auto add_norm = [&](const std::string& prefix) {
    add_weight(prefix + "scale", {width}, seed);
    add_weight(prefix + "shift", {width}, seed);
  };
  if (first_) add_weight(kInputTable, {model_.vocabulary, width}, seed);
  if (takes_decoder_inputs()) add_weight(kTargetTable, {model_.vocabulary, width}, seed);
  for (const Layer& layer : layers_) {
    for (const auto& [name, shape] :
         nn::transformer_weights(model_.layer, layer.kind, layer.prefix)) {
      add_weight(name, shape, seed);
    }
  }
  if (ends_encoder_) add_norm("encoder.norm.");
  if (!last_) return;
  add_norm("final.norm.");
  add_weight("logits.w", {width, model_.vocabulary}, seed);
  add_weight("logits.b", {model_.vocabulary}, seed);
}

bool TransformerPipelineStage::has(nn::TransformerLayer kind) const {
  return std::any_of(layers_.begin(), layers_.end(),
                     [&](const Layer& layer) { return layer.kind == kind; });
}
bool TransformerPipelineStage::takes_decoder_inputs() const {
  return std::any_of(layers_.begin(), layers_.end(),
                     [](const Layer& layer) { return layer.prefix == "decoder.0."; });
}

void TransformerPipelineStage::check(const MicroBatch& batch) const {
  const auto refuse = [](std::int32_t sample) {
    throw Error("dynapipe.run_pipeline", "plans",
                "samples of the data that fit into their micro-batch",
                fmt::format("sample {}", sample));
  };
  for (const std::int32_t sample : batch.samples) {
    if (sample < 0 || sample >= data_->input_lengths.extent(0)) refuse(sample);
  }
  const bool encdec = model_.decoder_layers > 0;
  const auto inputs = places(batch, false), labels = places(batch, encdec);
  for (std::size_t b = 0; b < inputs.size(); ++b) {
    const std::int32_t sample = batch.samples[b];
    const std::int64_t counted = data_->label_lengths(sample);
    if (inputs[b].begin + inputs[b].length > batch.shape.input ||
        labels[b].begin + counted > (encdec ? batch.shape.target : batch.shape.input) ||
        (batch.packed() && counted > labels[b].length)) {
      refuse(sample);
    }
  }
}

std::vector<SamplePlace> TransformerPipelineStage::places(const MicroBatch& batch,
                                                          bool decoder) const {
  return places_of(batch, decoder ? data_->label_lengths : data_->input_lengths);
}

nn::Sequences TransformerPipelineStage::sequences(const MicroBatch& batch, bool decoder,
                                                  const Variable& rows) const {
  const std::int64_t count = batch.shape.samples;
  const std::int64_t length = decoder ? batch.shape.target : batch.shape.input;
  // Sequences without a sample, as a packing baseline has them, are empty.
  Tensor lengths(DType::i32, {count});
  const auto ends = lengths.values<std::int32_t>();
  const std::vector<SamplePlace> found = places(batch, decoder);
  for (const SamplePlace& place : found) {
    ends[static_cast<std::size_t>(place.sequence)] =
        static_cast<std::int32_t>(place.begin + place.length);
  }
  nn::Sequences result{rows, count, length, constant(lengths)};
  if (!batch.packed()) return result;

  Tensor segments(DType::i32, {count, length});
  const auto numbers = segments.view<std::int32_t, 2>();
  std::vector<std::int32_t> samples_in(static_cast<std::size_t>(count), 0);
  for (const SamplePlace& place : found) {
    const std::int32_t number = samples_in[static_cast<std::size_t>(place.sequence)]++;
    // What is behind the last sample continues its segment, and is behind the length.
    for (std::int64_t t = place.begin; t < length; ++t) numbers(place.sequence, t) = number;
  }
  result.segments = constant(segments);
  return result;
}

Tensor TransformerPipelineStage::tokens_of(const MicroBatch& batch, bool decoder) const {
  const std::int64_t length = decoder ? batch.shape.target : batch.shape.input;
  Tensor tokens(DType::i32, {batch.shape.samples * length});
  const auto values = tokens.values<std::int32_t>();
  std::fill(values.begin(), values.end(), -1);
  const auto found = places(batch, decoder);
  for (std::size_t b = 0; b < found.size(); ++b) {
    for (std::int64_t t = 0; t < found[b].length; ++t) {
      const std::int32_t sample = batch.samples[b];
      values[static_cast<std::size_t>(found[b].sequence * length + found[b].begin + t)] =
          decoder ? data_->decoder_inputs(sample, t) : data_->inputs(sample, t);
    }
  }
  return tokens;
}

Tensor TransformerPipelineStage::load(const MicroBatch& batch, bool decoder) {
  Tape tape = Tape::without_gradients(ctx_);
  const auto table = variables_.at(decoder ? kTargetTable : kInputTable);
  Tensor rows = tape.apply("nn.embedding",
                           {{"indices", constant(tokens_of(batch, decoder))}, {"table", table}})
                    .at("y")
                    .value();
  const std::int64_t length = decoder ? batch.shape.target : batch.shape.input;
  std::vector<std::int32_t> positions(static_cast<std::size_t>(batch.shape.samples * length), -1);
  for (const SamplePlace& place : places(batch, decoder)) {
    const auto first = positions.begin() + place.sequence * length + place.begin;
    std::iota(first, first + place.length, 0);
  }
  nn::add_positions(rows, positions);
  return rows.reshape({batch.shape.samples, length, hidden()});
}

TransformerPipelineStage::Run TransformerPipelineStage::compute(const MicroBatch& batch,
                                                                const Activations& x, bool record) {
  Run run(record ? Tape(ctx_) : Tape::without_gradients(ctx_));
  for (const Tensor& tensor : x) run.x.push_back(parameter(as_rows(tensor)));
  const bool decodes = has(nn::TransformerLayer::decoder);
  if (decodes && x.size() == 1) {  // encoder and decoder on one stage: it loads for both
    run.x.push_back(parameter(as_rows(load(batch, true))));
  }
  nn::Sequences memory = sequences(batch, false, run.x[0]), decoder;
  if (decodes) decoder = sequences(batch, true, run.x[1]);
  for (const Layer& layer : layers_) {
    if (layer.kind == nn::TransformerLayer::decoder) {
      decoder.rows = nn::transformer_layer(run.tape, model_.layer, layer.kind, variables_,
                                           layer.prefix, decoder, &memory);
      continue;
    }
    memory.rows =
        nn::transformer_layer(run.tape, model_.layer, layer.kind, variables_, layer.prefix, memory);
    if (ends_encoder_ && layer.prefix == fmt::format("encoder.{}.", model_.encoder_layers - 1)) {
      memory.rows = nn::normalized(run.tape, variables_, "encoder.norm.", memory.rows);
    }
  }
  run.y.push_back(memory.rows);
  if (decodes) run.y.push_back(decoder.rows);
  if (last_) run.loss = loss_of(run, batch, run.y.back());
  return run;
}

Variable TransformerPipelineStage::loss_of(Run& run, const MicroBatch& batch,
                                           const Variable& rows) {
  const Variable normal = nn::normalized(run.tape, variables_, "final.norm.", rows);
  const Variable logits = run.tape
                              .apply("nn.linear", {{"x", normal},
                                                   {"w", variables_.at("logits.w")},
                                                   {"b", variables_.at("logits.b")}})
                              .at("y");
  Tensor labels(DType::i32, {rows.value().extent(0)}), mask(DType::u8, {rows.value().extent(0)});
  const auto label = labels.values<std::int32_t>();
  const auto counts = mask.values<std::uint8_t>();
  const std::int64_t length = rows.value().extent(0) / std::max(batch.shape.samples, 1);
  const auto found = places(batch, model_.decoder_layers > 0);
  for (std::size_t b = 0; b < found.size(); ++b) {
    for (std::int64_t t = 0; t < data_->label_lengths(batch.samples[b]); ++t) {
      const auto at = static_cast<std::size_t>(found[b].sequence * length + found[b].begin + t);
      label[at] = data_->labels(batch.samples[b], t);
      counts[at] = 1;
    }
  }
  return run.tape
      .apply("graph.log_softmax_nll",
             {{"logits", logits}, {"labels", constant(labels)}, {"mask", constant(mask)}},
             {{"reduction", std::string("sum")}})
      .at("loss");
}

Activations TransformerPipelineStage::forward(std::int32_t m, const MicroBatch& batch,
                                              Activations x, Recompute recompute) {
  const bool again = recompute == Recompute::full;
  Run run = compute(batch, x, !again);
  Activations y;
  for (std::size_t i = 0; i < x.size(); ++i) y.push_back(like(run.y[i].value(), x[i]));
  Kept& kept = kept_[m];
  kept.x = std::move(x);
  if (!again) kept.run.push_back(std::move(run));
  return y;
}

PipelineStage::Gradients TransformerPipelineStage::backward(std::int32_t m, const MicroBatch& batch,
                                                            Activations d_y) {
  const auto found = kept_.find(m);
  if (found == kept_.end()) throw Error(fmt::format("micro-batch {} has no forward", m));
  Kept kept = std::move(found->second);
  kept_.erase(found);
  if (kept.run.empty()) kept.run.push_back(compute(batch, kept.x, true));
  Run& run = kept.run.front();
  for (auto& [name, variable] : variables_) variable.clear_gradient();
  Gradients gradients;
  if (last_) {
    gradients.loss = number_of(run.loss.value()) / data_->norm;
    run.tape.backward(run.loss, scalar_like(dtype_, 1 / data_->norm));
  } else {
    // A decoder stage hands the encoder's output on: its gradient from later stages comes first.
    if (run.y.size() == 2) run.x[0].set_gradient(as_rows(d_y.at(0)));
    run.tape.backward(run.y.back(), as_rows(d_y.at(run.y.size() - 1)));
  }
  for (const auto& [name, weight] : weights_) {
    const Tensor& gradient = variables_.at(name).gradient();
    gradients.d_weights.set(name, gradient.defined() ? gradient : Tensor(dtype_, weight.shape()));
  }
  if (first_) add_embedding_gradient(batch, false, run.x[0].gradient(), gradients.d_weights);
  if (takes_decoder_inputs()) {
    add_embedding_gradient(batch, true, run.x[1].gradient(), gradients.d_weights);
  }
  for (std::size_t i = 0; i < kept.x.size(); ++i) {
    gradients.d_x.push_back(like(run.x[i].gradient(), kept.x[i]));
  }
  return gradients;
}

void TransformerPipelineStage::add_embedding_gradient(const MicroBatch& batch, bool decoder,
                                                      const Tensor& d_rows,
                                                      TensorMap& gradients) const {
  const std::string name = decoder ? kTargetTable : kInputTable;
  const Arguments call{.inputs = {{"indices", tokens_of(batch, decoder)},
                                  {"table", weights_.at(name)},
                                  {"d_y", d_rows}}};
  gradients.set(
      name, default_registry().at("nn.embedding_backward").run(ctx_, call).outputs.at("d_table"));
}

std::size_t TransformerPipelineStage::kept_bytes() const {
  std::size_t bytes = 0;
  for (const auto& [m, kept] : kept_) {
    for (const Tensor& x : kept.x) bytes += x.bytes();
    for (const Run& run : kept.run) bytes += run.tape.live_bytes();
  }
  return bytes;
}

}  // namespace researchkit::dynapipe
