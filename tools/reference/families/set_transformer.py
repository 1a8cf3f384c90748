"""Set Transformer: ISAB, ISAB, PMA, SABs, linear.

Reference: github.com/juho-lee/set_transformer, modules.py (MAB, SAB, ISAB, PMA) and models.py / main_pointcloud.py (the
compositions).  The repository is no package, so the modules below were written from it in torch float64; with the
repository's file at hand (FAMILIES_SET_TRANSFORMER=.../modules.py) every case is compared with it.

    MAB(Q, K): q, k, v = fc_q Q, fc_k K, fc_v K;  o = q + softmax(q k^T / sqrt(dim_V)) v per head;  o = ln0(o)
               o = o + relu(fc_o o);  o = ln1(o)
    SAB(X) = MAB(X, X);  ISAB(X) = MAB(X, MAB(I, X));  PMA(X) = MAB(S, X)
"""

from __future__ import annotations

import importlib.util
import math
import os

import torch
from torch import nn
from torch.nn import functional as F

from common import Case, Tap, generator, normal, randomise, strangers, weights_of

FIXTURES = [
    dict(dim_input=3, num_outputs=4, dim_output=5, num_inds=7, dim_hidden=12, num_heads=3, ln=False, sabs=2,
         batch=2, points=23),
    dict(dim_input=2, num_outputs=3, dim_output=7, num_inds=5, dim_hidden=10, num_heads=2, ln=True, sabs=2,
         batch=3, points=17, prefix="module."),
    # the point cloud classifier: dropouts take the places dec.0 and dec.2, no SAB
    dict(dim_input=3, num_outputs=1, dim_output=11, num_inds=6, dim_hidden=20, num_heads=4, ln=True, sabs=0,
         dropout=True, batch=1, points=31, prefix="module."),
    dict(dim_input=5, num_outputs=2, dim_output=3, num_inds=3, dim_hidden=15, num_heads=5, ln=False, sabs=1,
         batch=2, points=13),
]


def draw(rng, k):
    heads = rng.randint(1, 6)
    points = k % 3 == 2
    return dict(dim_input=rng.randint(1, 9), num_outputs=rng.randint(1, 7), dim_output=rng.randint(1, 13),
                num_inds=rng.randint(1, 17), dim_hidden=heads * rng.randint(1, 8), num_heads=heads,
                ln=rng.random() < 0.5, sabs=0 if points else rng.choice([2, 2, 1]), dropout=points,
                batch=rng.randint(1, 3), points=rng.randint(1, 61), prefix="module." if k % 2 else "")


class MAB(nn.Module):
    def __init__(self, dim_Q, dim_K, dim_V, num_heads, ln=False):
        super().__init__()
        self.num_heads = num_heads
        self.fc_q = nn.Linear(dim_Q, dim_V)
        self.fc_k = nn.Linear(dim_K, dim_V)
        self.fc_v = nn.Linear(dim_K, dim_V)
        self.fc_o = nn.Linear(dim_V, dim_V)
        self.ln0, self.ln1 = (nn.LayerNorm(dim_V), nn.LayerNorm(dim_V)) if ln else (nn.Identity(), nn.Identity())

    def forward(self, Q, K):
        q, k, v = (t.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
                   for t in (self.fc_q(Q), self.fc_k(K), self.fc_v(K)))
        weights = (q @ k.transpose(-1, -2) / math.sqrt(self.fc_q.out_features)).softmax(-1)
        o = self.ln0((q + weights @ v).transpose(1, 2).flatten(-2))
        return self.ln1(o + F.relu(self.fc_o(o)))


class SAB(nn.Module):
    def __init__(self, dim_in, dim_out, num_heads, ln=False):
        super().__init__()
        self.mab = MAB(dim_in, dim_in, dim_out, num_heads, ln)

    def forward(self, X):
        return self.mab(X, X)


class ISAB(nn.Module):
    def __init__(self, dim_in, dim_out, num_heads, num_inds, ln=False):
        super().__init__()
        self.I = nn.Parameter(torch.zeros(1, num_inds, dim_out))
        self.mab0 = MAB(dim_out, dim_in, dim_out, num_heads, ln)
        self.mab1 = MAB(dim_in, dim_out, dim_out, num_heads, ln)

    def forward(self, X):
        return self.mab1(X, self.mab0(self.I.expand(len(X), -1, -1), X))


class PMA(nn.Module):
    def __init__(self, dim, num_heads, num_seeds, ln=False):
        super().__init__()
        self.S = nn.Parameter(torch.zeros(1, num_seeds, dim))
        self.mab = MAB(dim, dim, dim, num_heads, ln)

    def forward(self, X):
        return self.mab(self.S.expand(len(X), -1, -1), X)


class SetTransformer(nn.Module):
    def __init__(self, parts, dim_input, num_outputs, dim_output, num_inds, dim_hidden, num_heads, ln, sabs, dropout=False):
        super().__init__()
        self.enc = nn.Sequential(parts.ISAB(dim_input, dim_hidden, num_heads, num_inds, ln=ln),
                                 parts.ISAB(dim_hidden, dim_hidden, num_heads, num_inds, ln=ln))
        drop = [nn.Dropout()] if dropout else []
        self.dec = nn.Sequential(*drop, parts.PMA(dim_hidden, num_heads, num_outputs, ln=ln), *drop,
                                 *(parts.SAB(dim_hidden, dim_hidden, num_heads, ln=ln) for _ in range(sabs)),
                                 nn.Linear(dim_hidden, dim_output))

    def forward(self, X):
        return self.dec(self.enc(X))


class Mine:
    ISAB, PMA, SAB = ISAB, PMA, SAB


def published():
    where = os.environ.get("FAMILIES_SET_TRANSFORMER")
    if not where:
        return None
    file = importlib.util.spec_from_file_location("set_transformer_modules", where)
    module = importlib.util.module_from_spec(file)
    file.loader.exec_module(module)
    return module


def build(spec, seed):
    spec = dict(spec)
    batch, points, prefix = spec.pop("batch"), spec.pop("points"), spec.pop("prefix", "")
    net = randomise(SetTransformer(Mine, **spec), seed)
    if not spec["ln"]:  # nothing else holds the size of the activations, and so of the attention's logits
        for linear in (m for m in net.modules() if isinstance(m, nn.Linear)):
            linear.weight.mul_(0.5)
    gen = generator(seed + 1)
    x = normal(gen, batch, points, spec["dim_input"])
    blocks = [b for isab in net.enc for b in (isab.mab0, isab.mab1)] + [b.mab for b in net.dec if hasattr(b, "mab")]
    with Tap(*blocks) as tap:
        output = net(x)
    theirs = published()
    if theirs:
        other = SetTransformer(theirs, **spec).double().eval()
        other.load_state_dict(net.state_dict())
        assert torch.allclose(other(x), output, rtol=1e-11, atol=1e-11), "differs from the repository's"
    config = {"model_type": "perceiver-family", "family": "set_transformer", "num_heads": spec["num_heads"]}
    weights = weights_of(net, prefix)
    if prefix:
        config["part"] = prefix
        weights |= strangers(seed, step=(1,), optimizer__exp_avg=(3, 2))
    return Case(config, weights, {"X": x}, tap.layers() | {"output": output})
