// The exponential of vector lanes of float, with the same bits on every instruction set: every
// operation rounds by itself.
#if defined(RESEARCHKIT_EXPONENTIAL_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef RESEARCHKIT_EXPONENTIAL_INL_H
#undef RESEARCHKIT_EXPONENTIAL_INL_H
#else
#define RESEARCHKIT_EXPONENTIAL_INL_H
#endif

#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace researchkit::detail {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

/// exp(x) for |x| <= 87: x = n ln 2 + r with |r| <= ln 2 / 2, and the series of exp(r) to r^7 / 7!,
/// whose first missing term is below 5e-9.
template <class D, class V>
V exp_bounded(D d, V x) {
  const hn::RebindToSigned<D> di;
  const auto n = hn::Round(hn::Mul(x, hn::Set(d, 1.44269504f)));
  // ln 2 in two parts: the first has few bits, so that n times it is exact.
  auto r = hn::Sub(x, hn::Mul(n, hn::Set(d, 0.693359375f)));
  r = hn::Add(r, hn::Mul(n, hn::Set(d, 2.12194440e-4f)));
  auto sum = hn::Set(d, 1.f / 5040);
  for (const float factor : {1.f / 720, 1.f / 120, 1.f / 24, 1.f / 6, 0.5f, 1.f, 1.f}) {
    sum = hn::Add(hn::Mul(sum, r), hn::Set(d, factor));
  }
  const auto exponent = hn::ShiftLeft<23>(hn::Add(hn::ConvertTo(di, n), hn::Set(di, 127)));
  return hn::Mul(sum, hn::BitCast(d, exponent));
}

/// exp(x) for x <= 0, 1 at 0; below -87 it stays at exp(-87), and NaN stays NaN.
template <class D, class V>
V exp_of_nonpositive(D d, V x) {
  const auto result = exp_bounded(d, hn::Max(x, hn::Set(d, -87.f)));
  return hn::IfThenElse(hn::Eq(x, x), result, x);
}

}  // namespace HWY_NAMESPACE
}  // namespace researchkit::detail
HWY_AFTER_NAMESPACE();

#endif  // toggled per target
