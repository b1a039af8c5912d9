#include "researchkit/nfgnn/propagated_features.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "researchkit/core/bfloat16.hpp"
#include "researchkit/nfgnn/filter.hpp"

namespace researchkit::nfgnn {
namespace {

constexpr std::int64_t kBlockEntries = std::int64_t{1} << 22;  // of one dense block: 16 MiB
constexpr std::int64_t kLeastColumns = 8, kMostColumns = 128;
constexpr std::int64_t kRows = 1024;  // of a piece of work

void check(const graph::Csr<float>& features, const graph::Csr<float>& propagation,
           std::span<const std::int32_t> nodes, const PropagationOptions& options) {
  const auto refuse = [](const char* argument, std::string wanted, std::string got) {
    throw Error("PropagatedFeatures", argument, std::move(wanted), std::move(got));
  };
  const std::int64_t n = features.rows();
  if (propagation.rows() != n || propagation.columns() != n) {
    refuse("propagation", fmt::format("{} rows and columns", n),
           fmt::format("{} x {}", propagation.rows(), propagation.columns()));
  }
  for (const std::int32_t node : nodes) {
    if (node < 0 || node >= n) refuse("nodes", fmt::format("in [0, {})", n), std::to_string(node));
  }
  if (options.K < 0 || options.K > 1024) {
    refuse("K", "in [0, 1024]", std::to_string(options.K));
  }
  if (options.storage != DType::f32 && options.storage != DType::bf16) {
    refuse("storage", "float32 or bfloat16", std::string(to_string(options.storage)));
  }
}

/// Columns begin, ..., begin + width - 1 of the features, row-major.
void densify(const Context& ctx, const graph::Csr<float>& features, std::int64_t begin,
             std::int64_t width, float* to) {
  const auto rows = features.view();
  const auto columns = features.indices();
  parallel_for(ctx, rows.rows, kRows, [&](std::int64_t first, std::int64_t last) {
    std::fill(to + first * width, to + last * width, 0.f);
    for (std::int64_t i = first; i < last; ++i) {
      const auto end = columns.begin() + rows.end(i);
      auto at =
          std::lower_bound(columns.begin() + rows.begin(i), end, static_cast<std::int32_t>(begin));
      for (; at != end && *at < begin + width; ++at) {
        to[i * width + (*at - begin)] = rows.value(at - columns.begin());
      }
    }
  });
}

void convert(const float* from, std::int64_t count, float* to) { std::copy_n(from, count, to); }
void convert(const float* from, std::int64_t count, BFloat16* to) {
  for (std::int64_t i = 0; i < count; ++i) to[i] = to_bfloat16(from[i]);
}
template <class Real>
void convert(const float* from, std::int64_t count, Real* to) {
  for (std::int64_t i = 0; i < count; ++i) to[i] = static_cast<Real>(from[i]);
}
template <class Real>
void convert(const BFloat16* from, std::int64_t count, Real* to) {
  for (std::int64_t i = 0; i < count; ++i) to[i] = static_cast<Real>(to_float(from[i]));
}

/// use(float{}) or use(BFloat16{}).
template <class Use>
void visit_storage(DType storage, Use&& use) {
  if (storage == DType::bf16) {
    use(BFloat16{});
  } else {
    use(float{});
  }
}

}  // namespace

PropagatedFeatures::PropagatedFeatures(const Context& ctx, const graph::Csr<float>& features,
                                       const graph::Csr<float>& propagation,
                                       std::span<const std::int32_t> nodes,
                                       const PropagationOptions& options) {
  check(features, propagation, nodes, options);
  const std::int64_t n = features.rows(), f = features.columns();
  const auto selected = static_cast<std::int64_t>(nodes.size());
  values_ = Tensor(options.storage, {options.K + 1, selected, f});
  const std::int64_t fitting =
      std::clamp(kBlockEntries / std::max<std::int64_t>(n, 1) / kLeastColumns * kLeastColumns,
                 kLeastColumns, kMostColumns);
  const std::int64_t block = std::min(fitting, f);
  Workspace::Scope scratch(ctx.workspace());
  const std::vector<float*> t = order_buffers<float>(scratch, 3, n * block);
  for (std::int64_t begin = 0; begin < f; begin += block) {
    const std::int64_t width = std::min(block, f - begin);
    densify(ctx, features, begin, width, t[0]);
    for (std::int64_t k = 0; k <= options.K; ++k) {
      const auto at = [&](std::int64_t order) { return t[static_cast<std::size_t>(order % 3)]; };
      if (k > 0) {
        next_order<float, std::int32_t>(ctx, propagation.view(), options.basis, k, at(k - 1),
                                        k > 1 ? at(k - 2) : nullptr, width, at(k));
      }
      visit_storage(options.storage, [&]<class Stored>(Stored) {
        Stored* const to = static_cast<Stored*>(values_.data()) + k * selected * f + begin;
        parallel_for(ctx, selected, kRows, [&](std::int64_t first, std::int64_t last) {
          for (std::int64_t i = first; i < last; ++i) {
            convert(at(k) + nodes[static_cast<std::size_t>(i)] * width, width, to + i * f);
          }
        });
      });
    }
  }
}

template <class Real>
void PropagatedFeatures::gather(const Context& ctx, std::span<const std::int32_t> which,
                                Real* to) const {
  const std::int64_t f = columns(), n = rows();
  const auto m = static_cast<std::int64_t>(which.size());
  for (const std::int32_t row : which) {
    if (row >= 0 && row < n) continue;
    throw Error("PropagatedFeatures", "which", fmt::format("in [0, {})", n), std::to_string(row));
  }
  visit_storage(values_.dtype(), [&]<class Stored>(Stored) {
    const Stored* const from = static_cast<const Stored*>(std::as_const(values_).data());
    parallel_for(ctx, orders() * m, kRows, [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t i = first; i < last; ++i) {
        const std::int64_t row = which[static_cast<std::size_t>(i % m)];
        convert(from + (i / m * n + row) * f, f, to + i * f);
      }
    });
  });
}

template void PropagatedFeatures::gather(const Context&, std::span<const std::int32_t>,
                                         float*) const;
template void PropagatedFeatures::gather(const Context&, std::span<const std::int32_t>,
                                         double*) const;

}  // namespace researchkit::nfgnn
