#include "src/tool/tensor_files.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <system_error>

#include "researchkit/core/io/npy.hpp"
#include "researchkit/core/io/safetensors.hpp"
#include "researchkit/fusefps/point_cloud_io.hpp"

namespace researchkit::tool {
namespace {

namespace fs = std::filesystem;

bool is_archive(const fs::path& path) {
  return path.extension() == ".npz" || path.extension() == ".safetensors";
}

TensorMap read_archive(const fs::path& path) {
  TensorMap tensors;
  if (path.extension() == ".npz") {
    for (auto& [name, tensor] : read_npz(path)) tensors.set(name, tensor);
  } else {
    for (auto& [name, tensor] : read_safetensors(path).tensors) tensors.set(name, tensor);
  }
  return tensors;
}

/// The tensor as a batch of one, if the input wants a batch and the tensor is one axis short.
Tensor as_batch(const Schema& schema, const std::string& name, const Tensor& tensor) {
  const ArgumentSpec* spec = schema.find(name);
  const bool wants_batch = spec != nullptr && spec->kind == ArgumentKind::input &&
                           spec->arity == Arity::single && !spec->shape.empty() &&
                           spec->shape.front().text() == "b";
  if (!wants_batch || tensor.rank() + 1 != spec->rank) return tensor;
  Shape shape = tensor.shape();
  shape.insert(shape.begin(), 1);
  return tensor.contiguous().reshape(std::move(shape));
}

/// A folder inside `parent` that goes away with the object.
class StagingFolder {
 public:
  explicit StagingFolder(const fs::path& parent)
      : path_(parent / fmt::format(".researchkit-{}", getpid())) {
    fs::create_directory(path_);
  }
  ~StagingFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  StagingFolder(const StagingFolder&) = delete;
  StagingFolder& operator=(const StagingFolder&) = delete;
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

/// The folders that have to be made so that `folder` exists, innermost first.
std::vector<fs::path> missing_folders(const fs::path& folder) {
  std::vector<fs::path> missing;
  for (fs::path at = folder; !at.empty() && !fs::exists(at); at = at.parent_path()) {
    missing.push_back(at);
  }
  return missing;
}

}  // namespace

InputFile parse_input(const std::string& text) {
  const std::size_t equals = text.find('=');
  if (equals == std::string::npos) {
    if (is_archive(text)) return {"", text};
    throw Error(fmt::format(
        "--input {}: wanted NAME=FILE, or an archive FILE.npz or FILE.safetensors", text));
  }
  if (equals == 0 || equals + 1 == text.size()) {
    throw Error(fmt::format("--input {}: wanted NAME=FILE", text));
  }
  return {text.substr(0, equals), text.substr(equals + 1)};
}

Tensor read_tensor(const fs::path& path) {
  if (path.extension() == ".npy") return read_npy(path);
  if (is_archive(path)) {
    throw Error(fmt::format("{}: an archive gives its tensors their names: --input {}",
                            path.string(), path.string()));
  }
  return fusefps::read_points(path);
}

TensorMap read_inputs(const Schema& schema, const std::vector<InputFile>& files) {
  TensorMap inputs;
  const auto add = [&](const std::string& name, const Tensor& tensor) {
    if (inputs.contains(name)) throw Error(schema.operator_name, name, "one tensor", "two");
    inputs.set(name, as_batch(schema, name, tensor));
  };
  for (const InputFile& file : files) {
    if (file.name.empty()) {
      for (const auto& [name, tensor] : read_archive(file.path)) add(name, tensor);
    } else {
      add(file.name, read_tensor(file.path));
    }
  }
  return inputs;
}

void write_outputs(const fs::path& folder, const TensorMap& outputs) {
  const std::vector<fs::path> created = missing_folders(folder);
  std::vector<fs::path> placed;
  try {
    fs::create_directories(folder);
    const StagingFolder staging(folder);
    for (const auto& [name, tensor] : outputs) {
      if (name.find('/') != std::string::npos) {
        throw Error(fmt::format("output '{}' cannot be a file's name", name));
      }
      write_npy(staging.path() / (name + ".npy"), tensor);
    }
    for (const auto& [name, tensor] : outputs) {
      const fs::path target = folder / (name + ".npy");
      const bool is_new = !fs::exists(target);
      fs::rename(staging.path() / (name + ".npy"), target);
      if (is_new) placed.push_back(target);
    }
  } catch (const std::exception& error) {
    std::error_code ignored;
    for (const fs::path& path : placed) fs::remove(path, ignored);
    for (const fs::path& path : created) fs::remove(path, ignored);
    if (const auto* failure = dynamic_cast<const fs::filesystem_error*>(&error)) {
      throw Error(fmt::format("{}: {}", folder.string(), failure->code().message()));
    }
    throw;
  }
}

}  // namespace researchkit::tool
