// A ray caster small enough to be exact. All that depends on a column's direction alone (the slabs
// of the boxes in x and y, the distance to each pole) is computed once per column and shared by
// its beams; a beam then only compares heights. Every expression keeps the operand order of the
// definition, and this file must be compiled with -ffp-contract=off.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "researchkit/core/error.hpp"
#include "researchkit/fusefps/counter_random.hpp"
#include "researchkit/fusefps/demo_clouds.hpp"

namespace researchkit::fusefps {
namespace {

constexpr std::string_view kName = "fusefps.lidar_scan";
constexpr double kSensorHeight = 1.73;
constexpr double kSlopeTop = 0.0349;
constexpr double kSlopeBottom = -0.4621;
constexpr std::int64_t kMaxColumns = std::int64_t{1} << 24;
constexpr double kInfinity = std::numeric_limits<double>::infinity();

struct Box {
  double x0, x1, y0, y1, top, reflectance;
};
struct Pole {
  double x, y, radius, top, reflectance;
};
constexpr int kVehicles = 24, kWalls = 4, kPoles = 16;
struct Scene {
  std::array<Box, kVehicles + kWalls> boxes;
  std::array<Pole, kPoles> poles;
};

Scene make_scene(std::uint64_t seed) {
  const auto u = [seed](int i) { return counter_uniform(seed, static_cast<std::uint64_t>(i)); };
  Scene scene{};
  for (int i = 0; i < kVehicles; ++i) {
    const int b = 1000 + 8 * i;
    const double cx = -70.0 + 140.0 * u(b);
    const double cy = (4.0 + 14.0 * u(b + 1)) * (u(b + 2) < 0.5 ? 1.0 : -1.0);
    const double lx = 3.5 + 1.5 * u(b + 3), ly = 1.6 + 0.4 * u(b + 4), lz = 1.4 + 0.8 * u(b + 5);
    scene.boxes[static_cast<std::size_t>(i)] = {cx - 0.5 * lx,       cx + 0.5 * lx,
                                                cy - 0.5 * ly,       cy + 0.5 * ly,
                                                -kSensorHeight + lz, 0.2 + 0.6 * u(b + 6)};
  }
  for (int i = 0; i < kWalls; ++i) {
    const int b = 2000 + 8 * i;
    const double x0 = -75.0 + 38.0 * i;
    const double y0 = (22.0 + 6.0 * u(b)) * (i % 2 == 0 ? 1.0 : -1.0);
    scene.boxes[static_cast<std::size_t>(kVehicles) + static_cast<std::size_t>(i)] = {
        x0,
        x0 + 30.0,
        std::min(y0, y0 + 1.0),
        std::max(y0, y0 + 1.0),
        (-kSensorHeight + 5.0) + 4.0 * u(b + 1),
        0.3 + 0.2 * u(b + 2)};
  }
  for (int i = 0; i < kPoles; ++i) {
    const int b = 3000 + 8 * i;
    const double px = -60.0 + 120.0 * u(b);
    const double py = (3.2 + 16.0 * u(b + 1)) * (u(b + 2) < 0.5 ? 1.0 : -1.0);
    scene.poles[static_cast<std::size_t>(i)] = {px, py, 0.08 + 0.22 * u(b + 3),
                                                (-kSensorHeight + 2.5) + 3.5 * u(b + 4),
                                                0.1 + 0.3 * u(b + 5)};
  }
  return scene;
}

double slope(const LidarScanSettings& settings, std::int64_t beam) {
  if (settings.beams == 1) return kSlopeBottom;
  return kSlopeTop + (kSlopeBottom - kSlopeTop) *
                         (static_cast<double>(beam) / static_cast<double>(settings.beams - 1));
}

/// An interval that holds the range of every return of the scene, noise left aside.
struct Reach {
  double nearest, farthest;
};

Reach reach(const Scene& scene, const LidarScanSettings& settings) {
  Reach objects{kInfinity, 0.0};
  const auto add = [&](double nearest, double farthest) {
    objects = {std::min(objects.nearest, nearest), std::max(objects.farthest, farthest)};
  };
  for (const Box& box : scene.boxes) {
    const double gap_x = std::max({box.x0, -box.x1, 0.0}), gap_y = std::max({box.y0, -box.y1, 0.0});
    add(std::hypot(gap_x, gap_y), std::hypot(std::max(std::abs(box.x0), std::abs(box.x1)),
                                             std::max(std::abs(box.y0), std::abs(box.y1))));
  }
  for (const Pole& pole : scene.poles) {
    const double distance = std::hypot(pole.x, pole.y);
    add(distance - pole.radius, distance + pole.radius);
  }
  // The ground stops every descending ray, the steepest one first.
  for (std::int64_t beam = 0; beam < settings.beams; ++beam) {
    if (const double t = slope(settings, beam); t < 0.0)
      add(-kSensorHeight / t, -kSensorHeight / t);
  }
  return objects;
}

struct Direction {
  double c, s;
};

/// Unit vector at `eighths` of a turn, by the rational parametrisation of an eighth of the circle.
Direction direction(double eighths) {
  const double octant = std::floor(eighths);
  const double f = eighths - octant;
  const bool odd = (static_cast<int>(octant) & 1) == 1;
  const double h = (odd ? 1.0 - f : f) * 0.41421356237309503;
  const double den = 1.0 + h * h;
  const double c0 = (1.0 - h * h) / den, s0 = (2.0 * h) / den;
  Direction d = odd ? Direction{s0, c0} : Direction{c0, s0};
  for (int quarter = static_cast<int>(octant) / 2; quarter > 0; --quarter) d = {-d.s, d.c};
  return d;
}

/// A box or pole that a column's vertical plane meets, before heights are looked at.
struct BoxCandidate {
  double near, far, top, reflectance;
};
struct PoleCandidate {
  double range, top, reflectance;
};
struct Column {
  Direction direction;
  std::int32_t box_end = 0, pole_end = 0;  // ends in the shared lists; beginnings: column before
};
struct Columns {
  std::vector<Column> columns;
  std::vector<BoxCandidate> boxes;
  std::vector<PoleCandidate> poles;
};

Columns trace_columns(const Scene& scene, std::int64_t count) {
  Columns all;
  all.columns.reserve(static_cast<std::size_t>(count));
  for (std::int64_t j = 0; j < count; ++j) {
    const auto [c, s] = direction(8.0 * static_cast<double>(j) / static_cast<double>(count));
    for (const Box& box : scene.boxes) {
      const auto slab = [](double lo, double hi, double d, double& near, double& far) {
        if (d == 0.0) {
          const bool inside = lo <= 0.0 && 0.0 <= hi;
          near = inside ? -kInfinity : kInfinity;
          far = -near;
          return;
        }
        const double a = lo / d, b = hi / d;
        near = std::min(a, b);
        far = std::max(a, b);
      };
      double nx, fx, ny, fy;
      slab(box.x0, box.x1, c, nx, fx);
      slab(box.y0, box.y1, s, ny, fy);
      const double near = std::max(nx, ny), far = std::min(fx, fy);
      // A hit needs near <= far and 0 < near <= far, and heights only narrow the interval.
      if (near <= far && far > 0.0) all.boxes.push_back({near, far, box.top, box.reflectance});
    }
    for (const Pole& pole : scene.poles) {
      const double b = c * pole.x + s * pole.y;
      const double disc = b * b - ((pole.x * pole.x + pole.y * pole.y) - pole.radius * pole.radius);
      const double range = b - std::sqrt(std::max(disc, 0.0));
      if (disc >= 0.0 && range > 0.0) all.poles.push_back({range, pole.top, pole.reflectance});
    }
    all.columns.push_back({{c, s},
                           static_cast<std::int32_t>(all.boxes.size()),
                           static_cast<std::int32_t>(all.poles.size())});
  }
  return all;
}

struct Return {
  float x, y, z, reflectance;
};

/// Noise and dropout: adds what ray number `ray` returns.
void add_return(const LidarScanSettings& settings, std::uint64_t ray, Direction direction, double t,
                double r, double reflectance, std::vector<Return>& returns) {
  if (counter_uniform(settings.seed ^ 0xD1, ray) < settings.dropout) return;
  r = r + settings.noise * (2.0 * counter_uniform(settings.seed ^ 0xA5, ray) - 1.0);
  if (!(r >= settings.min_range && r <= settings.max_range)) return;
  returns.push_back({static_cast<float>(r * direction.c), static_cast<float>(r * direction.s),
                     static_cast<float>(r * t), static_cast<float>(reflectance)});
}

void trace_beam(const Columns& all, const LidarScanSettings& settings, std::int64_t beam,
                std::vector<Return>& returns) {
  const double t = slope(settings, beam);
  const bool descends = t < 0.0;
  const double ground = descends ? -kSensorHeight / t : kInfinity;
  const double ground_reflectance = descends ? 0.25 : 0.0;
  const double floor_range = -kSensorHeight / t;
  const auto count = static_cast<std::uint64_t>(all.columns.size());
  std::int32_t box = 0, pole = 0;
  for (std::uint64_t j = 0; j < count; ++j) {
    const Column& column = all.columns[j];
    double r = ground, reflectance = ground_reflectance;
    for (; box < column.box_end; ++box) {
      const BoxCandidate& hit = all.boxes[static_cast<std::size_t>(box)];
      double nz = -kInfinity, fz = kInfinity;
      if (t != 0.0) {
        const double roof_range = hit.top / t;
        nz = std::min(floor_range, roof_range);
        fz = std::max(floor_range, roof_range);
      }
      const double near = std::max(hit.near, nz), far = std::min(hit.far, fz);
      if (near <= far && near > 0.0 && near < r) {
        r = near;
        reflectance = hit.reflectance;
      }
    }
    for (; pole < column.pole_end; ++pole) {
      const PoleCandidate& hit = all.poles[static_cast<std::size_t>(pole)];
      const double z = hit.range * t;
      if (hit.range < r && z <= hit.top && z >= -kSensorHeight) {
        r = hit.range;
        reflectance = hit.reflectance;
      }
    }
    // The error lies in [-noise, noise] and rounding is monotone: such a ray cannot be kept.
    if (r - settings.noise > settings.max_range || r + settings.noise < settings.min_range)
      continue;
    add_return(settings, static_cast<std::uint64_t>(beam) * count + j, column.direction, t, r,
               reflectance, returns);
  }
}

/// All rays of all beams, by columns that are traced once.
void trace(const Scene& scene, const LidarScanSettings& settings, std::int64_t columns,
           std::vector<Return>& returns) {
  const Columns traced = trace_columns(scene, columns);
  for (std::int64_t beam = 0; beam < settings.beams; ++beam) {
    trace_beam(traced, settings, beam, returns);
  }
}

/// The same, ray by ray and object by object.
void trace_plainly(const Scene& scene, const LidarScanSettings& settings, std::int64_t columns,
                   std::vector<Return>& returns) {
  const auto slab = [](double lo, double hi, double d) {
    if (d == 0.0) {
      const double near = lo <= 0.0 && 0.0 <= hi ? -kInfinity : kInfinity;
      return std::pair(near, -near);
    }
    return std::pair(std::min(lo / d, hi / d), std::max(lo / d, hi / d));
  };
  for (std::int64_t ray = 0; ray < settings.beams * columns; ++ray) {
    const double t = slope(settings, ray / columns);
    const double eighths = 8.0 * static_cast<double>(ray % columns) / static_cast<double>(columns);
    const auto [c, s] = direction(eighths);
    double r = t < 0.0 ? -kSensorHeight / t : kInfinity;
    double reflectance = t < 0.0 ? 0.25 : 0.0;
    for (const Box& box : scene.boxes) {
      const auto [nx, fx] = slab(box.x0, box.x1, c);
      const auto [ny, fy] = slab(box.y0, box.y1, s);
      double nz = -kInfinity, fz = kInfinity;
      if (t != 0.0) std::tie(nz, fz) = slab(-kSensorHeight, box.top, t);
      const double near = std::max(std::max(nx, ny), nz), far = std::min(std::min(fx, fy), fz);
      if (!(near <= far && near > 0.0 && near < r)) continue;
      r = near;
      reflectance = box.reflectance;
    }
    for (const Pole& pole : scene.poles) {
      const double b = c * pole.x + s * pole.y;
      const double disc = b * b - ((pole.x * pole.x + pole.y * pole.y) - pole.radius * pole.radius);
      const double range = b - std::sqrt(std::max(disc, 0.0));
      const double z = range * t;
      if (!(disc >= 0.0 && range > 0.0 && range < r)) continue;
      if (!(z >= -kSensorHeight && z <= pole.top)) continue;
      r = range;
      reflectance = pole.reflectance;
    }
    add_return(settings, static_cast<std::uint64_t>(ray), {c, s}, t, r, reflectance, returns);
  }
}

void check(const LidarScanSettings& s, std::int64_t n) {
  const auto refuse = [](std::string_view argument, std::string_view wanted, auto got) {
    throw Error(kName, argument, wanted, std::to_string(got));
  };
  if (n < 1) refuse("n", "at least 1 point", n);
  if (s.beams < 1 || s.beams > 256) refuse("beams", "[1, 256]", s.beams);
  if (!(s.max_range > 0.0 && s.max_range <= 1000.0)) {
    refuse("max_range", "metres in (0, 1000]", s.max_range);
  }
  if (!(s.min_range >= 0.0 && s.min_range < s.max_range)) {
    refuse("min_range", "metres in [0, max_range) with max_range = " + std::to_string(s.max_range),
           s.min_range);
  }
  if (!(s.dropout >= 0.0 && s.dropout <= 0.9)) refuse("dropout", "[0, 0.9]", s.dropout);
  if (!(s.noise >= 0.0 && s.noise <= 1.0)) refuse("noise", "metres in [0, 1]", s.noise);
}

/// Widens the scan until it returns enough points, then keeps n of them evenly.
template <class Trace>
void generate(const LidarScanSettings& settings, Out<float, 2> points, Trace&& trace_all) {
  const std::int64_t n = points.extent(0);
  check(settings, n);
  if (points.extent(1) != 4) {
    throw Error(kName, "points", "[n, 4]", "[n, " + std::to_string(points.extent(1)) + "]");
  }
  const Scene scene = make_scene(settings.seed);
  const Reach range = reach(scene, settings);
  constexpr double kMargin = 1e-6;  // far more than rounding
  if (range.nearest - settings.noise - kMargin > settings.max_range ||
      range.farthest + settings.noise + kMargin < settings.min_range) {
    throw Error(kName, "n", "points that the scene returns within min_range and max_range",
                std::to_string(n) + " points, where it returns none");
  }
  const double wanted_columns =
      std::ceil(static_cast<double>(n) / (static_cast<double>(settings.beams) * 8.0 * 0.8));
  double columns = std::max(8.0, 8.0 * wanted_columns);
  std::vector<Return> returns;
  for (;; columns = 8.0 * std::ceil(columns * 1.25 / 8.0)) {
    if (columns > static_cast<double>(kMaxColumns)) {
      throw Error(kName, "n", "points that the scene returns within min_range and max_range",
                  std::to_string(n) + " points, more than 2^24 columns can give");
    }
    returns.clear();
    returns.reserve(static_cast<std::size_t>(n) + static_cast<std::size_t>(n) / 2);
    trace_all(scene, settings, static_cast<std::int64_t>(columns), returns);
    if (static_cast<std::int64_t>(returns.size()) >= n) break;
  }
  const auto total = static_cast<std::int64_t>(returns.size());
  for (std::int64_t i = 0; i < n; ++i) {
    const Return& p = returns[static_cast<std::size_t>(i * total / n)];
    points(i, 0) = p.x;
    points(i, 1) = p.y;
    points(i, 2) = p.z;
    points(i, 3) = p.reflectance;
  }
}

}  // namespace

void generate_lidar_scan(const LidarScanSettings& settings, Out<float, 2> points) {
  generate(settings, points, trace);
}

void generate_lidar_scan_plainly(const LidarScanSettings& settings, Out<float, 2> points) {
  generate(settings, points, trace_plainly);
}

}  // namespace researchkit::fusefps
