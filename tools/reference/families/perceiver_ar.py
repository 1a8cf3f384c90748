"""Perceiver AR: the last positions attend to the prefix and, causally, to themselves.

Reference: perceiver-ar-pytorch 0.0.10 (PyPI), perceiver_ar_pytorch/perceiver_ar_pytorch.py PerceiverAR
(github.com/lucidrains/perceiver-ar-pytorch).

    e = token_emb + pos_emb;  prefix, z = e[:, :P], e[:, P:]
    z = z + att(LN z, [LNc prefix; LN z], rotary, causal);  z = z + FF(z)                        (perceive_depth times)
    z = z + att(LN z, LN z, rotary, causal);  z = z + FF(z)                                      (depth times);  logits
"""

from __future__ import annotations

import torch

from _lone import lone
from common import Case, generator, randomise, strangers, weights_of

FIXTURES = [
    dict(num_tokens=19, dim=8, depth=2, max_seq_len=29, cross_attn_seq_len=11, dim_head=32, heads=2, batch=2, length=23,
         masked=True),
    dict(num_tokens=11, dim=10, depth=1, max_seq_len=31, cross_attn_seq_len=17, dim_head=40, heads=1, batch=1, length=31,
         perceive_depth=2, prefix="net."),
    dict(num_tokens=7, dim=6, depth=1, max_seq_len=20, cross_attn_seq_len=3, dim_head=72, heads=1, batch=3, length=13,
         ff_mult=3, masked=True, prefix="net."),
]


def draw(rng, k):
    prefix, own = rng.randint(1, 40), rng.randint(1, 30)
    return dict(num_tokens=rng.randint(2, 50), dim=rng.randint(4, 24), depth=rng.randint(1, 3),
                max_seq_len=prefix + own + rng.randint(0, 9), cross_attn_seq_len=prefix,
                dim_head=rng.choice([32, 34, 40, 48, 64, 68, 72]), heads=rng.randint(1, 3), batch=rng.randint(1, 3),
                length=prefix + own, perceive_depth=rng.choice([1, 1, 2]), ff_mult=rng.choice([4, 4, 2]),
                masked=rng.random() < 0.5, prefix="net." if k % 2 else "")


def build(spec, seed):
    spec = dict(spec)
    batch, length, masked = spec.pop("batch"), spec.pop("length"), spec.pop("masked", False)
    prefix = spec.pop("prefix", "")
    net = lone("perceiver_ar_pytorch.perceiver_ar_pytorch").PerceiverAR(**spec)
    randomise(net, seed, keep=("inv_freq",))
    gen = generator(seed + 1)
    inputs = {"x": torch.randint(spec["num_tokens"], (batch, length), generator=gen)}
    mask = None
    if masked:
        mask = inputs["prefix_mask"] = torch.rand(batch, spec["cross_attn_seq_len"], generator=gen) < 0.7
    layers = []
    hooks = [feed.register_forward_hook(lambda _m, args, out: layers.append(args[0] + out))
             for _, feed in (*net.perceive_layers, *net.layers)]
    output = net(inputs["x"], prefix_mask=mask)
    for hook in hooks:
        hook.remove()
    weights = weights_of(net, prefix)
    config = {"model_type": "perceiver-family", "family": "perceiver_ar", "heads": spec["heads"],
              "cross_attn_seq_len": spec["cross_attn_seq_len"]}
    if prefix:
        config["part"] = prefix
        weights |= strangers(seed, step=(1,), ema__decay=(2, 3))
    return Case(config, weights, inputs, {f"layer.{i}": t for i, t in enumerate(layers)} | {"output": output})
