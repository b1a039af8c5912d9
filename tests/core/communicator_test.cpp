// Ranks as threads: every operation, and what happens when a rank is lost.
#include <chrono>
#include <numeric>

#include "support/catch.hpp"
#include "support/communicator_checks.hpp"
#include "support/contains.hpp"

using namespace researchkit;

TEST_CASE("every operation on ranks that are threads") {
  for (const int size : {1, 2, 3, 4, 8}) {
    run_ranks(size, test::check_communicator);
    run_ranks(size, [](Communicator& ranks) {
      const auto group = ranks.split(ranks.rank() / 3, ranks.rank());
      test::check_communicator(*group);
    });
  }
}

TEST_CASE("every operation on a program without other ranks") {
  test::check_communicator(*self_communicator());
}

TEST_CASE("a wrong sum is noticed") {
  // The checks themselves: a rank that sends what it should not.
  CHECK_THROWS_WITH(run_ranks(2,
                              [](Communicator& ranks) {
                                if (ranks.rank() == 0) {
                                  double one = 1;
                                  ranks.all_reduce(std::span(&one, 1));
                                } else {
                                  std::vector<double> two(2);
                                  ranks.all_reduce(std::span(two));
                                }
                              }),
                    test::contains("bytes"));
}

TEST_CASE("a message of another size is refused") {
  CHECK_THROWS_WITH(run_ranks(2,
                              [](Communicator& ranks) {
                                std::byte data[2] = {};
                                if (ranks.rank() == 0) ranks.send(std::span(data, 1), 1, 0);
                                if (ranks.rank() == 1) ranks.receive(data, 0, 0);
                              }),
                    test::contains("rank 0 sent 1 bytes, 2 were wanted"));
  CHECK_THROWS_AS(run_ranks(0, [](Communicator&) {}), Error);
  CHECK_THROWS_AS(run_ranks(
                      1, [](Communicator&) {}, 0),
                  Error);
}

namespace {

/// Rank 0 waits for 1, 1 for 2, 3 for 1; `body` is what rank 2 does.
std::string words_of_losing(const std::function<void(Communicator&)>& body) {
  try {
    run_ranks(
        4,
        [&](Communicator& ranks) {
          if (ranks.rank() == 2) return body(ranks);
          std::byte data{};
          ranks.start_receive(std::span(&data, 1), ranks.rank() == 1 ? 2 : 1, 5, "the word")
              ->wait();
        },
        0.3);
  } catch (const Error& error) {
    return error.what();
  }
  return "nobody noticed";
}

}  // namespace

TEST_CASE("a rank that throws ends the others in its name") {
  CHECK_THAT(words_of_losing([](Communicator&) { throw Error("out of memory"); }),
             test::contains("rank 2 failed: out of memory"));
}

TEST_CASE("the rank at the end of the chain is named, and what was waited for") {
  const std::string words = words_of_losing([](Communicator&) {});
  CHECK_THAT(words, test::contains("rank 2 did not answer within 0.3 s"));
  CHECK_THAT(words, test::contains("rank 1 waits for rank 2: the word (1 bytes, tag 5)"));
}

TEST_CASE("ranks that wait for one another are told so") {
  CHECK_THAT(words_of_losing([](Communicator& ranks) {
               std::byte data{};
               ranks.receive(std::span(&data, 1), 0, 1);
             }),
             test::contains("deadlock"));
}
