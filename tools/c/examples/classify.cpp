// Classifies a drawing whose rows come one after the other, as from a file or a camera that is never held whole:
//   classify models/shapes-tiny
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <memory>
#include <stdexcept>
#include <vector>

#include <perceiver.h>

namespace {

void expect(PerceiverStatus status) {
  if (status != PERCEIVER_STATUS_OK) throw std::runtime_error(perceiver_last_error());
}

// A handle that frees itself.
template <typename T, void (*release)(T *)>
struct Handle {
  explicit Handle(T *made) : handle(made, release) {}
  operator T *() const { return handle.get(); }
  std::unique_ptr<T, void (*)(T *)> handle;
};

// What a function of the library makes with these arguments.
template <typename T, void (*release)(T *), typename... Parameters, typename... Arguments>
Handle<T, release> make(PerceiverStatus (*function)(Parameters...), const Arguments &...arguments) {
  T *made = nullptr;
  expect(function(arguments..., &made));
  return Handle<T, release>(made);
}

constexpr size_t SIDE = 56;

// One row of a ring, normalised as the model's training did: (x / 255 - 0.5) / 0.5.
std::vector<float> row(size_t y) {
  std::vector<float> pixels;
  for (size_t x = 0; x < SIDE; x++) {
    const bool inside = std::abs(std::hypot(x - 27.5, y - 27.5) - 15) < 4;
    for (const float colour : {0.8f, -0.2f, -0.6f}) pixels.push_back(inside ? colour : -0.9f);
  }
  return pixels;
}

}  // namespace

int main(int count, char **arguments) try {
  if (count != 2) throw std::runtime_error("usage: classify MODEL_FOLDER");
  const auto engine = make<PerceiverEngine, perceiver_engine_free>(perceiver_engine_open, "cpu");
  const auto model =
      make<PerceiverModel, perceiver_model_free>(perceiver_model_load, engine, arguments[1]);
  PerceiverSizes sizes{};
  sizes.height = sizes.width = SIDE;
  const auto encoder =
      make<PerceiverEncoder, perceiver_encoder_free>(perceiver_encoder_new, model, &sizes);
  for (size_t y = 0; y < SIDE; y++) {
    const auto pixels = row(y);
    const size_t shape[] = {SIDE, 3};
    const PerceiverTensor rows{nullptr, PERCEIVER_TYPE_F32, 2, shape,
                               reinterpret_cast<const uint8_t *>(pixels.data()),
                               pixels.size() * sizeof(float)};
    expect(perceiver_encoder_push(encoder, "pixel", y * SIDE, &rows));
  }
  const auto latents =
      make<PerceiverLatents, perceiver_latents_free>(perceiver_encoder_finish, encoder);
  const auto decoder =
      make<PerceiverDecoder, perceiver_decoder_free>(perceiver_decoder_new, model, latents, size_t{0});
  PerceiverOutput output;
  expect(perceiver_decoder_output(decoder, 0, &output));
  std::vector<float> logits(output.columns);
  const size_t query = 0;
  expect(perceiver_decoder_decode(decoder, output.name, &query, 1, nullptr, logits.data(), logits.size()));
  const auto best = std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(logit - *best);
  std::printf("class %td of %zu with probability %.3f\n", best - logits.begin(), logits.size(), 1 / sum);
} catch (const std::exception &error) {
  std::fprintf(stderr, "error: %s\n", error.what());
  return 1;
}
