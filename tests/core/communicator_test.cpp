// Ranks as threads: messages in order, sums in the order of the ranks.
#include <numeric>

#include "researchkit/core/communicator.hpp"
#include "support/catch.hpp"
#include "support/contains.hpp"

using namespace researchkit;

TEST_CASE("messages with one tag arrive in the order in which they were sent") {
  run_ranks(2, [](Communicator& ranks) {
    for (int k = 0; k < 100; ++k) {
      int value = k;
      const auto bytes = std::as_writable_bytes(std::span(&value, 1));
      if (ranks.rank() == 0) {
        ranks.send(bytes, 1, k % 2);
      } else {
        value = -1;
        ranks.receive(bytes, 0, k % 2);
        if (value != k) throw Error("out of order");
      }
    }
  });
}

TEST_CASE("collective calls give every rank the same") {
  for (const int size : {1, 2, 4, 8}) {
    run_ranks(size, [&](Communicator& ranks) {
      std::vector<int> all(static_cast<std::size_t>(size));
      std::iota(all.begin(), all.end(), 0);
      double sum = 0.1 * (ranks.rank() + 1);
      ranks.all_reduce(std::span(&sum, 1), all);
      double expected = 0.1;
      for (int r = 1; r < size; ++r) expected += 0.1 * (r + 1);
      if (sum != expected) throw Error("a sum in another order");
      ranks.barrier();
      int word = ranks.rank() == size - 1 ? 7 : 0;
      ranks.broadcast(std::as_writable_bytes(std::span(&word, 1)), size - 1);
      if (word != 7) throw Error("not broadcast");
      const auto rank = static_cast<unsigned char>(ranks.rank());
      const auto gathered = ranks.all_gather(std::as_bytes(std::span(&rank, 1)));
      for (int r = 0; r < size; ++r) {
        if (gathered[static_cast<std::size_t>(r)] != static_cast<std::byte>(r)) {
          throw Error("not gathered");
        }
      }
    });
  }
}

TEST_CASE("a message of another size and a rank that does not exist are refused") {
  CHECK_THROWS_WITH(run_ranks(2,
                              [](Communicator& ranks) {
                                std::byte data[2] = {};
                                if (ranks.rank() == 0) ranks.send(std::span(data, 1), 1, 0);
                                if (ranks.rank() == 1) ranks.receive(data, 0, 0);
                              }),
                    test::contains("rank 0 sent 1 bytes, 2 were wanted"));
  const auto self = self_communicator();
  CHECK(self->size() == 1);
  self->barrier();
  CHECK_THROWS_AS(self->send({}, 0, 0), Error);
}
