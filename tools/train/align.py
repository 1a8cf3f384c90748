"""Cross-attentions that look at matching positions from the first step.

With the usual initialisation a small Perceiver hardly trains: nothing tells its
cross-attentions which position belongs where.  The cure: the latents stand for points
and carry the sine and cosine of a few frequencies of these points; the query and key
projections pick the same frequencies on both sides, so that a score is a sum of
cos(f (p - x)), which is largest where the positions agree.  Each head can look beside
its latent's point: a turn of the (sine, cosine) pairs by f * offset.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F


@dataclass(frozen=True)
class Wave:
    """One frequency of one axis: the channels of its sine and cosine on the side of the inputs."""

    axis: int
    frequency: float  # radians per unit of position
    sine: int
    cosine: int
    weight: float = 1.0  # of its term in the score


def fourier_waves(resolution: tuple[int, ...], bands: int, first: int, chosen: list[list[int]],
                  weight: float = 1.0) -> list[Wave]:
    """The chosen bands of each axis of transformers' Fourier features that start at channel `first`."""
    axes = len(resolution)
    return [Wave(axis, math.pi * float(torch.linspace(1, resolution[axis] / 2, bands)[band]),
                 first + axes + axis * bands + band, first + axes + (axes + axis) * bands + band, weight)
            for axis, picked in enumerate(chosen) for band in picked]


def point_features(points: torch.Tensor, waves: list[Wave]) -> torch.Tensor:
    """Sine and cosine in turn, of points [N, axes]: [N, 2 * waves]."""
    angle = torch.stack([points[:, w.axis] * w.frequency for w in waves], 1)
    return torch.stack([angle.sin(), angle.cos()], 2).flatten(1)


def grid_points(shape: tuple[int, ...], size: tuple[int, ...]) -> torch.Tensor:
    """Centres of equal cells of `size` pixels whose own places are linspace(-1, 1, size): [N, axes]."""
    lines = [torch.linspace(-1, 1, n) * ((s - s / n) / (s - 1)) for n, s in zip(shape, size)]
    return torch.stack([g.flatten() for g in torch.meshgrid(*lines, indexing="ij")], 1)


def turn(waves: list[Wave], offset: torch.Tensor) -> torch.Tensor:
    """Matrices [2 * waves, 2 * waves] that move features by `offset`: features(p) -> features(p + offset)."""
    out = torch.zeros(2 * len(waves), 2 * len(waves))
    for i, w in enumerate(waves):
        a = w.frequency * float(offset[w.axis])
        out[2 * i : 2 * i + 2, 2 * i : 2 * i + 2] = torch.tensor([[math.cos(a), math.sin(a)], [-math.sin(a), math.cos(a)]])
    return out


def pick(waves: list[Wave], channels: int) -> torch.Tensor:
    """The matrix [2 * waves, channels] that takes the features out of an input."""
    out = torch.zeros(2 * len(waves), channels)
    for i, w in enumerate(waves):
        out[2 * i, w.sine] = out[2 * i + 1, w.cosine] = w.weight
    return out


@torch.no_grad()
def align(attention: torch.nn.Module, latents: torch.Tensor, inputs: torch.Tensor, waves: list[Wave],
          offsets: torch.Tensor, sharpness: float, noise: float = 0.01) -> float:
    """Set query and key projections of an encoder: head h of latent p looks at p + offsets[h].

    The latents' first 2 * waves channels hold the features of their points; `inputs` [M, C] are
    examples of what the attention sees.  A score becomes sharpness * sum of cos(f (p + offset - x)).
    Returns the factor of both projections.
    """
    heads, used = attention.num_heads, 2 * len(waves)
    each = attention.qk_channels // heads
    for layer in (attention.query, attention.key):
        layer.weight.normal_(0, noise)
        layer.bias.zero_()
    sides = []
    for norm, x in ((attention.layernorm1, latents), (attention.layernorm2, inputs)):
        sides.append(float((norm(x).std(1) / x.std(1)).mean()))
    gain = math.sqrt(sharpness * math.sqrt(each) / (sides[0] * sides[1]))
    for h in range(heads):
        rows = slice(h * each, h * each + used)
        attention.query.weight[rows, :used] += gain * turn(waves, offsets[h])
        attention.key.weight[rows] += gain * pick(waves, inputs.shape[1])
    return gain


@torch.no_grad()
def align_neighbours(attention: torch.nn.Module, waves: list[Wave], offsets: torch.Tensor, sharpness: float,
                     noise: float = 0.02) -> None:
    """The same for a self-attention of latents that keep their places: head h looks at the latent at p + offsets[h]."""
    heads, used = attention.num_heads, 2 * len(waves)
    each = attention.qk_channels // heads
    gain = math.sqrt(sharpness * math.sqrt(each))
    for layer in (attention.query, attention.key):
        layer.weight.normal_(0, noise)
        layer.bias.zero_()
    for h in range(heads):
        rows = slice(h * each, h * each + used)
        attention.query.weight[rows, :used] += gain * turn(waves, offsets[h])
        attention.key.weight[rows, :used] += gain * torch.eye(used)


def folded_context(attention: torch.nn.Module, latents: torch.Tensor, content: torch.Tensor,
                   positions: torch.Tensor) -> torch.Tensor:
    """What `PerceiverSelfAttention` gives for latents [N, D] and inputs of C channels.

    content [B, M, c] holds the first c channels, which differ by item; positions [M, C] all that do not
    (zero where there is content).  Layer norm and the projections of keys and values are linear but for
    two numbers per input, so the positions are projected once for all items: the same result for a small
    part of the work.
    """
    norm, heads = attention.layernorm2, attention.num_heads
    split, width = content.shape[2], positions.shape[1]
    weight = torch.cat([attention.key.weight, attention.value.weight])
    bias = torch.cat([attention.key.bias, attention.value.bias]) + weight @ norm.bias
    weight = weight * norm.weight
    mean = (content.sum(2) + positions.sum(1)) / width
    square = (content.square().sum(2) + positions.square().sum(1)) / width
    scale = (square - mean.square() + norm.eps).rsqrt()[..., None]
    parts = torch.cat([content * scale, -mean[..., None] * scale], 2)
    small = torch.cat([weight[:, :split], weight.sum(1, keepdim=True)], 1)
    both = parts @ small.T + scale * (positions @ weight.T) + bias
    key, value = both.split([attention.qk_channels, attention.v_channels], 2)
    query = attention.query(attention.layernorm1(latents))

    def apart(x: torch.Tensor) -> torch.Tensor:
        return x.unflatten(-1, (heads, -1)).transpose(-2, -3)

    batch = len(content)
    mixed = F.scaled_dot_product_attention(apart(query).expand(batch, -1, -1, -1), apart(key), apart(value))
    return mixed.transpose(1, 2).flatten(2)


def layer_after(layer: torch.nn.Module, residual: torch.Tensor | float, context: torch.Tensor) -> torch.Tensor:
    """The rest of a `PerceiverLayer` after its attention's context."""
    hidden = layer.attention.output.dense(context) + residual
    return hidden + layer.mlp(layer.layernorm(hidden))


def self_layer(layer: torch.nn.Module, latents: torch.Tensor) -> torch.Tensor:
    """A self-attention `PerceiverLayer`, by the fused attention."""
    attention = layer.attention.self
    normed = attention.layernorm1(latents)

    def apart(linear: torch.nn.Linear) -> torch.Tensor:
        return linear(normed).unflatten(-1, (attention.num_heads, -1)).transpose(-2, -3)

    mixed = F.scaled_dot_product_attention(apart(attention.query), apart(attention.key), apart(attention.value))
    return layer_after(layer, latents, mixed.transpose(1, 2).flatten(2))
