"""Chatterbox's conditioning perceiver: chatterbox-tts 0.1.7, chatterbox/models/t3/modules/perceiver.py, Perceiver.

    block(a, b) = a + P attend(Q norm(a), K norm(b), V norm(b)), one norm and all with biases
    z = block(query, h); out = block(z, z), the same weights twice

The class's path without flash attention (not its default) contracts other axes; the published model runs the
default, scaled_dot_product_attention.
"""

from __future__ import annotations

import warnings

from common import Case, Tap, generator, normal, randomise, single_file, strangers, weights_of

reference = single_file("chatterbox-tts", "chatterbox/models/t3/modules/perceiver.py")

FIXTURES = [
    dict(part="", dim=20, heads=4, tokens=7, batch=2, length=13),
    dict(part="cond_enc.perceiver.", dim=15, heads=3, tokens=5, batch=3, length=11),
    dict(part="", dim=22, heads=2, tokens=3, batch=1, length=1),
]


def draw(rng, k):
    heads = rng.randint(1, 6)
    return dict(part=rng.choice(["", "cond_enc.perceiver."]), dim=heads * rng.randint(2, 11), heads=heads,
                tokens=rng.randint(1, 13), batch=rng.randint(1, 3), length=rng.randint(1, 41))


def build(s, seed):
    net = reference.Perceiver(pre_attention_query_token=s["tokens"], pre_attention_query_size=s["dim"],
                              embedding_dim=s["dim"], num_attn_heads=s["heads"])
    randomise(net, seed)
    h = normal(generator(seed + 1), s["batch"], s["length"], s["dim"])
    with Tap(net.attn) as tap, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a deprecated context manager around its attention
        out = net(h)
    weights = weights_of(net, s["part"])
    config = {"model_type": "perceiver-family", "family": "chatterbox", "num_attn_heads": s["heads"]}
    if s["part"]:
        weights |= strangers(seed, cond_enc__spkr_enc__weight=(6, 5), cond_enc__spkr_enc__bias=(6,),
                             cond_enc__emotion_adv_fc__weight=(6, 1))
        config["part"] = s["part"]
    return Case(config, weights, {"h": h}, tap.layers() | {"output": out})
