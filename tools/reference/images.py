#!/usr/bin/env python3
"""Reference pictures: what Pillow and transformers make of small PNG files.

    python3 tools/reference/images.py --out tests/fixtures/images

OUT gets, for every picture NAME:

  NAME.png          the picture: a kind (grey, palette, 16 bits ...) and a size
  NAME.safetensors  rgb                     u8 [h,w,3], after convert("RGB")
                    resize.<filter>.<w>x<h> u8 [h,w,3], after Image.resize (RESIZES)
                    <case>.pixel_values     f32 [3,h,w], of PerceiverImageProcessorPil
                    <case>.resized          u8 [3,h,w], of the same without rescale and normalise

and processors.json, the preprocessor_config.json of every case.  Of the case "default"
(224 x 224) every 16th row and column is kept.  Nothing is downloaded.
"""

from __future__ import annotations

import argparse
import json
import os
import struct
import zlib
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import numpy as np
from PIL import Image
from safetensors.numpy import save_file
from transformers.models.perceiver.image_processing_pil_perceiver import PerceiverImageProcessorPil

# Kind: width, height, bits a sample, PNG colour type, samples a pixel.
PICTURES = {
    "rgb": (37, 53, 8, 2, 3),
    "wide": (61, 9, 8, 2, 3),
    "tall": (3, 40, 8, 2, 3),
    "grey": (23, 17, 8, 0, 1),
    "grey-1": (19, 21, 1, 0, 1),
    "grey-2": (21, 14, 2, 0, 1),
    "grey-16": (20, 15, 16, 0, 1),
    "grey-alpha": (13, 29, 8, 4, 2),
    "grey-alpha-16": (14, 9, 16, 4, 2),
    "palette": (25, 26, 8, 3, 1),
    "palette-4": (27, 12, 4, 3, 1),
    "rgba": (31, 20, 8, 6, 4),
    "rgb-16": (18, 24, 16, 2, 3),
    "rgba-16": (11, 16, 16, 6, 4),
}
FILTERS = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3, "box": 4, "hamming": 5}
# Pictures that are resized with every filter, and the sizes: up, down, mixed, one side kept.
RESIZES = {
    "rgb": [(64, 71), (11, 13), (80, 7), (37, 20), (9, 53), (1, 1), (30, 20), (33, 45)],
    "wide": [(200, 30), (7, 8)],
    "tall": [(5, 9)],
}
PROCESSORS = {
    "default": {},
    "square": {"size": 24, "crop_size": 28},
    "sides": {"size": {"height": 20, "width": 12}, "crop_size": {"height": 22, "width": 30}, "resample": 2},
    # The part is larger than the whole: black is put around.
    "beyond": {"size": [20, 15], "crop_size": [9, 16], "resample": 1, "image_mean": 0.5, "image_std": [0.5, 0.25, 2]},
    "uncropped": {"size": 19, "do_center_crop": False, "resample": 0, "rescale_factor": 0.0078125},
    "unsized": {"size": 3, "crop_size": 4, "do_resize": False, "do_normalize": False},
    "bytes": {"size": 10, "crop_size": 11, "do_rescale": None, "image_mean": [120, 110, 100.5], "image_std": 60},
}


def chunk(kind: bytes, data: bytes) -> bytes:
    body = kind + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))


def png(name: str, rng: np.random.Generator) -> bytes:
    """A PNG of waves and noise, written by hand so that every kind is what its name says."""
    width, height, bits, colour_type, samples = PICTURES[name]
    most = (1 << bits) - 1
    y, x, c = np.mgrid[0:height, 0:width, 0:samples]
    wave = 0.5 + 0.5 * np.sin(0.31 * x * (c + 1) + 0.23 * y + c)
    values = np.clip(wave * 1.4 - 0.2 + 0.2 * rng.standard_normal(wave.shape), 0, 1)
    values = np.round(values * most).astype(np.uint32)
    if name == "grey-16":
        values = values // 120  # Pillow ends at 255: some below, some above
    rows = []
    for row in values.reshape(height, width * samples):
        if bits == 16:
            packed = row.astype(">u2").tobytes()
        else:
            stream = ((row[:, None] >> np.arange(bits - 1, -1, -1)) & 1).astype(np.uint8)
            packed = np.packbits(stream.reshape(-1)).tobytes()
        rows.append(b"\0" + packed)
    out = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0))
    if colour_type == 3:
        out += chunk(b"PLTE", rng.integers(0, 256, (most + 1) * 3, dtype=np.uint8).tobytes())
        out += chunk(b"tRNS", rng.integers(0, 256, most + 1, dtype=np.uint8).tobytes())
    return out + chunk(b"IDAT", zlib.compress(b"".join(rows), 9)) + chunk(b"IEND", b"")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(PICTURES):
        path = out / f"{name}.png"
        path.write_bytes(png(name, np.random.default_rng(number)))
        picture = Image.open(path).convert("RGB")
        tensors = {"rgb": np.array(picture)}
        for width, height in RESIZES.get(name, []):
            for kind, resample in FILTERS.items():
                resized = picture.resize((width, height), resample)
                tensors[f"resize.{kind}.{width}x{height}"] = np.array(resized)
        for case, settings in PROCESSORS.items():
            if case == "default" and name not in ("rgb", "wide"):
                continue
            values = PerceiverImageProcessorPil(**settings)(picture)["pixel_values"][0]
            plain = dict(settings, do_rescale=False, do_normalize=False)
            resized = PerceiverImageProcessorPil(**plain)(picture)["pixel_values"][0]
            if case == "default":
                values, resized = values[:, ::16, ::16], resized[:, ::16, ::16]
            assert values.dtype == np.float32 and resized.dtype == np.uint8
            tensors[f"{case}.pixel_values"] = np.ascontiguousarray(values)
            tensors[f"{case}.resized"] = np.ascontiguousarray(resized)
        save_file(tensors, out / f"{name}.safetensors")
    (out / "processors.json").write_text(json.dumps(PROCESSORS, indent=2) + "\n")


if __name__ == "__main__":
    main()
