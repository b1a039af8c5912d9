#include "researchkit/core/io/npy.hpp"

#include <fmt/ranges.h>

#include <array>
#include <charconv>

#include "researchkit/core/io/file.hpp"
#include "src/core/io/npy_format.hpp"

namespace researchkit {
namespace io {
namespace {

constexpr std::string_view kMagic{"\x93NUMPY", 6};
constexpr std::size_t kMaxHeader = std::size_t{1} << 16;
constexpr std::size_t kMaxRank = 32;

struct Header {
  DType dtype = DType::f32;
  bool swapped = false;
  bool fortran_order = false;
  Shape shape;
};

/// Reads the header: a Python dictionary literal with the keys descr, fortran_order and shape.
class HeaderParser {
 public:
  HeaderParser(std::string_view text, std::string_view name) : text_(text), name_(name) {}

  Header parse() {
    Header header;
    bool has_descr = false, has_order = false, has_shape = false;
    expect('{');
    while (!accept('}')) {
      const std::string_view key = string();
      bool& seen = key == "descr"           ? has_descr
                   : key == "fortran_order" ? has_order
                   : key == "shape"         ? has_shape
                                            : refuse_key(key);
      if (seen) fail(name_, "header has the key '{}' twice", key);
      seen = true;
      expect(':');
      if (&seen == &has_descr) parse_descr(header);
      if (&seen == &has_order) header.fortran_order = boolean();
      if (&seen == &has_shape) header.shape = shape();
      if (!accept(',')) {
        expect('}');
        break;
      }
    }
    skip_space();
    if (at_ != text_.size()) fail(name_, "header has text after its closing brace");
    if (!has_descr || !has_order || !has_shape) {
      fail(name_, "header lacks '{}'",
           !has_descr   ? "descr"
           : !has_order ? "fortran_order"
                        : "shape");
    }
    return header;
  }

 private:
  void skip_space() {
    while (at_ < text_.size() &&
           (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\t' || text_[at_] == '\r')) {
      ++at_;
    }
  }
  bool accept(char c) {
    skip_space();
    if (at_ == text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  void expect(char c) {
    if (!accept(c)) fail(name_, "header: wanted '{}' at '{}'", c, printable(text_.substr(at_), 20));
  }
  [[noreturn]] bool& refuse_key(std::string_view key) {
    fail(name_, "header has an unknown key '{}'", printable(key));
  }
  std::string_view string() {
    skip_space();
    const char quote = at_ < text_.size() ? text_[at_] : '\0';
    const auto end =
        quote == '\'' || quote == '"' ? text_.find(quote, at_ + 1) : std::string_view::npos;
    if (end == std::string_view::npos) {
      fail(name_, "header: wanted a string at '{}'", printable(text_.substr(at_), 20));
    }
    const auto content = text_.substr(at_ + 1, end - at_ - 1);
    at_ = end + 1;
    return content;
  }
  bool boolean() {
    skip_space();
    for (const std::string_view word : {"True", "False"}) {
      if (text_.substr(at_).starts_with(word)) {
        at_ += word.size();
        return word == "True";
      }
    }
    fail(name_, "header: fortran_order is neither True nor False");
  }
  Shape shape() {
    Shape result;
    expect('(');
    while (!accept(')')) {
      skip_space();
      std::int64_t extent = -1;
      const char* const end = text_.data() + text_.size();
      const auto [next, error] = std::from_chars(text_.data() + at_, end, extent);
      if (error != std::errc() || extent < 0) {
        fail(name_, "header: '{}' is not an extent", printable(text_.substr(at_), 20));
      }
      at_ = static_cast<std::size_t>(next - text_.data());
      accept('L');  // Python 2 wrote its long integers so
      result.push_back(extent);
      if (result.size() > kMaxRank) fail(name_, "rank above {}", kMaxRank);
      if (!accept(',')) {
        // Without a comma, (3) is a number in parentheses and not a shape.
        if (result.size() == 1) fail(name_, "header: shape is not a tuple");
        expect(')');
        break;
      }
    }
    return result;
  }
  void parse_descr(Header& header) {
    if (accept('[')) fail(name_, "element type is a structure, which is not supported");
    const auto descr = string();
    const char order = descr.empty() ? '\0' : descr[0];
    const auto type =
        order == '<' || order == '>' || order == '|' || order == '=' ? descr.substr(1) : descr;
    const auto dtype = type == "f4"                  ? std::optional(DType::f32)
                       : type == "f8"                ? DType::f64
                       : type == "f2"                ? DType::f16
                       : type == "i4"                ? DType::i32
                       : type == "i8"                ? DType::i64
                       : type == "u1"                ? DType::u8
                       : type == "b1" || type == "?" ? DType::boolean
                                                     : std::optional<DType>();
    if (!dtype) {
      fail(name_,
           "element type '{}' is not supported (float16, float32, float64, int32, int64, uint8 and "
           "bool are)",
           printable(descr));
    }
    header.dtype = *dtype;
    constexpr char kOtherOrder = std::endian::native == std::endian::little ? '>' : '<';
    header.swapped = size_of(*dtype) > 1 && order == kOtherOrder;
  }

  std::string_view text_, name_;
  std::size_t at_ = 0;
};

/// The same elements in row-major order, read from column-major memory.
Tensor from_fortran_order(Tensor tensor) {
  Shape strides(tensor.shape().size());
  std::int64_t stride = 1;
  for (std::size_t i = 0; i < strides.size(); ++i) {
    strides[i] = stride;
    stride *= std::max<std::int64_t>(tensor.shape()[i], 1);
  }
  void* const data = tensor.data();
  const auto owner = std::make_shared<Tensor>(std::move(tensor));
  return Tensor(owner->dtype(), owner->shape(), std::move(strides), data, owner).clone();
}

std::string_view descr_of(DType dtype, std::string_view name) {
  switch (dtype) {
    case DType::f32:
      return "<f4";
    case DType::f64:
      return "<f8";
    case DType::f16:
      return "<f2";
    case DType::i32:
      return "<i4";
    case DType::i64:
      return "<i8";
    case DType::u8:
      return "|u1";
    case DType::boolean:
      return "|b1";
    case DType::bf16:
      break;
  }
  fail(name, ".npy has no element type {}", to_string(dtype));
}

}  // namespace

Tensor tensor_from_npy(Bytes bytes, std::string_view name, const std::shared_ptr<void>& owner) {
  if (bytes.size() < kMagic.size() + 4 || !as_text(bytes).starts_with(kMagic)) {
    fail(name, "not a .npy file (it does not begin with \\x93NUMPY)");
  }
  const auto version = std::to_integer<int>(bytes[6]);
  const auto minor = std::to_integer<int>(bytes[7]);
  if (version < 1 || version > 3 || minor != 0) {
    fail(name, ".npy format {}.{} is not known", version, minor);
  }
  const std::size_t start = version == 1 ? 10 : 12;
  if (bytes.size() < start) fail(name, "truncated .npy header");
  const std::size_t length =
      version == 1 ? load<std::uint16_t>(&bytes[8]) : load<std::uint32_t>(&bytes[8]);
  if (length > kMaxHeader) fail(name, ".npy header of {} bytes, more than {}", length, kMaxHeader);
  if (length > bytes.size() - start) fail(name, "truncated .npy header");

  Header header = HeaderParser(as_text(bytes.subspan(start, length)), name).parse();
  const Bytes data = bytes.subspan(start + length);
  const auto wanted = checked_bytes(header.shape, header.dtype);
  if (!wanted) fail(name, "shape {} is too large", to_string(header.shape));
  if (data.size() != *wanted) {
    fail(name, "{}: {} of shape {} needs {} bytes of data, the file has {}",
         data.size() < *wanted ? "truncated" : "trailing bytes", to_string(header.dtype),
         to_string(header.shape), *wanted, data.size());
  }
  Tensor tensor = tensor_over(data, header.dtype, std::move(header.shape), owner);
  if (header.swapped) {
    swap_bytes({static_cast<std::byte*>(tensor.data()), tensor.bytes()}, size_of(tensor.dtype()));
  }
  return header.fortran_order && tensor.rank() > 1 ? from_fortran_order(std::move(tensor)) : tensor;
}

std::string npy_header(const Tensor& tensor, std::string_view name) {
  const std::string dictionary =
      fmt::format("{{'descr': '{}', 'fortran_order': False, 'shape': ({}{}), }}",
                  descr_of(tensor.dtype(), name), fmt::join(tensor.shape(), ", "),
                  tensor.rank() == 1 ? "," : "");
  constexpr std::size_t kBefore = 10;     // magic, version, length
  constexpr std::size_t kAlignment = 64;  // of the data, so that they can be mapped
  const std::size_t total =
      (kBefore + dictionary.size() + 1 + kAlignment - 1) / kAlignment * kAlignment;
  if (total - kBefore > 0xffff) fail(name, "shape of rank {} is too long for .npy", tensor.rank());
  const auto length = static_cast<std::uint16_t>(total - kBefore);

  std::string header(kMagic);
  header += {'\x01', '\x00', static_cast<char>(length & 0xff), static_cast<char>(length >> 8)};
  header += dictionary;
  header.resize(total - 1, ' ');
  return header + '\n';
}

}  // namespace io

Tensor read_npy(const std::filesystem::path& path) {
  const FileBytes file = read_file(path);
  return io::tensor_from_npy(file.bytes, path.string(), file.owner);
}

Tensor parse_npy(std::span<const std::byte> bytes, std::string_view name) {
  return io::tensor_from_npy(bytes, name, nullptr);
}

void write_npy(const std::filesystem::path& path, const Tensor& tensor) {
  const std::string name = path.string();
  Tensor rows = io::writable(tensor, name);
  const std::string header = io::npy_header(rows, name);
  if (std::endian::native != std::endian::little) {
    rows = rows.clone();
    io::swap_bytes({static_cast<std::byte*>(rows.data()), rows.bytes()}, size_of(rows.dtype()));
  }
  const std::array pieces = {std::as_bytes(std::span(header)), io::bytes_of(rows)};
  write_file(path, pieces);
}

}  // namespace researchkit
