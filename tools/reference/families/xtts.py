"""XTTS's conditioning perceiver: coqui-tts 0.28.0, TTS/tts/layers/xtts/perceiver_encoder.py, PerceiverResampler.

    x = proj_context(x) (if widths differ); z = latents, no norm before the attention
    z += O attend(Q z, [K V](z ; x), mask); z += W2 (a * gelu(b)) + c2, (a, b) = halves of W0 z + c0
    out = z / max(|z|, 1e-12) * sqrt(dim) * gamma
"""

from __future__ import annotations

from common import Case, bare_packages, generator, key_mask, normal, randomise, single_file, strangers, weights_of

bare_packages("coqui-tts", "TTS", "TTS.utils", "TTS.tts", "TTS.tts.layers", "TTS.tts.layers.tortoise")
reference = single_file("coqui-tts", "TTS/tts/layers/xtts/perceiver_encoder.py")

FIXTURES = [
    dict(part="gpt.conditioning_perceiver.", dim=14, context=14, heads=3, dim_head=5, latents=5, depth=2, mult=4,
         batch=2, length=13, masked=False),
    dict(part="", dim=11, context=17, heads=2, dim_head=7, latents=3, depth=3, mult=3, batch=3, length=7, masked=True),
    dict(part="", dim=19, context=19, heads=5, dim_head=3, latents=7, depth=1, mult=2, batch=1, length=11, masked=True),
]


def draw(rng, k):
    dim = rng.randint(5, 40)
    return dict(part=rng.choice(["", "gpt.conditioning_perceiver."]), dim=dim,
                context=dim if rng.random() < 0.6 else rng.randint(5, 40), heads=rng.randint(1, 5),
                dim_head=rng.randint(2, 13), latents=rng.randint(1, 11), depth=rng.randint(1, 4), mult=rng.randint(1, 4),
                batch=rng.randint(1, 3), length=rng.randint(1, 41), masked=rng.random() < 0.4)


def build(s, seed):
    net = reference.PerceiverResampler(dim=s["dim"], depth=s["depth"], dim_context=s["context"], num_latents=s["latents"],
                                       dim_head=s["dim_head"], heads=s["heads"], ff_mult=s["mult"])
    # Without norms activations grow from layer to layer: with larger weights float32 itself is not right to 1e-5.
    randomise(net, seed, gain=0.7)
    gen = generator(seed + 1)
    inputs = {"x": normal(gen, s["batch"], s["length"], s["context"])}
    if s["masked"]:
        inputs["mask"] = key_mask(gen, s["batch"], s["latents"] + s["length"]).bool()  # latents are keys 0..L
    kept = {}
    hooks = [layer[0].register_forward_pre_hook(lambda _m, i, n=n: kept.__setitem__(f"layer.{n - 1}", i[0].clone()))
             for n, layer in enumerate(net.layers) if n]
    hooks += [net.norm.register_forward_pre_hook(
        lambda _m, i: kept.__setitem__(f"layer.{s['depth'] - 1}", i[0].clone()))]
    out = net(**inputs)
    for h in hooks:
        h.remove()
    weights = weights_of(net, s["part"])
    config = {"model_type": "perceiver-family", "family": "xtts", "heads": s["heads"]}
    if s["part"]:
        weights |= strangers(seed, gpt__mel_head__bias=(7,), gpt__text_embedding__weight=(6, 3),
                             gpt__conditioning_encoder__init__weight=(3, 5, 1))
        config["part"] = s["part"]
    return Case(config, weights, inputs, kept | {"output": out})
