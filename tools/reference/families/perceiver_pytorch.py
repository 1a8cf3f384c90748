"""lucidrains' Perceiver and PerceiverIO: perceiver-pytorch 0.11.0 (perceiver_pytorch.py, perceiver_io.py).

    x += O attend(Q norm(x), [K V] norm_context(data ; Fourier positions), mask) + o, x += ff(norm(x))
    x += O attend(norm(x), itself) + o, x += ff(norm(x)); ff = W2 (a * gelu(g)) + b2
    out = W norm(mean of x) + b, or (IO) W (O attend(Q norm(queries), [K V] norm_context(x)) + o [+ ff]) + b

Versions up to 0.8 give the same tensors other names (`classic`); both are recorded.
"""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path

from common import Case, generator, key_mask, normal, randomise, strangers, weights_of


def installed(name):
    """The package of this file's own name."""
    here, self = str(Path(__file__).resolve().parent), sys.modules.pop("perceiver_pytorch", None)
    path, sys.path = sys.path, [p for p in sys.path if str(Path(p).resolve()) != here]
    try:
        return importlib.import_module(name)
    finally:
        sys.path = path
        if self is not None:
            sys.modules["perceiver_pytorch"] = self


# Loading the package under the same name has to come before anything else looks for it.
package = installed("perceiver_pytorch")

FIXTURES = [
    dict(kind="Perceiver", layout="classic", part="", axes=[5, 3], channels=3, bands=2, max_freq=7.0, latents=5, dim=7,
         cross_heads=1, latent_heads=3, cross_dim=5, latent_dim=3, depth=2, selfs=2, tied=False, classes=4, masked=True,
         batch=2),
    dict(kind="PerceiverIO", layout="classic", part="perceiver_io.", axes=[11], channels=9, latents=4, dim=10,
         cross_heads=2, latent_heads=3, cross_dim=3, latent_dim=5, depth=2, tied=False, queries=[7], queries_dim=9,
         logits=6, decoder_ff=True, masked=True, batch=3),
    dict(kind="Perceiver", layout="0.11", part="encoder.", axes=[13], channels=5, bands=3, max_freq=10.0, latents=3,
         dim=9, cross_heads=2, latent_heads=1, cross_dim=4, latent_dim=7, depth=3, selfs=1, tied=True, once=True,
         classes=None, masked=False, batch=1),
    dict(kind="PerceiverIO", layout="0.11", part="", axes=[7], channels=8, latents=6, dim=11, cross_heads=1,
         latent_heads=2, cross_dim=7, latent_dim=3, depth=1, tied=False, queries=[2, 5], queries_dim=5, logits=None,
         decoder_ff=False, masked=False, batch=2),
    dict(kind="Perceiver", layout="classic", part="", axes=[3, 2, 2], channels=6, bands=None, max_freq=10.0, latents=4,
         dim=8, cross_heads=3, latent_heads=2, cross_dim=2, latent_dim=5, depth=1, selfs=1, tied=False, classes=5,
         masked=True, batch=1),
    dict(kind="PerceiverIO", layout="classic", part="", axes=[5], channels=7, latents=3, dim=9, cross_heads=1,
         latent_heads=3, cross_dim=5, latent_dim=2, depth=2, tied=True, once=True, queries=None, queries_dim=6, logits=3,
         decoder_ff=False, masked=False, batch=2),
]


def draw(rng, k):
    batch = rng.randint(1, 3)
    s = dict(kind=["Perceiver", "PerceiverIO"][k % 2], layout=["classic", "0.11"][k // 2 % 2], latents=rng.randint(1, 11),
             channels=rng.randint(1, 17), dim=rng.randint(4, 24), cross_heads=rng.randint(1, 4),
             latent_heads=rng.randint(1, 4), cross_dim=rng.randint(2, 11), latent_dim=rng.randint(2, 11),
             depth=rng.randint(1, 4), tied=rng.random() < 0.25, masked=rng.random() < 0.5, batch=batch)
    if k % 2:
        n = rng.randint(1, 13)
        return s | dict(part=rng.choice(["", "perceiver_io."]), axes=[rng.randint(1, 31)], queries_dim=rng.randint(3, 20),
                        queries=rng.choice([None, [n], [batch, n]]), logits=rng.choice([None, rng.randint(1, 17)]),
                        decoder_ff=rng.random() < 0.5)
    axes = rng.choice([[rng.randint(1, 31)], [rng.randint(1, 7), rng.randint(1, 7)], [rng.randint(1, 4) for _ in "thw"]])
    return s | dict(part=rng.choice(["", "encoder."]), axes=axes, bands=rng.choice([None, 1, 2, 3, 5]),
                    max_freq=rng.choice([2.0, 7.0, 10.0, 224.0]), selfs=rng.randint(1, 3),
                    classes=rng.choice([None, rng.randint(1, 17)]))


def classic(weights, io):
    """The names of versions up to 0.8."""
    rules = ((r"^cross_attend_block\.cross_attn\.", "cross_attend_blocks.0."),
             (r"^cross_attend_block\.cross_ff\.", "cross_attend_blocks.1."),
             (r"^layers\.(\d+)\.self_attns\.0\.", r"layers.\1.")) if io else (
                 (r"^layers\.(\d+)\.cross_attn\.", r"layers.\1.0."), (r"^layers\.(\d+)\.cross_ff\.", r"layers.\1.1."),
                 (r"^layers\.(\d+)\.self_attns\.", r"layers.\1.2."))
    out = {}
    for name, t in weights.items():
        for a, b in rules:
            name = re.sub(a, b, name)
        out[name] = t
    return out


def build(s, seed):
    io = s["kind"] == "PerceiverIO"
    heads = dict(num_latents=s["latents"], latent_dim=s["dim"], cross_heads=s["cross_heads"],
                 latent_heads=s["latent_heads"], cross_dim_head=s["cross_dim"], latent_dim_head=s["latent_dim"],
                 weight_tie_layers=s["tied"], depth=s["depth"])
    config = {"model_type": "perceiver-family", "family": "perceiver_pytorch", "class": s["kind"],
              "cross_heads": s["cross_heads"], "latent_heads": s["latent_heads"]}
    if io:
        net = package.PerceiverIO(dim=s["channels"], queries_dim=s["queries_dim"], logits_dim=s["logits"],
                                  decoder_ff=s["decoder_ff"], **heads)
    else:
        fourier = s["bands"] is not None
        net = package.Perceiver(num_freq_bands=s["bands"] or 1, max_freq=s["max_freq"], input_channels=s["channels"],
                                input_axis=len(s["axes"]), num_classes=s["classes"] or 1, fourier_encode_data=fourier,
                                self_per_cross_attn=s["selfs"], final_classifier_head=s["classes"] is not None, **heads)
        config |= {"input_axis": len(s["axes"]), "fourier_encode_data": fourier}
        if fourier:
            config |= {"num_freq_bands": s["bands"], "max_freq": s["max_freq"]}
    randomise(net, seed)
    gen = generator(seed + 1)
    inputs = {"data": normal(gen, s["batch"], *s["axes"], s["channels"])}
    if s["masked"]:
        count = 1
        for n in s["axes"]:
            count *= n
        inputs["mask"] = key_mask(gen, s["batch"], count).bool().reshape(s["batch"], *s["axes"])
    if io and s["queries"]:
        inputs["queries"] = normal(gen, *s["queries"], s["queries_dim"])
    out, hidden = net(**inputs, return_hiddens=True)
    outputs = {f"layer.{n}": t.clone() for n, t in enumerate(hidden[1:])}
    if io:
        outputs["cross"] = hidden[0].clone()
    weights = {k: v for k, v in weights_of(net).items()}
    if s["layout"] == "classic":
        weights = classic(weights, io)
    if s.get("once"):
        # What formats keep that store shared tensors once; the depth has to be told.
        stored = 0 if io else 1
        weights = {k: v for k, v in weights.items() if int((re.match(r"layers\.(\d+)", k) or [0, 0])[1]) <= stored}
        config["depth"] = s["depth"]
    weights = {s["part"] + k: v for k, v in weights.items()}
    if s["part"]:
        weights |= strangers(seed, token_emb__weight=(6, 5), pos_emb__weight=(7, 5), decoder__weight=(3, 4))
        config["part"] = s["part"]
    return Case(config, weights, inputs, outputs | {"output": out})
