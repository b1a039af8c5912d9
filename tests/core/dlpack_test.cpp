#include "researchkit/core/dlpack.hpp"

#include "researchkit/core/error.hpp"
#include "support/catch.hpp"

namespace {

using namespace researchkit;

/// An array of another library that counts how often it is deleted.
struct Foreign {
  float values[6] = {0, 1, 2, 3, 4, 5};
  std::int64_t shape[2] = {2, 3};
  std::int64_t strides[2] = {3, 1};
  int deleted = 0;
  dlpack::ManagedTensor managed{
      {values, {dlpack::kCpu, 0}, 2, {dlpack::kFloat, 32, 1}, shape, strides, 0},
      this,
      [](dlpack::ManagedTensor* self) { ++static_cast<Foreign*>(self->context)->deleted; }};
};

TEST_CASE("dlpack: an export shares memory and outlives the tensor") {
  Tensor tensor = Tensor::from<float>({0, 1, 2, 3, 4, 5}, {2, 3}).slice(1, 0, 3, 2);
  auto* exported = to_dlpack(tensor);
  CHECK(exported->tensor.data == tensor.data());
  tensor = Tensor();
  CHECK(exported->tensor.rank == 2);
  CHECK(exported->tensor.shape[1] == 2);
  CHECK(exported->tensor.strides[1] == 2);
  CHECK(exported->tensor.byte_offset == 0);
  CHECK(exported->tensor.type.bits == 32);
  CHECK(static_cast<float*>(exported->tensor.data)[5] == 5);  // freed memory under a sanitizer
  exported->deleter(exported);
}

TEST_CASE("dlpack: an import shares memory and deletes once, after its last tensor") {
  Foreign foreign;
  {
    Tensor part;
    {
      const Tensor tensor = from_dlpack(&foreign.managed);
      CHECK(tensor.data() == foreign.values);
      CHECK(tensor.shape() == Shape{2, 3});
      part = tensor.slice(0, 1, 2);
    }
    CHECK(foreign.deleted == 0);
    foreign.values[4] = 40;
    CHECK(part.view<float, 2>()(0, 1) == 40);
  }
  CHECK(foreign.deleted == 1);
}

TEST_CASE("dlpack: every dtype survives the way out and in") {
  for (const DType dtype : kAllDTypes) {
    const Tensor tensor(dtype, {2, 0, 3});
    const Tensor back = from_dlpack(to_dlpack(tensor));
    CHECK(back.dtype() == dtype);
    CHECK(back.shape() == tensor.shape());
  }
  CHECK(from_dlpack(to_dlpack(Tensor::scalar(2.5))).values<double>()[0] == 2.5);
}

TEST_CASE("dlpack: null strides are row-major, a byte offset and a null deleter are honoured") {
  Foreign foreign;
  foreign.managed.tensor.strides = nullptr;
  foreign.managed.tensor.byte_offset = 4;
  foreign.shape[1] = 2;
  foreign.managed.deleter = nullptr;
  const Tensor tensor = from_dlpack(&foreign.managed);
  CHECK(tensor.strides() == Shape{2, 1});
  CHECK(tensor.view<float, 2>()(1, 1) == 4);
}

TEST_CASE("dlpack: a refused import stays with the caller") {
  Foreign foreign;
  const auto refused = [&](auto&& change) {
    Foreign copy;
    change(copy.managed.tensor);
    CHECK_THROWS_AS(from_dlpack(&copy.managed), Error);
    CHECK(copy.deleted == 0);
  };
  refused([](auto& t) { t.type.lanes = 4; });
  refused([](auto& t) { t.type.bits = 8; });
  refused([](auto& t) { t.type.code = 5; });
  refused([](auto& t) { t.device.type = 7; });
  refused([](auto& t) { t.rank = -1; });
  refused([](auto& t) { t.shape[0] = -1; });
  refused([](auto& t) { t.shape = nullptr; });
  refused([](auto& t) { t.data = nullptr; });
  refused([](auto& t) { t.byte_offset = 2; });
  CHECK_THROWS_AS(from_dlpack(nullptr), Error);
  CHECK_THROWS_AS(to_dlpack(Tensor()), Error);
}

}  // namespace
