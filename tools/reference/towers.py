#!/usr/bin/env python3
"""Times latent self-attention towers of the published sizes, six layers in f32: here and in ONNX Runtime, in turns.

    pip install onnxruntime onnx numpy
    cargo build --release --example towers
    python3 tools/reference/towers.py [--rounds N] [--runs N] [--threads N]

Of each round the median of its runs counts, of all rounds the median is printed, with the least and the most; the ratio is
the median of the ratios of single rounds, whose two halves follow each other.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

LAYERS = 6
# Latents, channels, heads: as in examples/towers.rs.
TOWERS = {"imagenet": (512, 1024, 8), "flow": (2048, 512, 16), "language": (256, 1280, 8)}


def graph(rows: int, width: int, heads: int) -> bytes:
    """Layers of MatMul, Softmax, Gelu and LayerNormalization, as an exporter writes them."""
    random, nodes, constants = np.random.default_rng(0), [], []

    def constant(array: np.ndarray) -> str:
        name = f"constant{len(constants)}"
        constants.append(numpy_helper.from_array(array, name))
        return name

    def node(op: str, *inputs: str, **attributes) -> str:
        nodes.append(helper.make_node(op, list(inputs), [f"value{len(nodes)}"], **attributes))
        return nodes[-1].output[0]

    def linear(x: str) -> str:
        weight = random.standard_normal((width, width)) / np.sqrt(width)
        product = node("MatMul", x, constant(weight.astype(np.float32)))
        return node("Add", product, constant(np.zeros(width, np.float32)))

    def norm(x: str) -> str:
        gain, bias = (constant(np.full(width, n, np.float32)) for n in (1, 0))
        return node("LayerNormalization", x, gain, bias, axis=-1, epsilon=1e-5)

    def split(x: str, order: list[int]) -> str:
        shape = constant(np.array([rows, heads, width // heads], np.int64))
        return node("Transpose", node("Reshape", x, shape), perm=order)

    x = "x"
    for _ in range(LAYERS):
        normed = norm(x)
        q, k, v = (split(linear(normed), order) for order in ([1, 0, 2], [1, 2, 0], [1, 0, 2]))
        scale = constant(np.array(1 / np.sqrt(width // heads), np.float32))
        weights = node("Softmax", node("Mul", node("MatMul", q, k), scale), axis=-1)
        context = node("Transpose", node("MatMul", weights, v), perm=[1, 0, 2])
        context = node("Reshape", context, constant(np.array([rows, width], np.int64)))
        x = node("Add", linear(context), x)
        hidden = node("Gelu", linear(norm(x)), approximate="none")
        x = node("Add", linear(hidden), x)
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [rows, width]) for name in ("x", x)]
    whole = helper.make_graph(nodes, "tower", ends[:1], ends[1:], constants)
    model = helper.make_model(whole, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return model.SerializeToString()


def main() -> None:
    ap = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ap.add_argument("--rounds", type=int, default=7)
    ap.add_argument("--runs", type=int, default=5)
    ap.add_argument("--threads", type=int, default=2)
    ap.add_argument("--command", type=Path, default=Path("target/release/examples/towers"))
    args = ap.parse_args()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = args.threads
    # Its threads must not wait in a loop while the other half of a round runs.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    environment = {**os.environ, "RAYON_NUM_THREADS": str(args.threads)}
    print(f"ONNX Runtime {onnxruntime.__version__}, {args.threads} threads, {args.rounds} rounds of {args.runs} runs")
    for name, sizes in TOWERS.items():
        session = onnxruntime.InferenceSession(graph(*sizes), options, providers=["CPUExecutionProvider"])
        x = np.random.default_rng(1).standard_normal(sizes[:2]).astype(np.float32)
        session.run(None, {"x": x})
        rounds = []
        for _ in range(args.rounds):
            theirs = []
            for _ in range(args.runs):
                start = time.perf_counter()
                session.run(None, {"x": x})
                theirs.append(time.perf_counter() - start)
            command = [args.command, str(args.runs), name]
            ours = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
            rounds.append((statistics.median(theirs), float(ours.stdout.split()[1])))
        theirs, ours = zip(*rounds)
        rows, width, _ = sizes
        operations = LAYERS * (12 * rows * width**2 + 4 * rows**2 * width)
        said = []
        for who, seconds in (("ONNX Runtime", theirs), ("here", ours)):
            median = statistics.median(seconds)
            spread = f"{min(seconds) * 1e3:.0f} to {max(seconds) * 1e3:.0f}"
            said.append(f"{who} {median * 1e3:.1f} ms ({spread}; {operations / median / 1e9:.0f} GFLOP/s)")
        ratio = statistics.median(t / o for t, o in rounds)
        print(f"{name}: {', '.join(said)}; ratio {ratio:.2f}", flush=True)


if __name__ == "__main__":
    main()
