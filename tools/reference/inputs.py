"""Inputs of the reference runs: raw data, and what the official preprocessing makes of it.

Names of the returned tensors are listed in golden.py.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import torch
from transformers import PerceiverTokenizer

from shapes import Shape

MASK_ID = 3
Tensors = dict[str, torch.Tensor]

SENTENCE = "This is an incomplete sentence where some words are missing."
# characters of one to four bytes
ALPHABET = ("abcdefghijklmnopqrstuvwxyz" * 4 + "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,;:-!?" + " " * 20
            + "éüñßÅж§" + "€—漢字の" + "😀𝄞")


def named_rng(seed: int, name: str) -> np.random.Generator:
    """A generator for one purpose: the same on every machine, independent of any other name."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return np.random.Generator(np.random.Philox(int.from_bytes(digest[:8], "little")))


# -- text -------------------------------------------------------------------

def random_text(size: int, rng: np.random.Generator) -> str:
    """A text of exactly `size` UTF-8 bytes."""
    text = "".join(ALPHABET[int(i)] for i in rng.integers(len(ALPHABET), size=size))
    text = text.encode()[:size].decode("utf-8", errors="ignore")
    return text + "." * (size - len(text.encode()))


def text_inputs(model: str, shape: Shape, rng: np.random.Generator, full: bool) -> Tensors:
    positions = shape.config["max_position_embeddings"]
    texts = [SENTENCE if full else random_text(n, rng) for n in shape.data["lengths"]]
    tokenizer = PerceiverTokenizer(model_max_length=positions)
    encoded = tokenizer(texts, padding="max_length", max_length=positions, truncation=True, return_tensors="pt")
    ids, mask = encoded["input_ids"], encoded["attention_mask"]
    if "mask" in shape.data:
        first, last = shape.data["mask"]
        ids[0, first:last] = MASK_ID
    out = {f"raw.text.{i}": torch.from_numpy(np.frombuffer(t.encode(), np.uint8).copy()) for i, t in enumerate(texts)}
    out.update(input_ids=ids, attention_mask=mask)
    if model == "mlm":
        out["unpadded.input_ids"] = ids[:1, : int(mask[0].sum())].clone()
    return out


# -- pictures ---------------------------------------------------------------

def picture(rng: np.random.Generator, height: int, width: int, shift: float = 0.0) -> np.ndarray:
    """u8 [height, width, 3]: a wave in each colour, moved left by `shift` pixels, and noise."""
    y, x = np.meshgrid(np.arange(height) / max(height, 8), (np.arange(width) + shift) / max(width, 8), indexing="ij")
    waves, phases = rng.uniform(1, 9, (3, 2)), rng.uniform(0, 6.28, (3,))
    colours = [np.sin(waves[c, 0] * y * 3 + waves[c, 1] * x * 3 + phases[c]) for c in range(3)]
    image = 127.5 + 90 * np.stack(colours, -1) + 25 * rng.standard_normal((height, width, 3))
    return np.clip(image, 0, 255).astype(np.uint8)


def process_images(images: list[np.ndarray], height: int, width: int) -> torch.Tensor:
    """The official processor with Pillow; crop 8/7 of the size, as 256 is of 224 (rounded up)."""
    try:
        from transformers.models.perceiver.image_processing_pil_perceiver import PerceiverImageProcessorPil as Processor
    except ImportError:  # older transformers: Pillow is the only way
        from transformers import PerceiverImageProcessor as Processor
    crop = {"height": -(-height * 8 // 7), "width": -(-width * 8 // 7)}
    processor = Processor(size={"height": height, "width": width}, crop_size=crop)
    values = [np.asarray(processor(i, return_tensors="np")["pixel_values"][0]) for i in images]
    return torch.as_tensor(np.stack(values)).float()


def image_inputs(shape: Shape, rng: np.random.Generator) -> Tensors:
    data = shape.data
    images = [picture(rng, *data["raw"]) for _ in range(data["batch"])]
    out = {f"raw.image.{i}": torch.from_numpy(image) for i, image in enumerate(images)}
    out["pixel_values"] = process_images(images, *data["size"])
    if "interp" in data:
        out["interp.pixel_values"] = process_images(images[:1], *data["interp"])
    return out


# -- flow -------------------------------------------------------------------

def flow_patches(frames: np.ndarray) -> torch.Tensor:
    """u8 [2, H, W, 3] -> f32 [2, 27, H, W]; channel = (dy * 3 + dx) * 3 + colour; zeros outside the frame."""
    height, width = frames.shape[1:3]
    value = np.pad(frames.astype(np.float64) / 255.0 * 2 - 1, ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = [value[:, dy : dy + height, dx : dx + width] for dy in range(3) for dx in range(3)]
    return torch.from_numpy(np.concatenate(windows, -1).transpose(0, 3, 1, 2).astype(np.float32))


def frame_pair(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """u8 [2, H, W, 3]: one picture twice, the second time moved by 1.7 pixels under the same noise."""
    state = rng.bit_generator.state
    first = picture(rng, height, width)
    rng.bit_generator.state = state
    return np.stack([first, picture(rng, height, width, shift=1.7)])


def flow_inputs(shape: Shape, rng: np.random.Generator, full: bool) -> Tensors:
    frames = np.stack([frame_pair(rng, *shape.config["train_size"]) for _ in range(shape.data["batch"])])
    out = {"raw.frames": torch.from_numpy(frames), "patches": torch.stack([flow_patches(f) for f in frames])}
    if not full:
        out["raw.tiled_frames"] = torch.from_numpy(frame_pair(rng, *shape.data["tiled"]))
    return out


# -- multimodal -------------------------------------------------------------

def chunk_points(config: dict[str, Any], count: int, index: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Output points (image, audio) of one of `count` chunks: consecutive ranges of the flat indices."""
    image = int(np.prod(config["output_shape"][1:])) // count
    audio = config["num_frames"] * config["audio_samples_per_frame"] // config["samples_per_patch"] // count
    return torch.arange(image * index, image * (index + 1)), torch.arange(audio * index, audio * (index + 1))


def multimodal_inputs(shape: Shape, rng: np.random.Generator, full: bool) -> Tensors:
    config, batch = shape.config, shape.data["batch"]
    frames, side = config["num_frames"], 4 * config["image_size"]
    samples = frames * config["audio_samples_per_frame"]
    video = np.stack([np.stack([picture(rng, side, side, shift=i) for i in range(frames)]) for _ in range(batch)])
    tone = 8000 * np.sin(np.arange(samples) * rng.uniform(0.01, 0.2, (batch, 1)))
    audio = (tone + 3000 * rng.standard_normal((batch, samples))).astype(np.int16)
    image_points, audio_points = chunk_points(config, shape.data["nchunks"], 0)
    if not full:  # no plain range: both ends, out of order, with repeats
        pixels, patches = frames * side * side, samples // config["samples_per_patch"]
        image_points = torch.from_numpy(np.concatenate([[pixels - 1, 0], rng.integers(0, pixels, 21), [5, 5]]))
        audio_points = torch.from_numpy(np.concatenate([[patches - 1, 0], rng.integers(0, patches, 3)]))
    scaled = torch.from_numpy((video.astype(np.float64) / 255.0).astype(np.float32))
    return {
        "raw.video": torch.from_numpy(video),
        "raw.audio": torch.from_numpy(audio),
        "image": scaled.permute(0, 1, 4, 2, 3).contiguous(),
        "audio": torch.from_numpy(audio.astype(np.float32) / 32768.0)[..., None],
        "label": torch.zeros(batch, config["num_labels"]),
        "points.image": image_points,
        "points.audio": audio_points,
    }


def make_inputs(model: str, shape: Shape, seed: int, full: bool) -> Tensors:
    rng = named_rng(seed, f"inputs/{model}")
    if model in ("mlm", "seqcls"):
        return text_inputs(model, shape, rng, full)
    if model == "flow":
        return flow_inputs(shape, rng, full)
    if model == "multimodal":
        return multimodal_inputs(shape, rng, full)
    return image_inputs(shape, rng)
