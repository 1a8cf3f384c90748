#!/usr/bin/env python3
"""Flow of frames that have another size than the model's training, by transformers' class in float64.

The class itself reads any grid: positions are linspace(-1, 1, n) along each side, with the frequencies
of `train_size`.  Only its decoder reshapes to `train_size`; here it is told the size of the frames.

  flow_sizes.py MODEL OUT.safetensors [--sizes 17x23 6x40] [--seed 0]

OUT holds, for each size, frames.<H>x<W> u8 [2,H,W,3] and logits.<H>x<W> f32 [H,W,2].
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import torch
import transformers
from safetensors.torch import save_file

from inputs import flow_patches


def main() -> None:
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("model", type=Path, help="folder of a PerceiverForOpticalFlow, as golden.py writes it")
    ap.add_argument("out", type=Path)
    ap.add_argument("--sizes", nargs="+", default=["17x23", "6x40"], help="HEIGHTxWIDTH")
    ap.add_argument("--seed", type=int, default=0)
    args = ap.parse_args()
    net = transformers.PerceiverForOpticalFlow.from_pretrained(args.model, local_files_only=True).double().eval()
    rng = np.random.default_rng(args.seed)
    found = {}
    for size in args.sizes:
        height, width = (int(n) for n in size.split("x"))
        frames = rng.integers(0, 256, (2, height, width, 3), dtype=np.uint8)
        net.perceiver.decoder.output_image_shape = (height, width)
        with torch.inference_mode():
            logits = net(inputs=flow_patches(frames)[None].double()).logits[0]
        found[f"frames.{size}"] = torch.from_numpy(frames)
        found[f"logits.{size}"] = logits.float().contiguous().clone()
        print(size, tuple(logits.shape), "std", float(logits.std()))
    save_file(found, args.out)


if __name__ == "__main__":
    main()
