#!/usr/bin/env python3
"""Train models/shape-tiny: points of a surface to the occupancy of the space around it.

Data: solids.py, made as they are needed.  The layout and the mathematics are those of 3DShape2VecSet's AutoEncoder
(github.com/1zb/3DShape2VecSet, models_ae.py; plain form), which is no package, so the module is written here.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn

from common import fit, parser, rng_for, write_fixture, write_log, write_results
from solids import NONE, draw, example, farthest, queries

BANDS = 8
SIZES, SHARES = (512, 1024, 2048), (0.6, 0.3, 0.1)  # surface points of a training step
HELDOUT_SOLIDS, HELDOUT_PLACES, HELDOUT_POINTS = 100, 20000, 1024


class PointEmbed(nn.Module):
    def __init__(self, dim: int):
        super().__init__()
        f = (2.0 ** torch.arange(BANDS, dtype=torch.float32)) * torch.tensor(math.pi, dtype=torch.float32)
        self.register_buffer("basis", torch.block_diag(f[None], f[None], f[None]))
        self.mlp = nn.Linear(6 * BANDS + 3, dim)

    def forward(self, points: torch.Tensor) -> torch.Tensor:
        # the product with the basis, which has one number in each column, without rounding in autocast
        phase = (points[..., None] * self.basis[0, :BANDS]).flatten(-2)
        return self.mlp(torch.cat([phase.sin(), phase.cos(), points], -1))


class Attention(nn.Module):
    def __init__(self, dim: int, heads: int, dim_head: int):
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(dim, heads * dim_head, bias=False)
        self.to_kv = nn.Linear(dim, 2 * heads * dim_head, bias=False)
        self.to_out = nn.Linear(heads * dim_head, dim)

    def forward(self, x: torch.Tensor, context: torch.Tensor | None = None) -> torch.Tensor:
        k, v = self.to_kv(x if context is None else context).chunk(2, -1)
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in (self.to_q(x), k, v))
        sim = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
        return self.to_out((sim.softmax(-1) @ v).transpose(1, 2).flatten(-2))


class Gate(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        value, gate = x.chunk(2, -1)
        return value * F.gelu(gate)


class FeedForward(nn.Module):
    def __init__(self, dim: int):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(dim, 8 * dim), Gate(), nn.Linear(4 * dim, dim))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x)


class Normed(nn.Module):
    def __init__(self, dim: int, fn: nn.Module, context: bool = False):
        super().__init__()
        self.fn = fn
        self.norm = nn.LayerNorm(dim)
        self.norm_context = nn.LayerNorm(dim) if context else None

    def forward(self, x: torch.Tensor, context: torch.Tensor | None = None) -> torch.Tensor:
        return self.fn(self.norm(x)) if context is None else self.fn(self.norm(x), self.norm_context(context))


class VecSet(nn.Module):
    def __init__(self, dim: int, heads: int, dim_head: int, depth: int):
        super().__init__()
        self.cross_attend_blocks = nn.ModuleList([Normed(dim, Attention(dim, 1, dim), True), Normed(dim, FeedForward(dim))])
        self.point_embed = PointEmbed(dim)
        self.layers = nn.ModuleList(
            nn.ModuleList([Normed(dim, Attention(dim, heads, dim_head)), Normed(dim, FeedForward(dim))])
            for _ in range(depth))
        self.decoder_cross_attn = Normed(dim, Attention(dim, 1, dim), True)
        self.to_outputs = nn.Linear(dim, 1)

    def attended(self, s: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        return self.cross_attend_blocks[0](s, c)

    def decoded(self, q: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return self.to_outputs(self.decoder_cross_attn(q, x)).squeeze(-1)

    def encode(self, pc: torch.Tensor, sampled_pc: torch.Tensor) -> torch.Tensor:
        s = self.point_embed(sampled_pc)
        x = s + self.attended(s, self.point_embed(pc))
        x = x + self.cross_attend_blocks[1](x)
        for attend, feed in self.layers:
            x = x + attend(x)
            x = x + feed(x)
        return x

    def forward(self, pc: torch.Tensor, sampled_pc: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        return self.decoded(self.point_embed(places), self.encode(pc, sampled_pc))


class Folded(VecSet):
    """The same at less cost: the matrices of the many points are applied to the few latents instead."""

    def attended(self, s: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        block = self.cross_attend_blocks[0]
        k, v = block.fn.to_kv.weight.chunk(2, 0)
        q = block.fn.to_q(block.norm(s)) @ k / math.sqrt(len(k))
        c = block.norm_context(c)
        return block.fn.to_out((q @ c.transpose(-1, -2)).softmax(-1) @ c @ v.T)

    def decoded(self, q: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        block = self.decoder_cross_attn
        k, v = block.fn.to_kv(block.norm_context(x)).chunk(2, -1)
        k = k @ block.fn.to_q.weight / math.sqrt(k.shape[-1])
        v = self.to_outputs(block.fn.to_out(v))
        return ((block.norm(q) @ k.transpose(-1, -2)).softmax(-1) @ v).squeeze(-1)


@torch.no_grad()
def initialise(model: VecSet, sharpness: float = 8.0) -> None:
    """Queries and keys that match at equal places: a score is a sum of cos(f (p - x)), largest where they agree."""
    embed = model.point_embed.mlp
    bands = torch.tensor([1.0, 0.7, 0.4, 0.2, 0.08, 0.03, 0.01, 0.004]).repeat(6)
    embed.weight.normal_()
    embed.weight *= torch.cat([bands, torch.full((3,), 1.0)]) / (3 * (1 + 0.49 + 0.16 + 0.04 + 0.3)) ** 0.5
    embed.bias.zero_()
    dim = len(embed.weight)
    for block in (model.cross_attend_blocks[0], model.decoder_cross_attn):
        turn = nn.init.orthogonal_(torch.empty(dim, dim)) * (sharpness * dim ** -0.5) ** 0.5
        block.fn.to_q.weight.copy_(turn)
        block.fn.to_kv.weight[:dim] = turn
        nn.init.orthogonal_(block.fn.to_kv.weight[dim:])
        nn.init.xavier_uniform_(block.fn.to_out.weight)
    for attend, _ in model.layers:
        inner = len(attend.fn.to_q.weight)
        nn.init.orthogonal_(attend.fn.to_q.weight)
        nn.init.orthogonal_(attend.fn.to_kv.weight[:inner])
        nn.init.orthogonal_(attend.fn.to_kv.weight[inner:])
        half = inner // attend.fn.heads * (attend.fn.heads // 2)
        attend.fn.to_kv.weight[:half] = attend.fn.to_q.weight[:half]  # half of the heads look around
        nn.init.xavier_uniform_(attend.fn.to_out.weight, 0.5)
    for feed in (model.cross_attend_blocks[1], *(feed for _, feed in model.layers)):
        nn.init.xavier_uniform_(feed.fn.net[0].weight)
        nn.init.xavier_uniform_(feed.fn.net[2].weight, 0.5)
    for name, p in model.named_parameters():
        if name.endswith("bias") and "norm" not in name:
            p.zero_()


class Averaged(nn.Module):
    """The model that is trained and a running mean of its weights; both are in the checkpoint."""

    def __init__(self, make, decay: float):
        super().__init__()
        self.net, self.mean, self.decay = make(), make().requires_grad_(False), decay
        self.mean.load_state_dict(self.net.state_dict())

    @torch.no_grad()
    def update(self, step: int) -> None:
        share = max(1 - self.decay, 1 / (step + 1))
        torch._foreach_lerp_(list(self.mean.parameters()), list(self.net.parameters()), share)


def iou_each(model: VecSet, solids, cloud: np.ndarray, places: np.ndarray, latents: int, sample=farthest) -> np.ndarray:
    """Intersection over union of each solid, at places even in the cube."""
    with torch.no_grad():
        x = model.encode(torch.from_numpy(cloud), torch.from_numpy(sample(cloud, latents)))
        found = [model.decoded(model.point_embed(torch.from_numpy(p[None])), x[i : i + 1])[0] > 0
                 for i, p in enumerate(places)]
    found, truth = torch.stack(found).numpy(), solids.distance(places) < 0
    return (found & truth).sum(1) / (found | truth).sum(1)


def heldout(stream: str, solids: int, places: int, points: int = HELDOUT_POINTS):
    """Parts of 20 solids with their points, and places of the cube."""
    for part in range(solids // 20):
        rng = rng_for(1, stream, part)
        some, cloud = draw(rng, 20, points)
        yield some, cloud, rng.random((20, places, 3), np.float32) * 2 - 1


def write_model(model: VecSet, heads: int, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    part = out / "model.safetensors.part"
    save_file({k: v.detach().contiguous() for k, v in model.state_dict().items()}, part)
    part.chmod(0o644)
    part.replace(out / "model.safetensors")
    config = {"model_type": "perceiver-family", "family": "vecset", "heads": heads}
    (out / "config.json").write_text(json.dumps(config, indent=1) + "\n")


def write_example(out: Path, latents: int) -> tuple:
    rng = rng_for(1, "example", 0)
    solid, cloud = example(rng, HELDOUT_POINTS)
    save_file({"pc": torch.from_numpy(np.ascontiguousarray(cloud, np.float32)),
               "sampled_pc": torch.from_numpy(farthest(cloud, latents))}, out / "example.safetensors")
    (out / "example.safetensors").chmod(0o644)
    return solid, cloud, rng.random((1, HELDOUT_PLACES, 3), np.float32) * 2 - 1


def main() -> None:
    ap = parser(__doc__.split("\n")[0], name="shape-tiny", steps=9000, batch=32, rate=2e-3)
    ap.add_argument("--width", type=int, default=80, help="C")
    ap.add_argument("--heads", type=int, default=2, help="of the latent layers")
    ap.add_argument("--dim-head", type=int, default=32)
    ap.add_argument("--layers", type=int, default=6)
    ap.add_argument("--latents", type=int, default=64)
    ap.add_argument("--places", type=int, default=1024, help="queries of a solid and step, half of them near the surface")
    ap.add_argument("--near", type=float, default=1.0, help="weight of the loss near the surface")
    ap.add_argument("--mean", type=float, default=0.998,
                    help="decay of the running mean of the weights, which is what is exported")
    ap.set_defaults(threads=1)
    args = ap.parse_args()
    if args.heldout_fixture:
        rng = rng_for(1, "fixture", 0)
        solids, cloud = draw(rng, 4, HELDOUT_POINTS)
        places = rng.random((4, 2048, 3), np.float32) * 2 - 1
        return write_fixture(args, pc=cloud, sampled_pc=farthest(cloud, args.latents), queries=places,
                             inside=(solids.distance(places) < 0).astype(np.uint8))
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)

    def make(kind=Folded) -> VecSet:
        model = kind(args.width, args.heads, args.dim_head, args.layers)
        initialise(model)
        return model

    model = Averaged(make, args.mean)
    if args.warm:
        for net in (model.net, model.mean):
            net.load_state_dict(load_file(args.warm / "model.safetensors"))
    print(sum(p.numel() for p in model.net.parameters()), "parameters", flush=True)

    def loss_at(step: int) -> torch.Tensor:
        model.update(step)
        rng = rng_for(args.seed, "train", step)
        solids, cloud = draw(rng, args.batch, int(rng.choice(SIZES, p=SHARES)))
        places, inside = queries(rng, solids, cloud, args.places // 2)
        logits = model.net(*(torch.from_numpy(a) for a in (cloud, farthest(cloud, args.latents), places))).float()
        loss = F.binary_cross_entropy_with_logits(logits, torch.from_numpy(inside).float(), reduction="none")
        even, near = loss.mean(0).view(2, -1).mean(1)
        return (even + args.near * near) / (1 + args.near)

    checks = []  # kept, as they are the same every time
    best = 0.0

    def check() -> float:
        nonlocal best
        if not checks:
            checks.extend(heldout("check", 100, 4096))
        figure = float(np.concatenate([iou_each(model.mean, *c, args.latents) for c in checks]).mean())
        if figure > best:
            best = figure
            write_model(model.mean, args.heads, args.out)
        return figure

    spent = fit(model, args, loss_at, check)
    write_model(model.mean, args.heads, args.out)
    if (args.work / "log.csv").exists():
        write_log(args)
    plain = make(VecSet)
    plain.load_state_dict(load_file(args.out / "model.safetensors"))

    def figures(points: int, sample=farthest) -> np.ndarray:
        return np.concatenate([iou_each(plain, *c, args.latents, sample)
                               for c in heldout("heldout", HELDOUT_SOLIDS, HELDOUT_PLACES, points)])

    each = figures(HELDOUT_POINTS)
    parts = np.concatenate([(s.op != NONE).sum(1) for s, *_ in heldout("heldout", HELDOUT_SOLIDS, 1)])
    shown = iou_each(plain, *write_example(args.out, args.latents), args.latents)[0]
    write_results(args, {
        **spent,
        "command": " ".join(["python3", *(a for a in sys.argv if a != "--export-only")]),
        "seed": args.seed,
        "parameters": sum(p.numel() for p in plain.parameters()),
        "heldout": {"solids": len(each), "places": HELDOUT_PLACES, "points": HELDOUT_POINTS,
                    "iou_mean": round(float(each.mean()), 4), "iou_median": round(float(np.median(each)), 4),
                    "iou_worst": round(float(each.min()), 4), "iou_under_0.8": int((each < 0.8).sum())},
        "iou_mean_by_parts": {str(n): round(float(each[parts == n].mean()), 4) for n in np.unique(parts)},
        "iou_mean_of_512_points": round(float(figures(512).mean()), 4),
        "iou_mean_of_2048_points": round(float(figures(2048).mean()), 4),
        "iou_mean_random_sample": round(float(figures(HELDOUT_POINTS, lambda cloud, m: cloud[:, :m]).mean()), 4),
        "example_iou": round(float(shown), 4),
    })


if __name__ == "__main__":
    main()
