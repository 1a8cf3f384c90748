"""Idefics2's connector: transformers 5.24.0, models/idefics2/modeling_idefics2.py, Idefics2Connector.

    x = down(act(gate(image)) * up(image))                                       (modality_projection)
    z += O attend(Q norm(z), [K V](norm(x) ; norm(z)), mask ; 1), grouped queries; z += mlp(norm(z))
    out = norm(z); every norm is RMS with a gain

The class's norm rounds through float32 and so does its eager attention: here the norm is computed in
float64 and the attention is "sdpa".
"""

from __future__ import annotations

import copy

import torch
from transformers.models.idefics2 import modeling_idefics2 as reference
from transformers.models.idefics2.configuration_idefics2 import Idefics2Config

from common import Case, Tap, generator, key_mask, normal, randomise, strangers, weights_of


def rms_norm(self, x):
    return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon))


reference.Idefics2RMSNorm.forward = rms_norm

# part: "" the names of Idefics2Connector, a prefix, or "hf" for the whole model's folder.
FIXTURES = [
    dict(part="", connector=True, vision=11, hidden=18, inner=13, heads=4, kv=2, head_dim=3, latents=5, depth=2,
         eps=1e-6, batch=2, length=7, explicit=True),
    dict(part="hf", connector=True, vision=10, hidden=14, inner=19, heads=6, kv=2, head_dim=3, latents=3, depth=3,
         eps=1e-5, batch=3, length=11, explicit=False),
    dict(part="model.connector.perceiver_resampler.", connector=False, vision=8, hidden=21, inner=9, heads=3, kv=3,
         head_dim=7, latents=7, depth=1, eps=1e-5, batch=1, length=13, explicit=True),
]


def draw(rng, k):
    kv = rng.choice([1, 2, 3])
    part = ["hf", "", "model.connector.", "model.connector.perceiver_resampler."][k % 4]
    return dict(part=part, connector="perceiver" not in part, vision=rng.randint(5, 30), hidden=rng.randint(7, 40),
                inner=rng.randint(5, 40), heads=kv * rng.choice([1, 2, 3, 4]), kv=kv, head_dim=rng.randint(2, 11),
                latents=rng.randint(1, 9), depth=rng.randint(1, 4), eps=rng.choice([1e-6, 1e-5]),
                batch=rng.randint(1, 4), length=rng.randint(1, 37), explicit=rng.random() < 0.5)


def build(s, seed):
    perceiver = dict(resampler_n_latents=s["latents"], resampler_depth=s["depth"], resampler_n_heads=s["heads"],
                     resampler_head_dim=s["head_dim"], num_key_value_heads=s["kv"], hidden_act="silu")
    text_eps = s["eps"]
    if s["explicit"]:
        perceiver |= dict(hidden_size=s["hidden"], rms_norm_eps=s["eps"])
        text_eps = 1e-4  # not the one that counts
    whole = dict(
        architectures=["Idefics2ForConditionalGeneration"], model_type="idefics2", image_token_id=31,
        perceiver_config=perceiver,
        text_config=dict(model_type="mistral", hidden_size=s["hidden"], intermediate_size=s["inner"], hidden_act="silu",
                         num_hidden_layers=1, num_attention_heads=1, num_key_value_heads=1, head_dim=2,
                         rms_norm_eps=text_eps, vocab_size=32, pad_token_id=0),
        vision_config=dict(hidden_size=s["vision"], image_size=28, patch_size=14, intermediate_size=9,
                           num_attention_heads=1, num_hidden_layers=1),
    )
    config = Idefics2Config(**copy.deepcopy(whole))
    config.perceiver_config._attn_implementation = "sdpa"
    assert config.perceiver_config.rms_norm_eps == s["eps"] and config.perceiver_config.hidden_size == s["hidden"]
    net = reference.Idefics2Connector(config)
    net.perceiver_resampler.config._attn_implementation = "sdpa"
    randomise(net, seed)
    gen = generator(seed + 1)
    mask = key_mask(gen, s["batch"], s["length"])
    resampler = net.perceiver_resampler
    with Tap(*resampler.layers) as tap, Tap(net.modality_projection) as first:
        if s["connector"]:
            inputs = dict(image_hidden_states=normal(gen, s["batch"], s["length"], s["vision"]), attention_mask=mask)
            out = net(**inputs)
            extra = {"modality_projection": first.kept[0]}
        else:
            inputs = dict(context=normal(gen, s["batch"], s["length"], s["hidden"]), attention_mask=mask)
            out = resampler(**inputs)
            extra = {}
    hf = s["part"] == "hf"
    prefix = "model.connector." if hf else s["part"]
    weights = weights_of(net if s["connector"] else resampler, prefix)
    if prefix:
        weights |= strangers(seed, lm_head__weight=(32, 3), model__text_model__norm__weight=(5,),
                             model__vision_model__post_layernorm__bias=(4,))
    if hf:
        settings = whole
    else:
        settings = {"model_type": "perceiver-family", "family": "idefics2", "resampler_n_heads": s["heads"],
                    "num_key_value_heads": s["kv"], "hidden_act": "silu", "rms_norm_eps": s["eps"]}
        if prefix:
            settings["part"] = prefix
    return Case(settings, weights, inputs, tap.layers() | extra | {"output": out})
