"""3DShape2VecSet autoencoders: points, the points sampled from them, and query points to logits.

Reference: github.com/1zb/3DShape2VecSet, models_ae.py (AutoEncoder, KLAutoEncoder).  The repository is no package, and
it imports torch_cluster (farthest point sampling) and an old timm; so the module below was written from it in torch
float64, with the sampled points as an input.  With the repository's file at hand (FAMILIES_VECSET=.../models_ae.py)
every case is compared with it.

    e(p) = mlp([sin(p B), cos(p B), p]);  x = e(s) + CA(LN e(s), LN e(pc));  x = x + GEGLU(LN x)
    KL form: x = proj(mean_fc(x));  x = x + SA(LN x);  x = x + GEGLU(LN x)                     (depth times)
    logits = to_outputs(CA(LN e(q), LN x))            (no residual around the last attention)
"""

from __future__ import annotations

import importlib.util
import math
import os
import sys
import types

import torch
from torch import nn
from torch.nn import functional as F

from common import Case, Tap, generator, normal, randomise, strangers, weights_of

FIXTURES = [
    dict(dim=12, heads=3, dim_head=4, depth=2, batch=2, points=13, latents=5, queries=7),
    dict(dim=10, heads=2, dim_head=7, depth=2, latent_dim=3, batch=1, points=17, latents=6, queries=11,
         prefix="model."),
    dict(dim=11, heads=1, dim_head=5, depth=1, latent_dim=4, batch=3, points=0, latents=7, queries=5),
    dict(dim=9, heads=4, dim_head=3, depth=1, decoder_ff=True, batch=1, points=8, latents=8, queries=3,
         prefix="ae."),
]


def draw(rng, k):
    latents = rng.randint(1, 13)
    return dict(dim=rng.randint(5, 24), heads=rng.randint(1, 5), dim_head=rng.randint(1, 12),
                depth=rng.randint(1, 3), latent_dim=rng.choice([None, rng.randint(1, 9)]) if k % 3 else 5,
                decoder_ff=rng.random() < 0.2, batch=rng.randint(1, 3),
                points=0 if k % 3 == 0 and k else latents + rng.randint(0, 20), latents=latents,
                queries=rng.randint(1, 23), prefix=["", "model.", "ae.", ""][k % 4])


class Attention(nn.Module):
    def __init__(self, query_dim, context_dim, heads, dim_head):
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(query_dim, heads * dim_head, bias=False)
        self.to_kv = nn.Linear(context_dim, 2 * heads * dim_head, bias=False)
        self.to_out = nn.Linear(heads * dim_head, query_dim)

    def forward(self, x, context=None):
        context = x if context is None else context
        k, v = self.to_kv(context).chunk(2, -1)
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in (self.to_q(x), k, v))
        sim = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
        return self.to_out((sim.softmax(-1) @ v).transpose(1, 2).flatten(-2))


class Gate(nn.Module):
    def forward(self, x):
        value, gate = x.chunk(2, -1)
        return value * F.gelu(gate)


class FeedForward(nn.Module):
    def __init__(self, dim, mult=4):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(dim, 2 * mult * dim), Gate(), nn.Linear(mult * dim, dim))

    def forward(self, x):
        return self.net(x)


class Normed(nn.Module):
    def __init__(self, dim, fn, context_dim=None):
        super().__init__()
        self.fn = fn
        self.norm = nn.LayerNorm(dim)
        self.norm_context = nn.LayerNorm(context_dim) if context_dim else None

    def forward(self, x, context=None):
        if context is None:
            return self.fn(self.norm(x))
        return self.fn(self.norm(x), self.norm_context(context))


class PointEmbed(nn.Module):
    def __init__(self, dim, hidden_dim=48):
        super().__init__()
        n = hidden_dim // 6
        f = (2.0 ** torch.arange(n, dtype=torch.float32)) * torch.tensor(math.pi, dtype=torch.float32)
        self.register_buffer("basis", torch.block_diag(f[None], f[None], f[None]))
        self.mlp = nn.Linear(hidden_dim + 3, dim)

    def forward(self, points):
        phase = points @ self.basis
        return self.mlp(torch.cat([phase.sin(), phase.cos(), points], -1))


class VecSet(nn.Module):
    def __init__(self, dim, heads, dim_head, depth, latent_dim=None, decoder_ff=False):
        super().__init__()
        self.cross_attend_blocks = nn.ModuleList(
            [Normed(dim, Attention(dim, dim, 1, dim), dim), Normed(dim, FeedForward(dim))])
        self.point_embed = PointEmbed(dim)
        self.layers = nn.ModuleList(
            nn.ModuleList([Normed(dim, Attention(dim, dim, heads, dim_head)), Normed(dim, FeedForward(dim))])
            for _ in range(depth))
        self.decoder_cross_attn = Normed(dim, Attention(dim, dim, 1, dim), dim)
        self.decoder_ff = Normed(dim, FeedForward(dim)) if decoder_ff else None
        self.to_outputs = nn.Linear(dim, 1)
        if latent_dim:
            self.proj = nn.Linear(latent_dim, dim)
            self.mean_fc = nn.Linear(dim, latent_dim)
            self.logvar_fc = nn.Linear(dim, latent_dim)

    def encode(self, pc, sampled_pc):
        attend, feed = self.cross_attend_blocks
        s = self.point_embed(sampled_pc)
        x = s + attend(s, self.point_embed(pc))
        return x + feed(x)

    def decode(self, x, queries):
        if hasattr(self, "proj"):
            x = self.proj(x)
        for attend, feed in self.layers:
            x = x + attend(x)
            x = x + feed(x)
        y = self.decoder_cross_attn(self.point_embed(queries), x)
        if self.decoder_ff is not None:
            y = y + self.decoder_ff(y)
        return self.to_outputs(y)


def published(spec, state, inputs, points):
    """The repository's own module on the same numbers (its sampling replaced by the given points, its sample by the mean)."""
    where = os.environ.get("FAMILIES_VECSET")
    if not where:
        return None
    for name, offered in (("torch_cluster", dict(fps=None)), ("timm", {}), ("timm.models", {}),
                          ("timm.models.layers", dict(DropPath=lambda _rate: nn.Identity()))):
        stub = sys.modules.setdefault(name, types.ModuleType(name))
        stub.__dict__.update(offered)
    file = importlib.util.spec_from_file_location("vecset_models_ae", where)
    module = importlib.util.module_from_spec(file)
    file.loader.exec_module(module)
    sizes = dict(dim=spec["dim"], queries_dim=spec["dim"], heads=spec["heads"], dim_head=spec["dim_head"],
                 depth=spec["depth"], num_inputs=spec["points"], num_latents=spec["latents"],
                 decoder_ff=bool(spec.get("decoder_ff")))
    if spec.get("latent_dim"):
        model = module.KLAutoEncoder(latent_dim=spec["latent_dim"], **sizes)
        module.DiagonalGaussianDistribution.sample = module.DiagonalGaussianDistribution.mode
    else:
        model = module.AutoEncoder(**sizes)
    model.double().eval().load_state_dict(state)
    if "x" in inputs:
        return model.decode(inputs["x"], inputs["queries"]).squeeze(-1)
    b, n = inputs["pc"].shape[:2]
    module.fps = lambda pos, batch, ratio: (torch.arange(b)[:, None] * n + points).flatten()
    return model(inputs["pc"], inputs["queries"])["logits"]


def build(spec, seed):
    net = randomise(VecSet(spec["dim"], spec["heads"], spec["dim_head"], spec["depth"], spec.get("latent_dim"),
                           bool(spec.get("decoder_ff"))), seed, keep=("basis",))
    gen = generator(seed + 1)
    batch, n, m = spec["batch"], spec["points"], spec["latents"]
    inputs, outputs, points = {}, {}, None
    if n:
        pc = normal(gen, batch, n, 3, std=0.5).clamp(-1.0, 1.0)
        points = torch.stack([torch.randperm(n, generator=gen)[:m] for _ in range(batch)])
        inputs["pc"] = pc
        inputs["sampled_pc"] = torch.stack([pc[b, points[b]] for b in range(batch)])
        x = net.encode(inputs["pc"], inputs["sampled_pc"])
        outputs["encoder"] = x
        if spec.get("latent_dim"):
            x = outputs["mean"] = net.mean_fc(x)
            outputs["logvar"] = net.logvar_fc(outputs["encoder"])
    else:
        x = inputs["x"] = normal(gen, batch, m, spec.get("latent_dim") or spec["dim"])
    inputs["queries"] = normal(gen, batch, spec["queries"], 3, std=0.5).clamp(-1.0, 1.0)
    layers = []
    hooks = [feed.register_forward_hook(lambda _m, args, out: layers.append(args[0] + out)) for _, feed in net.layers]
    with Tap(net.decoder_cross_attn) as cross:
        outputs["output"] = net.decode(x, inputs["queries"]).squeeze(-1)
    for hook in hooks:
        hook.remove()
    outputs |= {f"layer.{i}": t for i, t in enumerate(layers)} | {"decoder": cross.kept[0]}
    theirs = published(spec, weights_of(net), inputs, points)
    if theirs is not None:
        assert torch.allclose(theirs, outputs["output"], rtol=1e-11, atol=1e-11), "differs from the repository's"
    prefix = spec.get("prefix", "")
    weights = weights_of(net, prefix)
    config = {"model_type": "perceiver-family", "family": "vecset", "heads": spec["heads"]}
    if prefix:
        config["part"] = prefix
        weights |= strangers(seed, model__map_noise__freqs=(5,), epoch=(1,), optimizer__state__0__exp_avg=(3, 2))
    return Case(config, weights, inputs, outputs)
