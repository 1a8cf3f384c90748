"""TabICL's column embedding: a stack of induced self-attention blocks over the rows of each column.

Reference: tabicl 2.2.0 (PyPI), tabicl/_model/encoders.py SetTransformer, layers.py InducedSelfAttentionBlock and
MultiheadAttentionBlock, attention.py, ssmax.py (github.com/soda-inria/tabicl).

    block(q, k) : x = q + out_proj(softmax((s q') k'^T / sqrt d) v'), q', k', v' = in_proj of norm1(q), norm1(k);
                  x = x + linear2(gelu(linear1(norm2 x)));     s from log(number of keys), first attention only
    h = block1(ind_vectors, src[:train_size]);  src = block2(src, h)                           (every block)
"""

from __future__ import annotations

import torch

from _lone import lone
from common import Case, generator, normal, randomise, strangers, weights_of

PART = "col_embedder.tf_col."
V2 = dict(ssmax="qassmax-mlp-elementwise")

FIXTURES = [
    V2 | dict(num_blocks=2, d_model=12, nhead=3, dim_feedforward=24, num_inds=5, batch=[1, 3], rows=13, train_size=9,
              part=PART),
    # version 1: no scaled softmax
    dict(num_blocks=3, d_model=10, nhead=2, dim_feedforward=20, num_inds=4, batch=[3], rows=17, train_size=11,
         ssmax=False, part=PART),
    # a column that is to be skipped, and no split into train and test
    V2 | dict(num_blocks=1, d_model=15, nhead=5, dim_feedforward=30, num_inds=7, batch=[1, 4], rows=11,
              train_size=None, skipped=[0, 1], bias_free_ln=True),
    dict(num_blocks=1, d_model=12, nhead=4, dim_feedforward=19, num_inds=3, batch=[2], rows=23, train_size=1,
         ssmax="ssmax", norm_first=False, activation="relu"),
    dict(num_blocks=1, d_model=10, nhead=2, dim_feedforward=20, num_inds=6, batch=[3], rows=7, train_size=7,
         ssmax="ssmax-mlp-elementwise"),
    dict(num_blocks=2, d_model=9, nhead=3, dim_feedforward=18, num_inds=2, batch=[1], rows=5, train_size=4,
         ssmax="qassmax-mlp"),
    dict(num_blocks=1, d_model=16, nhead=2, dim_feedforward=21, num_inds=3, batch=[1, 2], rows=9, train_size=6,
         ssmax="ssmax-mlp"),
]


def draw(rng, k):
    heads, rows = rng.randint(1, 5), rng.randint(2, 43)
    # A LayerNorm of two channels is nearly a step, which float32 cannot follow.
    width = max(4, heads * rng.randint(2, 8))
    batch = [rng.randint(1, 3)] + ([rng.randint(1, 5)] if rng.random() < 0.6 else [])
    return dict(num_blocks=rng.randint(1, 3), d_model=width, nhead=heads,
                dim_feedforward=rng.choice([2 * width, rng.randint(3, 50)]), num_inds=rng.randint(1, 13),
                batch=batch, rows=rows, train_size=rng.choice([None, rng.randint(1, rows)]),
                ssmax=["qassmax-mlp-elementwise", False, "qassmax-mlp", "ssmax", "ssmax-mlp",
                       "ssmax-mlp-elementwise"][k % 6 if k >= 3 else k % 2],
                bias_free_ln=rng.random() < 0.2, part=PART if k % 2 == 0 else "")


def build(spec, seed):
    spec = dict(spec)
    batch, rows, train_size = spec.pop("batch"), spec.pop("rows"), spec.pop("train_size")
    part, skipped = spec.pop("part", ""), spec.pop("skipped", [])
    net = randomise(lone("tabicl._model.encoders").SetTransformer(**spec), seed)
    gen = generator(seed + 1)
    src = normal(gen, *batch, rows, spec["d_model"])
    flat = src.flatten(0, -3)
    for i in skipped:
        flat[i] = -100.0
    kept = torch.ones(len(flat), dtype=torch.bool)
    kept[skipped] = False
    kept = kept.view(batch)
    layers = []

    def induced(_module, _args, out):
        whole = torch.full((*batch, *out.shape[-2:]), -100.0, dtype=out.dtype)
        whole[kept] = out.reshape(-1, *out.shape[-2:])
        layers.append(whole)

    hooks = [h for b in net.blocks for h in (b.multihead_attn1.register_forward_hook(induced),
                                             b.register_forward_hook(lambda _m, _a, out: layers.append(out.clone())))]
    output = net(src, train_size)
    for hook in hooks:
        hook.remove()
    inputs = {"src": src}
    if train_size is not None:
        inputs["train_size"] = torch.tensor([train_size])
    weights = weights_of(net, part)
    config = {"model_type": "perceiver-family", "family": "tabicl", "nhead": spec["nhead"],
              "ssmax": spec["ssmax"], "norm_first": spec.get("norm_first", True),
              "activation": spec.get("activation", "gelu")}
    if part:
        config["part"] = part
        width = spec["d_model"]
        weights |= strangers(seed, col_embedder__in_linear__weight=(width, 3), col_embedder__in_linear__bias=(width,),
                             row_interactor__cls_tokens=(4, width), icl_predictor__ln__weight=(7,))
    return Case(config, weights, inputs, {f"layer.{i}": t for i, t in enumerate(layers)} | {"output": output})
