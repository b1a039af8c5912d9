#include "researchkit/core/io/safetensors.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "researchkit/core/io/file.hpp"
#include "src/core/io/bytes.hpp"

namespace researchkit {
namespace {

using Json = nlohmann::json;

constexpr std::uint64_t kMaxHeader = 100'000'000;  // the format's own limit
constexpr std::size_t kMaxRank = 32;
constexpr std::string_view kMetadata = "__metadata__";

constexpr std::pair<DType, std::string_view> kTypeNames[] = {
    {DType::f32, "F32"}, {DType::f64, "F64"}, {DType::f16, "F16"}, {DType::bf16, "BF16"},
    {DType::i32, "I32"}, {DType::i64, "I64"}, {DType::u8, "U8"},   {DType::boolean, "BOOL"}};

std::string_view name_of(DType dtype) {
  const auto* found = std::find_if(std::begin(kTypeNames), std::end(kTypeNames),
                                   [&](const auto& pair) { return pair.first == dtype; });
  return found->second;
}

/// Parses the header, refusing keys that occur twice (which a plain parse would let overwrite each
/// other) and nesting deeper than the format has.
Json parse_header(std::string_view text, std::string_view file) {
  std::vector<std::set<std::string>> keys;
  const Json::parser_callback_t check = [&](int depth, Json::parse_event_t event, Json& value) {
    if (depth > 3) io::fail(file, "header is nested too deeply");
    if (event == Json::parse_event_t::object_start) keys.emplace_back();
    if (event == Json::parse_event_t::object_end) keys.pop_back();
    if (event == Json::parse_event_t::key) {
      const auto& key = value.get_ref<const std::string&>();
      if (!keys.back().insert(key).second) {
        io::fail(file, "'{}' occurs twice in the header", io::printable(key));
      }
    }
    return true;
  };
  Json header;
  try {
    header = Json::parse(text, check);
  } catch (const Json::exception& error) {
    io::fail(file, "header is not JSON: {}", io::printable(error.what(), 160));
  }
  if (!header.is_object()) io::fail(file, "header is not a JSON object");
  return header;
}

struct Entry {
  std::string name;
  DType dtype = DType::f32;
  Shape shape;
  std::uint64_t begin = 0, end = 0;
};

const Json& field(const Json& entry, const char* key, std::string_view where) {
  const auto found = entry.find(key);
  if (found == entry.end()) io::fail(where, "lacks '{}'", key);
  return *found;
}

/// A number of the header that must be a non-negative integer below 2^63.
std::uint64_t natural(const Json& value, std::string_view where, std::string_view what) {
  if (!value.is_number_unsigned() || value.get<std::uint64_t>() > INT64_MAX) {
    io::fail(where, "{} has an entry that is not a natural number", what);
  }
  return value.get<std::uint64_t>();
}

Entry parse_entry(const std::string& name, const Json& json, std::string_view file) {
  const std::string where = fmt::format("{}: tensor '{}'", file, io::printable(name));
  if (!json.is_object()) io::fail(where, "is not described by a JSON object");
  if (json.size() != 3) io::fail(where, "wanted the keys dtype, shape and data_offsets alone");
  const Json& type = field(json, "dtype", where);
  const Json& shape = field(json, "shape", where);
  const Json& offsets = field(json, "data_offsets", where);

  Entry entry{.name = name, .shape = {}};
  const std::string type_name = type.is_string() ? type.get<std::string>() : type.dump();
  const auto* known = std::find_if(std::begin(kTypeNames), std::end(kTypeNames),
                                   [&](const auto& pair) { return pair.second == type_name; });
  if (known == std::end(kTypeNames)) {
    io::fail(where,
             "element type '{}' is not supported (F32, F64, F16, BF16, I32, I64, U8 and BOOL are)",
             io::printable(type_name));
  }
  entry.dtype = known->first;
  if (!shape.is_array() || shape.size() > kMaxRank) {
    io::fail(where, "shape is not a list of at most {} extents", kMaxRank);
  }
  for (const Json& extent : shape) {
    entry.shape.push_back(static_cast<std::int64_t>(natural(extent, where, "shape")));
  }
  if (!offsets.is_array() || offsets.size() != 2) io::fail(where, "data_offsets is not a pair");
  entry.begin = natural(offsets[0], where, "data_offsets");
  entry.end = natural(offsets[1], where, "data_offsets");
  const auto wanted = io::checked_bytes(entry.shape, entry.dtype);
  if (!wanted) io::fail(where, "shape {} is too large", to_string(entry.shape));
  if (entry.begin > entry.end || entry.end - entry.begin != *wanted) {
    io::fail(where, "{} of shape {} needs {} bytes, data_offsets are {} to {}", type_name,
             to_string(entry.shape), *wanted, entry.begin, entry.end);
  }
  return entry;
}

SafeTensors parse(io::Bytes bytes, std::string_view file, const std::shared_ptr<void>& owner) {
  if (bytes.size() < 8) io::fail(file, "not a .safetensors file (shorter than 8 bytes)");
  const auto length = io::load<std::uint64_t>(bytes.data());
  if (length > kMaxHeader) {
    io::fail(file, "not a .safetensors file (header of {} bytes, more than {})", length,
             kMaxHeader);
  }
  if (length > bytes.size() - 8) io::fail(file, "truncated .safetensors header");
  const auto text = io::as_text(bytes.subspan(8, static_cast<std::size_t>(length)));
  if (!text.starts_with('{')) io::fail(file, "header does not begin with '{{'");
  const io::Bytes data = bytes.subspan(8 + static_cast<std::size_t>(length));

  SafeTensors result;
  std::vector<Entry> entries;
  const Json header = parse_header(text, file);
  for (const auto& [key, value] : header.items()) {
    if (key != kMetadata) {
      entries.push_back(parse_entry(key, value, file));
      continue;
    }
    if (!value.is_object()) io::fail(file, "__metadata__ is not a JSON object");
    for (const auto& [name, text_value] : value.items()) {
      if (!text_value.is_string()) {
        io::fail(file, "__metadata__ '{}' is not a string", io::printable(name));
      }
      result.metadata.emplace(name, text_value.get<std::string>());
    }
  }
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  std::uint64_t reached = 0;
  for (const auto& entry : entries) {
    if (entry.begin != reached) {
      io::fail(file, "tensor '{}': data at {} {}", io::printable(entry.name), entry.begin,
               entry.begin < reached ? "overlap another tensor's" : "leave a hole before them");
    }
    reached = entry.end;
  }
  if (reached != data.size()) {
    io::fail(file, "{}: the tensors need {} bytes, the file has {}",
             reached > data.size() ? "truncated" : "trailing bytes", reached, data.size());
  }
  for (auto& entry : entries) {
    const auto part = data.subspan(static_cast<std::size_t>(entry.begin),
                                   static_cast<std::size_t>(entry.end - entry.begin));
    Tensor tensor = io::tensor_over(part, entry.dtype, std::move(entry.shape), owner);
    if (std::endian::native != std::endian::little) {
      io::swap_bytes({static_cast<std::byte*>(tensor.data()), tensor.bytes()},
                     size_of(entry.dtype));
    }
    result.tensors.emplace(std::move(entry.name), std::move(tensor));
  }
  return result;
}

}  // namespace

SafeTensors read_safetensors(const std::filesystem::path& path) {
  const FileBytes file = read_file(path);
  return parse(file.bytes, path.string(), file.owner);
}

SafeTensors parse_safetensors(std::span<const std::byte> bytes, std::string_view name) {
  return parse(bytes, name, nullptr);
}

void write_safetensors(const std::filesystem::path& path,
                       const std::map<std::string, Tensor>& tensors,
                       const std::map<std::string, std::string>& metadata) {
  const std::string file = path.string();
  std::vector<std::pair<std::string, Tensor>> order;
  for (const auto& [name, tensor] : tensors) {
    if (name == kMetadata) io::fail(file, "no tensor can be called {}", kMetadata);
    Tensor rows = io::writable(tensor, fmt::format("{}: tensor '{}'", file, io::printable(name)));
    if (static_cast<std::size_t>(rows.rank()) > kMaxRank) {
      io::fail(file, "tensor '{}' has a rank above {}", io::printable(name), kMaxRank);
    }
    if (std::endian::native != std::endian::little) {
      rows = rows.clone();
      io::swap_bytes({static_cast<std::byte*>(rows.data()), rows.bytes()}, size_of(rows.dtype()));
    }
    order.emplace_back(name, std::move(rows));
  }
  // Falling element size keeps every tensor aligned without gaps.
  std::stable_sort(order.begin(), order.end(), [](const auto& a, const auto& b) {
    return size_of(a.second.dtype()) > size_of(b.second.dtype());
  });

  std::uint64_t offset = 0;
  Json header = Json::object();
  if (!metadata.empty()) header[std::string(kMetadata)] = metadata;
  for (const auto& [name, tensor] : order) {
    header[name] = {{"dtype", name_of(tensor.dtype())},
                    {"shape", tensor.shape()},
                    {"data_offsets", {offset, offset + tensor.bytes()}}};
    offset += tensor.bytes();
  }
  std::string text;
  try {
    text = header.dump();
  } catch (const Json::exception& error) {
    io::fail(file, "a name or metadata cannot be written: {}", io::printable(error.what(), 160));
  }
  constexpr std::size_t kAlignment = 64;
  text.resize((text.size() + 8 + kAlignment - 1) / kAlignment * kAlignment - 8, ' ');
  if (text.size() > kMaxHeader) io::fail(file, "header of more than {} bytes", kMaxHeader);

  std::vector<std::byte> length;
  io::append(length, static_cast<std::uint64_t>(text.size()));
  std::vector<io::Bytes> pieces = {length, std::as_bytes(std::span(text))};
  for (const auto& [name, tensor] : order) pieces.push_back(io::bytes_of(tensor));
  write_file(path, pieces);
}

}  // namespace researchkit
