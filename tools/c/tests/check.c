/* Everything that the library offers, in C, with its answers checked; tests/programs.rs runs it under AddressSanitizer and valgrind. Valgrind
 * knows no AVX-512, so that sums are rounded otherwise there.
 *   check MODELS EXPECTED    all of it
 *   check MODELS             what takes valgrind seconds: a small model, streamed
 * EXPECTED holds the logits of text-tiny for ids(), as the library for Rust gives them: 32-bit floats.
 */
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <perceiver.h>

#define CHECK(condition)                                                                   \
  do {                                                                                     \
    if (!(condition)) {                                                                    \
      fprintf(stderr, "%s:%d: %s; last error: %s\n", __FILE__, __LINE__, #condition,       \
              perceiver_last_error());                                                     \
      exit(1);                                                                             \
    }                                                                                      \
  } while (0)
#define OK(call) CHECK((call) == PERCEIVER_STATUS_OK)
/* The call is refused with this status, and the text has these words. */
#define REFUSED(status, words, call)                 \
  do {                                               \
    CHECK((call) == PERCEIVER_STATUS_##status);      \
    CHECK(strstr(perceiver_last_error(), words));    \
  } while (0)

enum { TOKENS = 24, POSITIONS = 256, COLUMNS = 262, LOGITS = POSITIONS * COLUMNS };

static char *in(const char *folder, const char *name) {
  char *path = malloc(strlen(folder) + strlen(name) + 2);
  sprintf(path, "%s/%s", folder, name);
  return path;
}

static char *contents(const char *path, size_t *bytes) {
  FILE *file = fopen(path, "rb");
  CHECK(file);
  fseek(file, 0, SEEK_END);
  *bytes = (size_t)ftell(file);
  rewind(file);
  char *data = malloc(*bytes + 1);
  CHECK(fread(data, 1, *bytes, file) == *bytes);
  data[*bytes] = 0;
  fclose(file);
  return data;
}

static double difference(const float *a, const float *b, size_t count) {
  double most = 0;
  for (size_t i = 0; i < count; i++) most = fmax(most, fabs((double)a[i] - b[i]));
  return most;
}

static PerceiverTensor tensor(const char *name, PerceiverType dtype, const size_t *shape, size_t rank,
                              const void *data, size_t bytes) {
  PerceiverTensor made = {name, dtype, rank, shape, data, bytes};
  return made;
}

static int64_t tokens[TOKENS];
static const size_t TOKENS_SHAPE[] = {1, TOKENS};

static PerceiverTensor ids(void) {
  for (int i = 0; i < TOKENS; i++) tokens[i] = 6 + (i * 37 + 11) % 256;
  return tensor("input_ids", PERCEIVER_TYPE_I64, TOKENS_SHAPE, 2, tokens, sizeof tokens);
}

struct Told {
  uint64_t calls, done, total;
  int32_t answer;
};

static int32_t tell(uint64_t done, uint64_t total, void *user) {
  struct Told *told = user;
  told->calls++, told->done = done, told->total = total;
  return told->answer;
}

static void *on_a_thread(void *model) {
  PerceiverTensor input = ids();
  PerceiverTensors *outputs;
  OK(perceiver_model_run(model, &input, 1, NULL, &outputs));
  return outputs;
}

/* One run, whose progress ends where it says it will. */
static void run_once(PerceiverModel *model, const float *expected) {
  PerceiverTensor input = ids(), logits, other;
  struct Told told = {0};
  PerceiverRun run = {.progress = tell, .user = &told};
  PerceiverTensors *outputs;
  OK(perceiver_model_run(model, &input, 1, &run, &outputs));
  CHECK(told.calls > 0 && told.done == told.total);
  CHECK(perceiver_tensors_count(outputs) == 1);
  OK(perceiver_tensors_get(outputs, 0, &logits));
  OK(perceiver_tensors_find(outputs, "logits", &other));
  CHECK(logits.data == other.data && strcmp(logits.name, "logits") == 0);
  CHECK(logits.rank == 3 && logits.shape[1] == POSITIONS && logits.shape[2] == COLUMNS);
  CHECK(logits.bytes == LOGITS * sizeof(float));
  CHECK(difference((const float *)logits.data, expected, LOGITS) < 1e-4);
  REFUSED(INPUT, "logits", perceiver_tensors_find(outputs, "hits", &other));
  CHECK(other.data == NULL && other.name == NULL);
  REFUSED(INPUT, "below 1", perceiver_tensors_get(outputs, 1, &other));
  perceiver_tensors_free(outputs);
}

static void runs(PerceiverModel *model, const float *expected) {
  run_once(model, expected);
  PerceiverTensor input = ids(), logits;
  PerceiverTensors *outputs;

  /* Data that is not aligned. */
  char moved[sizeof tokens + 1];
  memcpy(moved + 1, tokens, sizeof tokens);
  PerceiverTensor unaligned = input;
  unaligned.data = (const uint8_t *)moved + 1;
  OK(perceiver_model_run(model, &unaligned, 1, NULL, &outputs));
  OK(perceiver_tensors_get(outputs, 0, &logits));
  CHECK(difference((const float *)logits.data, expected, LOGITS) < 1e-4);
  perceiver_tensors_free(outputs);

  /* Arrays on the way. */
  PerceiverRun all = {.flags = PERCEIVER_FLAG_INTERMEDIATES};
  OK(perceiver_model_run(model, &input, 1, &all, &outputs));
  CHECK(perceiver_tensors_count(outputs) > 1);
  perceiver_tensors_free(outputs);

  /* Two threads, one model. */
  pthread_t threads[2];
  for (int i = 0; i < 2; i++) CHECK(!pthread_create(&threads[i], NULL, on_a_thread, model));
  for (int i = 0; i < 2; i++) {
    void *made;
    CHECK(!pthread_join(threads[i], &made));
    OK(perceiver_tensors_get(made, 0, &logits));
    CHECK(difference((const float *)logits.data, expected, LOGITS) < 1e-4);
    perceiver_tensors_free(made);
  }
}

static void ended(PerceiverModel *model) {
  PerceiverTensor input = ids();
  PerceiverTensors *outputs = (PerceiverTensors *)1;
  struct Told told = {.answer = 1};
  PerceiverRun run = {.progress = tell, .user = &told};
  REFUSED(CANCELLED, "cancelled", perceiver_model_run(model, &input, 1, &run, &outputs));
  CHECK(outputs == NULL);
  PerceiverControl *control;
  OK(perceiver_control_new(&control));
  PerceiverRun controlled = {.control = control};
  OK(perceiver_model_run(model, &input, 1, &controlled, &outputs));
  perceiver_tensors_free(outputs);
  OK(perceiver_control_cancel(control));
  REFUSED(CANCELLED, "cancelled", perceiver_model_run(model, &input, 1, &controlled, &outputs));
  perceiver_control_free(control);
}

static void refused(PerceiverEngine *engine, PerceiverModel *model) {
  PerceiverTensors *outputs;
  PerceiverTensor good = ids(), bad = good;
  REFUSED(INPUT, "NULL", perceiver_model_run(NULL, &good, 1, NULL, &outputs));
  REFUSED(INPUT, "NULL", perceiver_model_run(model, &good, 1, NULL, NULL));
  REFUSED(INPUT, "NULL", perceiver_model_run(model, NULL, 1, NULL, &outputs));
  REFUSED(INPUT, "input_ids", perceiver_model_run(model, NULL, 0, NULL, &outputs));
  PerceiverTensor twice[] = {good, good};
  REFUSED(INPUT, "twice", perceiver_model_run(model, twice, 2, NULL, &outputs));
  bad.name = NULL;
  REFUSED(INPUT, "NULL", perceiver_model_run(model, &bad, 1, NULL, &outputs));
  bad = good, bad.name = "\xff";
  REFUSED(INPUT, "UTF-8", perceiver_model_run(model, &bad, 1, NULL, &outputs));
  bad = good, bad.dtype = 77;
  REFUSED(INPUT, "77", perceiver_model_run(model, &bad, 1, NULL, &outputs));
  bad = good, bad.bytes -= 1;
  REFUSED(INPUT, "8 bytes for each", perceiver_model_run(model, &bad, 1, NULL, &outputs));
  bad = good, bad.dtype = PERCEIVER_TYPE_F32, bad.bytes /= 2;
  REFUSED(INPUT, "input_ids", perceiver_model_run(model, &bad, 1, NULL, &outputs));
  size_t huge[] = {SIZE_MAX, SIZE_MAX};
  bad = good, bad.shape = huge;
  REFUSED(INPUT, "input_ids", perceiver_model_run(model, &bad, 1, NULL, &outputs));
  bad = good, bad.rank = SIZE_MAX;
  REFUSED(INPUT, "elements", perceiver_model_run(model, &bad, 1, NULL, &outputs));
  bad = good, bad.shape = NULL;
  REFUSED(INPUT, "NULL", perceiver_model_run(model, &bad, 1, NULL, &outputs));
  PerceiverRun run = {.flags = 64};
  REFUSED(INPUT, "PerceiverFlag", perceiver_model_run(model, &good, 1, &run, &outputs));
  tokens[3] = 99999;
  REFUSED(INPUT, "99999", perceiver_model_run(model, &good, 1, NULL, &outputs));
  CHECK(outputs == NULL);

  PerceiverModel *none;
  REFUSED(CHECKPOINT, "/nowhere", perceiver_model_load(engine, "/nowhere", &none));
  CHECK(none == NULL);
  REFUSED(CHECKPOINT, "damaged", perceiver_model_load_bytes(engine, "{", NULL, 0, &none));
  REFUSED(INPUT, "0 bytes", perceiver_set_memory_limit(0));
  REFUSED(INPUT, "f16", perceiver_model_set_f16(model, 1));
  OK(perceiver_model_set_f16(model, 0));
  PerceiverBytes *filled;
  REFUSED(INPUT, "MASK", perceiver_fill_mask(model, "no blank", NULL, &filled));
  float vectors[8];
  REFUSED(INPUT, "room", perceiver_flow(model, NULL, NULL, 4, 4, NULL, vectors, 8));
  REFUSED(INPUT, "room", perceiver_flow(model, NULL, NULL, SIZE_MAX, 2, NULL, vectors, 8));
  /* What answers without a status. */
  CHECK(perceiver_engine_device(NULL) == NULL && perceiver_tensors_count(NULL) == 0);
  CHECK(perceiver_bytes_data(NULL) == NULL && perceiver_latents_items(NULL) == 0);
  perceiver_engine_free(NULL), perceiver_model_free(NULL), perceiver_tensors_free(NULL);
  perceiver_latents_free(NULL), perceiver_encoder_free(NULL), perceiver_decoder_free(NULL);
  perceiver_state_free(NULL), perceiver_bytes_free(NULL), perceiver_control_free(NULL);
}

/* Rows of a picture that are pushed to two encoders, whose states merge by way of bytes, give the latents of a whole run, and these its
 * logits. */
static void streams(PerceiverEngine *engine, const char *folder) {
  enum { SIDE = 56, PIXELS = SIDE * SIDE, CHANNELS = 3, HALF = PIXELS / 2 };
  PerceiverModel *model;
  OK(perceiver_model_load(engine, folder, &model));
  perceiver_engine_free(engine); /* Its models live on. */
  float *planes = malloc(CHANNELS * PIXELS * sizeof *planes);
  float *rows = malloc(CHANNELS * PIXELS * sizeof *rows);
  for (int i = 0; i < PIXELS; i++)
    for (int c = 0; c < CHANNELS; c++)
      rows[i * CHANNELS + c] = planes[c * PIXELS + i] = (float)sin(0.1 * i + c);
  size_t picture[] = {1, CHANNELS, SIDE, SIDE}, half[] = {HALF, CHANNELS};
  PerceiverTensor pixels = tensor("pixel_values", PERCEIVER_TYPE_F32, picture, 4, planes,
                                  CHANNELS * PIXELS * sizeof(float));
  PerceiverTensor first = tensor(NULL, PERCEIVER_TYPE_F32, half, 2, rows,
                                 HALF * CHANNELS * sizeof(float));
  PerceiverTensor second = first;

  PerceiverEncoder *one, *two;
  PerceiverSizes sizes = {.height = SIDE, .width = SIDE};
  OK(perceiver_encoder_new(model, &sizes, &one));
  OK(perceiver_encoder_new(model, &sizes, &two));
  PerceiverLatents *merged, *whole;
  REFUSED(INPUT, "no rows", perceiver_encoder_finish(one, &merged));
  /* The second half from its end to its beginning. */
  size_t *cells = malloc(HALF * sizeof *cells);
  float *backwards = malloc(second.bytes);
  for (int i = 0; i < HALF; i++) {
    cells[i] = PIXELS - 1 - i;
    memcpy(backwards + i * CHANNELS, rows + cells[i] * CHANNELS, CHANNELS * sizeof(float));
  }
  second.data = (const uint8_t *)backwards;
  REFUSED(INPUT, "cell", perceiver_encoder_push_at(two, "pixel", cells, HALF - 1, &second));
  OK(perceiver_encoder_push_at(two, "pixel", cells, HALF, &second));
  REFUSED(INPUT, "pixel", perceiver_encoder_push(one, "pixel", HALF + 1, &first));
  REFUSED(INPUT, "voxel", perceiver_encoder_push(one, "voxel", 0, &first));
  REFUSED(INPUT, "NULL", perceiver_encoder_push(one, "pixel", 0, NULL));
  OK(perceiver_encoder_push(one, "pixel", 0, &first));
  PerceiverState *state, *read, *of_one, *both, *foreign;
  PerceiverBytes *bytes;
  OK(perceiver_encoder_state(two, &state));
  OK(perceiver_encoder_state(one, &of_one));
  OK(perceiver_state_to_bytes(state, &bytes));
  OK(perceiver_state_from_bytes(perceiver_bytes_data(bytes), perceiver_bytes_count(bytes), &read));
  CHECK(perceiver_state_from_bytes(perceiver_bytes_data(bytes), 40, &foreign) != PERCEIVER_STATUS_OK);
  CHECK(foreign == NULL);
  OK(perceiver_state_merge(of_one, read, &both));
  perceiver_encoder_free(two);
  OK(perceiver_encoder_merge(one, read));
  OK(perceiver_encoder_finish(one, &merged));

  OK(perceiver_model_encode(model, &pixels, 1, NULL, &whole));
  CHECK(perceiver_latents_items(whole) == 1);
  const float *a, *b;
  size_t latents, channels, n, d;
  OK(perceiver_latents_get(whole, 0, &a, &latents, &channels));
  OK(perceiver_latents_get(merged, 0, &b, &n, &d));
  CHECK(latents == n && channels == d && n > 0 && d > 0);
  CHECK(difference(a, b, n * d) < 1e-5);
  REFUSED(INPUT, "item 1", perceiver_latents_get(whole, 1, &a, &latents, &channels));

  PerceiverTensors *outputs;
  PerceiverTensor logits;
  OK(perceiver_model_run(model, &pixels, 1, NULL, &outputs));
  OK(perceiver_tensors_find(outputs, "logits", &logits));
  PerceiverLatents *copied;
  REFUSED(INPUT, "finite numbers", perceiver_latents_new((float[]){NAN}, 1, 1, NULL, &copied));
  OK(perceiver_latents_new(b, n, d, &sizes, &copied));
  PerceiverDecoder *decoder, *none;
  REFUSED(INPUT, "item 3", perceiver_decoder_new(model, copied, 3, &none));
  OK(perceiver_decoder_new(model, copied, 0, &decoder));
  perceiver_latents_free(copied), perceiver_model_free(model);
  PerceiverOutput output;
  OK(perceiver_decoder_output(decoder, 0, &output));
  CHECK(strcmp(output.name, "logits") == 0 && output.queries == 1 && output.channels == 0);
  REFUSED(INPUT, "below 1", perceiver_decoder_output(decoder, 1, &output));
  size_t query = 0;
  float *row = malloc(output.columns * sizeof *row);
  CHECK(logits.bytes == output.columns * sizeof *row);
  REFUSED(INPUT, "room", perceiver_decoder_decode(decoder, "logits", &query, 1, NULL, row, output.columns - 1));
  OK(perceiver_decoder_decode(decoder, "logits", &query, 1, NULL, row, output.columns));
  CHECK(difference(row, (const float *)logits.data, output.columns) < 1e-4);
  query = 1;
  REFUSED(INPUT, "quer", perceiver_decoder_decode(decoder, "logits", &query, 1, NULL, row, output.columns));
  REFUSED(INPUT, "hits", perceiver_decoder_decode(decoder, "hits", &query, 1, NULL, row, output.columns));

  free(row), free(planes), free(rows), free(cells), free(backwards);
  perceiver_decoder_free(decoder), perceiver_tensors_free(outputs), perceiver_latents_free(whole);
  perceiver_latents_free(merged), perceiver_bytes_free(bytes), perceiver_encoder_free(one);
  perceiver_state_free(state), perceiver_state_free(read), perceiver_state_free(of_one), perceiver_state_free(both);
}

/* A sentence filled, and tokens run, by a model from a folder and from memory. */
static void texts(PerceiverEngine *engine, const char *folder, const float *expected) {
  PerceiverModel *model, *again;
  OK(perceiver_model_load(engine, folder, &model));
  runs(model, expected);
  ended(model);
  refused(engine, model);
  OK(perceiver_model_set_memory_budget(model, 64 << 20));
  OK(perceiver_model_allow_non_finite(model, 1));
  run_once(model, expected);

  char *config_path = in(folder, "config.json"), *weights_path = in(folder, "model.safetensors");
  size_t bytes;
  char *config = contents(config_path, &bytes), *weights = contents(weights_path, &bytes);
  OK(perceiver_model_load_bytes(engine, config, (uint8_t *)weights, bytes, &again));
  free(weights), free(config), free(config_path), free(weights_path);
  run_once(again, expected);
  PerceiverBytes *filled;
  const char *sentence = "The compiler checks that every reference is valid.";
  OK(perceiver_fill_mask(again, "The comp[MASK]ler checks that every re[MASK]erence is val[MASK]d.", NULL, &filled));
  CHECK(perceiver_bytes_count(filled) == strlen(sentence));
  CHECK(memcmp(perceiver_bytes_data(filled), sentence, strlen(sentence)) == 0);
  perceiver_bytes_free(filled);
  perceiver_model_free(again), perceiver_model_free(model);
}

/* Waves that move to the right by 2.5 pixels, as flow sees them. */
static void flow(PerceiverEngine *engine, const char *folder) {
  enum { WIDTH = 128, HEIGHT = 96, PIXELS = WIDTH * HEIGHT };
  PerceiverModel *model;
  OK(perceiver_model_load(engine, folder, &model));
  uint8_t *frames[2];
  for (int f = 0; f < 2; f++) {
    frames[f] = malloc(3 * PIXELS);
    for (int i = 0; i < 3 * PIXELS; i++) {
      double x = i / 3 % WIDTH - 2.5 * f, y = i / 3 / WIDTH, phase = (double[]){0, 1.3, 2.1}[i % 3];
      double waves = 40 * sin(0.31 * x + 0.11 * y + phase) + 45 * sin(0.37 * y - 0.12 * x + 2 * phase);
      frames[f][i] = (uint8_t)(128 + waves + 35 * sin(0.21 * y + 0.26 * x + 3 * phase));
    }
  }
  float *vectors = malloc(2 * PIXELS * sizeof *vectors);
  REFUSED(INPUT, "room", perceiver_flow(model, frames[0], frames[1], WIDTH, HEIGHT, NULL, vectors, 2 * PIXELS - 1));
  REFUSED(INPUT, "NULL", perceiver_flow(model, frames[0], NULL, WIDTH, HEIGHT, NULL, vectors, 2 * PIXELS));
  OK(perceiver_flow(model, frames[0], frames[1], WIDTH, HEIGHT, NULL, vectors, 2 * PIXELS));
  double right = 0, down = 0;
  for (int i = 0; i < PIXELS; i++) right += vectors[2 * i] / PIXELS, down += vectors[2 * i + 1] / PIXELS;
  CHECK(fabs(right - 2.5) < 0.5 && fabs(down) < 0.5);
  free(vectors), free(frames[0]), free(frames[1]);
  perceiver_model_free(model);
}

int main(int count, char **arguments) {
  CHECK(count == 2 || count == 3);
  CHECK(strlen(perceiver_version()) >= 5);
  CHECK(perceiver_last_error()[0] == 0);
  char *text = in(arguments[1], "text-tiny"), *shapes = in(arguments[1], "shapes-tiny");
  char *moving = in(arguments[1], "flow-tiny");
  PerceiverEngine *engine;
  OK(perceiver_set_memory_limit((uint64_t)4 << 30));
  OK(perceiver_engine_open("cpu", &engine));
  CHECK(strcmp(perceiver_engine_device(engine), "cpu") == 0);
  OK(perceiver_engine_reopen(engine));
  if (count == 3) {
    size_t bytes;
    float *expected = (float *)contents(arguments[2], &bytes);
    CHECK(bytes == LOGITS * sizeof(float));
    texts(engine, text, expected);
    flow(engine, moving);
    free(expected);
  }
  streams(engine, shapes);
  free(text), free(shapes), free(moving);
  puts("all as expected");
  return 0;
}
