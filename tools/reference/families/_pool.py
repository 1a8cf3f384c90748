"""The one-layer query pool that Qwen-VL and MiniCPM-V share, and its positions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


def sincos(width: int, height_in_patches: int, width_in_patches: int) -> torch.Tensor:
    """float64 [h*w, width], rows first: the first half of a vector tells the column, the second the row,
    each as sines of p / 10000^(i / (width/4)), then cosines."""
    quarter = width // 4
    omega = 10000.0 ** (-torch.arange(quarter, dtype=torch.float64) / quarter)

    def wave(p):
        angle = p.to(torch.float64)[:, None] * omega
        return torch.cat([angle.sin(), angle.cos()], dim=1)

    row = torch.arange(height_in_patches).repeat_interleave(width_in_patches)
    column = torch.arange(width_in_patches).repeat(height_in_patches)
    return torch.cat([wave(column), wave(row)], dim=1)


def resized(table: torch.Tensor, side: int) -> torch.Tensor:
    """A square table of positions [n*n, D] on side x side cells: bicubic, a = -0.75, half-pixel centres, edges held."""
    own = round(table.shape[0] ** 0.5)
    if own == side:
        return table
    grid = table.reshape(1, own, own, -1).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, size=(side, side), mode="bicubic", align_corners=False)
    return grid.permute(0, 2, 3, 1).flatten(0, 2)


class Pool(nn.Module):
    """Queries that attend once over projected, normed features; positions are added to keys, never to values."""

    def __init__(self, queries, width, heads, source=None, table=False):
        super().__init__()
        self.query = nn.Parameter(torch.zeros(queries, width))
        if table:
            self.pos_embed = nn.Parameter(torch.zeros(queries, width), requires_grad=False)
        self.kv_proj = nn.Linear(source, width, bias=False) if source not in (None, width) else nn.Identity()
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.ln_q = nn.LayerNorm(width, eps=1e-6)
        self.ln_kv = nn.LayerNorm(width, eps=1e-6)

    def forward(self, x, positions, padding=None):
        x = self.ln_kv(self.kv_proj(x))
        q = self.ln_q(self.query)
        if hasattr(self, "pos_embed"):
            q = q + self.pos_embed
        q = q.expand(x.shape[0], -1, -1)
        return self.attn(q, x + positions, x, key_padding_mask=padding, need_weights=True)[0]
