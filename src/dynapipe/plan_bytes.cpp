#include <fmt/format.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>

#include "researchkit/core/error.hpp"
#include "researchkit/dynapipe/plan_file.hpp"
#include "src/dynapipe/plan_limits.hpp"

namespace researchkit::dynapipe {
namespace {

constexpr std::array<char, 4> kMagic = {'R', 'K', 'D', 'P'};
constexpr std::size_t kHeader = 16;  // magic, version, crc32 and size of the content
constexpr std::size_t kLargest = std::size_t{1} << 30;

class Writer {
 public:
  void u32(std::uint32_t value) {
    std::array<char, 4> bytes{};
    for (std::size_t k = 0; k < 4; ++k) bytes[k] = static_cast<char>((value >> (8 * k)) & 0xFF);
    bytes_.append(bytes.data(), bytes.size());
  }
  void i32(std::int32_t value) { u32(static_cast<std::uint32_t>(value)); }
  void real(double value) {
    const auto bits = std::bit_cast<std::uint64_t>(value);
    u32(static_cast<std::uint32_t>(bits));
    u32(static_cast<std::uint32_t>(bits >> 32));
  }
  void count(std::size_t value) { u32(static_cast<std::uint32_t>(value)); }
  void text(const std::string& value) {
    count(value.size());
    bytes_.append(value);
  }
  void raw(std::string_view value) { bytes_.append(value); }
  std::span<const unsigned char> bytes() const {
    return {reinterpret_cast<const unsigned char*>(bytes_.data()), bytes_.size()};
  }

 private:
  std::string bytes_;
};

class Reader {
 public:
  explicit Reader(std::span<const unsigned char> bytes) : bytes_(bytes) {}
  std::uint32_t u32() {
    need(4);
    std::uint32_t value = 0;
    for (std::size_t k = 0; k < 4; ++k) value |= std::uint32_t{bytes_[at_ + k]} << (8 * k);
    at_ += 4;
    return value;
  }
  std::int32_t i32() { return static_cast<std::int32_t>(u32()); }
  double real() {
    const std::uint64_t low = u32();
    return std::bit_cast<double>(low | (std::uint64_t{u32()} << 32));
  }
  /// A number of things that take at least `each` bytes.
  std::size_t count(std::size_t each) {
    const std::size_t value = u32();
    if (value > (bytes_.size() - at_) / each) need(bytes_.size());
    return value;
  }
  std::string text() {
    const std::size_t size = count(1);
    std::string value(bytes_.begin() + static_cast<std::ptrdiff_t>(at_),
                      bytes_.begin() + static_cast<std::ptrdiff_t>(at_ + size));
    at_ += size;
    return value;
  }
  void finish() const {
    if (at_ != bytes_.size()) throw Error("plan: bytes behind the end");
  }

 private:
  void need(std::size_t bytes) const {
    if (bytes_.size() - at_ < bytes) throw Error("plan: truncated");
  }
  std::span<const unsigned char> bytes_;
  std::size_t at_ = 0;
};

void write_content(const StoredPlan& plan, int version, Writer& out) {
  out.text(plan.plan_id);
  out.i32(plan.data_parallel_rank);
  out.i32(static_cast<std::int32_t>(plan.recompute));
  out.i32(plan.hidden);
  out.i32(plan.n_enc_stages);
  const bool chunked = version >= detail::kChunkedVersion;
  if (chunked) out.i32(plan.chunks);
  out.count(plan.program.stages.size());
  for (std::size_t s = 0; s < plan.program.stages.size(); ++s) {
    out.i32(plan.program.slots[s]);
    out.count(plan.program.stages[s].size());
    for (const Instruction& step : plan.program.stages[s]) {
      for (const std::int32_t value : {step.stage, static_cast<std::int32_t>(step.op),
                                       step.micro_batch, step.peer, step.buffer[0], step.buffer[1],
                                       step.mbs, step.length[0], step.length[1], step.hidden}) {
        out.i32(value);
      }
      if (chunked) out.i32(step.chunk);
    }
    out.real(plan.peak_mb[s]);
    out.real(plan.bubble[s]);
  }
  out.count(plan.micro_batches.size());
  for (std::size_t m = 0; m < plan.micro_batches.size(); ++m) {
    const MicroBatch& batch = plan.micro_batches[m];
    out.count(batch.samples.size());
    for (const std::int32_t i : batch.samples) out.i32(i);
    if (version >= detail::kPackedVersion) {
      out.count(batch.sequence_of.size());
      for (const std::int32_t sequence : batch.sequence_of) out.i32(sequence);
    }
    for (const std::int32_t v : {batch.shape.samples, batch.shape.input, batch.shape.target}) {
      out.i32(v);
    }
    out.real(plan.time_ms[m]);
  }
  out.real(plan.makespan_ms);
}

StoredPlan read_content(Reader in, std::uint32_t version) {
  StoredPlan plan;
  plan.plan_id = in.text();
  plan.data_parallel_rank = in.i32();
  const std::int32_t mode = in.i32();
  if (mode < 0 || mode > 2) throw Error(fmt::format("plan: recompute {}", mode));
  plan.recompute = static_cast<Recompute>(mode);
  plan.hidden = in.i32();
  plan.n_enc_stages = in.i32();
  const bool chunked = version >= detail::kChunkedVersion;
  if (chunked) plan.chunks = in.i32();
  const std::size_t columns = chunked ? 11 : 10;
  const std::size_t stages = in.count(24);
  for (std::size_t s = 0; s < stages; ++s) {
    plan.program.slots.push_back(in.i32());
    auto& program = plan.program.stages.emplace_back(in.count(columns * sizeof(std::int32_t)));
    for (Instruction& step : program) {
      step.stage = in.i32();
      const std::int32_t op = in.i32();
      if (op < 0 || op > static_cast<std::int32_t>(Opcode::free_buffer)) {
        throw Error(fmt::format("plan: no instruction {}", op));
      }
      step.op = static_cast<Opcode>(op);
      step.micro_batch = in.i32();
      step.peer = in.i32();
      step.buffer = {in.i32(), in.i32()};
      step.mbs = in.i32();
      step.length = {in.i32(), in.i32()};
      step.hidden = in.i32();
      if (chunked) step.chunk = in.i32();
    }
    plan.peak_mb.push_back(in.real());
    plan.bubble.push_back(in.real());
  }
  const std::size_t batches = in.count(24);
  for (std::size_t m = 0; m < batches; ++m) {
    MicroBatch& batch = plan.micro_batches.emplace_back();
    batch.samples.resize(in.count(4));
    for (std::int32_t& i : batch.samples) i = in.i32();
    if (version >= detail::kPackedVersion) {
      batch.sequence_of.resize(in.count(4));
      for (std::int32_t& sequence : batch.sequence_of) sequence = in.i32();
    }
    batch.shape = {in.i32(), in.i32(), in.i32()};
    plan.time_ms.push_back(in.real());
  }
  plan.makespan_ms = in.real();
  in.finish();
  return plan;
}

std::uint32_t checksum(std::span<const unsigned char> bytes) {
  return static_cast<std::uint32_t>(
      crc32(crc32(0, nullptr, 0), bytes.data(), static_cast<uInt>(bytes.size())));
}

}  // namespace

namespace detail {

void check_version(std::int64_t version) {
  if (version >= kPlainVersion && version <= kChunkedVersion) return;
  throw Error(fmt::format("plan: wanted version {} to {}, got {}", kPlainVersion, kChunkedVersion,
                          version));
}

void check_stored_plan(const StoredPlan& plan) {
  const auto stages = static_cast<std::int32_t>(plan.program.stages.size());
  const auto batches = static_cast<std::int32_t>(plan.micro_batches.size());
  const auto require = [](bool holds, std::string_view what) {
    if (!holds) throw Error(fmt::format("plan: {}", what));
  };
  require(stages >= 1, "no stages");
  require(plan.chunks >= 1, "chunks is not positive");
  require(plan.n_enc_stages >= 1 && plan.n_enc_stages <= std::int64_t{stages} * plan.chunks,
          "n_enc_stages is not a stage of the model");
  require(plan.hidden >= 1, "hidden is not positive");
  require(plan.data_parallel_rank >= 0, "data_parallel_rank is negative");
  require(plan.peak_mb.size() == static_cast<std::size_t>(stages) &&
              plan.bubble.size() == static_cast<std::size_t>(stages),
          "predictions of another number of stages");
  for (std::int32_t s = 0; s < stages; ++s) {
    const auto at = static_cast<std::size_t>(s);
    require(plan.program.slots[at] >= 0, "a negative number of slots");
    for (const Instruction& step : plan.program.stages[at]) {
      require(step.stage == s, "an instruction of another stage");
      require(step.micro_batch >= 0 && step.micro_batch < batches, "no such micro-batch");
      require(step.chunk >= 0 && step.chunk < plan.chunks, "no such chunk");
      require(step.peer >= -1 && step.peer < stages && step.peer != s, "no such peer");
      for (const std::int32_t slot : step.buffer) {
        require(slot >= -1 && slot < plan.program.slots[at], "no such slot");
      }
      require(step.mbs >= 0 && step.hidden >= 0 && step.length[0] >= 0 && step.length[1] >= 0,
              "a negative size");
      require(step.hidden > 0 || (step.mbs == 0 && step.length[0] == 0 && step.length[1] == 0),
              "sizes without hidden");
      require(step.buffer[0] >= 0 || step.buffer[1] < 0, "a second buffer without a first");
    }
  }
  const auto finite = [](const std::vector<double>& values) {
    return std::all_of(values.begin(), values.end(), [](double v) { return std::isfinite(v); });
  };
  require(plan.time_ms.size() == plan.micro_batches.size(), "times of another number");
  require(std::isfinite(plan.makespan_ms) && finite(plan.peak_mb) && finite(plan.bubble) &&
              finite(plan.time_ms),
          "a prediction that is no number");
  for (const MicroBatch& batch : plan.micro_batches) {
    require(batch.shape.samples >= 0 && batch.shape.input >= 0 && batch.shape.target >= 0,
            "a negative size");
    for (const std::int32_t i : batch.samples) require(i >= 0, "a negative sample");
    if (!batch.packed()) continue;  // a packing baseline's old files do not say who is where
    const auto fault = find_sequence_fault(batch);
    require(!fault, fault.value_or(""));
  }
}

}  // namespace detail

std::vector<std::byte> plan_to_bytes(const StoredPlan& plan) {
  const int version = detail::version_of(plan);
  Writer content;
  write_content(plan, version, content);
  Writer header;
  header.raw({kMagic.data(), kMagic.size()});
  header.u32(static_cast<std::uint32_t>(version));
  header.u32(checksum(content.bytes()));
  header.count(content.bytes().size());
  uLongf size = compressBound(static_cast<uLong>(content.bytes().size()));
  std::vector<std::byte> file(kHeader + size);
  std::memcpy(file.data(), header.bytes().data(), kHeader);
  if (compress2(reinterpret_cast<Bytef*>(file.data() + kHeader), &size, content.bytes().data(),
                static_cast<uLong>(content.bytes().size()), Z_BEST_COMPRESSION) != Z_OK) {
    throw Error("plan: cannot be deflated");
  }
  file.resize(kHeader + size);
  return file;
}

StoredPlan plan_from_bytes(std::span<const std::byte> bytes) {
  const std::span file(reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size());
  if (file.size() < kHeader || std::memcmp(file.data(), kMagic.data(), kMagic.size()) != 0) {
    throw Error("plan: no RKDP file");
  }
  Reader header(file.subspan(4, kHeader - 4));
  const std::uint32_t version = header.u32(), crc = header.u32(), size = header.u32();
  detail::check_version(version);
  // Deflate reaches a factor of 1032 at most: a larger claim is a lie, and not worth its memory.
  if (size > kLargest || size / 1100 > file.size()) throw Error("plan: truncated");
  std::vector<unsigned char> content(size);
  uLongf got = size;
  const int status = uncompress(content.data(), &got, file.data() + kHeader,
                                static_cast<uLong>(file.size() - kHeader));
  if (status != Z_OK || got != size) throw Error("plan: truncated or damaged");
  if (checksum(content) != crc) throw Error("plan: wrong checksum");
  StoredPlan plan = read_content(Reader(content), version);
  detail::check_stored_plan(plan);
  return plan;
}

}  // namespace researchkit::dynapipe
