#include "researchkit/core/description.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "researchkit/core/error.hpp"

namespace researchkit {

const ArgumentSpec* Schema::find(std::string_view name) const {
  for (const ArgumentSpec& argument : arguments) {
    if (argument.name == name) return &argument;
  }
  return nullptr;
}

ArgumentSpec& Description::add(ArgumentKind kind, std::string_view name, std::string_view doc) {
  // An output may have the name of an input: what an update makes of it.
  const bool twice =
      std::any_of(schema_->arguments.begin(), schema_->arguments.end(), [&](const auto& known) {
        const bool update = known.kind == ArgumentKind::input && kind == ArgumentKind::output;
        return known.name == name && !update;
      });
  if (twice && kind != ArgumentKind::extent) {
    throw Error(fmt::format("{} describes '{}' twice", schema_->operator_name, name));
  }
  ArgumentSpec& spec = schema_->arguments.emplace_back();
  spec.kind = kind;
  spec.name = name;
  spec.doc = doc;
  return spec;
}

void Description::set_shape(ArgumentSpec& spec, std::string_view shape) {
  spec.shape_text = shape;
  if (spec.rank < 0) return;
  spec.shape = parse_shape(shape);
  if (static_cast<int>(spec.shape.size()) != spec.rank) {
    throw Error(fmt::format("{} describes '{}' of rank {} with the shape '{}'",
                            schema_->operator_name, spec.name, spec.rank, shape));
  }
}

void Description::complete(const InputRules& rules) {
  ArgumentSpec& spec = schema_->arguments.back();
  if (!rules.in.empty()) spec.interval.emplace(rules.in);
  spec.finite = rules.finite;
  spec.contiguous = rules.contiguous || spec.any_rank();
  spec.host = rules.host;
}

void Description::complete(const OutputRules& rules) {
  ArgumentSpec& spec = schema_->arguments.back();
  spec.when = rules.when;
  spec.contiguous = rules.contiguous || spec.any_rank();
  spec.host = rules.host;
  spec.like = rules.like;
  spec.prefix = rules.prefix;
  if (!rules.count.empty()) spec.count.emplace(rules.count);
}

void Description::complete(const AttributeRules& rules) {
  if (!rules.in.empty()) schema_->arguments.back().interval.emplace(rules.in);
}

void Description::extent(Extent& member, std::string_view symbol, std::string_view at_most,
                         std::string_view doc) {
  ports_.push_back({&member, nullptr, nullptr});
  if (schema_ == nullptr) return;
  add(ArgumentKind::extent, symbol, doc).at_most.emplace(at_most);
}

void Description::dimension(std::string_view symbol, std::string_view interval,
                            std::string_view doc) {
  if (schema_ == nullptr) return;
  schema_->dimensions.push_back({std::string(symbol), Interval(interval), std::string(doc)});
}

}  // namespace researchkit
