#pragma once

#include <concepts>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "researchkit/core/attribute.hpp"
#include "researchkit/core/flat_view.hpp"
#include "researchkit/core/schema.hpp"
#include "researchkit/core/tensor_map.hpp"
#include "researchkit/core/view.hpp"

namespace researchkit {

/// What may be said of an input beside name, shape and meaning.
struct InputRules {
  std::string_view in = {};  ///< legal values of every entry: "[0, n)"
  bool finite = false;       ///< NaN and infinities are refused
  bool contiguous = false;   ///< a strided tensor is copied to row-major memory before the run
  bool host = false;         ///< validate(), infer(), cost() or a device run read its values
};
/// What may be said of an output.
struct OutputRules {
  std::string_view when = {};    ///< exists only if this bool attribute is true
  bool contiguous = false;       ///< a strided tensor is written through a row-major copy
  bool host = false;             ///< measured_cost() reads its values
  std::string_view count = {};   ///< lists: how many tensors, an expression
  std::string_view like = {};    ///< any rank: the input whose shape it has;
                                 ///< maps: one entry for each entry of this map of inputs
  std::string_view prefix = {};  ///< maps: what stands before an entry's name in a call: "d_"
};
/// What may be said of an attribute.
struct AttributeRules {
  std::string_view in = {};  ///< legal values, for lists of each entry: "(0, 1]", "[-1, n]"
};

/// An extent that only the run knows. `describe` gives its upper bound, outputs are allocated with
/// it, `run` and `reference` call set(), and the outputs are cut to that.
class Extent {
 public:
  /// Says how many there are; at most the described bound.
  void set(std::int64_t extent) const { value_ = extent; }
  std::int64_t value() const { return value_; }

 private:
  mutable std::int64_t value_ = -1;
};

namespace detail {

/// How generic code reaches the tensors behind one member, whatever its type.
struct TensorAccess {
  /// Adds the tensors behind the member, as aliases of their memory; none if absent.
  void (*collect)(const void* member, TensorMap& into);
  /// Points the member at `tensors`, whose dtypes and ranks fit.
  void (*assign)(void* member, const TensorMap& tensors);
};

/// How generic code reaches one attribute.
struct AttributeAccess {
  std::optional<AttributeValue> (*get)(const void* member);
  bool (*set)(void* member, const AttributeValue& value);  // false: of another type
};

/// One argument of one operator object.
struct Port {
  void* member = nullptr;
  const TensorAccess* tensors = nullptr;
  const AttributeAccess* attribute = nullptr;
};

template <class T, int Rank>
Tensor alias_of(const TensorView<T, Rank>& view) {
  // The alias owns nothing: it is only looked at while the view's owner is alive.
  auto* data = const_cast<std::remove_const_t<T>*>(view.data_handle());
  Shape shape, strides;
  for (int i = 0; i < Rank; ++i) {
    shape.push_back(view.extent(i));
    strides.push_back(view.stride(i));
  }
  return {dtype_of<T>,
          std::move(shape),
          std::move(strides),
          data,
          std::shared_ptr<void>(std::shared_ptr<void>(), data),
          view.device()};
}

template <class Member>
struct MemberTraits;

template <class T, int Rank>
struct MemberTraits<TensorView<T, Rank>> {
  using element = T;
  static constexpr int rank = Rank;
  static constexpr Arity arity = Arity::single;
  static constexpr bool optional = false;
  static void collect(const void* member, TensorMap& into) {
    const auto& view = *static_cast<const TensorView<T, Rank>*>(member);
    if (view.data_handle() != nullptr) into.set("", alias_of(view));
  }
  static void assign(void* member, const TensorMap& tensors) {
    auto& view = *static_cast<TensorView<T, Rank>*>(member);
    view = {};
    for (const auto& [name, tensor] : tensors)
      view = Tensor(tensor).view<std::remove_const_t<T>, Rank>();
  }
};

template <class T, int Rank>
struct MemberTraits<std::optional<TensorView<T, Rank>>> : MemberTraits<TensorView<T, Rank>> {
  static constexpr bool optional = true;
  static void collect(const void* member, TensorMap& into) {
    const auto& view = *static_cast<const std::optional<TensorView<T, Rank>>*>(member);
    if (view) MemberTraits<TensorView<T, Rank>>::collect(&*view, into);
  }
  static void assign(void* member, const TensorMap& tensors) {
    auto& view = *static_cast<std::optional<TensorView<T, Rank>>*>(member);
    view.reset();
    if (!tensors.empty()) MemberTraits<TensorView<T, Rank>>::assign(&view.emplace(), tensors);
  }
};

template <class T, int Rank>
struct MemberTraits<std::vector<TensorView<T, Rank>>> {
  using element = T;
  static constexpr int rank = Rank;
  static constexpr Arity arity = Arity::list;
  static constexpr bool optional = false;
  static void collect(const void* member, TensorMap& into) {
    const auto& views = *static_cast<const std::vector<TensorView<T, Rank>>*>(member);
    for (std::size_t i = 0; i < views.size(); ++i) into.set(std::to_string(i), alias_of(views[i]));
  }
  static void assign(void* member, const TensorMap& tensors) {
    auto& views = *static_cast<std::vector<TensorView<T, Rank>>*>(member);
    views.clear();
    for (const auto& [name, tensor] : tensors) {
      views.push_back(Tensor(tensor).view<std::remove_const_t<T>, Rank>());
    }
  }
};

template <class T>
struct MemberTraits<FlatView<T>> {
  using element = T;
  static constexpr int rank = -1;
  static constexpr Arity arity = Arity::single;
  static constexpr bool optional = false;
  static void collect(const void* member, TensorMap& into) {
    const auto& view = *static_cast<const FlatView<T>*>(member);
    if (view.data_handle() == nullptr) return;
    auto* data = const_cast<std::remove_const_t<T>*>(view.data_handle());
    into.set("", {dtype_of<T>, view.shape(), view.strides(), data,
                  std::shared_ptr<void>(std::shared_ptr<void>(), data), view.device()});
  }
  static void assign(void* member, const TensorMap& tensors) {
    auto& view = *static_cast<FlatView<T>*>(member);
    view = {};
    for (const auto& [name, tensor] : tensors) view = FlatView<T>(Tensor(tensor));
  }
};

template <class T, class Map>
struct MapTraits {
  using element = T;
  static constexpr int rank = -1;
  static constexpr Arity arity = Arity::map;
  static constexpr bool optional = false;
  static void collect(const void* member, TensorMap& into) {
    for (const auto& [name, tensor] : *static_cast<const Map*>(member)) into.set(name, tensor);
  }
  static void assign(void* member, const TensorMap& tensors) {
    auto& map = *static_cast<Map*>(member);
    map.clear();
    for (const auto& [name, tensor] : tensors) map.set(name, tensor);
  }
};
template <class T>
struct MemberTraits<InMap<T>> : MapTraits<const T, InMap<T>> {};
template <class T>
struct MemberTraits<OutMap<T>> : MapTraits<T, OutMap<T>> {};

/// Members that stand for tensors; inputs only read theirs.
template <class Member>
concept TensorMember = requires {
  typename MemberTraits<Member>::element;
};
template <class Member>
concept InputMember =
    TensorMember<Member> && std::is_const_v<typename MemberTraits<Member>::element>;
template <class Member>
concept OutputMember =
    TensorMember<Member> && !std::is_const_v<typename MemberTraits<Member>::element>;

template <TensorMember Member>
inline constexpr TensorAccess kTensorAccess = {&MemberTraits<Member>::collect,
                                               &MemberTraits<Member>::assign};

template <class T>
struct AttributeMember {
  using value = T;
  static std::optional<AttributeValue> get(const void* member) {
    return to_value(*static_cast<const T*>(member));
  }
  static bool set(void* member, const AttributeValue& value) {
    return convert(value, *static_cast<T*>(member));
  }
};
template <class T>
struct AttributeMember<std::optional<T>> {
  using value = T;
  static std::optional<AttributeValue> get(const void* member) {
    const auto& given = *static_cast<const std::optional<T>*>(member);
    if (!given) return std::nullopt;
    return to_value(*given);
  }
  static bool set(void* member, const AttributeValue& value) {
    return convert(value, static_cast<std::optional<T>*>(member)->emplace());
  }
};

template <class T>
inline constexpr AttributeAccess kAttributeAccess = {&AttributeMember<T>::get,
                                                     &AttributeMember<T>::set};

}  // namespace detail

/// What an operator's `describe` talks to: it learns the members of one operator object, and, the
/// first time for each operator type, builds the Schema from what is said about them.
class Description {
 public:
  /// Learns the members; if `schema` is not null also writes it.
  explicit Description(Schema* schema = nullptr) : schema_(schema) {}

  /// An input tensor: In, Optional<In>, InFlat, InList or InMap. `shape` has one expression per
  /// axis, "b n 2*d"; a symbol is the same number wherever it stands in the operator. Tensors of any
  /// rank have the shape "...".
  template <detail::InputMember Member>
  void input(Member& member, std::string_view name, std::string_view shape, std::string_view doc,
             const InputRules& rules = {}) {
    add_tensor(member, ArgumentKind::input, name, shape, doc);
    if (schema_ != nullptr) complete(rules);
  }

  /// An output tensor: Out, Optional<Out>, OutFlat, OutList or OutMap.
  template <detail::OutputMember Member>
  void output(Member& member, std::string_view name, std::string_view shape, std::string_view doc,
              const OutputRules& rules = {}) {
    add_tensor(member, ArgumentKind::output, name, shape, doc);
    if (schema_ != nullptr) complete(rules);
  }

  /// An attribute: bool, int64, uint64, double, string, NamedEnum, a vector of bool, int64, double
  /// or string, Json; or std::optional of one of these, whose default means "not given".
  template <class Member>
  void attribute(Member& member, std::string_view name, std::string_view doc,
                 const AttributeRules& rules = {}) {
    using Value = typename detail::AttributeMember<Member>::value;
    ports_.push_back({&member, nullptr, &detail::kAttributeAccess<Member>});
    if (schema_ == nullptr) return;
    ArgumentSpec& spec = add(ArgumentKind::attribute, name, doc);
    spec.type = detail::AttributeTraits<Value>::type;
    if constexpr (NamedEnum<Value>) {
      for (const std::string_view choice : names_of(Value{})) spec.choices.emplace_back(choice);
    }
    spec.default_value = detail::AttributeMember<Member>::get(&member);
    complete(rules);
  }

  /// A symbol of the output shapes that only the run knows, and its upper bound (an expression).
  void extent(Extent& member, std::string_view symbol, std::string_view at_most,
              std::string_view doc);

  /// Restricts a symbol of the shapes: `io.dimension("d", "[1, 4096]", "channels")`.
  void dimension(std::string_view symbol, std::string_view interval, std::string_view doc);

  const std::vector<detail::Port>& ports() const { return ports_; }

 private:
  template <class Member>
  void add_tensor(Member& member, ArgumentKind kind, std::string_view name, std::string_view shape,
                  std::string_view doc) {
    using Traits = detail::MemberTraits<Member>;
    ports_.push_back({&member, &detail::kTensorAccess<Member>, nullptr});
    if (schema_ == nullptr) return;
    ArgumentSpec& spec = add(kind, name, doc);
    spec.dtype = dtype_of<typename Traits::element>;
    spec.arity = Traits::arity;
    spec.rank = Traits::rank;
    spec.optional = Traits::optional;
    set_shape(spec, shape);
  }
  ArgumentSpec& add(ArgumentKind kind, std::string_view name, std::string_view doc);
  void set_shape(ArgumentSpec& spec, std::string_view shape);
  void complete(const InputRules& rules);
  void complete(const OutputRules& rules);
  void complete(const AttributeRules& rules);

  Schema* schema_;
  std::vector<detail::Port> ports_;
};

}  // namespace researchkit
