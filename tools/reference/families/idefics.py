"""Idefics (the first): transformers 5.24.0, models/idefics/perceiver.py, IdeficsPerceiverResampler.

    z += O attend(Q latents_ln(z), [K V](context_ln(x) ; latents_ln(z))), q and k normed a head if asked
    z += c_proj relu(fc ln(z))
    out = layer_norm(z)
"""

from __future__ import annotations

from transformers.models.idefics.configuration_idefics import IdeficsConfig
from transformers.models.idefics.perceiver import IdeficsPerceiverResampler

from common import Case, generator, normal, randomise, strangers, weights_of

# form "hf" the whole model's folder, else a prefix.
FIXTURES = [
    dict(form="", dim=13, heads=3, head_dim=5, latents=5, depth=2, qk=True, batch=2, length=11),
    dict(form="hf", dim=11, heads=2, head_dim=7, latents=3, depth=3, qk=True, batch=3, length=7),
    dict(form="model.perceiver_resampler.", dim=18, heads=5, head_dim=3, latents=7, depth=1, qk=False, batch=1, length=13),
    dict(form="hf", dim=14, heads=3, head_dim=4, latents=4, depth=1, qk=False, batch=2, length=5),
]


def draw(rng, k):
    return dict(form=["hf", "", "model.perceiver_resampler."][k % 3], dim=rng.randint(5, 40), heads=rng.randint(1, 5),
                head_dim=rng.randint(2, 11), latents=rng.randint(1, 11), depth=rng.randint(1, 4), qk=rng.random() < 0.5,
                batch=rng.randint(1, 3), length=rng.randint(1, 41))


def build(s, seed):
    whole = dict(
        architectures=["IdeficsForVisionText2Text"], model_type="idefics", hidden_size=8, intermediate_size=9,
        num_hidden_layers=1, num_attention_heads=1, cross_layer_interval=1, vocab_size=6, use_resampler=True,
        qk_layer_norms=True,
        perceiver_config=dict(model_type="idefics", use_resampler=True, resampler_n_latents=s["latents"],
                              resampler_depth=s["depth"],
                              resampler_n_heads=s["heads"], resampler_head_dim=s["head_dim"],
                              qk_layer_norms_perceiver=s["qk"]),
        vision_config=dict(model_type="idefics", embed_dim=s["dim"], image_size=28, patch_size=14, intermediate_size=9,
                           num_attention_heads=1, num_hidden_layers=1),
    )
    sub = {k: {n: v for n, v in whole[k].items() if n != "model_type"} for k in ("perceiver_config", "vision_config")}
    config = IdeficsConfig(**(whole | sub))
    net = IdeficsPerceiverResampler(config, s["dim"], s["depth"], s["heads"], s["head_dim"], s["latents"])
    randomise(net, seed)
    context = normal(generator(seed + 1), s["batch"], s["length"], s["dim"])
    kept = {}
    hooks = [block[0].register_forward_pre_hook(lambda _m, i, n=n: kept.__setitem__(f"layer.{n - 1}", i[1].clone()))
             for n, block in enumerate(net.blocks) if n]
    hooks += [net.layer_norm.register_forward_pre_hook(
        lambda _m, i: kept.__setitem__(f"layer.{s['depth'] - 1}", i[0].clone()))]
    out = net(context)
    for h in hooks:
        h.remove()
    hf = s["form"] == "hf"
    prefix = "model.perceiver_resampler." if hf else s["form"]
    weights = weights_of(net, prefix)
    if prefix:
        weights |= strangers(seed, model__norm__weight=(8,), lm_head__weight=(6, 3),
                             model__vision_model__post_layernorm__bias=(4,))
    if not hf:
        whole = {"model_type": "perceiver-family", "family": "idefics", "resampler_n_heads": s["heads"]}
        if prefix:
            whole["part"] = prefix
    return Case(whole, weights, {"context": context}, kept | {"output": out})
