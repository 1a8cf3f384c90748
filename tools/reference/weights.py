"""Random weights with which any mistake of an implementation shows in the result.

Every parameter and buffer gets a value of its own (biases, LayerNorm gains and
running statistics too), attention is neither uniform nor one-hot, and the content
of the input weighs as much as its positions.
"""

from __future__ import annotations

import numpy as np
import torch

from inputs import named_rng
from shapes import Shape

# Channels of the encoder input that hold content; the rest hold position or padding.
CONTENT_CHANNELS = {"img-fourier": 3, "img-conv": 64, "flow": 64, "multimodal": 48}
# Spread of the output of a linear layer for inputs of spread one.
OUTPUT_SPREAD = {".output.dense.": 0.7, ".dense2.": 0.7}


def encoder_inputs(model: str, shape: Shape) -> int:
    """Number of rows of the encoder input (near enough for img-conv)."""
    config = shape.config
    if model in ("mlm", "seqcls"):
        return config["max_position_embeddings"]
    if model == "flow":
        return config["train_size"][0] * config["train_size"][1]
    if model == "multimodal":
        audio = config["audio_samples_per_frame"] // config["samples_per_patch"]
        return config["num_frames"] * (config["image_size"] ** 2 + audio) + 1
    pixels = shape.data["size"][0] * shape.data["size"][1]
    return pixels // 16 if model == "img-conv" else pixels


def score_gain(keys: int) -> float:
    """For query and key weights: scores spread by about sqrt(ln(keys / 8)), so some eight keys share the weight."""
    return float(np.sqrt(np.sqrt(max(2.0, np.log(keys / 8)))))


@torch.no_grad()
def randomise(net: torch.nn.Module, model: str, shape: Shape, seed: int) -> None:
    for name, tensor in net.state_dict().items():
        value = draw(name, tuple(tensor.shape), model, shape, named_rng(seed, name))
        tensor.copy_(torch.from_numpy(np.asarray(value)))


def draw(name: str, size: tuple[int, ...], model: str, shape: Shape, rng: np.random.Generator) -> np.ndarray:
    def normal() -> np.ndarray:
        return rng.standard_normal(size, dtype=np.float32)

    kind = name.rsplit(".", 1)[1]
    if kind == "num_batches_tracked":
        return np.array(1234, dtype=np.int64)
    if kind == "running_var":
        return rng.uniform(0.4, 2.5, size).astype(np.float32)
    if kind == "running_mean":
        return 0.5 * normal()
    if "layernorm" in name or "batchnorm" in name:
        return np.clip(1 + 0.25 * normal(), 0.3, 1.7) if kind == "weight" else 0.2 * normal()
    if kind == "bias":
        return 0.2 * normal()
    if kind != "weight":  # latents, trained positions, padding, mask tokens
        return 0.8 * normal()
    if name.endswith(("input_preprocessor.embeddings.weight", "input_preprocessor.position_embeddings.weight")):
        return normal() * (3.0 / np.sqrt(size[1]))

    spread = next((s for part, s in OUTPUT_SPREAD.items() if part in name), 1.0)
    of_encoder = ".encoder.cross_attention." in name
    if ".self.query." in name or ".self.key." in name:
        spread = score_gain(encoder_inputs(model, shape) if of_encoder else shape.config["num_latents"])
    value = normal() * (spread / np.sqrt(int(np.prod(size[1:]))))
    if model in CONTENT_CHANNELS and of_encoder and (".self.key." in name or ".self.value." in name):
        content = CONTENT_CHANNELS[model]
        value[:, :content] *= np.sqrt(size[1] / content)
        value *= np.sqrt(0.5)  # half from content, half from the rest
    return value
