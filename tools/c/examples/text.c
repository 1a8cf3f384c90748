/* Fills the masks of a text, and runs the same model on tokens:
 *   text MODEL_FOLDER "The comp[MASK]ler"
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <perceiver.h>

static void expect(PerceiverStatus status) {
  if (status != PERCEIVER_STATUS_OK) {
    fprintf(stderr, "error: %s\n", perceiver_last_error());
    exit(1);
  }
}

/* Prints how much is done, and lets the run go on. */
static int32_t tell(uint64_t done, uint64_t total, void *user) {
  (void)user;
  fprintf(stderr, "\r%" PRIu64 " %%", total ? 100 * done / total : 0);
  return 0;
}

int main(int count, char **arguments) {
  if (count != 3) {
    fprintf(stderr, "usage: text MODEL_FOLDER TEXT_WITH_[MASK]\n");
    return 2;
  }
  PerceiverEngine *engine;
  PerceiverModel *model;
  expect(perceiver_engine_open("cpu", &engine));
  expect(perceiver_model_load(engine, arguments[1], &model));

  PerceiverBytes *filled;
  PerceiverRun run = {.progress = tell};
  expect(perceiver_fill_mask(model, arguments[2], &run, &filled));
  printf("\n%.*s\n", (int)perceiver_bytes_count(filled), (const char *)perceiver_bytes_data(filled));
  perceiver_bytes_free(filled);

  /* Bytes are tokens 6 and above; 3 is the mask. */
  int64_t tokens[] = {'h' + 6, 'e' + 6, 3, 'l' + 6, 'o' + 6};
  size_t shape[] = {1, 5};
  PerceiverTensor ids = {.name = "input_ids",
                         .dtype = PERCEIVER_TYPE_I64,
                         .rank = 2,
                         .shape = shape,
                         .data = (const uint8_t *)tokens,
                         .bytes = sizeof tokens};
  PerceiverTensors *outputs;
  PerceiverTensor logits;
  expect(perceiver_model_run(model, &ids, 1, NULL, &outputs));
  expect(perceiver_tensors_find(outputs, "logits", &logits));
  printf("%s on %s:", logits.name, perceiver_engine_device(engine));
  for (size_t axis = 0; axis < logits.rank; axis++) printf(" %zu", logits.shape[axis]);
  printf("\n");

  perceiver_tensors_free(outputs);
  perceiver_model_free(model);
  perceiver_engine_free(engine);
  return 0;
}
