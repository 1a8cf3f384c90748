#!/usr/bin/env python3
"""Times Hugging Face's own class on a case that golden.py wrote: eager mode, CPU, float32.

    python3 tools/reference/timing.py FOLDER [--runs N] [--threads N]

Prints the seconds of every run and the peak memory of the process.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import time
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import torch
import transformers
from safetensors.torch import load_file


def arguments(case: dict) -> dict:
    """What the class is called with."""
    if "patches" in case:
        return {"inputs": case["patches"]}
    if "pixel_values" in case:
        return {"inputs": case["pixel_values"]}
    if "input_ids" in case:
        return {"input_ids": case["input_ids"], "attention_mask": case.get("attention_mask")}
    points = {"image": case["points.image"], "audio": case["points.audio"], "label": None}
    inputs = {name: case[name] for name in ("image", "audio", "label")}
    return {"inputs": inputs, "subsampled_output_points": points}


def main() -> None:
    ap = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ap.add_argument("folder", type=Path)
    ap.add_argument("--runs", type=int, default=3)
    ap.add_argument("--threads", type=int, default=2)
    args = ap.parse_args()
    torch.set_num_threads(args.threads)
    name = json.loads((args.folder / "config.json").read_text())["architectures"][0]
    model = getattr(transformers, name).from_pretrained(args.folder, attn_implementation="eager").eval()
    case = {k: v.float() if v.is_floating_point() else v for k, v in load_file(args.folder / "inputs.safetensors").items()}
    call, seconds = arguments(case), []
    with torch.no_grad():
        for _ in range(args.runs):
            start = time.perf_counter()
            model(**call)
            seconds.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{name}: {' '.join(f'{s:.3f}' for s in seconds)} s, best {min(seconds):.3f} s, peak {peak:.0f} MiB")


if __name__ == "__main__":
    main()
