"""_decoding.py OUT SIDE [--whole] [--command PERCEIVER]: a shape decoder of Hunyuan3D-2's size over a grid, time and peak memory.

3,072 latents of 1024 channels, one layer of the transformer of 16, random weights; the points of a grid are decoded 10,000 at a time, as
the published code does (`num_chunks`), or at once with --whole. Without a command PyTorch runs, else `perceiver shape --block 1`, which
streams the same number of points. Peak memory is what the system says that the process had resident.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import time
from pathlib import Path

import timing
import torch
from safetensors.torch import save_file

CHUNK = 10_000


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("out", type=Path)
    ap.add_argument("side", type=int, help="points along a side of the grid")
    ap.add_argument("--whole", action="store_true")
    ap.add_argument("--command")
    args = ap.parse_args()
    folder, points = args.out / "hunyuan3d", args.side ** 3
    if args.command:
        start = time.perf_counter()
        told = os.posix_spawn(args.command, [
            args.command, "shape", str(folder / "latents.safetensors"), "--model", str(folder), "--cells", str(args.side - 1),
            "--block", "1", "--out", str(args.out / "mesh.ply"), "--device", "cpu"], os.environ | {"RAYON_NUM_THREADS": "2"})
        _, status, used = os.wait4(told, 0)
        seconds, who = time.perf_counter() - start, f"perceiver (status {status})"
    else:
        torch.set_num_threads(timing.THREADS)
        torch.set_grad_enabled(False)
        net, inputs, _, config = timing.hunyuan3d()
        timing.filled(net)
        folder.mkdir(parents=True, exist_ok=True)
        config = {"model_type": "perceiver-family", "family": "hunyuan3d"} | config
        (folder / "config.json").write_text(json.dumps(config))
        save_file({k: v.contiguous() for k, v in net.state_dict().items()}, str(folder / "model.safetensors"))
        save_file({"latents": inputs["latents"]}, str(folder / "latents.safetensors"))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        line = torch.linspace(-1, 1, args.side)
        start = time.perf_counter()
        grid = torch.stack(torch.meshgrid(line, line, line, indexing="ij"), dim=-1).reshape(1, -1, 3)
        latents = net(inputs["latents"])
        parts = [grid] if args.whole else grid.split(CHUNK, dim=1)
        logits = torch.cat([net.geo_decoder(queries=part, latents=latents) for part in parts], dim=1)
        seconds, used = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF)
        who = f"torch {torch.__version__}, {before / 1024:.0f} MiB before ({tuple(logits.shape)})"
    print(f"{who}: {points} points in {seconds:.2f} s, peak {used.ru_maxrss / 1024:.0f} MiB", flush=True)


if __name__ == "__main__":
    main()
