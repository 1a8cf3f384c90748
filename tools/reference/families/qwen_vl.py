"""Qwen-VL's (version 1) pool, written anew from its public code (no package has it): Qwen/Qwen-VL visual.py,
Resampler inside VisionTransformer (read in copies of it on GitHub).

    q = ln_q(query) + pos_embed;  kv = ln_kv(kv_proj(x));  p = pos_embed resized bicubically to x's square grid
    a = attend(q, kv + p, kv)
    out = ln_post(a) @ proj, both of these beside the pool
"""

from __future__ import annotations

import torch
from torch import nn

from _pool import Pool, resized
from common import Case, generator, normal, randomise, strangers, weights_of


class Visual(nn.Module):
    def __init__(self, grid_size, width, heads, source):
        super().__init__()
        self.attn_pool = Pool(grid_size ** 2, width, heads, source, table=True)
        self.ln_post = nn.LayerNorm(width, eps=1e-6)
        self.proj = nn.Parameter(torch.zeros(width, width))

    def forward(self, x):
        self.attended = self.attn_pool(x, resized(self.attn_pool.pos_embed, round(x.shape[1] ** 0.5)))
        return self.ln_post(self.attended) @ self.proj


# form: "hf" whole model; "pool" the pool alone (output is the attention's); else a prefix of pool, norm and proj.
FIXTURES = [
    dict(form="", heads=3, dim=21, source=13, grid=2, side=3, batch=2),
    dict(form="hf", heads=1, dim=22, source=17, grid=3, side=5, batch=3),
    dict(form="pool", heads=5, dim=15, source=15, grid=3, side=2, batch=1),
    dict(form="transformer.visual.", heads=2, dim=18, source=11, grid=2, side=2, batch=2),
]


def draw(rng, k):
    form = ["hf", "", "pool", "transformer.visual."][k % 4]
    heads = 1 if form == "hf" else rng.randint(1, 5)
    dim = heads * rng.randint(2, 40 // heads)
    return dict(form=form, heads=heads, dim=dim, source=rng.choice([dim, rng.randint(5, 40)]), grid=rng.randint(1, 5),
                side=rng.randint(1, 9), batch=rng.randint(1, 3))


def build(s, seed):
    net = randomise(Visual(s["grid"], s["dim"], s["heads"], s["source"]), seed)
    net.proj.data.copy_(normal(generator(seed + 2), s["dim"], s["dim"], std=1.3 / s["dim"] ** 0.5))
    x = normal(generator(seed + 1), s["batch"], s["side"] ** 2, s["source"])
    out = net(x)
    hf, alone = s["form"] == "hf", s["form"] == "pool"
    prefix = "transformer.visual." if hf else "" if alone else s["form"]
    weights = weights_of(net.attn_pool if alone else net, prefix)
    if prefix:
        weights |= strangers(seed, transformer__wte__weight=(6, 3), transformer__visual__ln_pre__weight=(4,),
                             lm_head__weight=(6, 3))
    if hf:
        config = dict(architectures=["QWenLMHeadModel"], model_type="qwen", hidden_size=s["dim"], intermediate_size=10,
                      num_attention_heads=1, num_hidden_layers=1, kv_channels=128, layer_norm_epsilon=1e-6, vocab_size=6,
                      seq_length=2048, no_bias=True,
                      visual=dict(heads=1, image_size=14 * s["side"], image_start_id=5, layers=1, mlp_ratio=4.9231,
                                  output_dim=s["dim"], patch_size=14, width=s["source"]))
    else:
        config = {"model_type": "perceiver-family", "family": "qwen_vl", "num_heads": s["heads"]}
        if prefix:
            config["part"] = prefix
    outputs = {"layer.0": net.attended, "output": net.attended.clone() if alone else out}
    return Case(config, weights, {"x": x}, outputs)
