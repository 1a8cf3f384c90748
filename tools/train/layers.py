"""Pairs of frames whose flow is known: textured layers in independent affine motion, one before the other.

In the manner of FlyingChairs and AutoFlow, but nothing in it is anybody's picture.  A scene has a
ground and a few figures (discs, boxes, stars, hearts, letters ...), each with a texture of its own
(noise, gradients, patterns, scattered shapes and glyphs) and a motion of its own (shift, turn, stretch,
shear).  Nearer figures hide what is behind them.  The flow of a pixel is that of the layer seen there in
the first frame, exact also where the second frame hides it.  `src/tasks/layered_scene.rs` makes
scenes of the same kinds for `perceiver demo`.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F

from drawings import distance, texture

SIDE = 256  # of the textures, in their own pixels
FIGURES = ("circle", "square", "triangle", "star", "cross", "heart", "letter A", "letter E", "letter T")
PATTERNS = ("stripes", "checkerboard", "dots", "waves")


def smooth_noise(rng: np.random.Generator, cells: tuple[int, ...], planes: int) -> np.ndarray:
    """Lattice noise of several sizes, variance about one: [SIDE, SIDE, planes]."""
    weights = rng.dirichlet(np.ones(len(cells))) ** 0.5
    total = torch.zeros(1, planes, SIDE, SIDE)
    for cell, weight in zip(cells, weights):
        points = SIDE // cell + 4
        values = torch.from_numpy(rng.uniform(-math.sqrt(3), math.sqrt(3), (1, planes, points, points)).astype(np.float32))
        grown = F.interpolate(values, scale_factor=cell, mode="bicubic", align_corners=False)
        at = rng.integers(cell, size=2) + cell
        total += float(weight) * grown[..., at[0] : at[0] + SIDE, at[1] : at[1] + SIDE]
    return total[0].permute(1, 2, 0).numpy()


def two_colours(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Two colours that can be told apart."""
    while True:
        a, b = rng.random((2, 3)).astype(np.float32)
        if np.linalg.norm(a - b) > 0.5:
            return a, b


def make_texture(rng: np.random.Generator) -> np.ndarray:
    """One texture u8 [SIDE, SIDE, 3]."""
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    a, b = two_colours(rng)
    kind = rng.choice(["noise", "gradient", "pattern", "scatter"], p=[0.45, 0.15, 0.2, 0.2])
    if kind == "noise":
        cover = 1 / (1 + np.exp(-rng.uniform(1.2, 2.5) * smooth_noise(rng, (5, 8, 16, 32), 3)))
        mix = rng.uniform(0, 1)  # from shades of two colours to free colours
        cover = mix * cover + (1 - mix) * cover[..., :1]
    elif kind == "pattern":
        angle, period = rng.uniform(0, 2 * math.pi), np.float32(rng.uniform(9, 20))
        u, v = np.cos(angle) * x + np.sin(angle) * y, -np.sin(angle) * x + np.cos(angle) * y
        cover = texture(rng.choice(PATTERNS), u, v, period)[..., None]
    else:
        if rng.random() < 0.5:
            angle = rng.uniform(0, 2 * math.pi)
            along = np.cos(angle) * x + np.sin(angle) * y
        else:
            along = np.hypot(x - rng.uniform(0, SIDE), y - rng.uniform(0, SIDE))
        cover = 0.5 + 0.5 * np.sin(along * 2 * math.pi / rng.uniform(60, 240))[..., None]
    picture = a + (b - a) * cover
    picture += rng.uniform(0.08, 0.18) * smooth_noise(rng, (5, 8, 16), 3)  # so that no place is without a mark
    if kind == "scatter":
        for _ in range(90):
            radius, angle = rng.uniform(5, 16), rng.uniform(0, 2 * math.pi)
            cx, cy = rng.uniform(0, SIDE, 2)
            reach = int(radius * 1.5) + 2
            area = (slice(max(0, int(cy) - reach), int(cy) + reach), slice(max(0, int(cx) - reach), int(cx) + reach))
            dx, dy = (x[area] - cx) / radius, (y[area] - cy) / radius
            u, v = np.cos(angle) * dx + np.sin(angle) * dy, -np.sin(angle) * dx + np.cos(angle) * dy
            cover = np.clip(0.5 - distance(rng.choice(FIGURES), u, v) * radius, 0, 1)[..., None]
            picture[area] += (rng.random(3).astype(np.float32) - picture[area]) * cover
    return (np.clip(picture, 0, 1) * 255).round().astype(np.uint8)


class Bank:
    """Textures to choose from: making them takes longer than reading them."""

    def __init__(self, rng: np.random.Generator, count: int):
        self.textures = torch.stack([torch.from_numpy(make_texture(rng)).permute(2, 0, 1) for _ in range(count)])


def make_pairs(rng: np.random.Generator, bank: Bank, batch: int, height: int, width: int,
               shift: float, affine: float, figures: tuple[int, int] = (1, 4)) -> tuple[torch.Tensor, torch.Tensor]:
    """Frames u8 [B, 2, H, W, 3] and flow f32 [B, H, W, 2] (horizontal, vertical).

    Layer l moves by flow(p) = t + A (p - c): c its middle, t uniform in [-shift, shift], the entries of A
    uniform in [-affine, affine] (a third of that for the ground).
    """
    layers = 1 + figures[1]
    there = np.arange(layers)[None] <= rng.integers(figures[0], figures[1] + 1, (batch, 1))
    def number(low: float, high: float) -> np.ndarray:
        """One for each layer, of a shape that goes with [B, L, frame, H, W]."""
        return rng.uniform(low, high, (batch, layers, 1, 1, 1)).astype(np.float32)

    cx, cy = number(-0.05, 1.05) * (width - 1), number(-0.05, 1.05) * (height - 1)
    cx[:, 0], cy[:, 0] = (width - 1) / 2, (height - 1) / 2
    tx, ty = number(-shift, shift), number(-shift, shift)
    a, b, c, d = (number(-affine, affine) for _ in range(4))
    for entry in (a, b, c, d):
        entry[:, 0] /= 3
    y, x = np.mgrid[:height, :width].astype(np.float32)
    x, y = x - cx[:, :, 0], y - cy[:, :, 0]
    flow = np.stack([tx[:, :, 0] + a[:, :, 0] * x + b[:, :, 0] * y, ty[:, :, 0] + c[:, :, 0] * x + d[:, :, 0] * y], -1)
    # Where the pixels of both frames are on the layer: in the second, at what moves there.
    back_x, back_y = x - tx[:, :, 0], y - ty[:, :, 0]
    det = ((1 + a) * (1 + d) - b * c)[:, :, 0]
    back_x, back_y = (((1 + d[:, :, 0]) * back_x - b[:, :, 0] * back_y) / det,
                      ((1 + a[:, :, 0]) * back_y - c[:, :, 0] * back_x) / det)
    x, y = np.stack([x, back_x], 2), np.stack([y, back_y], 2)

    # What covers: the ground everywhere, figures where they are.
    cover = np.ones((batch, layers, 2, height, width), np.float32)
    radius, aspect, angle = number(0.14, 0.36) * height, number(0.8, 1.25), number(0, 2 * math.pi)
    kind = rng.integers(len(FIGURES), size=(batch, layers))
    kind[:, 0] = -1
    kind[~there] = -2
    cover[~there] = 0
    right, down = np.cos(angle) / radius, np.sin(angle) / radius
    for k, name in enumerate(FIGURES):
        i = kind == k
        if i.any():
            u, v = right[i] * x[i] + down[i] * y[i], right[i] * y[i] - down[i] * x[i]
            cover[i] = np.clip(0.5 - distance(name, u * aspect[i], v / aspect[i]) * radius[i], 0, 1)

    # What it looks like: a place of a texture, its colours in another order, weaker, or as in a negative.
    angle, scale = number(0, 2 * math.pi), 2 / SIDE / number(0.7, 1.25)
    right, down = np.cos(angle) * scale, np.sin(angle) * scale
    read = np.stack([right * x + down * y + number(-0.15, 0.15), right * y - down * x + number(-0.15, 0.15)], -1)
    chosen = torch.from_numpy(rng.integers(len(bank.textures), size=batch * layers))
    seen = F.grid_sample(bank.textures[chosen].float(), torch.from_numpy(read).view(batch * layers, 2 * height, width, 2),
                         mode="bilinear", padding_mode="reflection", align_corners=False)
    seen = seen.view(batch, layers, 3, 2, height * width)
    order = torch.from_numpy(np.argsort(rng.random((batch, layers, 3)), -1))
    seen = torch.gather(seen, 2, order[..., None, None].expand_as(seen))
    contrast, light = number(0.6, 1.0), number(0, 1)
    sign = np.where(number(-1, 1) < 0, -1, 1).astype(np.float32)
    slope = sign * contrast / 255
    start = (1 - contrast) * light + np.where(sign < 0, contrast, 0)
    seen = (seen * torch.from_numpy(slope) + torch.from_numpy(start.astype(np.float32))).transpose(2, 3)

    cover = torch.from_numpy(cover).flatten(3)[:, :, :, None]
    flow = torch.from_numpy(flow).flatten(2, 3)
    frames, truth = seen[:, 0], flow[:, 0]
    for layer in range(1, layers):
        frames = frames + cover[:, layer] * (seen[:, layer] - frames)
        truth = torch.where(cover[:, layer, 0, 0, :, None] >= 0.5, flow[:, layer], truth)
    frames = frames.unflatten(-1, (height, width)).permute(0, 1, 3, 4, 2)
    grain = torch.from_numpy(rng.standard_normal(frames.shape, np.float32) * number(0, 0.012)[:, 0, ..., None])
    frames = ((frames + grain).clamp(0, 1) * 255).round().to(torch.uint8)
    return frames, truth.unflatten(1, (height, width))
