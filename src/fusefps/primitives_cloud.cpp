// Surface samples of simple solids. Point i draws from the counters 64 i ... 64 i + 63 and from
// nothing else. Operand order as defined; this file must be compiled with -ffp-contract=off.
#include <array>
#include <cmath>
#include <span>
#include <string>

#include "researchkit/core/error.hpp"
#include "researchkit/fusefps/counter_random.hpp"
#include "researchkit/fusefps/demo_clouds.hpp"

namespace researchkit::fusefps {
namespace {

constexpr std::string_view kName = "fusefps.primitives_cloud";
constexpr double kPi = 3.141592653589793;

enum class Solid { box, sphere, cylinder, torus };
using Vector = std::array<double, 3>;

/// Box: full extents. Sphere: radius. Cylinder along z, without caps: radius, height. Torus around
/// z: radius of the ring, radius of the tube.
struct Primitive {
  Solid solid;
  Vector centre, size;
};

constexpr Primitive kObject[] = {
    {Solid::box, {0.0, 0.0, 0.40}, {1.0, 0.6, 0.05}},
    {Solid::cylinder, {-0.45, -0.25, 0.1875}, {0.03, 0.375}},
    {Solid::cylinder, {0.45, -0.25, 0.1875}, {0.03, 0.375}},
    {Solid::cylinder, {-0.45, 0.25, 0.1875}, {0.03, 0.375}},
    {Solid::cylinder, {0.45, 0.25, 0.1875}, {0.03, 0.375}},
    {Solid::sphere, {0.125, 0.0, 0.575}, {0.15}},
    {Solid::torus, {-0.25, 0.125, 0.475}, {0.2, 0.05}},
};
constexpr Primitive kRoom[] = {
    {Solid::box, {0.0, 0.0, 1.5}, {8.0, 6.0, 3.0}},
    {Solid::box, {-2.0, 1.0, 0.375}, {1.5, 0.75, 0.75}},
    {Solid::box, {1.5, -1.5, 0.375}, {1.5, 0.75, 0.75}},
    {Solid::box, {2.5, 2.0, 1.0}, {1.0, 0.5, 2.0}},
    {Solid::cylinder, {-3.0, -2.0, 1.5}, {0.2, 3.0}},
    {Solid::cylinder, {3.0, -2.0, 1.5}, {0.2, 3.0}},
    {Solid::sphere, {0.0, 0.0, 2.5}, {0.25}},
    {Solid::torus, {0.5, 2.0, 0.5}, {0.4, 0.12}},
};

double area(const Primitive& primitive) {
  const Vector& z = primitive.size;
  switch (primitive.solid) {
    case Solid::box:
      return 2.0 * ((z[1] * z[2] + z[2] * z[0]) + z[0] * z[1]);
    case Solid::sphere:
      return 4.0 * kPi * (z[0] * z[0]);
    case Solid::cylinder:
      return 2.0 * kPi * (z[0] * z[1]);
    case Solid::torus:
      return 4.0 * kPi * kPi * (z[0] * z[1]);
  }
  return 0.0;
}

struct DiscPoint {
  double a, b;
  double squared() const { return a * a + b * b; }
};

/// A point of the open unit disc without its centre, by at most 12 rejections.
DiscPoint disc(std::uint64_t seed, std::uint64_t counter) {
  for (std::uint64_t j = 0; j < 12; ++j) {
    const DiscPoint p{2.0 * counter_uniform(seed, counter + 2 * j) - 1.0,
                      2.0 * counter_uniform(seed, counter + 2 * j + 1) - 1.0};
    if (const double q = p.squared(); q < 1.0 && q > 0.0) return p;
  }
  return {0.5, 0.0};
}

struct CirclePoint {
  double c, s;
};

/// The direction of twice the angle of p: a uniform direction without trigonometry.
CirclePoint circle(DiscPoint p) {
  const double q = p.squared();
  return {(p.a * p.a - p.b * p.b) / q, (2.0 * p.a * p.b) / q};
}

Vector on_box(const Vector& z, double u1, double u2) {
  const double fx = z[1] * z[2], fy = z[2] * z[0], fz = z[0] * z[1];
  const double q = u1 * ((fx + fy) + fz);
  const int axis = q < fx ? 0 : q < fx + fy ? 1 : 2;
  const double rem = axis == 0 ? q / fx : axis == 1 ? (q - fx) / fy : (q - (fx + fy)) / fz;
  const double side = rem < 0.5 ? -0.5 : 0.5;
  const double g = 2.0 * rem - (rem < 0.5 ? 0.0 : 1.0) - 0.5;
  const double h = u2 - 0.5;
  return {(axis == 0 ? side : g) * z[0],
          (axis == 1   ? side
           : axis == 0 ? g
                       : h) *
              z[1],
          (axis == 2 ? side : h) * z[2]};
}

Vector offset(const Primitive& primitive, std::uint64_t seed, std::uint64_t counter) {
  const Vector& z = primitive.size;
  const auto u1 = [&] { return counter_uniform(seed, counter + 1); };
  const auto u2 = [&] { return counter_uniform(seed, counter + 2); };
  const auto first = [&] { return disc(seed, counter + 8); };
  const auto second = [&] { return disc(seed, counter + 32); };
  switch (primitive.solid) {
    case Solid::box:
      return on_box(z, u1(), u2());
    case Solid::sphere: {
      const DiscPoint p = first();
      const double q = p.squared();
      const double r = std::sqrt(1.0 - q);
      return {z[0] * (2.0 * p.a * r), z[0] * (2.0 * p.b * r), z[0] * (1.0 - 2.0 * q)};
    }
    case Solid::cylinder: {
      const CirclePoint around = circle(first());
      return {z[0] * around.c, z[0] * around.s, z[1] * (u2() - 0.5)};
    }
    case Solid::torus: {
      const CirclePoint ring = circle(first()), tube = circle(second());
      const double k = z[0] + z[1] * tube.c;
      return {k * ring.c, k * ring.s, z[1] * tube.s};
    }
  }
  return {};
}

}  // namespace

void generate_primitives_cloud(PrimitivesKind kind, std::uint64_t seed, std::int64_t first,
                               Out<float, 2> points) {
  const std::int64_t n = points.extent(0);
  if (points.extent(1) != 3) {
    throw Error(kName, "points", "[n, 3]", "[n, " + std::to_string(points.extent(1)) + "]");
  }
  const std::span<const Primitive> primitives =
      kind == PrimitivesKind::object ? std::span<const Primitive>(kObject) : kRoom;
  std::array<double, std::size(kRoom)> running{};
  double total = 0.0;
  for (std::size_t p = 0; p < primitives.size(); ++p) running[p] = total += area(primitives[p]);

  for (std::int64_t i = 0; i < n; ++i) {
    const std::uint64_t counter = static_cast<std::uint64_t>(first + i) * 64;
    const double w = counter_uniform(seed, counter) * total;
    std::size_t p = 0;
    while (p + 1 < primitives.size() && !(w < running[p])) ++p;
    const Vector from_centre = offset(primitives[p], seed, counter);
    for (std::size_t a = 0; a < 3; ++a) {
      points(i, static_cast<std::int64_t>(a)) =
          static_cast<float>(primitives[p].centre[a] + from_centre[a]);
    }
  }
}

}  // namespace researchkit::fusefps
