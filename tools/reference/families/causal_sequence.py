"""Perceiver AR of perceiver-io 0.11.0 (PyPI; github.com/krasserm/perceiver-io), perceiver/model/core/modules.py
CausalSequenceModel, which its language model and its symbolic audio model are.

    e = txt_embedding [+ pos_embedding];  prefix, z = e[:, :-L], e[:, -L:]
    z = z + att(LN z, [LNkv prefix; LN z], rotary, causal);  z = z + FF(z)
    z = z + att(LN z, LN z, causal; rotary in the first layers);  z = z + FF(z)                  (each layer)
    logits = [LN] z @ txt_embedding^T [+ bias]

Texts that are padded at the left are those texts without it, as long as no latent is padding: `padding` rows are put before what
is recorded, and masked.
"""

from __future__ import annotations

import sys
import types
from dataclasses import asdict

import torch

from _lone import lone
from common import Case, generator, randomise, strangers, weights_of

# form: "" the model alone; "clm" or "sam" as transformers saves it; else a prefix, as Lightning has.
FIXTURES = [
    dict(form="clm", vocab_size=17, max_seq_len=31, max_latents=7, num_channels=12, num_heads=2, layers=3,
         rotary=2, abs_pos_emb=True, output_norm=False, output_bias=True, cross=2, widening=3, batch=2, length=23, padding=3),
    dict(form="sam", vocab_size=11, max_seq_len=19, max_latents=5, num_channels=10, num_heads=1, layers=2, rotary=-1,
         abs_pos_emb=False, output_norm=True, output_bias=False, cross=4, widening=4, batch=1, length=19, padding=0),
    dict(form="model.", vocab_size=9, max_seq_len=15, max_latents=8, num_channels=14, num_heads=1, layers=1, rotary=1,
         abs_pos_emb=True, output_norm=True, output_bias=True, cross=1, widening=2, batch=3, length=8, padding=0),
    dict(form="", vocab_size=5, max_seq_len=12, max_latents=9, num_channels=9, num_heads=3, layers=2, rotary=0,
         abs_pos_emb=True, output_norm=False, output_bias=False, cross=3, widening=1, batch=2, length=4, padding=0),
]


def draw(rng, k):
    heads, own, prefix = rng.randint(1, 4), rng.randint(1, 20), rng.choice([0, rng.randint(1, 40)])
    absolute = rng.random() < 0.5
    head = rng.randint(2, 16) if absolute else 2 * rng.randint(1, 8)
    layers = rng.randint(1, 4)
    length = rng.randint(1, own) if prefix == 0 else own + prefix
    padding = rng.randint(0, 4) if prefix else 0
    return dict(form=["clm", "", "sam", "model."][k % 4], vocab_size=rng.randint(2, 50), max_latents=own,
                max_seq_len=own + prefix + padding + rng.randint(0, 9), num_channels=heads * head, num_heads=heads,
                layers=layers, rotary=rng.choice([-1, 0, 1, 2]), abs_pos_emb=absolute, output_norm=rng.random() < 0.5,
                output_bias=rng.random() < 0.5, cross=rng.randint(1, 4), widening=rng.randint(1, 4),
                batch=rng.randint(1, 3), length=length, padding=padding)


def reference():
    """The core of the package: what trains, tokenises and converts needs much that is not here."""
    if "fairscale.nn" not in sys.modules:
        checkpointing = types.ModuleType("fairscale.nn")
        checkpointing.checkpoint_wrapper = None
        sys.modules["fairscale"] = types.ModuleType("fairscale")
        sys.modules["fairscale.nn"] = checkpointing
    config = lone("perceiver.model.core.config")
    adapter = lone("perceiver.model.core.adapter")
    core = sys.modules["perceiver.model.core"]
    core.CausalSequenceModelConfig = config.CausalSequenceModelConfig
    core.TiedTokenOutputAdapter = adapter.TiedTokenOutputAdapter
    core.TokenInputAdapterWithRotarySupport = adapter.TokenInputAdapterWithRotarySupport
    return lone("perceiver.model.core.modules").CausalSequenceModel, config.CausalSequenceModelConfig


def build(s, seed):
    model, settings = reference()
    settings = settings(vocab_size=s["vocab_size"], max_seq_len=s["max_seq_len"], max_latents=s["max_latents"],
                        num_channels=s["num_channels"], num_heads=s["num_heads"], num_self_attention_layers=s["layers"],
                        num_self_attention_rotary_layers=s["rotary"], abs_pos_emb=s["abs_pos_emb"],
                        output_norm=s["output_norm"], output_bias=s["output_bias"],
                        cross_attention_widening_factor=s["cross"], self_attention_widening_factor=s["widening"])
    net = model(settings)
    randomise(net, seed, keep=("inv_freq",))
    gen = generator(seed + 1)
    batch, length, padding = s["batch"], s["length"], s["padding"]
    x = torch.randint(s["vocab_size"], (batch, padding + length), generator=gen)
    mask = torch.zeros(batch, padding + length, dtype=torch.bool)
    mask[:, :padding] = True
    layers = []
    taps = [layer.register_forward_hook(lambda _m, _i, out: layers.append(out.last_hidden_state.clone()))
            for layer in (net.cross_attention, *net.self_attention)]
    prefix = padding + max(length - s["max_latents"], 0)
    out = net(x, prefix_len=prefix, pad_mask=mask if padding else None).logits
    for tap in taps:
        tap.remove()
    hub = s["form"] in ("clm", "sam")
    weights = weights_of(net, "backend_model." if hub else s["form"])
    if hub:
        kind = {"clm": "causal-language-model", "sam": "symbolic-audio-model"}[s["form"]]
        name = {"clm": "PerceiverCausalLanguageModel", "sam": "PerceiverSymbolicAudioModel"}[s["form"]]
        config = dict(architectures=[name], model_type=f"perceiver-ar-{kind}", is_decoder=True, model_config=asdict(settings))
    else:
        config = {"model_type": "perceiver-family", "family": "causal_sequence", "num_heads": s["num_heads"],
                  "max_latents": s["max_latents"], "num_self_attention_rotary_layers": s["rotary"]}
        if s["form"]:
            config["part"] = s["form"]
            weights |= strangers(seed, loss__weight=(3,))
    outputs = {f"layer.{i}": t for i, t in enumerate(layers)} | {"output": out}
    return Case(config, weights, {"x": x[:, padding:]}, outputs)
