#!/usr/bin/env python3
"""Train models/flow-tiny: a Perceiver IO optical flow model for small tiles.

Data: moving textures, made as they are needed (class Scene); the true flow is
exact.  The model and the files it is saved in are those of transformers
(PerceiverForOpticalFlow): flow in pixels = logits * 20, channels (horizontal,
vertical), and frame1(p) = frame2(p + flow(p)).
"""

from __future__ import annotations

import argparse
import itertools
import math

import numpy as np
import torch
from transformers import PerceiverForOpticalFlow

from common import export, fit, parser, rng_for, small_config, write_fixture, write_results, xavier

SCALE = 20.0
CELLS, AMPLITUDES, GAIN = (4, 8, 16, 32), (1.0, 0.7, 0.5, 0.4), 1.5
MARGIN = 2  # lattice points beside the picture that the cubic kernel needs


# -- data -------------------------------------------------------------------

def catmull_rom(t: torch.Tensor) -> torch.Tensor:
    """Weights of the lattice points floor(x) - 1 .. floor(x) + 2 for t = x - floor(x); last axis 4."""
    t2, t3 = t * t, t * t * t
    return torch.stack([-t3 + 2 * t2 - t, 3 * t3 - 5 * t2 + 2, -3 * t3 + 4 * t2 + t, t3 - t2], -1) / 2


class Scene:
    """A batch of smooth random textures that can be read at any point.

    colour c at (x, y):  sigmoid(1.5 * sum over octaves of a * noise((x, y) / s + offset))
    with s = 4, 8, 16, 32 pixels and a = 1, 0.7, 0.5, 0.4.  `noise` has independent
    values, uniform in [-sqrt 3, sqrt 3], at the points of the integer lattice and
    Catmull-Rom interpolation between them (first along one axis, then the other).
    The offset is uniform in [0, 1) x [0, 1) for each octave; the colours share it.
    """

    def __init__(self, rng: np.random.Generator, batch: int, height: int, width: int, reach: float):
        self.reach = reach
        self.octaves = []
        for cell in CELLS:
            rows, cols = (math.ceil((n + 2 * reach) / cell) + 2 * MARGIN + 2 for n in (height, width))
            values = rng.uniform(-math.sqrt(3), math.sqrt(3), (batch, 3, rows, cols)).astype(np.float32)
            offset = rng.random((batch, 2)).astype(np.float32)
            self.octaves.append((torch.from_numpy(values), torch.from_numpy(offset)))

    def at(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """u8 colours [B, H, W, 3] at the points x, y [B, H, W] (pixels)."""
        batch, height, width = x.shape
        total = torch.zeros(batch, 3, height * width)
        for cell, amplitude, (values, offset) in zip(CELLS, AMPLITUDES, self.octaves):
            place = [((p + self.reach) / cell + offset[:, axis, None, None] + MARGIN).flatten(1)
                     for axis, p in enumerate((x, y))]
            base = [p.floor() for p in place]
            wx, wy = (catmull_rom(p - b) for p, b in zip(place, base))
            taps = torch.arange(-1, 3)
            ix, iy = (b.long()[..., None] + taps for b in base)
            cols = values.shape[3]
            index = (iy[..., :, None] * cols + ix[..., None, :]).flatten(1)
            found = values.flatten(2).gather(2, index[:, None].expand(-1, 3, -1))
            found = found.view(batch, 3, height * width, 4, 4)
            total += amplitude * torch.einsum("bcpji,bpj,bpi->bcp", found, wy, wx)
        colour = torch.sigmoid(GAIN * total)
        return (colour * 255).round().to(torch.uint8).view(batch, 3, height, width).permute(0, 2, 3, 1)


def make_pairs(rng: np.random.Generator, batch: int, height: int, width: int,
               shift: float, affine: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Frames u8 [B, 2, H, W, 3] and flow f32 [B, H, W, 2].

    flow(p) = t + A (p - centre), centre = ((W - 1) / 2, (H - 1) / 2); t uniform in
    [-shift, shift] and the entries of A uniform in [-affine, affine], all independent.
    """
    reach = shift + affine * (height + width) / 2 + 1
    scene = Scene(rng, batch, height, width, reach)
    t = torch.from_numpy(rng.uniform(-shift, shift, (batch, 2)).astype(np.float32))
    a = torch.from_numpy(rng.uniform(-affine, affine, (batch, 2, 2)).astype(np.float32))
    y, x = torch.meshgrid(torch.arange(float(height)), torch.arange(float(width)), indexing="ij")
    centred = torch.stack([x - (width - 1) / 2, y - (height - 1) / 2], -1)
    flow = torch.einsum("bij,hwj->bhwi", a, centred) + t[:, None, None]
    x, y = x.expand(batch, -1, -1), y.expand(batch, -1, -1)
    first, second = scene.at(x + flow[..., 0], y + flow[..., 1]), scene.at(x, y)
    return torch.stack([first, second], 1), flow


def patches(frames: torch.Tensor) -> torch.Tensor:
    """u8 [B, 2, H, W, 3] -> f32 [B, 2, 27, H, W]; channel = (dy * 3 + dx) * 3 + colour, zeros outside."""
    batch, _, height, width, _ = frames.shape
    value = (frames.double() / 255 * 2 - 1).float().permute(0, 1, 4, 2, 3)
    value = torch.nn.functional.pad(value, (1, 1, 1, 1))
    return torch.cat([value[..., dy : dy + height, dx : dx + width] for dy in range(3) for dx in range(3)], 2)


# -- model ------------------------------------------------------------------

def fourier(y: torch.Tensor, x: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """The model's 258 position features at points in [-1, 1]."""
    angle = [math.pi * p[:, None] * torch.linspace(1, r / 2, 64) for p, r in zip((y, x), size)]
    return torch.cat([y[:, None], x[:, None], *(a.sin() for a in angle), *(a.cos() for a in angle)], 1)


@torch.no_grad()
def build(size: tuple[int, int], grid: tuple[int, int], width: int, layers: int, bands: int = 20,
          gain: float = 2.0) -> PerceiverForOpticalFlow:
    """A model whose cross-attentions look at matching positions from the first step.

    The latents stand for the points of a grid and carry the low Fourier features of
    their points in their first channels.  The encoder compares these with the same
    features of the input and passes the input on; the decoder compares the features
    of the queries with the latents' first channels.  With the default initialisation
    the model never gets below the error of predicting no motion.
    """
    config = small_config(
        num_latents=grid[0] * grid[1], d_latents=width, d_model=322, train_size=list(size),
        num_self_attends_per_block=layers, num_self_attention_heads=4, num_cross_attention_heads=1)
    model = PerceiverForOpticalFlow(config)
    p = model.perceiver
    channels = 322
    content = channels - 258
    chosen = torch.cat([2 + 64 * part + torch.arange(bands) for part in range(4)])  # sin y, sin x, cos y, cos x
    used = torch.arange(len(chosen))

    centres = [torch.linspace(-1, 1, n) * ((n - 1) / n) for n in grid]
    gy, gx = torch.meshgrid(*centres, indexing="ij")
    p.embeddings.latents.normal_(0, 0.02)
    p.embeddings.latents[:, used] = fourier(gy.flatten(), gx.flatten(), size)[:, chosen]
    p.input_preprocessor.conv_after_patches.weight.normal_(0, 54 ** -0.5)

    encoder = p.encoder.cross_attention
    attention = encoder.attention.self
    attention.query.weight.normal_(0, 0.005)
    attention.query.weight[content + chosen, used] += gain
    attention.key.weight.copy_(torch.eye(channels))
    attention.value.weight.copy_(torch.eye(channels) + 0.02 * torch.randn(channels, channels))
    output = encoder.attention.output.dense
    output.weight.normal_(0, channels ** -0.5)
    output.weight[used] *= 0.1  # leave the latents' position channels nearly as they are

    decoder = p.decoder.decoder.decoding_cross_attention
    attention = decoder.attention.self
    attention.query.weight.normal_(0, 0.005)
    attention.query.weight[used, content + chosen] += gain
    attention.key.weight.normal_(0, 0.005)
    attention.key.weight[used, used] += 1.0

    for layer in p.encoder.self_attends:
        inner = layer.attention.self
        xavier(inner.query, inner.key, inner.value, layer.mlp.dense1)
    xavier(encoder.mlp.dense1, encoder.mlp.dense2, attention.value, decoder.attention.output.dense,
           decoder.mlp.dense1, decoder.mlp.dense2)
    p.decoder.decoder.final_layer.weight.normal_(0, 0.3)
    return model


# -- measuring --------------------------------------------------------------

def end_point_error(flow: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    return (flow - truth).norm(dim=-1).mean()


@torch.no_grad()
def heldout_ratio(model: PerceiverForOpticalFlow, args: argparse.Namespace, pairs: int) -> tuple[float, float]:
    """Mean end-point error on fixed pairs, and that of predicting no motion."""
    error = zero = 0.0
    for part in range(pairs // 32):
        frames, truth = make_pairs(rng_for(1, "heldout", part), 32, *args.size, args.shift, args.affine)
        flow = model(inputs=patches(frames)).logits * SCALE
        error += float(end_point_error(flow, truth))
        zero += float(end_point_error(torch.zeros_like(truth), truth))
    count = pairs // 32
    return error / count, zero / count


@torch.no_grad()
def tiled_flow(model: PerceiverForOpticalFlow, frames: torch.Tensor, overlap: int) -> torch.Tensor:
    """Flow [H, W, 2] of one larger pair u8 [2, H, W, 3]: tiles weighted by the distance to their border."""
    tile = model.config.train_size
    height, width = frames.shape[1:3]

    def starts(n: int, size: int) -> list[int]:
        return sorted({min(s, n - size) for s in range(0, n, size - overlap)})

    y, x = torch.meshgrid(torch.arange(tile[0]), torch.arange(tile[1]), indexing="ij")
    weight = torch.minimum(torch.minimum(x + 1, tile[1] - x), torch.minimum(y + 1, tile[0] - y)).float()[..., None]
    total, norm = torch.zeros(height, width, 2), torch.zeros(height, width, 1)
    for top, left in itertools.product(starts(height, tile[0]), starts(width, tile[1])):
        area = (slice(top, top + tile[0]), slice(left, left + tile[1]))
        piece = model(inputs=patches(frames[None, :, area[0], area[1]])).logits[0] * SCALE
        total[area] += piece * weight
        norm[area] += weight
    return total / norm


def tiled_error(model: PerceiverForOpticalFlow, pairs: int, size: tuple[int, int], shift: float, affine: float,
                overlap: int) -> tuple[float, float]:
    error = zero = 0.0
    for part in range(pairs):
        frames, truth = make_pairs(rng_for(1, "tiled", part), 1, *size, shift, affine)
        error += float(end_point_error(tiled_flow(model, frames[0], overlap), truth[0]))
        zero += float(truth.norm(dim=-1).mean())
    return error / pairs, zero / pairs


def main() -> None:
    ap = parser(__doc__.split("\n")[0], name="flow-tiny", steps=2000, batch=16, rate=1e-3)
    ap.add_argument("--size", type=int, nargs=2, default=(24, 32), metavar=("H", "W"), help="train_size")
    ap.add_argument("--grid", type=int, nargs=2, default=(6, 8), metavar=("ROWS", "COLS"), help="latents")
    ap.add_argument("--width", type=int, default=192, help="d_latents")
    ap.add_argument("--layers", type=int, default=4)
    ap.add_argument("--shift", type=float, default=2.5, help="largest translation, pixels, per axis")
    ap.add_argument("--affine", type=float, default=0.02, help="largest entry of the affine part")
    args = ap.parse_args()
    if args.heldout_fixture:
        frames, flow = make_pairs(rng_for(1, "fixture", 0), 24, *args.size, args.shift, args.affine)
        return write_fixture(args, frames=frames.numpy(), flow=flow.numpy())
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)

    model = build(tuple(args.size), tuple(args.grid), args.width, args.layers)
    print(sum(p.numel() for p in model.parameters()), "parameters", flush=True)

    def loss_at(step: int) -> torch.Tensor:
        frames, truth = make_pairs(rng_for(args.seed, "train", step), args.batch, *args.size, args.shift, args.affine)
        return end_point_error(model(inputs=patches(frames)).logits.float() * SCALE, truth)

    def quick() -> float:
        error, zero = heldout_ratio(model, args, 64)
        return error / zero

    spent = fit(model, args, loss_at, quick)
    model = export(model, args)
    error, zero = heldout_ratio(model, args, 1024)
    big = dict(size=(96, 128), shift=1.5, affine=0.01, overlap=12)
    big_error, big_zero = tiled_error(model, 16, **big)
    write_results(args, {
        **spent,
        "parameters": sum(p.numel() for p in model.parameters()),
        "heldout": {"pairs": 1024, "end_point_error": error, "zero_flow_error": zero, "ratio": error / zero},
        "tiled": {"pairs": 16, **big, "end_point_error": big_error, "zero_flow_error": big_zero,
                  "ratio": big_error / big_zero},
    })


if __name__ == "__main__":
    main()
