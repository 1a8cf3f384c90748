"""Flamingo's PerceiverResampler: open-flamingo 2.0.1 (open_flamingo/src/helpers.py) and flamingo-pytorch 0.1.2.

    x = x + frame_embs[:F], (F v) flattened, + media_time_embs[:T]     (flamingo-pytorch: + media_pos_emb[:T])
    z += O attend(Q norm_latents(z), [K V](norm_media(x) ; norm_latents(z))); z += W2 gelu(W1 norm(z))
    out = norm(z)
"""

from __future__ import annotations

import flamingo_pytorch

from common import Case, generator, normal, randomise, single_file, strangers, weights_of

open_flamingo = single_file("open-flamingo", "open_flamingo/src/helpers.py")

# frames/media: rows of frame_embs / media_time_embs (None: the parameter is absent, as in the published weights);
# layout "lucidrains" has media_pos_emb instead. shape: (b, T, F, v), (b, T, n) or (b, n).
FIXTURES = [
    dict(layout="open_flamingo", part="perceiver.", dim=13, heads=3, dim_head=5, latents=5, depth=2, mult=4,
         frames=None, media=None, shape=[2, 3, 1, 7]),
    dict(layout="open_flamingo", part="", dim=18, heads=2, dim_head=7, latents=3, depth=1, mult=3,
         frames=5, media=4, shape=[1, 3, 4, 5]),
    dict(layout="lucidrains", part="", dim=11, heads=5, dim_head=3, latents=7, depth=3, mult=2,
         frames=None, media=5, shape=[3, 2, 11]),
    dict(layout="lucidrains", part="perceiver_resampler.", dim=17, heads=1, dim_head=9, latents=4, depth=1, mult=4,
         frames=None, media=3, shape=[2, 13]),
]


def draw(rng, k):
    lucid = k % 3 == 2
    times, frames = rng.randint(1, 4), rng.randint(1, 4)
    shape = [rng.randint(1, 3), times, frames, rng.randint(1, 23)]
    if lucid:
        shape = [shape[0], rng.randint(1, 31)] if rng.random() < 0.4 else [shape[0], times, shape[3]]
    return dict(layout="lucidrains" if lucid else "open_flamingo",
                part=rng.choice(["", "perceiver."]), dim=rng.randint(5, 48), heads=rng.randint(1, 5),
                dim_head=rng.randint(2, 13), latents=rng.randint(1, 11), depth=rng.randint(1, 4), mult=rng.randint(1, 4),
                frames=None if lucid else rng.choice([None, frames + rng.randint(0, 2)]),
                media=times + 1 if lucid else rng.choice([None, times + rng.randint(0, 2)]), shape=shape)


def build(s, seed):
    sizes = dict(dim=s["dim"], depth=s["depth"], dim_head=s["dim_head"], heads=s["heads"], num_latents=s["latents"],
                 ff_mult=s["mult"])
    if s["layout"] == "lucidrains":
        net = flamingo_pytorch.PerceiverResampler(num_media_embeds=s["media"], **sizes)
    else:
        net = open_flamingo.PerceiverResampler(max_num_media=s["media"], max_num_frames=s["frames"], **sizes)
    randomise(net, seed)
    x = normal(generator(seed + 1), *s["shape"], s["dim"])
    kept = {}
    hooks = [net.norm.register_forward_pre_hook(lambda _m, i: kept.__setitem__(f"layer.{s['depth'] - 1}", i[0].clone()))]
    # z before a layer's attention is the result of the layer before.
    hooks += [layer[0].register_forward_pre_hook(lambda _m, i, n=n: kept.__setitem__(f"layer.{n - 1}", i[1].clone()))
              for n, layer in enumerate(net.layers) if n]
    out = net(x)
    for h in hooks:
        h.remove()
    weights = weights_of(net, s["part"])
    if s["part"]:
        weights |= strangers(seed, lang_encoder__gated_cross_attn_layers__0__attn_gate=(1,),
                             lang_encoder__gated_cross_attn_layers__0__attn__to_q__weight=(4, 3),
                             lang_encoder__gated_cross_attn_layers__0__ff__1__weight=(5, 3))
    config = {"model_type": "perceiver-family", "family": "flamingo", "heads": s["heads"]}
    if s["part"]:
        config["part"] = s["part"]
    return Case(config, weights, {"x": x}, kept | {"output": out})
