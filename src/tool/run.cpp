#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <vector>

#include "src/tool/progress.hpp"
#include "src/tool/tensor_files.hpp"
#include "src/tool/tool.hpp"

namespace researchkit::tool {
namespace {

struct Options {
  std::string operator_name;
  std::vector<std::string> inputs;
  std::vector<std::string> attributes;
  std::string output_dir;
  std::string device = "cpu";
  int threads = 0;
  std::uint64_t seed = 0;
  bool seed_given = false;
  int repeat = 1;
};

/// "k=1024" for every entry, each read as the type that the schema gives it.
AttributeMap parse_attributes(const Schema& schema, const std::vector<std::string>& texts) {
  AttributeMap attributes;
  for (const std::string& text : texts) {
    const std::size_t equals = text.find('=');
    if (equals == std::string::npos || equals == 0) {
      throw Error(fmt::format("--set {}: wanted NAME=VALUE", text));
    }
    const std::string name = text.substr(0, equals), value = text.substr(equals + 1);
    if (attributes.contains(name)) throw Error(schema.operator_name, name, "one value", "two");
    const ArgumentSpec* spec = schema.find(name);
    if (spec == nullptr || spec->kind != ArgumentKind::attribute) {
      attributes[name] = value;  // the call says which attributes there are
      continue;
    }
    const auto parsed = parse_attribute(spec->type, value);
    if (!parsed) throw Error(schema.operator_name, name, to_string(spec->type), value);
    attributes[name] = *parsed;
  }
  return attributes;
}

Context make_context(const Options& options, Progress& progress, const int& finished_runs) {
  return Context({.device = parse_device(options.device),
                  .threads = options.threads,
                  .seed = options.seed,
                  .progress = [&](double fraction, std::string_view what) {
                    progress.show((finished_runs + fraction) / options.repeat, what);
                  }});
}

/// Runs the call `options.repeat` times and returns how long each took, in seconds, ascending.
std::vector<double> time_call(PreparedCall& call, const Context& ctx, const Options& options,
                              Progress& progress, int& finished_runs) {
  std::vector<double> seconds;
  for (finished_runs = 0; finished_runs < options.repeat; ++finished_runs) {
    progress.show(static_cast<double>(finished_runs) / options.repeat, options.operator_name);
    const auto begin = std::chrono::steady_clock::now();
    call.execute();
    ctx.synchronize();
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - begin;
    seconds.push_back(elapsed.count());
  }
  std::sort(seconds.begin(), seconds.end());
  return seconds;
}

void print_tensors(std::string_view title, const TensorMap& tensors) {
  std::size_t width = 0;
  for (const auto& [name, tensor] : tensors) width = std::max(width, name.size());
  for (const auto& [name, tensor] : tensors) {
    fmt::print("{:<7} {:<{}}  {} {}\n", title, name, width, to_string(tensor.dtype()),
               to_string(tensor.shape()));
  }
}

bool computes_in_double(const TensorMap& inputs) {
  return std::any_of(inputs.begin(), inputs.end(), [](const TensorMap::Entry& input) {
    return input.second.dtype() == DType::f64;
  });
}

int run_operator(const Options& options) {
  const Operator& op = default_registry().at(options.operator_name);
  std::vector<InputFile> files;
  for (const std::string& text : options.inputs) files.push_back(parse_input(text));
  Arguments arguments{.inputs = {},
                      .attributes = parse_attributes(op.schema(), options.attributes)};
  const ArgumentSpec* seed = op.schema().find("seed");
  if (options.seed_given && seed != nullptr && seed->type == AttributeType::uint64) {
    arguments.attributes.try_emplace("seed", options.seed);
  }
  arguments.inputs = read_inputs(op.schema(), files);

  Progress progress;
  int finished_runs = 0;
  const Context ctx = make_context(options, progress, finished_runs);
  for (auto& [name, tensor] : arguments.inputs) tensor = tensor.to(ctx.device());
  PreparedCall call = op.prepare(ctx, arguments);
  const std::vector<double> seconds = time_call(call, ctx, options, progress, finished_runs);
  TensorMap outputs = call.outputs();
  for (auto& [name, tensor] : outputs) tensor = tensor.to(Device::host());
  if (!options.output_dir.empty()) write_outputs(options.output_dir, outputs);
  progress.wipe();

  fmt::print("{} on {}, {} thread{}\n", op.name(), to_string(ctx.device()), ctx.threads(),
             ctx.threads() == 1 ? "" : "s");
  print_tensors("input", arguments.inputs);
  print_tensors("output", outputs);
  fmt::print("time    {} best, {} median of {}\n", show_seconds(seconds.front()),
             show_seconds(seconds[seconds.size() / 2]), seconds.size());
  print_rates(call.cost(), seconds.front(), computes_in_double(arguments.inputs), ctx);
  if (!options.output_dir.empty()) fmt::print("wrote   {}/*.npy\n", options.output_dir);
  return kSuccess;
}

}  // namespace

void add_run(CLI::App& app, Action& action) {
  auto options = std::make_shared<Options>();
  CLI::App* verb = app.add_subcommand("run", "run an operator on files and time it");
  verb->add_option("OPERATOR", options->operator_name, "a name that `ops` lists")->required();
  verb->add_option("-i,--input", options->inputs,
                   "NAME=FILE (.npy .bin .ply .pcd .xyz .txt .csv), or an archive (.npz "
                   ".safetensors) whose tensors have the inputs' names")
      ->type_name("NAME=FILE")
      ->take_all()
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  verb->add_option("-s,--set", options->attributes, "an attribute; lists as 1,2,3")
      ->type_name("NAME=VALUE")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  verb->add_option("-o,--output-dir", options->output_dir,
                   "where each output goes as <name>.npy; without it nothing is written");
  verb->add_option("--device", options->device,
                   "cpu, cuda or cuda:<number>; developer builds also emulated")
      ->capture_default_str();
  verb->add_option("--threads", options->threads, "threads; 0: OMP_NUM_THREADS or all processors")
      ->check(CLI::Range(0, 4096));
  auto* seed = verb->add_option("--seed", options->seed, "the operator's seed, if it has one");
  verb->add_option("--repeat", options->repeat, "how often to run it")
      ->check(CLI::Range(1, 1'000'000))
      ->capture_default_str();
  verb->footer(
      examples(
          {"researchkit run fusefps.lidar_scan --set n=120000 --output-dir scan",
           "researchkit run fusefps.fused_farthest_point_sample --input points=scan/points.npy "
           "--set k=16384 \\",
           "    --set distance_dims=3 --repeat 5 --output-dir sample"}) +
      "\nA file with one axis less than an input with a batch axis `b` is a batch of one: a cloud "
      "[n, d] is taken\nas [1, n, d], and outputs keep that leading 1. All outputs are written "
      "after the call succeeded, or none.");
  verb->callback([options, seed, &action] {
    options->seed_given = seed->count() > 0;
    action = [options] { return run_operator(*options); };
  });
}

}  // namespace researchkit::tool
