#include "researchkit/dynapipe/mlp_pipeline.hpp"

#include <fmt/format.h>

#include "researchkit/core/error.hpp"

namespace researchkit::dynapipe {
namespace {

template <class Real>
In<Real, 2> rows_of(const Tensor& tensor) {
  return tensor.reshape({tensor.extent(0) * tensor.extent(1), tensor.extent(2)}).view<Real, 2>();
}
template <class Real>
Out<Real, 2> rows_of(Tensor& tensor) {
  return tensor.reshape({tensor.extent(0) * tensor.extent(1), tensor.extent(2)}).view<Real, 2>();
}

}  // namespace

template <class Real>
MlpPipelineStage<Real>::MlpPipelineStage(const Context& ctx, TensorMap weights,
                                         const PipelineData<Real>& data, bool last)
    : ctx_(ctx), weights_(std::move(weights)), data_(data), last_(last) {
  if (data_.inputs.extent(2) != hidden() || data_.targets.extents() != data_.inputs.extents()) {
    throw Error("dynapipe.run_pipeline", "data",
                fmt::format("inputs and targets [n, T, {}]", hidden()),
                fmt::format("inputs of width {}", data_.inputs.extent(2)));
  }
}

template <class Real>
MlpWeights<Real> MlpPipelineStage<Real>::views() const {
  return {weights_.at("w1").view<Real, 2>(), weights_.at("b1").view<Real, 1>(),
          weights_.at("w2").view<Real, 2>(), weights_.at("b2").view<Real, 1>()};
}

template <class Real>
void MlpPipelineStage<Real>::check(const MicroBatch& batch) const {
  const auto refuse = [](std::int32_t sample) {
    throw Error("dynapipe.run_pipeline", "plans",
                "samples of the data that fit into their micro-batch",
                fmt::format("sample {}", sample));
  };
  for (const std::int32_t sample : batch.samples) {
    if (sample < 0 || sample >= data_.lengths.extent(0) ||
        data_.lengths(sample) > data_.inputs.extent(1)) {
      refuse(sample);
    }
  }
  const auto places = places_of(batch, data_.lengths);
  for (std::size_t b = 0; b < places.size(); ++b) {
    if (places[b].begin + places[b].length > batch.shape.input) refuse(batch.samples[b]);
  }
}

template <class Real>
template <class Body>
void MlpPipelineStage<Real>::for_valid(const MicroBatch& batch, Body&& body) const {
  const auto places = places_of(batch, data_.lengths);
  for (std::size_t b = 0; b < places.size(); ++b) {
    for (std::int64_t t = 0; t < places[b].length; ++t) {
      for (std::int64_t h = 0; h < hidden(); ++h) {
        body(places[b].sequence, places[b].begin + t, batch.samples[b], t, h);
      }
    }
  }
}

template <class Real>
Tensor MlpPipelineStage<Real>::load(const MicroBatch& batch, bool decoder) {
  if (decoder) throw Error("dynapipe.run_pipeline: an MLP has no decoder");
  Tensor rows(dtype(), {batch.shape.samples, batch.shape.input, hidden()});
  const auto x = rows.view<Real, 3>();
  for_valid(batch, [&](auto b, auto at, auto sample, auto t, auto h) {
    x(b, at, h) = data_.inputs(sample, t, h);
  });
  return rows;
}

template <class Real>
Activations MlpPipelineStage<Real>::forward(std::int32_t m, const MicroBatch& /*batch*/,
                                            Activations x, Recompute /*recompute*/) {
  Tensor y(dtype(), x.at(0).shape());
  mlp_stage(ctx_, rows_of<Real>(std::as_const(x[0])), views(), rows_of<Real>(y));
  kept_[m] = {x[0], last_ ? y : Tensor()};
  return {y};
}

template <class Real>
PipelineStage::Gradients MlpPipelineStage<Real>::backward(std::int32_t m, const MicroBatch& batch,
                                                          Activations d_y) {
  const auto found = kept_.find(m);
  if (found == kept_.end()) throw Error(fmt::format("micro-batch {} has no forward", m));
  const Kept kept = std::move(found->second);
  kept_.erase(found);
  Gradients gradients;
  if (last_) {
    Tensor slope(dtype(), kept.y.shape());
    const auto y = kept.y.template view<Real, 3>();
    const auto d = slope.view<Real, 3>();
    for_valid(batch, [&](auto b, auto at, auto sample, auto t, auto h) {
      const double error =
          static_cast<double>(y(b, at, h)) - static_cast<double>(data_.targets(sample, t, h));
      gradients.loss += error * error;
      d(b, at, h) = static_cast<Real>(error / data_.norm);
    });
    gradients.loss *= 0.5 / data_.norm;
    d_y = {slope};
  }
  for (const auto& [name, weight] : weights_) {
    gradients.d_weights.set(name, Tensor(dtype(), weight.shape()));
  }
  const auto of = [&]<int Rank>(const char* name) {
    return gradients.d_weights.find(name)->template view<Real, Rank>();
  };
  Tensor d_x(dtype(), kept.x.shape());
  mlp_stage_backward(ctx_, rows_of<Real>(kept.x), views(), rows_of<Real>(std::as_const(d_y.at(0))),
                     rows_of<Real>(d_x),
                     {of.template operator()<2>("w1"), of.template operator()<1>("b1"),
                      of.template operator()<2>("w2"), of.template operator()<1>("b2")});
  gradients.d_x = {d_x};
  return gradients;
}

template <class Real>
std::size_t MlpPipelineStage<Real>::kept_bytes() const {
  std::size_t bytes = 0;
  for (const auto& [m, kept] : kept_) bytes += kept.x.bytes();
  return bytes;
}

template class MlpPipelineStage<float>;
template class MlpPipelineStage<double>;

}  // namespace researchkit::dynapipe
