#include "researchkit/core/reference_text.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <nlohmann/json.hpp>
#include <vector>

namespace researchkit {
namespace {

using nlohmann::ordered_json;

/// The schemas of one operator, which differ in floating dtypes alone.
using Variants = std::vector<const Schema*>;

Variants variants_of(const Operator& op) {
  Variants variants;
  for (std::size_t i = 0; i < op.variant_count(); ++i) variants.push_back(&op.schema(i));
  return variants;
}

/// The dtypes that argument number `i` has in the variants, each once.
std::vector<std::string> dtypes_of(const Variants& variants, std::size_t i) {
  std::vector<std::string> dtypes;
  for (const Schema* schema : variants) {
    const std::string name(to_string(schema->arguments[i].dtype));
    if (std::find(dtypes.begin(), dtypes.end(), name) == dtypes.end()) dtypes.push_back(name);
  }
  return dtypes;
}

/// "int32", or "T" where the variants differ.
std::string dtype_name(const Variants& variants, std::size_t i) {
  const auto dtypes = dtypes_of(variants, i);
  return dtypes.size() == 1 ? dtypes.front() : "T";
}

/// What T stands for; empty if no argument's dtype is open.
std::vector<std::string> choices_of_t(const Variants& variants) {
  const auto& arguments = variants.front()->arguments;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const bool is_tensor =
        arguments[i].kind == ArgumentKind::input || arguments[i].kind == ArgumentKind::output;
    if (auto dtypes = dtypes_of(variants, i); is_tensor && dtypes.size() > 1) return dtypes;
  }
  return {};
}

std::string join(const std::vector<std::string>& words, std::string_view separator) {
  return fmt::format("{}", fmt::join(words, separator));
}

bool is_list(AttributeType type) {
  return type == AttributeType::boolean_list || type == AttributeType::int64_list ||
         type == AttributeType::real_list || type == AttributeType::string_list;
}

/// "T [b, n, d]", "integer in [-1, 16]", ...: what may be given, or what comes out.
std::string type_text(const Variants& variants, std::size_t i) {
  const ArgumentSpec& spec = variants.front()->arguments[i];
  std::string text;
  if (spec.kind == ArgumentKind::extent) return "at most " + spec.at_most->text();
  if (spec.kind == ArgumentKind::attribute) {
    if (spec.type == AttributeType::enumeration) return join(spec.choices, " | ");
    text = std::string(to_string(spec.type));
    if (spec.interval) {
      text += fmt::format("{} in {}", is_list(spec.type) ? ", each" : "", spec.interval->text());
    }
    return text;
  }
  const std::string dtype = dtype_name(variants, i);
  if (spec.arity == Arity::map) {
    return spec.like.empty() ? fmt::format("any number of {} tensors", dtype)
                             : fmt::format("{} tensors named like {}, with {} in front", dtype,
                                           spec.like, spec.prefix);
  }
  std::vector<std::string> axes;
  for (const Expression& axis : spec.shape) axes.push_back(axis.text());
  text = fmt::format("{} [{}]", dtype, join(axes, ", "));
  if (spec.arity == Arity::list) {
    text = fmt::format("list {}_0, {}_1, ... of {}", spec.name, spec.name, text);
  }
  return text;
}

/// What else is known of an argument: "optional", "default -1", "finite", ...
std::vector<std::string> remarks_of(const ArgumentSpec& spec) {
  std::vector<std::string> remarks;
  if (spec.kind == ArgumentKind::input) {
    if (spec.optional) remarks.emplace_back("optional");
    if (spec.interval) remarks.push_back("values in " + spec.interval->text());
    if (spec.finite) remarks.emplace_back("finite");
  } else if (spec.kind == ArgumentKind::output) {
    if (!spec.when.empty()) remarks.push_back("only with " + spec.when);
    if (spec.count) remarks.push_back(fmt::format("{} of them", spec.count->text()));
  } else if (spec.kind == ArgumentKind::attribute) {
    std::string value = "not given";
    if (spec.default_value) {
      const auto* text = std::get_if<std::string>(&*spec.default_value);
      value = spec.type == AttributeType::enumeration && text != nullptr
                  ? *text
                  : to_string(*spec.default_value);
    }
    remarks.push_back("default " + value);
  }
  return remarks;
}

struct Group {
  ArgumentKind kind;
  std::string_view title;
};
constexpr Group kGroups[] = {{ArgumentKind::input, "inputs"},
                             {ArgumentKind::output, "outputs"},
                             {ArgumentKind::attribute, "attributes"},
                             {ArgumentKind::extent, "extents that the run finds"}};

std::string text_of(const Variants& variants) {
  const Schema& schema = *variants.front();
  struct Line {
    ArgumentKind kind;
    std::string name, type, doc;
  };
  std::vector<Line> lines;
  std::size_t name_width = 0, type_width = 0;
  for (std::size_t i = 0; i < schema.arguments.size(); ++i) {
    const ArgumentSpec& spec = schema.arguments[i];
    std::string type = type_text(variants, i);
    for (const std::string& remark : remarks_of(spec)) type += ", " + remark;
    name_width = std::max(name_width, spec.name.size());
    // A type that is longer than this has its meaning on the line below.
    if (type.size() <= 44) type_width = std::max(type_width, type.size());
    lines.push_back({spec.kind, spec.name, std::move(type), spec.doc});
  }

  std::string text = fmt::format("{}\n  {}\n", schema.operator_name, schema.summary);
  const auto out = std::back_inserter(text);
  for (const Group& group : kGroups) {
    bool first = true;
    for (const Line& line : lines) {
      if (line.kind != group.kind) continue;
      if (first) fmt::format_to(out, "\n{}\n", group.title);
      first = false;
      if (line.type.size() <= type_width) {
        fmt::format_to(out, "  {:<{}}  {:<{}}  {}\n", line.name, name_width, line.type, type_width,
                       line.doc);
      } else {
        fmt::format_to(out, "  {:<{}}  {}\n  {:<{}}  {}\n", line.name, name_width, line.type, "",
                       name_width + 2 + type_width, line.doc);
      }
    }
  }
  const auto real = choices_of_t(variants);
  if (!real.empty() || !schema.dimensions.empty()) text += "\nwhere\n";
  if (!real.empty()) fmt::format_to(out, "  {:<{}}  {}\n", "T", name_width, join(real, " or "));
  for (const DimensionSpec& dimension : schema.dimensions) {
    fmt::format_to(out, "  {:<{}}  {:<{}}  {}\n", dimension.symbol, name_width,
                   "in " + dimension.interval.text(), type_width, dimension.doc);
  }
  return text;
}

std::string_view json_name(AttributeType type) {
  switch (type) {
    case AttributeType::boolean:
      return "bool";
    case AttributeType::int64:
      return "int64";
    case AttributeType::uint64:
      return "uint64";
    case AttributeType::real:
      return "float64";
    case AttributeType::string:
      return "string";
    case AttributeType::enumeration:
      return "enumeration";
    case AttributeType::boolean_list:
      return "list of bool";
    case AttributeType::int64_list:
      return "list of int64";
    case AttributeType::real_list:
      return "list of float64";
    case AttributeType::string_list:
      return "list of string";
    case AttributeType::json:
      return "json";
  }
  return "?";
}

template <class T>
ordered_json json_value(const T& value) {
  return value;
}
ordered_json json_value(double value) {  // as golden cases write what JSON has no number for
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  return value;
}
ordered_json json_value(const std::vector<double>& values) {
  ordered_json list = ordered_json::array();
  for (const double value : values) list.push_back(json_value(value));
  return list;
}
ordered_json json_value(const Json& value) { return ordered_json::parse(value.text); }

ordered_json json_of(const Variants& variants, std::size_t i) {
  const ArgumentSpec& spec = variants.front()->arguments[i];
  ordered_json json = {{"name", spec.name}};
  if (spec.kind == ArgumentKind::extent) {
    json["at_most"] = spec.at_most->text();
  } else if (spec.kind == ArgumentKind::attribute) {
    json["type"] = json_name(spec.type);
    if (!spec.choices.empty()) json["choices"] = spec.choices;
    json["default"] =
        spec.default_value
            ? std::visit([](const auto& value) { return json_value(value); }, *spec.default_value)
            : ordered_json(nullptr);
  } else {
    constexpr std::string_view kArities[] = {"single", "list", "map"};
    json["dtype"] = dtype_name(variants, i);
    json["arity"] = kArities[static_cast<std::size_t>(spec.arity)];
    if (spec.arity != Arity::map) {
      json["shape"] = ordered_json::array();
      for (const Expression& axis : spec.shape) json["shape"].push_back(axis.text());
    }
    json["optional"] = spec.optional;
    if (spec.finite) json["finite"] = true;
    if (!spec.when.empty()) json["when"] = spec.when;
    if (!spec.like.empty()) json["like"] = spec.like;
    if (!spec.prefix.empty()) json["prefix"] = spec.prefix;
    if (spec.count) json["count"] = spec.count->text();
  }
  if (spec.interval) json["in"] = spec.interval->text();
  json["doc"] = spec.doc;
  return json;
}

std::string json_text_of(const Variants& variants) {
  const Schema& schema = *variants.front();
  ordered_json json = {{"operator", schema.operator_name}, {"summary", schema.summary}};
  if (const auto real = choices_of_t(variants); !real.empty()) json["T"] = real;
  for (const char* list : {"inputs", "outputs", "attributes", "extents", "dimensions"}) {
    json[list] = ordered_json::array();
  }
  for (std::size_t i = 0; i < schema.arguments.size(); ++i) {
    constexpr std::string_view kLists[] = {"inputs", "outputs", "attributes", "extents"};
    const auto list = kLists[static_cast<std::size_t>(schema.arguments[i].kind)];
    json[std::string(list)].push_back(json_of(variants, i));
  }
  for (const DimensionSpec& dimension : schema.dimensions) {
    json["dimensions"].push_back(
        {{"symbol", dimension.symbol}, {"in", dimension.interval.text()}, {"doc", dimension.doc}});
  }
  return json.dump(2);
}

std::string for_table(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    if (c == '|') escaped += '\\';
    escaped += c;
  }
  return escaped;
}

/// "points, lengths?": the names of one kind; those that may be absent have a question mark.
std::string names_of(const Schema& schema, ArgumentKind kind) {
  std::vector<std::string> names;
  for (const ArgumentSpec& spec : schema.arguments) {
    if (spec.kind != kind) continue;
    names.push_back(spec.name + (spec.optional || !spec.when.empty() ? "?" : ""));
  }
  return join(names, ", ");
}

}  // namespace

std::string to_text(const Schema& schema) { return text_of({&schema}); }
std::string to_json(const Schema& schema) { return json_text_of({&schema}); }
std::string to_text(const Operator& op) { return text_of(variants_of(op)); }
std::string to_json(const Operator& op) { return json_text_of(variants_of(op)); }

std::string to_markdown(const Operator& op) {
  const Variants variants = variants_of(op);
  const Schema& schema = *variants.front();
  std::string text = fmt::format("## `{}`\n\n{}\n\n", schema.operator_name, schema.summary);
  const auto out = std::back_inserter(text);
  text += "| argument | | type | | meaning |\n|---|---|---|---|---|\n";
  constexpr std::string_view kKinds[] = {"input", "output", "attribute", "extent"};
  for (std::size_t i = 0; i < schema.arguments.size(); ++i) {
    const ArgumentSpec& spec = schema.arguments[i];
    fmt::format_to(out, "| `{}` | {} | {} | {} | {} |\n", spec.name,
                   kKinds[static_cast<std::size_t>(spec.kind)], for_table(type_text(variants, i)),
                   for_table(join(remarks_of(spec), ", ")), for_table(spec.doc));
  }
  for (const DimensionSpec& dimension : schema.dimensions) {
    fmt::format_to(out, "| `{}` | dimension | in {} | | {} |\n", dimension.symbol,
                   dimension.interval.text(), for_table(dimension.doc));
  }
  if (const auto real = choices_of_t(variants); !real.empty()) {
    fmt::format_to(out, "\nT is {}.\n", join(real, " or "));
  }
  return text;
}

std::string markdown_table(const Registry& registry) {
  std::string text = "| operator | what it does | inputs | outputs |\n|---|---|---|---|\n";
  for (const auto& [name, op] : registry.operators()) {
    fmt::format_to(std::back_inserter(text), "| `{}` | {} | {} | {} |\n", name,
                   for_table(op.summary()), names_of(op.schema(), ArgumentKind::input),
                   names_of(op.schema(), ArgumentKind::output));
  }
  return text;
}

}  // namespace researchkit
