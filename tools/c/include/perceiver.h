/* perceiver: runs Perceiver IO and its family on any GPU, or on the CPU.
 *
 * Made by cbindgen from the sources of tools/c: `cargo test -p perceiver-c` says when it is not up to date, and
 * PERCEIVER_WRITE_HEADER=1 has it written. Licence: MIT OR Apache-2.0. */

#ifndef PERCEIVER_H
#define PERCEIVER_H

#include <stddef.h>
#include <stdint.h>

// What a call came to. The text is perceiver_last_error's.
typedef enum PerceiverStatus {
  // It worked.
  PERCEIVER_STATUS_OK = 0,
  // An argument or input does not fit: NULL, a wrong name, shape, type, value or size.
  PERCEIVER_STATUS_INPUT = 1,
  // A file could not be read or written.
  PERCEIVER_STATUS_IO = 2,
  // A checkpoint is damaged, or its tensors and configuration do not fit each other.
  PERCEIVER_STATUS_CHECKPOINT = 3,
  // No device matches.
  PERCEIVER_STATUS_NO_DEVICE = 4,
  // The device refused something.
  PERCEIVER_STATUS_DEVICE = 5,
  // The device was lost; perceiver_engine_reopen opens it again.
  PERCEIVER_STATUS_DEVICE_LOST = 6,
  // The device has no room.
  PERCEIVER_STATUS_OUT_OF_MEMORY = 7,
  // Something is beyond a limit of the device, of the host's memory or of this engine.
  PERCEIVER_STATUS_LIMIT = 8,
  // A control or a callback ended the run.
  PERCEIVER_STATUS_CANCELLED = 9,
  // An output has infinities or what is no number.
  PERCEIVER_STATUS_NOT_FINITE = 10,
  // A defect of perceiver or of a driver. Please report it.
  PERCEIVER_STATUS_DEFECT = 11,
} PerceiverStatus;

// Types of a tensor's numbers.
typedef enum PerceiverType {
  // 32-bit float.
  PERCEIVER_TYPE_F32 = 0,
  // 64-bit signed integer: tokens, masks, points.
  PERCEIVER_TYPE_I64 = 1,
  // Byte.
  PERCEIVER_TYPE_U8 = 2,
  // 16-bit signed integer: sound.
  PERCEIVER_TYPE_I16 = 3,
} PerceiverType;

// What a run returns beside the model's outputs, and how it reads its inputs; added together.
typedef enum PerceiverFlag {
  // Also the arrays on the way: latents after each stage, queries.
  PERCEIVER_FLAG_INTERMEDIATES = 1,
  // For pictures of another size than that of the training: positions are resized.
  PERCEIVER_FLAG_RESIZE_POSITIONS = 2,
} PerceiverFlag;

// Bytes that a call has made.
typedef struct PerceiverBytes PerceiverBytes;

// Ends runs from any thread or callback.
typedef struct PerceiverControl PerceiverControl;

// Decodes chosen queries from latents.
typedef struct PerceiverDecoder PerceiverDecoder;

// Encodes rows that come in any order, in pieces.
typedef struct PerceiverEncoder PerceiverEncoder;

// Where models run: a GPU, or the CPU.
typedef struct PerceiverEngine PerceiverEngine;

// The last latents of one or several items, and the sizes that they were made with.
typedef struct PerceiverLatents PerceiverLatents;

// A configuration and weights on an engine.
typedef struct PerceiverModel PerceiverModel;

// What an encoder knows of the rows so far; states of disjoint rows merge exactly.
typedef struct PerceiverState PerceiverState;

// Named tensors that a call has made.
typedef struct PerceiverTensors PerceiverTensors;

// Sizes of an input that the caller decides; those that do not concern the model, and zeros, are those of the published models'
// training (224 × 224 pixels for ImageNet's), as is NULL in their place.
typedef struct PerceiverSizes {
  // Tokens of a text.
  size_t length;
  // Rows of a picture's or frame's pixels.
  size_t height;
  // Pixels of a row.
  size_t width;
  // Other than 0: positions are resized to the picture.
  uint32_t resize_positions;
} PerceiverSizes;

// A dense tensor, the last axis fastest.
typedef struct PerceiverTensor {
  // Its name, UTF-8. NULL where the call takes one tensor alone.
  const char *name;
  // One of PerceiverType.
  int32_t dtype;
  // Axes.
  size_t rank;
  // Elements along each axis.
  const size_t *shape;
  // The elements. Need not be aligned.
  const uint8_t *data;
  // Bytes of the elements, which have to be those of shape and type.
  size_t bytes;
} PerceiverTensor;

// Hears how many of how many floating-point operations are done, on the thread that runs; other than 0 ends the run. It must
// return: an exception or a longjmp through it is undefined behaviour.
typedef int32_t (*PerceiverProgress)(uint64_t done, uint64_t total, void *user);

// How to run. All zeros, or NULL in its place, is a plain run.
typedef struct PerceiverRun {
  // Numbers of PerceiverFlag, added together.
  uint32_t flags;
  // Ends the run with PERCEIVER_STATUS_CANCELLED when it is cancelled. NULL: nothing does.
  const struct PerceiverControl *control;
  // Hears of progress. NULL: nobody does.
  PerceiverProgress progress;
  // What progress is handed.
  void *user;
} PerceiverRun;

// An output that a decoder can be asked.
typedef struct PerceiverOutput {
  // Its name; valid until the decoder is freed.
  const char *name;
  // Queries that there are.
  size_t queries;
  // Channels that a query must bring along; 0: none.
  size_t channels;
  // Numbers of a decoded row.
  size_t columns;
} PerceiverOutput;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// The library's version, such as "0.1.0".
const char *perceiver_version(void);

// Bounds the host memory that files and sizes of inputs can make this process allocate: half of the machine's unless this is
// called.
enum PerceiverStatus perceiver_set_memory_limit(uint64_t bytes);

// Opens a device: "auto" or NULL (the best GPU, else the CPU), "cpu", "gpu", an adapter's number or a part of its name.
enum PerceiverStatus perceiver_engine_open(const char *device,
                                           struct PerceiverEngine **engine);

// The adapter's name, or "cpu"; NULL for NULL. Valid until the engine is freed.
const char *perceiver_engine_device(const struct PerceiverEngine *engine);

// Opens the device again after PERCEIVER_STATUS_DEVICE_LOST: models go on, with the weights that they hold.
enum PerceiverStatus perceiver_engine_reopen(const struct PerceiverEngine *engine);

// Frees an engine; its models live on. NULL does nothing.
void perceiver_engine_free(struct PerceiverEngine *engine);

// Makes latents of one item from `rows` × `channels` numbers of the caller's, which are copied.
enum PerceiverStatus perceiver_latents_new(const float *numbers,
                                           size_t rows,
                                           size_t channels,
                                           const struct PerceiverSizes *sizes,
                                           struct PerceiverLatents **latents);

// How many items there are; 0 for NULL.
size_t perceiver_latents_items(const struct PerceiverLatents *latents);

// Lends the numbers of an item, `rows` × `channels`, until the latents are freed.
enum PerceiverStatus perceiver_latents_get(const struct PerceiverLatents *latents,
                                           size_t item,
                                           const float **numbers,
                                           size_t *rows,
                                           size_t *channels);

// Frees latents. NULL does nothing.
void perceiver_latents_free(struct PerceiverLatents *latents);

// Loads a checkpoint folder as Hugging Face saves it, or a blueprint's. Weights are read when they are first needed.
enum PerceiverStatus perceiver_model_load(const struct PerceiverEngine *engine,
                                          const char *folder,
                                          struct PerceiverModel **model);

// Loads the Perceiver inside another model: of its folder or file of weights. `part` is the first part of its tensors' names, or
// NULL where there is one alone.
enum PerceiverStatus perceiver_model_load_part(const struct PerceiverEngine *engine,
                                               const char *path,
                                               const char *part,
                                               struct PerceiverModel **model);

// Loads a checkpoint that is in memory: the text of its config.json, and its safetensors file, which is copied.
enum PerceiverStatus perceiver_model_load_bytes(const struct PerceiverEngine *engine,
                                                const char *config,
                                                const uint8_t *weights,
                                                size_t bytes,
                                                struct PerceiverModel **model);

// Bounds what a session of the model allocates; 0: nothing does. Work is cut until it fits.
enum PerceiverStatus perceiver_model_set_memory_budget(const struct PerceiverModel *model,
                                                       uint64_t bytes);

// Has numbers stored as f16 (other than 0), on a GPU, or as f32 (0).
enum PerceiverStatus perceiver_model_set_f16(const struct PerceiverModel *model, int32_t f16);

// Lets outputs have infinities and what is no number (other than 0), which are an error otherwise (0).
enum PerceiverStatus perceiver_model_allow_non_finite(const struct PerceiverModel *model,
                                                      int32_t allowed);

// Runs the model on named tensors and makes those of its outputs. Texts: `input_ids` and optionally `attention_mask` (I64, [batch,
// length]). Pictures: `pixel_values` (F32, [batch, 3, height, width]). Optical flow: `patches` (F32, [batch, 2, 27, height,
// width]). Multimodal: `image` (F32, [batch, frames, 3, height, width]), `audio` (F32, [batch, samples, 1]), `points.image` and
// `points.audio` (I64, what to decode), optionally `label`. Outputs are `logits`, or `logits.image`, `logits.audio` and
// `logits.label`. A blueprint names its inputs and outputs itself: `perceiver show` lists them.
enum PerceiverStatus perceiver_model_run(const struct PerceiverModel *model,
                                         const struct PerceiverTensor *inputs,
                                         size_t count,
                                         const struct PerceiverRun *run,
                                         struct PerceiverTensors **outputs);

// Encode and process alone: makes the last latents of every item.
enum PerceiverStatus perceiver_model_encode(const struct PerceiverModel *model,
                                            const struct PerceiverTensor *inputs,
                                            size_t count,
                                            const struct PerceiverRun *run,
                                            struct PerceiverLatents **latents);

// Frees a model; encoders and decoders that were made of it live on. NULL does nothing.
void perceiver_model_free(struct PerceiverModel *model);

// Makes a control of runs that are yet to begin.
enum PerceiverStatus perceiver_control_new(struct PerceiverControl **control);

// Ends the runs under a control, present and later ones, with PERCEIVER_STATUS_CANCELLED. From any thread or callback.
enum PerceiverStatus perceiver_control_cancel(const struct PerceiverControl *control);

// Frees a control; runs under it go on. NULL does nothing.
void perceiver_control_free(struct PerceiverControl *control);

// What the last call on this thread that did not return PERCEIVER_STATUS_OK has to say: what is wrong, where, and what to
// try. UTF-8; never NULL; valid until the next call on this thread.
const char *perceiver_last_error(void);

// Makes an encoder for inputs of these sizes.
enum PerceiverStatus perceiver_encoder_new(const struct PerceiverModel *model,
                                           const struct PerceiverSizes *sizes,
                                           struct PerceiverEncoder **encoder);

// Reads rows `first` and following of a modality, f32 [rows, channels]. Each row should come once. After an error none of them
// count as read.
enum PerceiverStatus perceiver_encoder_push(const struct PerceiverEncoder *encoder,
                                            const char *modality,
                                            size_t first,
                                            const struct PerceiverTensor *rows);

// As perceiver_encoder_push, for rows in any order: row i is the one at `cells[i]`, which on a grid is the number of a cell, the last
// axis fastest. Many rows at a time cost less than few.
enum PerceiverStatus perceiver_encoder_push_at(const struct PerceiverEncoder *encoder,
                                               const char *modality,
                                               const size_t *cells,
                                               size_t count,
                                               const struct PerceiverTensor *rows);

// Makes a copy of what the encoder knows so far.
enum PerceiverStatus perceiver_encoder_state(const struct PerceiverEncoder *encoder,
                                             struct PerceiverState **state);

// Adds the rows that another encoder of the same model has read, on this machine or another.
enum PerceiverStatus perceiver_encoder_merge(const struct PerceiverEncoder *encoder,
                                             const struct PerceiverState *state);

// Makes the latents of the rows so far; more may come afterwards.
enum PerceiverStatus perceiver_encoder_finish(const struct PerceiverEncoder *encoder,
                                              struct PerceiverLatents **latents);

// Frees an encoder. NULL does nothing.
void perceiver_encoder_free(struct PerceiverEncoder *encoder);

// Makes the bytes of a state, for a file or another machine.
enum PerceiverStatus perceiver_state_to_bytes(const struct PerceiverState *state,
                                              struct PerceiverBytes **bytes);

// Reads a state of what perceiver_state_to_bytes gave. Whose it is shows when it is merged.
enum PerceiverStatus perceiver_state_from_bytes(const uint8_t *bytes,
                                                size_t count,
                                                struct PerceiverState **state);

// Makes the state of the rows of both.
enum PerceiverStatus perceiver_state_merge(const struct PerceiverState *one,
                                           const struct PerceiverState *other,
                                           struct PerceiverState **merged);

// Frees a state. NULL does nothing.
void perceiver_state_free(struct PerceiverState *state);

// The bytes, until they are freed; NULL for NULL.
const uint8_t *perceiver_bytes_data(const struct PerceiverBytes *bytes);

// How many bytes there are; 0 for NULL.
size_t perceiver_bytes_count(const struct PerceiverBytes *bytes);

// Frees bytes. NULL does nothing.
void perceiver_bytes_free(struct PerceiverBytes *bytes);

// Makes a decoder of an item's latents.
enum PerceiverStatus perceiver_decoder_new(const struct PerceiverModel *model,
                                           const struct PerceiverLatents *latents,
                                           size_t item,
                                           struct PerceiverDecoder **decoder);

// Tells an output by its number, counted from 0; PERCEIVER_STATUS_INPUT beyond the last.
enum PerceiverStatus perceiver_decoder_output(const struct PerceiverDecoder *decoder,
                                              size_t index,
                                              struct PerceiverOutput *output);

// Decodes queries of an output, given by their numbers, in this order, into `rows`: `count` × columns numbers. `content` are the
// rows that queries bring along, f32 [count, channels]; NULL where they bring none.
enum PerceiverStatus perceiver_decoder_decode(const struct PerceiverDecoder *decoder,
                                              const char *output,
                                              const size_t *queries,
                                              size_t count,
                                              const struct PerceiverTensor *content,
                                              float *rows,
                                              size_t capacity);

// Frees a decoder. NULL does nothing.
void perceiver_decoder_free(struct PerceiverDecoder *decoder);

// Fills the `[MASK]`s of a text, one for each byte, and makes the whole text, UTF-8 without a NUL.
enum PerceiverStatus perceiver_fill_mask(const struct PerceiverModel *model,
                                         const char *masked,
                                         const struct PerceiverRun *run,
                                         struct PerceiverBytes **filled);

// The optical flow from one frame to the next, both 8-bit RGB, `width` × `height` × 3 bytes from the top: where each pixel goes, to
// the right and down, in pixels. `vectors` has room for `width` × `height` × 2 numbers.
enum PerceiverStatus perceiver_flow(const struct PerceiverModel *model,
                                    const uint8_t *first,
                                    const uint8_t *second,
                                    size_t width,
                                    size_t height,
                                    const struct PerceiverRun *run,
                                    float *vectors,
                                    size_t capacity);

// How many tensors there are; 0 for NULL.
size_t perceiver_tensors_count(const struct PerceiverTensors *tensors);

// Lends a tensor by its number, counted from 0 in the order of names; valid until the tensors are freed.
enum PerceiverStatus perceiver_tensors_get(const struct PerceiverTensors *tensors,
                                           size_t index,
                                           struct PerceiverTensor *tensor);

// Lends a tensor by its name; valid until the tensors are freed.
enum PerceiverStatus perceiver_tensors_find(const struct PerceiverTensors *tensors,
                                            const char *name,
                                            struct PerceiverTensor *tensor);

// Frees tensors and what they lent. NULL does nothing.
void perceiver_tensors_free(struct PerceiverTensors *tensors);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* PERCEIVER_H */
