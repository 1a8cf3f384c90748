"""MiniCPM-V's resampler, written anew from its public code (no package has it): resampler.py of
openbmb/MiniCPM-Llama3-V-2_5 and MiniCPM-V-2_6 (read in 404805854/minicpmv2.6-onnx), for 2.0 vLLM's minicpmv.py, and for 1.0
omnilmm/model/resampler.py of OpenBMB/OmniLMM, which OmniLMM-12B has too.

    q = ln_q(query) [1.0, 2.0: + pos_embed];  kv = ln_kv(kv_proj(x));  p = sincos of the picture's own grid
                                                                [1.0: pos_embed resized bicubically to x's square grid]
    a = attend(q, kv + p, kv), padding masked by tgt_sizes
    out = ln_post(a) @ proj

The package computes p in float32; here it is float64.
"""

from __future__ import annotations

import torch
from torch import nn

from _pool import Pool, resized, sincos
from common import Case, generator, normal, randomise, strangers, weights_of


class Resampler(Pool):
    def __init__(self, queries, width, heads, source=None, table=False):
        super().__init__(queries, width, heads, source, table)
        self.ln_post = nn.LayerNorm(width, eps=1e-6)
        self.proj = nn.Parameter(torch.zeros(width, width))

    def forward(self, x, tgt_sizes, adaptive=True):
        if not adaptive:
            self.attended = super().forward(x, resized(self.pos_embed, round(x.shape[1] ** 0.5)))
            return self.ln_post(self.attended) @ self.proj
        width, counts = self.query.shape[1], [int(h * w) for h, w in tgt_sizes]
        positions = torch.zeros(x.shape[0], x.shape[1], width, dtype=x.dtype)
        padding = torch.zeros(x.shape[:2], dtype=torch.bool)
        for b, (h, w) in enumerate(tgt_sizes.tolist()):
            positions[b, : h * w] = sincos(width, h, w)
            padding[b, counts[b]:] = True
        self.attended = super().forward(x, positions, padding)
        return self.ln_post(self.attended) @ self.proj


# version 1.0: square grids and a table for queries and keys; 2.0: one grid for the batch (input tgt_size) and a table for the
# queries; 2.5 and later: grids.
FIXTURES = [
    dict(version=2.6, form="", heads=3, dim=24, vision=11, queries=5, grids=[[3, 5], [7, 1], [2, 4]]),
    dict(version=2.6, form="hf", heads=1, dim=28, vision=13, queries=7, grids=[[5, 3], [2, 11]]),
    dict(version=2.0, form="hf", heads=1, dim=20, vision=9, queries=9, grids=[[3, 7], [3, 7]]),
    dict(version=2.5, form="resampler.", heads=4, dim=16, vision=16, queries=3, grids=[[1, 13]]),
    dict(version=2.0, form="", heads=2, dim=24, vision=7, queries=4, grids=[[5, 2]]),
    dict(version=1.0, form="hf", heads=1, dim=20, vision=9, queries=9, grids=[[5, 5], [5, 5]]),
    dict(version=1.0, form="model.resampler.", heads=3, dim=24, vision=24, queries=4, grids=[[3, 3]]),
]


def draw(rng, k):
    version = [2.6, 2.5, 2.0, 1.0][k % 4]
    form = rng.choice(["hf", "", "resampler."])
    heads = 1 if form == "hf" else rng.choice([1, 2, 3, 4])
    batch = rng.randint(1, 3)
    grids = [[rng.randint(1, 9), rng.randint(1, 9)] for _ in range(batch)]
    if version == 1.0:
        grids = [[rng.randint(1, 9)] * 2] * batch
    dim = 4 * heads * rng.randint(1, 12 // heads)
    return dict(version=version, form=form, heads=heads, dim=dim, vision=rng.choice([dim, rng.randint(5, 40)]),
                queries=rng.randint(1, 4) ** 2 if version <= 2.0 else rng.randint(1, 13),
                grids=[grids[0]] * batch if version == 2.0 else grids)


def build(s, seed):
    first, old = s["version"] == 1.0, s["version"] <= 2.0
    net = randomise(Resampler(s["queries"], s["dim"], s["heads"], s["vision"], table=old), seed)
    net.proj.data.copy_(normal(generator(seed + 2), s["dim"], s["dim"], std=1.3 / s["dim"] ** 0.5))
    sizes = torch.tensor(s["grids"], dtype=torch.int64)
    x = normal(generator(seed + 1), len(sizes), int(sizes.prod(1).max()), s["vision"])
    out = net(x, sizes, adaptive=not first)
    hf = s["form"] == "hf"
    prefix = "resampler." if hf else s["form"]
    weights = weights_of(net, prefix)
    if prefix:
        weights |= strangers(seed, llm__model__norm__weight=(5,), llm__lm_head__weight=(6, 3),
                             vpm__post_layernorm__weight=(4,))
    if hf and old:
        config = dict(architectures=["MiniCPMV"], model_type="minicpmv", hidden_size=s["dim"], intermediate_size=11,
                      num_attention_heads=2, num_hidden_layers=1, image_size=448, patch_size=14, query_num=s["queries"],
                      rms_norm_eps=1e-5, drop_vision_last_layer=True, slice_mode=True,
                      vision_encoder="vit_so400m_patch14_siglip_384.webli", vocab_size=6)
        if first:
            del config["slice_mode"]
    elif hf:
        config = dict(architectures=["MiniCPMV"], model_type="minicpmv", hidden_size=s["dim"], intermediate_size=11,
                      num_attention_heads=2, num_hidden_layers=1, num_key_value_heads=1, image_size=448, patch_size=14,
                      query_num=s["queries"], rms_norm_eps=1e-6, drop_vision_last_layer=False, slice_mode=True,
                      slice_config=dict(max_slice_nums=9, patch_size=14, model_type="minicpmv"), vocab_size=6,
                      vision_config=dict(hidden_size=s["vision"], image_size=980, intermediate_size=9, patch_size=14,
                                         model_type="siglip" if s["version"] == 2.6 else "idefics2",
                                         num_attention_heads=1, num_hidden_layers=1))
        if s["version"] == 2.6:
            config["version"] = 2.6
    else:
        config = {"model_type": "perceiver-family", "family": "minicpmv", "num_heads": s["heads"]}
        if first:
            config["adaptive"] = False
        if prefix:
            config["part"] = prefix
    grids = {} if first else {"tgt_size": sizes[0]} if old else {"tgt_sizes": sizes}
    inputs = {"x": x} | grids
    return Case(config, weights, inputs, {"layer.0": net.attended, "output": out})
