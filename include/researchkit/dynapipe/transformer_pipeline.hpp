#pragma once

#include <map>
#include <span>
#include <string>
#include <vector>

#include "researchkit/core/context.hpp"
#include "researchkit/dynapipe/pipeline_stage.hpp"
#include "researchkit/nn/transformer.hpp"

namespace researchkit::dynapipe {

/// A language model: embedding with sinusoidal positions, pre-norm layers, norm, logits. With decoder
/// layers an encoder-decoder, which embeds the tokens of both, else a decoder-only model.
struct TransformerModel {
  nn::TransformerShape layer;
  std::int64_t encoder_layers = 1;  ///< all layers of a decoder-only model
  std::int64_t decoder_layers = 0;
  std::int64_t vocabulary = 256;
  ModelKind kind() const { return decoder_layers > 0 ? ModelKind::encdec : ModelKind::decoder; }
};

/// Tokens of a mini-batch. Every rank has all of it. What lies behind a length is not read.
struct LanguageData {
  Array<std::int32_t, 2> inputs;          ///< [n, T]: the encoder's or the model's
  Array<std::int32_t, 1> input_lengths;   ///< [n]
  Array<std::int32_t, 2> decoder_inputs;  ///< [n, U], empty for decoder-only models
  Array<std::int32_t, 2> labels;          ///< [n, U], or [n, T]: the next token
  Array<std::int32_t, 1> label_lengths;   ///< [n]
  double norm = 1;                        ///< labels of the whole mini-batch, over all replicas
};

/// Seeded tokens for given lengths. A target has a begin token before its inputs and an end token
/// behind its labels, so its sequences are one token longer.
LanguageData synthetic_language(std::span<const SampleLength> samples, std::int64_t vocabulary,
                                std::uint64_t seed);

/// The layers of a TransformerModel that one of `stages` equal stages has, with what stands before and
/// behind them: embeddings on the first stage and the first decoder stage, logits and cross entropy,
/// divided by the data's norm, on the last. A single stage has everything.
///
/// Weights are named by their place in the model ("encoder.3.self.query.w"), and their first values
/// depend on name and seed alone: any division into stages is the same model. Recompute::full keeps
/// the stage's input and runs the forward again in the backward, with the same bits; none and selective
/// keep the tape, on which scores of attention never are. Packed samples neither see one another nor
/// share positions: gradients are those of samples in sequences of their own.
class TransformerPipelineStage final : public PipelineStage {
 public:
  /// The data outlives the stage. Throws Error where the layers do not divide into the stages.
  TransformerPipelineStage(const Context& ctx, const TransformerModel& model, DType dtype,
                           std::int64_t stage, std::int64_t stages, std::uint64_t seed,
                           const LanguageData& data);

  /// The tokens of the next mini-batch, which outlive their use.
  void use(const LanguageData& data) { data_ = &data; }

  DType dtype() const override { return dtype_; }
  std::int64_t hidden() const override { return model_.layer.width; }
  const TensorMap& weights() const override { return weights_; }
  void check(const MicroBatch& batch) const override;
  Tensor load(const MicroBatch& batch, bool decoder) override;
  Activations forward(std::int32_t m, const MicroBatch& batch, Activations x,
                      Recompute recompute) override;
  Gradients backward(std::int32_t m, const MicroBatch& batch, Activations d_y) override;
  std::size_t kept_bytes() const override;

 private:
  struct Layer {
    nn::TransformerLayer kind;
    std::string prefix;
  };
  /// A forward: what went in and came out, as rows.
  struct Run {
    explicit Run(autograd::Tape recorder) : tape(std::move(recorder)) {}
    autograd::Tape tape;
    std::vector<autograd::Variable> x, y;
    autograd::Variable loss;
  };
  struct Kept {
    Activations x;
    std::vector<Run> run;  // none: to be computed again
  };

  void add_weight(const std::string& name, const Shape& shape, std::uint64_t seed);
  void add_weights(std::uint64_t seed);
  bool has(nn::TransformerLayer kind) const;
  bool takes_decoder_inputs() const;
  Run compute(const MicroBatch& batch, const Activations& x, bool record);
  autograd::Variable loss_of(Run& run, const MicroBatch& batch, const autograd::Variable& rows);
  std::vector<SamplePlace> places(const MicroBatch& batch, bool decoder) const;
  nn::Sequences sequences(const MicroBatch& batch, bool decoder,
                          const autograd::Variable& rows) const;
  Tensor tokens_of(const MicroBatch& batch, bool decoder) const;
  void add_embedding_gradient(const MicroBatch& batch, bool decoder, const Tensor& d_rows,
                              TensorMap& gradients) const;

  Context ctx_;
  TransformerModel model_;
  DType dtype_;
  bool first_, last_, ends_encoder_ = false;
  const LanguageData* data_;
  std::vector<Layer> layers_;
  TensorMap weights_;
  nn::WeightVariables variables_;
  std::map<std::int32_t, Kept> kept_;
};

}  // namespace researchkit::dynapipe
