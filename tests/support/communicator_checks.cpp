#include "support/communicator_checks.hpp"

#include <fmt/format.h>

#include <cstring>
#include <numeric>

namespace researchkit::test {
namespace {

void must(bool holds, const Communicator& ranks, std::string_view what) {
  if (!holds) throw Error(fmt::format("rank {} of {}: {}", ranks.rank(), ranks.size(), what));
}

/// The call throws an Error that names the argument.
template <class Call>
void must_refuse(const Communicator& ranks, std::string_view argument, Call&& call) {
  try {
    call();
  } catch (const Error& error) {
    must(error.argument() == argument, ranks,
         fmt::format("{} blamed, not {}", error.what(), argument));
    return;
  }
  must(false, ranks, fmt::format("a wrong {} was accepted", argument));
}

template <class T>
std::span<const std::byte> bytes_of(const std::vector<T>& values) {
  return std::as_bytes(std::span(values));
}
template <class T>
std::span<std::byte> bytes_of(std::vector<T>& values) {
  return std::as_writable_bytes(std::span(values));
}

/// A number that depends on all three and whose sums round.
template <class T>
T entry(int rank, std::size_t i) {
  const double value = 0.1 * (rank + 1) + 1.0 / (3.0 + static_cast<double>(i)) - 0.7 * (i % 3 == 0);
  return static_cast<T>(std::is_integral_v<T> ? value * 1000 : value);
}
template <class T>
std::vector<T> entries(int rank, std::size_t n) {
  std::vector<T> values(n);
  for (std::size_t i = 0; i < n; ++i) values[i] = entry<T>(rank, i);
  return values;
}
template <class T>
T reduced(int ranks, std::size_t i, Reduction how) {
  T result = entry<T>(0, i);
  for (int r = 1; r < ranks; ++r) {
    const T term = entry<T>(r, i);
    result = how == Reduction::sum   ? result + term
             : how == Reduction::max ? std::max(result, term)
                                     : std::min(result, term);
  }
  return result;
}

void check_messages(Communicator& ranks) {
  const int next = (ranks.rank() + 1) % ranks.size();
  const int before = (ranks.rank() + ranks.size() - 1) % ranks.size();
  if (ranks.size() == 1) return;
  // Around the ring, two tags received in the other order, sizes 0 to some hundred kilobytes.
  for (const std::size_t n :
       {std::size_t{0}, std::size_t{1}, std::size_t{777}, std::size_t{30000}}) {
    const auto first = entries<double>(ranks.rank(), n),
               second = entries<double>(ranks.rank() + 50, n);
    std::vector<double> got(n), other(n);
    const auto a = ranks.start_receive(bytes_of(other), before, Communicator::kLargestTag);
    const auto b = ranks.start_receive(bytes_of(got), before, 0, "first numbers");
    const auto c = ranks.start_send(bytes_of(first), next, 0);
    const auto d = ranks.start_send(bytes_of(second), next, Communicator::kLargestTag);
    for (const auto* transfer : {&a, &b, &c, &d}) (*transfer)->wait();
    must(got == entries<double>(before, n), ranks, "another message");
    must(other == entries<double>(before + 50, n), ranks, "another message of the second tag");
  }
  for (int k = 0; k < 50; ++k) {
    if (ranks.rank() == 0) ranks.send(std::as_bytes(std::span(&k, 1)), next, k % 2);
    if (ranks.rank() != 1) continue;
    int got = -1;
    ranks.receive(std::as_writable_bytes(std::span(&got, 1)), 0, k % 2);
    must(got == k, ranks, "messages of a tag out of order");
  }
}

template <class T>
void check_reductions(Communicator& ranks) {
  const auto p = static_cast<std::size_t>(ranks.size());
  for (const std::size_t n : {std::size_t{0}, std::size_t{1}, std::size_t{5}, std::size_t{4099}}) {
    for (const Reduction how : {Reduction::sum, Reduction::max, Reduction::min}) {
      auto data = entries<T>(ranks.rank(), n);
      ranks.all_reduce(std::span(data), how);
      for (std::size_t i = 0; i < n; ++i) {
        must(data[i] == reduced<T>(ranks.size(), i, how), ranks, "all_reduce");
      }
      const auto all = entries<T>(ranks.rank(), n * p);
      std::vector<T> own(n);
      ranks.reduce_scatter(std::span(all), std::span(own), how);
      for (std::size_t i = 0; i < n; ++i) {
        const std::size_t at = static_cast<std::size_t>(ranks.rank()) * n + i;
        must(own[i] == reduced<T>(ranks.size(), at, how), ranks, "reduce_scatter");
      }
    }
  }
}

void check_copies(Communicator& ranks) {
  const auto p = static_cast<std::size_t>(ranks.size());
  for (int root = 0; root < ranks.size(); ++root) {
    for (const std::size_t n : {std::size_t{0}, std::size_t{3}, std::size_t{9000}}) {
      auto data = entries<float>(ranks.rank(), n);
      ranks.broadcast(bytes_of(data), root);
      must(data == entries<float>(root, n), ranks, "broadcast");
    }
  }
  for (const std::size_t n : {std::size_t{0}, std::size_t{1}, std::size_t{3000}}) {
    const auto own = entries<float>(ranks.rank(), n);
    std::vector<float> all(n * p), expected;
    ranks.all_gather(bytes_of(own), bytes_of(all));
    for (int r = 0; r < ranks.size(); ++r) {
      const auto part = entries<float>(r, n);
      expected.insert(expected.end(), part.begin(), part.end());
    }
    must(all == expected, ranks, "all_gather");
    const auto bytes = ranks.all_gather(bytes_of(own));
    must(bytes.size() == all.size() * sizeof(float) &&
             (bytes.empty() || std::memcmp(bytes.data(), all.data(), bytes.size()) == 0),
         ranks, "all_gather into fresh memory");

    const auto sent = entries<float>(ranks.rank(), n * p);
    std::vector<float> received(n * p);
    ranks.all_to_all(bytes_of(sent), bytes_of(received));
    for (std::size_t i = 0; i < received.size(); ++i) {
      const std::size_t from = i / n, at = static_cast<std::size_t>(ranks.rank()) * n + i % n;
      must(received[i] == entry<float>(static_cast<int>(from), at), ranks, "all_to_all");
    }
  }
}

/// Rank a sends (a + 2 b) mod 4 kilobytes to rank b, some of them none.
void check_all_to_all_v(Communicator& ranks) {
  const auto length = [](int a, int b) { return static_cast<std::size_t>((a + 2 * b) % 4) * 1000; };
  std::vector<std::size_t> bytes, received_bytes;
  std::vector<unsigned char> sent, received, expected;
  for (int r = 0; r < ranks.size(); ++r) {
    bytes.push_back(length(ranks.rank(), r));
    received_bytes.push_back(length(r, ranks.rank()));
    sent.insert(sent.end(), bytes.back(), static_cast<unsigned char>(16 * ranks.rank() + r));
    expected.insert(expected.end(), received_bytes.back(),
                    static_cast<unsigned char>(16 * r + ranks.rank()));
  }
  received.resize(expected.size());
  ranks.all_to_all_v(bytes_of(sent), bytes, bytes_of(received), received_bytes);
  must(received == expected, ranks, "all_to_all_v");
}

void check_split(Communicator& ranks) {
  // Odd and even ranks, each in descending order.
  const auto half = ranks.split(ranks.rank() % 2, -ranks.rank());
  const int parity = ranks.rank() % 2, members = (ranks.size() + 1 - parity) / 2;
  must(half->size() == members, ranks, "the size of a group");
  must(half->rank() == members - 1 - ranks.rank() / 2, ranks, "the order of a group");
  // Messages of a group and of the whole with the same tag do not meet.
  std::int64_t of_half = ranks.rank(), of_all = 1;
  half->all_reduce(std::span(&of_half, 1));
  ranks.all_reduce(std::span(&of_all, 1));
  must(of_half == members * (members - 1) + parity * members && of_all == ranks.size(), ranks,
       "sums of a group and of the whole");
  const auto quarter = half->split(half->rank() / 2, 0);
  must(quarter->size() <= 2 && quarter->rank() == half->rank() % 2, ranks, "a group of a group");
  quarter->barrier();
  const auto first = ranks.split(ranks.rank() == 0 ? 7 : Communicator::kNoColor, 0);
  must((first != nullptr) == (ranks.rank() == 0), ranks, "a rank that joins no group");
  if (first) must(first->size() == 1, ranks, "a group of one");
  ranks.barrier();
}

void check_refusals(Communicator& ranks) {
  std::byte byte{};
  const std::span<std::byte> one(&byte, 1);
  const int other = (ranks.rank() + 1) % ranks.size();
  must_refuse(ranks, "peer", [&] { ranks.send(one, ranks.rank(), 0); });
  must_refuse(ranks, "peer", [&] { ranks.send(one, -1, 0); });
  must_refuse(ranks, "peer", [&] { ranks.receive(one, ranks.size(), 0); });
  if (ranks.size() > 1) {
    must_refuse(ranks, "tag", [&] { ranks.send(one, other, -1); });
    must_refuse(ranks, "tag", [&] { ranks.receive(one, other, Communicator::kLargestTag + 1); });
  }
  must_refuse(ranks, "root", [&] { ranks.broadcast(one, ranks.size()); });
  must_refuse(ranks, "root", [&] { ranks.broadcast(one, -1); });
  must_refuse(ranks, "color", [&] { ranks.split(-2, 0); });
  const std::vector<double> numbers(static_cast<std::size_t>(ranks.size()) + 1);
  std::vector<double> own(1);
  must_refuse(ranks, "data", [&] { ranks.reduce_scatter(std::span(numbers), std::span(own)); });
  must_refuse(ranks, "all", [&] { ranks.all_gather(bytes_of(numbers), one); });
  std::vector<std::byte> received(bytes_of(numbers).size() - 1);
  if (ranks.size() > 1) {
    must_refuse(ranks, "data", [&] {
      ranks.all_to_all(std::span(received).first(static_cast<std::size_t>(ranks.size()) + 1),
                       received);
    });
  }
  must_refuse(ranks, "received", [&] {
    ranks.all_to_all(std::span(received).first(static_cast<std::size_t>(ranks.size())),
                     std::span(received).first(static_cast<std::size_t>(ranks.size()) + 1));
  });
  const auto p = static_cast<std::size_t>(ranks.size());
  const std::vector<std::size_t> sizes(p, 1), few(p - 1, 1), more(p, 2);
  const auto pieces = std::span(received).first(p);
  must_refuse(ranks, "bytes", [&] { ranks.all_to_all_v(pieces, few, pieces, sizes); });
  must_refuse(ranks, "bytes", [&] { ranks.all_to_all_v(pieces, more, pieces, sizes); });
  must_refuse(ranks, "received_bytes", [&] { ranks.all_to_all_v(pieces, sizes, pieces, more); });
  ranks.barrier();
}

}  // namespace

void check_communicator(Communicator& ranks) {
  check_messages(ranks);
  ranks.barrier();
  check_copies(ranks);
  check_all_to_all_v(ranks);
  check_reductions<float>(ranks);
  check_reductions<double>(ranks);
  check_reductions<std::int64_t>(ranks);
  check_split(ranks);
  check_refusals(ranks);
}

}  // namespace researchkit::test
