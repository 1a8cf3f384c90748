"""IP-Adapter FaceID Plus's resampler: diffusers 0.42.1 (models/embeddings.py, IPAdapterFaceIDPlusImageProjection).

    i = norm(reshape(W2 gelu(W1 face)));  z = i, and the layers of ip_adapter.py over proj_in(clip)
    out = norm_out(proj_out(z)), or i + scale * that (shortcut, version 2)

The original files (tencent-ailab/IP-Adapter, ip_adapter/ip_adapter_faceid.py, ProjPlusModel) hold the same numbers under other
names; `original` renames them.
"""

from __future__ import annotations

import torch
from diffusers.models.embeddings import IPAdapterFaceIDPlusImageProjection

from common import Case, Tap, generator, normal, randomise, strangers, weights_of
from ip_adapter import original as original_layers

FIXTURES = [
    dict(names="original", part="image_proj.", face=10, embed=13, hidden=15, heads=3, dim_head=5, tokens=3, depth=2,
         ratio=2, batch=2, length=7, scale=0.7),
    dict(names="diffusers", part="", face=7, embed=9, hidden=11, heads=2, dim_head=4, tokens=5, depth=2, ratio=3, batch=3,
         length=5, scale=None),
    dict(names="original", part="", face=9, embed=8, hidden=6, heads=1, dim_head=7, tokens=1, depth=1, ratio=4, batch=1,
         length=11, scale=1.0, flat=True),
    dict(names="diffusers", part="encoder_hid_proj.image_projection_layers.0.", face=5, embed=10, hidden=9, out=7, heads=5,
         dim_head=2, tokens=4, depth=1, ratio=1, batch=2, length=3, scale=None),
]


def draw(rng, k):
    names = ["diffusers", "original"][k % 2]
    prefix = {"diffusers": "encoder_hid_proj.image_projection_layers.0.", "original": "image_proj."}[names]
    scale = rng.choice([None, 1.0, 0.6, 1.7])
    return dict(names=names, part=rng.choice(["", prefix]), face=rng.randint(3, 40), embed=rng.randint(3, 40),
                hidden=rng.randint(3, 40), heads=rng.randint(1, 5), dim_head=rng.randint(2, 13),
                tokens=rng.randint(1, 9), depth=rng.randint(1, 4), ratio=rng.randint(1, 4), batch=rng.randint(1, 3),
                length=rng.randint(1, 41), scale=scale, flat=rng.random() < 0.3)


def original(weights):
    """The names of the original file."""
    own = ("proj.net.", "norm.")
    layers = original_layers({k: t for k, t in weights.items() if not k.startswith(own)})
    out = {"perceiver_resampler." + k: t for k, t in layers.items()}
    for name, t in weights.items():
        if name.startswith(own):
            out[name.replace("proj.net.0.proj", "proj.0").replace("proj.net.2", "proj.2")] = t
    return out


def build(s, seed):
    net = IPAdapterFaceIDPlusImageProjection(embed_dims=s["embed"], output_dims=s.get("out", s["embed"]),
                                             hidden_dims=s["hidden"], id_embeddings_dim=s["face"], depth=s["depth"],
                                             dim_head=s["dim_head"], heads=s["heads"], num_tokens=s["tokens"],
                                             ffn_ratio=s["ratio"])
    randomise(net, seed)
    gen = generator(seed + 1)
    face = normal(gen, s["batch"], 1, s["face"])
    clip = normal(gen, s["batch"], s["length"], s["hidden"])
    net.clip_embeds = clip[:, None]
    net.shortcut, net.shortcut_scale = s["scale"] is not None, s["scale"] or 1.0
    with Tap(*net.layers) as tap, Tap(net.norm) as latents:
        out = net(face)
    weights = weights_of(net)
    if s["names"] == "original":
        weights = original(weights)
    weights = {s["part"] + k: v for k, v in weights.items()}
    if s["part"]:
        weights |= strangers(seed, ip_adapter__1__to_k_ip__weight=(6, 5), ip_adapter__0__to_q_lora__down__weight=(6, 5))
    config = {"model_type": "perceiver-family", "family": "ip_adapter_faceid", "heads": s["heads"]}
    if net.shortcut:
        config["shortcut"] = True
        config["shortcut_scale"] = s["scale"]
    if s["part"]:
        config["part"] = s["part"]
    inputs = {"id_embeds": face[:, 0] if s.get("flat") else face, "clip_embeds": clip}
    outputs = tap.layers() | {"latents": latents.kept[0], "output": out}
    return Case(config, weights, inputs, outputs)
