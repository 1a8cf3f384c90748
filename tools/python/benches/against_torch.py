#!/usr/bin/env python3
"""The package beside torch: models of Hugging Face's classes, in one process, from torch tensors to arrays.

    python tools/python/benches/against_torch.py [--device cpu] [--seconds 2]

The models are one of random weights that is small, and those that ship. For each: medians of a whole call here (conversion
included) and of the module's `forward` in torch, eager, without gradients; and what a call costs beside the engine's work, at
most. The engine works in threads of its own, so the time of the processor that the calling thread takes is the conversion of
arrays and what it does to hand over; what it waits beside that is at most what it waits for a model that only adds up four
numbers. Both are counted. Calls take turns, ten at a time, so that all see the same machine, and threads of torch, which spin
for a while when there is nothing to do, disturb only the first of ten.
"""

import argparse
import os
import statistics
import time
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import perceiver
import torch
import transformers

MODELS = Path(__file__).resolve().parents[3] / "models"


def cases():
    """Name, module, inputs of the module."""
    random = torch.Generator().manual_seed(0)
    torch.manual_seed(0)

    def shipped(name):
        config = transformers.PerceiverConfig.from_pretrained(MODELS / name)
        return getattr(transformers, config.architectures[0]).from_pretrained(MODELS / name, dtype=torch.float32)

    def rand(*shape):
        return torch.rand(*shape, generator=random)

    small = transformers.PerceiverConfig(
        num_latents=64, d_latents=128, d_model=64, num_self_attends_per_block=4, max_position_embeddings=128
    )
    text = torch.randint(6, 262, (1, 128), generator=random)
    yield "small", transformers.PerceiverForMaskedLM(small), dict(inputs=text)
    yield "text-tiny", shipped("text-tiny"), dict(inputs=torch.randint(6, 262, (1, 256), generator=random))
    yield "text-tiny", shipped("text-tiny"), dict(inputs=torch.randint(6, 262, (8, 256), generator=random))
    yield "shapes-tiny", shipped("shapes-tiny"), dict(inputs=rand(1, 3, 32, 32))
    yield "shapes-tiny", shipped("shapes-tiny"), dict(inputs=rand(8, 3, 32, 32))
    yield "shapes-conv-tiny", shipped("shapes-conv-tiny"), dict(inputs=rand(2, 3, 32, 32))
    yield "shapes-conv-tiny", shipped("shapes-conv-tiny"), dict(inputs=rand(8, 3, 32, 32))
    yield "flow-tiny", shipped("flow-tiny"), dict(inputs=rand(1, 2, 27, 96, 128))
    points = dict(image=torch.arange(0, 4608, 2), audio=torch.arange(64), label=None)
    clip = dict(image=rand(1, 8, 3, 24, 24), audio=rand(1, 1024, 1), label=torch.zeros(1, 12))
    yield "multimodal-tiny", shipped("multimodal-tiny"), dict(inputs=clip, subsampled_output_points=points)


def adder(engine):
    """A model whose work is next to nothing: y = x + c, element by element."""
    blueprint = {
        "inputs": [{"name": "x", "count": 1, "content": {"given": {"input": "x", "channels": 4}}}],
        "arrays": [
            {"name": "c", "make": {"learned": {"tensor": "c", "shape": [1, 4]}}},
            {"name": "sum", "make": {"sum": ["x", "c"]}},
        ],
        "outputs": [{"name": "y", "array": "sum"}],
    }
    config = {"model_type": "perceiver-blueprint", "version": 1, "blueprint": blueprint}
    return perceiver.Model.from_arrays(config, {"c": np.zeros((1, 4))}, engine=engine)


def medians(calls, seconds):
    """Medians of calls that take turns: milliseconds on the clock, and of the calling thread's processor."""
    times = [[] for _ in calls]
    for call in calls:
        call()
    until = time.perf_counter() + seconds
    while time.perf_counter() < until or len(times[0]) < 5:
        for call, found in zip(calls, times):
            for _ in range(10):
                start, own = time.perf_counter(), time.thread_time()
                call()
                found.append((1e3 * (time.perf_counter() - start), 1e3 * (time.thread_time() - own)))
    return [tuple(statistics.median(column) for column in zip(*found)) for found in times]


def main():
    transformers.utils.logging.disable_progress_bar()
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--device", default="cpu")
    options.add_argument("--seconds", type=float, default=4)
    options = options.parse_args()
    engine = perceiver.Engine(options.device)
    add = adder(engine)
    print(f"{engine.name}; torch {torch.__version__} on {torch.get_num_threads()} threads")
    print(f"{'model':18} {'batch':>5} {'torch ms':>9} {'here ms':>9} {'of torch':>8} {'a call ms':>9} {'of here':>8} {'error':>8}")
    for name, module, inputs in cases():
        module.eval()
        model = perceiver.from_transformers(module, engine=engine)

        def forward():
            with torch.inference_mode():
                return module(**inputs).logits

        logits, found = forward(), model.run(inputs)
        logits = logits if isinstance(logits, dict) else {"": logits}
        wanted = {f"logits.{n}" if n else "logits": t.numpy() for n, t in logits.items()}
        error = max(np.linalg.norm(found[n] - t) / np.linalg.norm(t) for n, t in wanted.items())
        x = np.zeros((1, 1, 4), np.float32)
        calls = [forward, lambda: model.run(inputs), lambda: add.run(x=x)]
        (there, _), (here, own), (adding, own_adding) = medians(calls, options.seconds)
        batch, call = next(iter(found.values())).shape[0], own + adding - own_adding
        print(
            f"{name:18} {batch:5} {there:9.2f} {here:9.2f} {here / there:8.2f} {call:9.3f} {call / here:8.1%} {error:8.1e}"
        )


if __name__ == "__main__":
    main()
