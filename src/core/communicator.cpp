#include "researchkit/core/communicator.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <numeric>

namespace researchkit {
namespace {

// Tags of collective calls: no user's tag is negative.
constexpr int kExchangeTag = -1, kBroadcastTag = -2;
// Up to so many bytes everything goes to everyone: one round instead of two.
constexpr std::size_t kSmall = 4096;

template <class Number>
void combine(std::span<std::byte> into, std::span<const std::byte> from, Reduction how) {
  const std::size_t entries = into.size() / sizeof(Number);
  auto* to = reinterpret_cast<Number*>(into.data());
  const auto* terms = reinterpret_cast<const Number*>(from.data());
  for (std::size_t i = 0; i < entries; ++i) {
    switch (how) {
      case Reduction::sum:
        to[i] = to[i] + terms[i];
        break;
      case Reduction::max:
        to[i] = std::max(to[i], terms[i]);
        break;
      case Reduction::min:
        to[i] = std::min(to[i], terms[i]);
        break;
    }
  }
}

std::size_t sum_of(std::span<const std::size_t> sizes) {
  return std::accumulate(sizes.begin(), sizes.end(), std::size_t{0});
}

template <class Byte>
std::vector<std::span<Byte>> cut(std::span<Byte> data, std::span<const std::size_t> sizes) {
  std::vector<std::span<Byte>> pieces;
  std::size_t begin = 0;
  for (const std::size_t size : sizes) {
    pieces.push_back(data.subspan(begin, size));
    begin += size;
  }
  return pieces;
}

void copy_bytes(std::span<const std::byte> from, std::span<std::byte> to) {
  if (!from.empty()) std::memmove(to.data(), from.data(), from.size());
}

class SelfCommunicator final : public Communicator {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  void abandon(const std::string& /*why*/) override {}

 protected:
  // There is no other rank, so no message passes the checks.
  std::unique_ptr<Transfer> begin_send(std::span<const std::byte> /*data*/,
                                       const Message& /*message*/) override {
    return nullptr;
  }
  std::unique_ptr<Transfer> begin_receive(std::span<std::byte> /*data*/,
                                          const Message& /*message*/) override {
    return nullptr;
  }
  std::unique_ptr<Communicator> group_of(std::span<const int> /*members*/, int /*color*/) override {
    return std::make_unique<SelfCommunicator>();
  }
};

[[noreturn]] void refuse(std::string_view call, std::string_view argument, std::string_view wanted,
                         const std::string& got) {
  throw Error(fmt::format("communicator.{}", call), argument, wanted, got);
}

}  // namespace

void Communicator::check_message(int peer, int tag) const {
  if (peer < 0 || peer >= size() || peer == rank()) {
    refuse("send", "peer", fmt::format("another rank of the {}", size()),
           fmt::format("{} on rank {}", peer, rank()));
  }
  if (tag < 0 || tag > kLargestTag) {
    refuse("send", "tag", fmt::format("[0, {}]", kLargestTag), fmt::format("{}", tag));
  }
}

void Communicator::check_root(int root) const {
  if (root < 0 || root >= size()) {
    refuse("broadcast", "root", fmt::format("a rank of the {}", size()), fmt::format("{}", root));
  }
}

std::unique_ptr<Transfer> Communicator::start_send(std::span<const std::byte> data, int to, int tag,
                                                   std::string_view what) {
  check_message(to, tag);
  return begin_send(data, {to, tag, what});
}
std::unique_ptr<Transfer> Communicator::start_receive(std::span<std::byte> data, int from, int tag,
                                                      std::string_view what) {
  check_message(from, tag);
  return begin_receive(data, {from, tag, what});
}

/// Sends pieces to all other ranks and receives theirs; both sides know which are empty.
void Communicator::exchange(std::span<const std::span<const std::byte>> sent,
                            std::span<const std::span<std::byte>> received, std::string_view what) {
  std::vector<std::unique_ptr<Transfer>> transfers;
  for (int r = 0; r < size(); ++r) {
    const auto at = static_cast<std::size_t>(r);
    if (r == rank() || received[at].empty()) continue;
    transfers.push_back(begin_receive(received[at], {r, kExchangeTag, what}));
  }
  for (int r = 0; r < size(); ++r) {
    const auto at = static_cast<std::size_t>(r);
    if (r == rank() || sent[at].empty()) continue;
    transfers.push_back(begin_send(sent[at], {r, kExchangeTag, what}));
  }
  for (const auto& transfer : transfers) transfer->wait();
  const auto own = static_cast<std::size_t>(rank());
  copy_bytes(sent[own], received[own]);
}

void Communicator::barrier() { run_barrier(); }
void Communicator::run_barrier() {
  const std::byte token{};
  std::vector<std::byte> tokens(static_cast<std::size_t>(size()));
  const std::vector<std::span<const std::byte>> sent(tokens.size(), std::span(&token, 1));
  const std::vector<std::size_t> sizes(tokens.size(), 1);
  exchange(sent, cut(std::span(tokens), sizes), "barrier");
}

void Communicator::broadcast(std::span<std::byte> data, int root) {
  check_root(root);
  run_broadcast(data, root);
}
void Communicator::run_broadcast(std::span<std::byte> data, int root) {
  if (data.empty()) return;
  if (rank() != root) {
    begin_receive(data, {root, kBroadcastTag, "broadcast"})->wait();
    return;
  }
  std::vector<std::unique_ptr<Transfer>> transfers;
  for (int r = 0; r < size(); ++r) {
    if (r != root) transfers.push_back(begin_send(data, {r, kBroadcastTag, "broadcast"}));
  }
  for (const auto& transfer : transfers) transfer->wait();
}

void Communicator::all_gather(std::span<const std::byte> own, std::span<std::byte> all) {
  if (all.size() != own.size() * static_cast<std::size_t>(size())) {
    refuse("all_gather", "all", fmt::format("{} times {} bytes", size(), own.size()),
           fmt::format("{} bytes", all.size()));
  }
  run_all_gather(own, all);
}
std::vector<std::byte> Communicator::all_gather(std::span<const std::byte> own) {
  std::vector<std::byte> all(own.size() * static_cast<std::size_t>(size()));
  run_all_gather(own, all);
  return all;
}
void Communicator::run_all_gather(std::span<const std::byte> own, std::span<std::byte> all) {
  const auto ranks = static_cast<std::size_t>(size());
  const std::vector<std::span<const std::byte>> sent(ranks, own);
  const std::vector<std::size_t> sizes(ranks, own.size());
  exchange(sent, cut(all, sizes), "all_gather");
}

void Communicator::gather_on_host(std::span<const std::byte> own, std::span<std::byte> all) {
  const std::vector<std::span<const std::byte>> sent(static_cast<std::size_t>(size()), own);
  const std::vector<std::size_t> sizes(sent.size(), own.size());
  exchange(sent, cut(all, sizes), "split");
}

void Communicator::all_to_all(std::span<const std::byte> data, std::span<std::byte> received) {
  const auto ranks = static_cast<std::size_t>(size());
  if (data.size() % ranks != 0) {
    refuse("all_to_all", "data", fmt::format("{} pieces of equal length", ranks),
           fmt::format("{} bytes", data.size()));
  }
  if (received.size() != data.size()) {
    refuse("all_to_all", "received", fmt::format("{} bytes", data.size()),
           fmt::format("{}", received.size()));
  }
  const std::vector<std::size_t> sizes(ranks, data.size() / ranks);
  run_all_to_all(data, sizes, received, sizes);
}
void Communicator::all_to_all_v(std::span<const std::byte> data, std::span<const std::size_t> bytes,
                                std::span<std::byte> received,
                                std::span<const std::size_t> received_bytes) {
  const auto ranks = static_cast<std::size_t>(size()), own = static_cast<std::size_t>(rank());
  const auto check = [&](std::string_view argument, std::span<const std::size_t> sizes,
                         std::size_t held) {
    if (sizes.size() != ranks) {
      refuse("all_to_all_v", argument, fmt::format("{} sizes", ranks),
             fmt::format("{}", sizes.size()));
    }
    if (sum_of(sizes) != held) {
      refuse("all_to_all_v", argument, fmt::format("sizes that add up to {} bytes", held),
             fmt::format("{}", sum_of(sizes)));
    }
  };
  check("bytes", bytes, data.size());
  check("received_bytes", received_bytes, received.size());
  if (bytes[own] != received_bytes[own]) {
    refuse("all_to_all_v", "received_bytes",
           fmt::format("{} bytes of this rank itself", bytes[own]),
           fmt::format("{}", received_bytes[own]));
  }
  run_all_to_all(data, bytes, received, received_bytes);
}
void Communicator::run_all_to_all(std::span<const std::byte> data,
                                  std::span<const std::size_t> bytes, std::span<std::byte> received,
                                  std::span<const std::size_t> received_bytes) {
  exchange(cut(data, bytes), cut(received, received_bytes), "all_to_all");
}

namespace {

constexpr std::size_t size_of_number(int number) { return number == 0 ? sizeof(float) : 8; }

/// Pieces of all ranks, one behind the other, become one in ascending order.
template <class Kind>
void combine_pieces(std::span<const std::byte> pieces, std::span<std::byte> result, Kind number,
                    Reduction how) {
  if (result.empty()) return;
  copy_bytes(pieces.first(result.size()), result);
  for (std::size_t at = result.size(); at < pieces.size(); at += result.size()) {
    const auto piece = pieces.subspan(at, result.size());
    switch (static_cast<int>(number)) {
      case 0:
        combine<float>(result, piece, how);
        break;
      case 1:
        combine<double>(result, piece, how);
        break;
      default:
        combine<std::int64_t>(result, piece, how);
    }
  }
}

}  // namespace

void Communicator::all_reduce(std::span<float> data, Reduction how) {
  run_all_reduce(std::as_writable_bytes(data), Number::f32, how);
}
void Communicator::all_reduce(std::span<double> data, Reduction how) {
  run_all_reduce(std::as_writable_bytes(data), Number::f64, how);
}
void Communicator::all_reduce(std::span<std::int64_t> data, Reduction how) {
  run_all_reduce(std::as_writable_bytes(data), Number::i64, how);
}

/// Where the piece of each rank begins, and the end.
std::vector<std::size_t> Communicator::piece_bounds(std::size_t entries) const {
  const auto ranks = static_cast<std::size_t>(size());
  std::vector<std::size_t> bounds;
  for (std::size_t r = 0; r <= ranks; ++r) {
    bounds.push_back(entries / ranks * r + std::min(r, entries % ranks));
  }
  return bounds;
}

void Communicator::run_all_reduce(std::span<std::byte> data, Number number, Reduction how) {
  const auto ranks = static_cast<std::size_t>(size()), own = static_cast<std::size_t>(rank());
  if (ranks == 1 || data.empty()) return;
  if (data.size() <= kSmall) {
    std::vector<std::byte> all(ranks * data.size());
    const std::vector<std::span<const std::byte>> sent(ranks, data);
    const std::vector<std::size_t> sizes(ranks, data.size());
    exchange(sent, cut(std::span(all), sizes), "all_reduce");
    combine_pieces(all, data, number, how);
    return;
  }
  const std::size_t width = size_of_number(static_cast<int>(number));
  const auto bounds = piece_bounds(data.size() / width);
  std::vector<std::size_t> sizes;
  for (std::size_t r = 0; r < ranks; ++r) sizes.push_back((bounds[r + 1] - bounds[r]) * width);
  std::vector<std::byte> pieces(ranks * sizes[own]);
  const std::vector<std::size_t> same(ranks, sizes[own]);
  const auto parts = cut(data, sizes);
  exchange(std::vector<std::span<const std::byte>>(parts.begin(), parts.end()),
           cut(std::span(pieces), same), "all_reduce");
  combine_pieces(pieces, parts[own], number, how);
  const std::vector<std::span<const std::byte>> sums(ranks, parts[own]);
  exchange(sums, parts, "all_reduce");
}

namespace {

template <class T>
void check_reduce_scatter(std::span<const T> data, std::span<T> own, int ranks) {
  if (data.size() != own.size() * static_cast<std::size_t>(ranks)) {
    refuse("reduce_scatter", "data", fmt::format("{} times {} numbers", ranks, own.size()),
           fmt::format("{}", data.size()));
  }
}

}  // namespace

void Communicator::reduce_scatter(std::span<const float> data, std::span<float> own,
                                  Reduction how) {
  check_reduce_scatter(data, own, size());
  run_reduce_scatter(std::as_bytes(data), std::as_writable_bytes(own), Number::f32, how);
}
void Communicator::reduce_scatter(std::span<const double> data, std::span<double> own,
                                  Reduction how) {
  check_reduce_scatter(data, own, size());
  run_reduce_scatter(std::as_bytes(data), std::as_writable_bytes(own), Number::f64, how);
}
void Communicator::reduce_scatter(std::span<const std::int64_t> data, std::span<std::int64_t> own,
                                  Reduction how) {
  check_reduce_scatter(data, own, size());
  run_reduce_scatter(std::as_bytes(data), std::as_writable_bytes(own), Number::i64, how);
}
void Communicator::run_reduce_scatter(std::span<const std::byte> data, std::span<std::byte> own,
                                      Number number, Reduction how) {
  std::vector<std::byte> pieces(data.size());
  const std::vector<std::size_t> sizes(static_cast<std::size_t>(size()), own.size());
  exchange(cut(data, sizes), cut(std::span(pieces), sizes), "reduce_scatter");
  combine_pieces(pieces, own, number, how);
}

std::unique_ptr<Communicator> Communicator::split(int color, int key) {
  if (color < kNoColor) {
    refuse("split", "color", "at least 0, or kNoColor", fmt::format("{}", color));
  }
  struct Wish {
    int color, key;
  };
  const Wish wish{color, key};
  std::vector<Wish> wishes(static_cast<std::size_t>(size()));
  gather_on_host(std::as_bytes(std::span(&wish, 1)), std::as_writable_bytes(std::span(wishes)));
  std::vector<int> members;
  for (int r = 0; r < size(); ++r) {
    if (wishes[static_cast<std::size_t>(r)].color == color) members.push_back(r);
  }
  std::stable_sort(members.begin(), members.end(), [&](int a, int b) {
    return wishes[static_cast<std::size_t>(a)].key < wishes[static_cast<std::size_t>(b)].key;
  });
  return group_of(members, color);
}

std::unique_ptr<Communicator> self_communicator() { return std::make_unique<SelfCommunicator>(); }

}  // namespace researchkit
