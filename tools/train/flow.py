#!/usr/bin/env python3
"""Train models/flow-tiny: a Perceiver IO optical flow model for frames of 96 x 128 pixels.

Data: layers.py, made as they are needed; the true flow is exact.  The model and the files
it is saved in are those of transformers (PerceiverForOpticalFlow): flow in pixels =
logits * 20, channels (horizontal, vertical), and what frame 1 shows at p, frame 2 shows
at p + flow(p).

Where the encoder's heads look is set by hand and not trained.  Training can therefore mix
the pixels about each latent by weights that are known but for the inputs' layer norm
(`near_context`), and decodes only a few chance pixels of each pair.  All figures are of
the class itself.
"""

from __future__ import annotations

import argparse
import itertools
import math

import numpy as np
import torch
import torch.nn.functional as F
from transformers import PerceiverForOpticalFlow

from align import Wave, align, align_neighbours, fourier_waves, grid_points, layer_after, pick, point_features, self_layer
from common import export, fit, parser, rng_for, small_config, write_fixture, write_results, xavier
from layers import Bank, make_pairs

SCALE = 20.0
COLOURS, CONTENT, BANDS = 3, 64, 64
CHANNELS = CONTENT + 2 + 4 * BANDS
CELL = 8  # pixels between latents
# Position waves of both axes: (period in pixels, weight in the encoder's scores, in the decoder's).  The encoder's make a
# spot of one pixel and nothing else like it; the decoder's take the nearest latents.  Along the width the bands go into
# the frame a whole number of times, so that waves alone cannot tell its left border from its right one: latents
# carry their places themselves too (SIDES).
WAVES = ((127.0, 5.0, 4.0), (37.0, 2.6, 1.5), (23.0, 4.1, 1.5), (9.8, 2.25, 0.0))
SIDES = 2.5


def patches(frames: torch.Tensor) -> torch.Tensor:
    """u8 [B, 2, H, W, 3] -> f32 [B, 2, 27, H, W]; channel = (dy * 3 + dx) * 3 + colour, zeros outside."""
    batch, _, height, width, _ = frames.shape
    value = (frames.float() / 255 * 2 - 1).permute(0, 1, 4, 2, 3)
    value = F.pad(value, (1, 1, 1, 1))
    return torch.cat([value[..., dy : dy + height, dx : dx + width] for dy in range(3) for dx in range(3)], 2)


# -- model ------------------------------------------------------------------

def first_look() -> torch.Tensor:
    """Orthonormal filters of the 54 numbers of a pixel, the most telling first: [54, 54].

    Sum and difference of the frames x brightness and two colour differences x the products of mean, slope and
    curvature along both axes of the 3 x 3 patch.
    """
    line = torch.tensor([[1.0, 1, 1], [-1, 0, 1], [1, -2, 1]])
    line = line / line.norm(dim=1, keepdim=True)
    tint = torch.tensor([[1.0, 1, 1], [1, 0, -1], [1, -2, 1]])
    tint = tint / tint.norm(dim=1, keepdim=True)
    time = torch.tensor([[1.0, 1], [1, -1]]) / math.sqrt(2)
    order = sorted(itertools.product(range(3), range(3), range(3), range(2)), key=lambda o: (o[0], o[1] + o[2], o[3]))
    return torch.stack([torch.einsum("f,y,x,c->fyxc", time[t], line[i], line[j], tint[c]).flatten()
                        for c, i, j, t in order])


@torch.no_grad()
def build(size: tuple[int, int], width: int, layers: int, heads: int, sample: torch.Tensor) -> PerceiverForOpticalFlow:
    """A model whose attentions look at matching positions from the first step.

    The latents stand for the middles of cells of CELL x CELL pixels; the heads of the encoder look at as many
    points of the cell, those of the first self-attentions at the cells around; a pixel's query looks at the
    latents near it.  The first filters are scaled by what they give on `sample`, inputs [B, 2, 27, H, W].
    With the default initialisation the model never gets below the error of predicting no motion.
    """
    grid = tuple(n // CELL for n in size)
    config = small_config(
        num_latents=grid[0] * grid[1], d_latents=width, d_model=CHANNELS, qk_channels=heads * (4 * len(WAVES) + 2), v_channels=width,
        train_size=list(size), num_self_attends_per_block=layers, num_self_attention_heads=8,
        num_cross_attention_heads=heads)
    model = PerceiverForOpticalFlow(config)
    p = model.perceiver
    waves, out_waves = [], []
    for axis, n in enumerate(size):
        for period, weight, weight_out in WAVES:
            band = round((max(1.0, (n - 1) / period) - 1) / (n / 2 - 1) * (BANDS - 1))
            chosen = [[band] if i == axis else [] for i in range(2)]
            waves += fourier_waves(size, BANDS, CONTENT, chosen, weight)
            out_waves += fourier_waves(size, BANDS, CONTENT, chosen, weight_out)
    used = 2 * len(waves)
    place = [used, used + 1]  # channels of the latents that hold their places themselves
    used += 2
    middles = grid_points(grid, size)
    p.embeddings.latents.normal_(0, 0.02)
    p.embeddings.latents[:, :used] = torch.cat([point_features(middles, waves), middles], 1)

    look = p.input_preprocessor.conv_after_patches
    looks = first_look()
    seen = sample.transpose(1, 2).transpose(1, 2).flatten(1, 2).transpose(1, 3).flatten(0, 2)
    gain = 1 / (seen @ looks.T).std(0).clamp(min=0.03)
    look.weight.normal_(0, 54 ** -0.5)
    look.weight[: len(looks)] = looks * gain[:, None]
    look.bias.zero_()

    places = positions_of(model)
    places[:, :CONTENT] = torch.randn(len(places), CONTENT)
    side = math.isqrt(heads)
    points = [((i + 0.5) / side - 0.5) * CELL for i in range(side)]
    inside = torch.tensor([(y * 2 / (size[0] - 1), x * 2 / (size[1] - 1)) for y in points for x in points])
    encoder = p.encoder.cross_attention
    attention = encoder.attention.self
    gain = align(attention, p.embeddings.latents, places, waves, inside, sharpness=1.3, noise=0.0)
    each = width // heads
    for row in range(place[0], attention.qk_channels, attention.qk_channels // heads):
        for axis in range(2):
            attention.query.weight[row + axis, place[axis]] = gain * SIDES
            attention.key.weight[row + axis, CONTENT + axis] = gain
    for fixed in (attention.query, attention.key, attention.layernorm1, attention.layernorm2, p.embeddings):
        fixed.requires_grad_(False)
    attention.value.weight.zero_()
    read = attention.value.weight.view(heads, each, -1)[:, :, :CONTENT]
    read.normal_(0, 0.05)
    read[:, torch.arange(each), torch.arange(each)] += 1.0  # brightness of all points, in both frames

    around = torch.tensor([(y * 2 * CELL / (size[0] - 1), x * 2 * CELL / (size[1] - 1))
                           for y in (-1, 0, 1) for x in (-1, 0, 1) if y or x])
    for i, layer in enumerate(p.encoder.self_attends):
        xavier(layer.attention.self.query, layer.attention.self.key, layer.attention.self.value)
        if i < layers - 1:
            attention = layer.attention.self
            align_neighbours(attention, waves, around, sharpness=1.5 + 0.5 * i)
            for row in range(0, attention.qk_channels, attention.qk_channels // len(around)):
                for linear in (attention.query, attention.key):
                    linear.weight[[row + place[0], row + place[1]], place] = 2.0 * linear.weight[row, 0].abs().sqrt()

    decoder = p.decoder.decoder.decoding_cross_attention
    attention = decoder.attention.self
    for linear in (attention.query, attention.key):
        linear.weight.normal_(0, 0.005)
    gain = math.sqrt(2.5 * math.sqrt(width) / 1.3)
    attention.query.weight[: place[0]] += gain * pick(out_waves, CHANNELS)
    attention.query.weight[place, [CONTENT, CONTENT + 1]] += gain * SIDES
    attention.key.weight[:used, :used] += gain * torch.eye(used)
    xavier(attention.value)

    for layer in (encoder, decoder, *p.encoder.self_attends):
        xavier(layer.attention.output.dense, layer.mlp.dense1, layer.mlp.dense2)
        if layer is not decoder:
            layer.attention.output.dense.weight *= 0.7
            layer.mlp.dense2.weight *= 0.7
            layer.attention.output.dense.weight[:used] *= 0.1  # leave the places nearly as they are
            layer.mlp.dense2.weight[:used] *= 0.1
    p.decoder.decoder.final_layer.weight.normal_(0, 0.3)
    p.decoder.decoder.final_layer.bias.zero_()
    return model


# -- the class's own result, at less cost -----------------------------------

def positions_of(model: PerceiverForOpticalFlow) -> torch.Tensor:
    """The position channels [H * W, C] of the inputs, zero where the picture is."""
    encoding = model.perceiver.input_preprocessor.position_embeddings
    places = encoding(tuple(model.config.train_size), batch_size=1, device="cpu", dtype=torch.float32)[0]
    return F.pad(places, (CONTENT, 0))


class Near:
    """Blocks of 2 x 2 latents with the pixels about them, and the encoder's scores of these pixels.

    Queries and keys hang on the positions and on the mean and the size of a pixel's channels, so that a score
    is size * (score - mean * slope) + shift: all but size and mean is known before.
    """

    BLOCK, MARGIN = 2, 4

    @torch.no_grad()
    def __init__(self, model: PerceiverForOpticalFlow):
        attention = model.perceiver.encoder.cross_attention.attention.self
        self.size, self.heads = tuple(model.config.train_size), attention.num_heads
        self.step = self.BLOCK * CELL
        self.blocks = [n // self.step for n in self.size]
        self.positions = positions_of(model)
        query = attention.query(attention.layernorm1(model.perceiver.embeddings.latents))
        query = query / math.sqrt(query.shape[1] / self.heads)
        key = self.positions @ attention.key.weight.T
        slope, shift = attention.key.weight.sum(1), attention.key.bias
        query, key, slope, shift = (x.unflatten(-1, (self.heads, -1)) for x in (query, key, slope, shift))
        rows, cols = self.blocks
        query = query.unflatten(0, (rows, self.BLOCK, cols, self.BLOCK)).transpose(1, 2)
        query = query.flatten(2, 3).flatten(0, 1)  # [blocks, latents, heads, channels]
        near = self.cut(key.flatten(1)[None])[0].unflatten(-1, (self.heads, -1))
        inside = self.cut(torch.ones(1, len(self.positions), 1))[0, :, None, None, :, 0]
        self.score = torch.einsum("blhc,bphc->blhp", query, near).masked_fill(inside == 0, -1e4)
        self.slope, self.shift = ((query * x).sum(-1)[..., None] for x in (slope, shift))

    def cut(self, x: torch.Tensor) -> torch.Tensor:
        """[B, H * W, C] -> [B, blocks, pixels, C], zeros outside."""
        side = self.step + 2 * self.MARGIN
        x = F.pad(x.unflatten(1, self.size), (0, 0) + (self.MARGIN,) * 4)
        return x.unfold(1, side, self.step).unfold(2, side, self.step).permute(0, 1, 2, 4, 5, 3).flatten(3, 4).flatten(1, 2)

    def back(self, x: torch.Tensor) -> torch.Tensor:
        """[B, blocks, latents of a block, C] -> [B, N, C]."""
        rows, cols = self.blocks
        return x.view(len(x), rows, cols, self.BLOCK, self.BLOCK, -1).transpose(2, 3).flatten(1, 4)


def near_context(attention: torch.nn.Module, content: torch.Tensor, near: Near) -> torch.Tensor:
    """The encoder's attention [B, N, width] where each latent looks only at the pixels about its block.

    The values' weights are zero at the positions, as `build` leaves them, and the layer norm has not been trained.
    """
    mean = (content.sum(2) + near.positions.sum(1)) / CHANNELS
    square = (content.square().sum(2) + near.positions.square().sum(1)) / CHANNELS
    size = (square - mean.square() + attention.layernorm2.eps).rsqrt()
    with torch.no_grad():
        known = near.cut(torch.stack([size, mean], 2))[:, :, None, None]
        share = (known[..., 0] * (near.score - known[..., 1] * near.slope) + near.shift).softmax(-1)
    cut = near.cut((content - mean[..., None]) * size[..., None])
    mixed = (share.flatten(2, 3) @ cut).unflatten(2, (-1, near.heads))  # [B, blocks, latents, heads, CONTENT]
    value = attention.value.weight[:, :CONTENT].unflatten(0, (near.heads, -1))
    out = torch.einsum("bnlhc,hvc->bnlhv", mixed, value).flatten(3) + attention.value.bias
    return near.back(out)


def flow_at(model: PerceiverForOpticalFlow, inputs: torch.Tensor, where: torch.Tensor, near: Near) -> torch.Tensor:
    """Flow [B, Q, 2] in pixels at the pixels `where` [B, Q], numbered along rows."""
    p = model.perceiver
    stacked = inputs.flatten(1, 2).flatten(2).transpose(1, 2)  # both frames of a pixel: [B, H * W, 54]
    content = p.input_preprocessor.conv_after_patches(stacked)
    encoder, latents = p.encoder.cross_attention, p.embeddings.latents
    context = near_context(encoder.attention.self, content, near)
    hidden = layer_after(encoder, latents, context)
    for layer in p.encoder.self_attends:
        hidden = self_layer(layer, hidden)
    query = torch.gather(content, 1, where[..., None].expand(-1, -1, CONTENT))
    query = torch.cat([query, near.positions[where][..., CONTENT:]], 2)
    decoder = p.decoder.decoder
    cross = decoder.decoding_cross_attention
    attention = cross.attention.self
    known = attention.layernorm2(hidden)
    context = F.scaled_dot_product_attention(*(x[:, None] for x in (
        attention.query(attention.layernorm1(query)), attention.key(known), attention.value(known))))[:, 0]
    return decoder.final_layer(layer_after(cross, 0.0, context)) * (SCALE / 100)


# -- measuring --------------------------------------------------------------

def end_point_error(flow: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    return (flow - truth).norm(dim=-1).mean()


def fixture_pairs(args: argparse.Namespace, bank: Bank) -> tuple[torch.Tensor, torch.Tensor]:
    """The pairs of tests/accuracy.rs."""
    return make_pairs(rng_for(1, "fixture", 0), bank, 3, *args.size, args.shift, args.affine)


@torch.no_grad()
def heldout_error(model: PerceiverForOpticalFlow, args: argparse.Namespace, bank: Bank, pairs: int) -> tuple[float, float]:
    """Mean end-point error on fixed pairs, of the class itself, and that of predicting no motion."""
    error = zero = 0.0
    for part in range(pairs // 4):
        frames, truth = make_pairs(rng_for(1, "heldout", part), bank, 4, *args.size, args.shift, args.affine)
        flow = model(inputs=patches(frames)).logits * SCALE
        error += float(end_point_error(flow, truth))
        zero += float(truth.norm(dim=-1).mean())
    return error / (pairs // 4), zero / (pairs // 4)


def main() -> None:
    ap = parser(__doc__.split("\n")[0], name="flow-tiny", steps=4000, batch=4, rate=1e-3)
    ap.add_argument("--size", type=int, nargs=2, default=(96, 128), metavar=("H", "W"), help="train_size")
    ap.add_argument("--width", type=int, default=256, help="d_latents")
    ap.add_argument("--layers", type=int, default=5)
    ap.add_argument("--heads", type=int, default=16, help="of the encoder's attention")
    ap.add_argument("--shift", type=float, default=4.0, help="largest translation of a layer, pixels, per axis")
    ap.add_argument("--affine", type=float, default=0.05, help="largest entry of the affine part")
    ap.add_argument("--grow", type=int, default=800, help="steps until motions are that large; they begin at a third")
    ap.add_argument("--queries", type=int, default=768, help="pixels decoded of each pair")
    ap.add_argument("--textures", type=int, default=300)
    ap.add_argument("--pairs", type=int, default=64, help="held-out pairs of the figures at the end")
    args = ap.parse_args()
    args.size = tuple(args.size)
    unseen = Bank(rng_for(1, "textures", 0), 100)
    if args.heldout_fixture:
        frames, flow = fixture_pairs(args, unseen)
        return write_fixture(args, frames=frames.numpy(), flow=flow.numpy())
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)

    bank = Bank(rng_for(args.seed, "textures", 0), args.textures)
    sample = patches(make_pairs(rng_for(args.seed, "sample", 0), bank, 8, *args.size, args.shift, args.affine)[0])
    model = build(args.size, args.width, args.layers, args.heads, sample)
    if args.warm:
        model.load_state_dict(type(model).from_pretrained(args.warm, dtype=torch.float32, local_files_only=True).state_dict())
    print(sum(p.numel() for p in model.parameters()), "parameters", flush=True)
    near = Near(model)

    def loss_at(step: int) -> torch.Tensor:
        rng = rng_for(args.seed, "train", step)
        part = min(1.0, (1 + 2 * step / args.grow) / 3)
        frames, truth = make_pairs(rng, bank, args.batch, *args.size, args.shift * part, args.affine * part)
        where = torch.from_numpy(np.stack([rng.permutation(math.prod(args.size))[: args.queries] for _ in frames]))
        flow = flow_at(model, patches(frames), where, near)
        return end_point_error(flow, torch.gather(truth.flatten(1, 2), 1, where[..., None].expand(-1, -1, 2)))

    @torch.no_grad()
    def quick() -> float:
        """Of chance pixels of 16 pairs, by the training's form of the encoder."""
        error = zero = 0.0
        for part in range(4):
            frames, truth = make_pairs(rng_for(1, "heldout", part), unseen, 4, *args.size, args.shift, args.affine)
            where = torch.from_numpy(rng_for(1, "pixels", part).integers(math.prod(args.size), size=(4, 1000)))
            truth = torch.gather(truth.flatten(1, 2), 1, where[..., None].expand(-1, -1, 2))
            error += float(end_point_error(flow_at(model, patches(frames), where, near), truth))
            zero += float(truth.norm(dim=-1).mean())
        return error / zero

    spent = fit(model, args, loss_at, quick)
    model = export(model, args)
    error, zero = heldout_error(model, args, unseen, args.pairs)
    frames, truth = fixture_pairs(args, unseen)
    with torch.no_grad():
        fixture = [float(end_point_error(f, t)) for f, t in zip(model(inputs=patches(frames)).logits * SCALE, truth)]
    write_results(args, {
        **spent,
        "parameters": sum(p.numel() for p in model.parameters()),
        "heldout": {"pairs": args.pairs, "size": list(args.size), "shift": args.shift, "affine": args.affine,
                    "end_point_error": error, "zero_flow_error": zero, "ratio": error / zero},
        "fixture_end_point_errors": fixture,
    })


if __name__ == "__main__":
    main()
