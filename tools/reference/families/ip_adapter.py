"""IP-Adapter Plus's resampler: diffusers 0.42.1 (models/embeddings.py, IPAdapterPlusImageProjection).

    x = proj_in(clip); z = latents
    z += O attend(Q ln1(z), [K V](ln0(x) ; ln1(z))); z += W2 gelu(W1 ln(z))
    out = norm_out(proj_out(z))

The original files (tencent-ailab/IP-Adapter, ip_adapter/resampler.py) hold the same numbers under other names:
`original` renames them, to_kv being to_k above to_v.
"""

from __future__ import annotations

import re

import torch
from diffusers.models.embeddings import IPAdapterPlusImageProjection

from common import Case, Tap, generator, normal, randomise, strangers, weights_of

FIXTURES = [
    dict(names="diffusers", part="", embed=11, hidden=15, out=13, heads=3, dim_head=5, queries=5, depth=2, ratio=3,
         batch=2, length=7),
    dict(names="original", part="image_proj.", embed=17, hidden=12, out=19, heads=5, dim_head=3, queries=3, depth=3,
         ratio=2, batch=3, length=13),
    dict(names="original", part="", embed=8, hidden=14, out=9, heads=1, dim_head=11, queries=7, depth=1, ratio=4,
         batch=1, length=5),
    dict(names="diffusers", part="encoder_hid_proj.image_projection_layers.0.", embed=9, hidden=13, out=7, heads=2,
         dim_head=4, queries=4, depth=2, ratio=4, batch=2, length=11),
]


def draw(rng, k):
    names = ["diffusers", "original"][k % 2]
    prefix = {"diffusers": "encoder_hid_proj.image_projection_layers.0.", "original": "image_proj."}[names]
    return dict(names=names, part=rng.choice(["", prefix]), embed=rng.randint(5, 40), hidden=rng.randint(5, 40),
                out=rng.randint(5, 40), heads=rng.randint(1, 5), dim_head=rng.randint(2, 13), queries=rng.randint(1, 11),
                depth=rng.randint(1, 4), ratio=rng.randint(1, 4), batch=rng.randint(1, 3), length=rng.randint(1, 41))


def original(weights):
    """The names of the original file."""
    out = {}
    for name, t in weights.items():
        if name.endswith("attn.to_k.weight"):
            out[name.replace("attn.to_k", "0.to_kv")] = torch.cat([t, weights[name.replace("to_k", "to_v")]])
        elif not name.endswith("attn.to_v.weight"):
            for a, b in ((r"\.ln0\.", ".0.norm1."), (r"\.ln1\.", ".0.norm2."), (r"\.attn\.to_q\.", ".0.to_q."),
                         (r"\.attn\.to_out\.0\.", ".0.to_out."), (r"\.ff\.0\.", ".1.0."),
                         (r"\.ff\.1\.net\.0\.proj\.", ".1.1."), (r"\.ff\.1\.net\.2\.", ".1.3.")):
                name = re.sub(a, b, name)
            out[name] = t
    return out


def build(s, seed):
    net = IPAdapterPlusImageProjection(embed_dims=s["embed"], output_dims=s["out"], hidden_dims=s["hidden"],
                                       depth=s["depth"], dim_head=s["dim_head"], heads=s["heads"],
                                       num_queries=s["queries"], ffn_ratio=s["ratio"])
    randomise(net, seed)
    x = normal(generator(seed + 1), s["batch"], s["length"], s["embed"])
    with Tap(*net.layers) as tap:
        out = net(x)
    weights = weights_of(net)
    if s["names"] == "original":
        weights = original(weights)
    weights = {s["part"] + k: v for k, v in weights.items()}
    if s["part"]:
        weights |= strangers(seed, ip_adapter__1__to_k_ip__weight=(6, 5), ip_adapter__1__to_v_ip__weight=(6, 5),
                             ip_adapter__3__to_k_ip__weight=(4, 5))
    config = {"model_type": "perceiver-family", "family": "ip_adapter", "heads": s["heads"]}
    if s["part"]:
        config["part"] = s["part"]
    return Case(config, weights, {"x": x}, tap.layers() | {"output": out})
