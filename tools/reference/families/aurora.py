"""Aurora's Perceiver resamplers over pressure levels: many tiny independent attentions.

Reference: microsoft-aurora 2.0.1 (PyPI), aurora/model/perceiver.py PerceiverResampler, and its use in
aurora/model/encoder.py (aggregate_levels, latents are parameters) and decoder.py (deaggregate_levels, latents are inputs).

    a = to_out(softmax(LNq(to_q z) LNk(k)^T / sqrt d) v), [k, v] = to_kv x        (LNq, LNk: first layer, if ln_k_q)
    z = LN1(a) + z, or LN1(a) where not residual_latent
    z = LN2(MLP(z)) + z
"""

from __future__ import annotations

from torch import nn

from _lone import lone
from common import Case, generator, normal, randomise, strangers, weights_of

AGG = "encoder.level_agg."
DEAGG = "decoder.level_decoder."

FIXTURES = [
    # the module alone; latents are an input
    dict(latent_dim=15, context_dim=11, depth=2, head_dim=4, num_heads=3, batch=17, levels=13, latents=5,
         ln_k_q=True, residual_latent=False, mlp_ratio=2.0),
    # the encoder's level aggregation: the parameter encoder.atmos_latents
    dict(latent_dim=20, context_dim=20, depth=1, head_dim=5, num_heads=4, batch=23, levels=7, latents=3,
         part=AGG, atmos_latents=True),
    # the wave model's, stabilised, in the file's older form of names
    dict(latent_dim=15, context_dim=15, depth=2, head_dim=5, num_heads=3, batch=17, levels=13, latents=3,
         ln_k_q=True, part="net." + AGG, atmos_latents=True),
    # the decoder's de-aggregation: level embeddings are the latents
    dict(latent_dim=16, context_dim=16, depth=1, head_dim=4, num_heads=4, batch=11, levels=3, latents=13,
         mlp_ratio=2.0, part=DEAGG),
    dict(latent_dim=14, context_dim=14, depth=3, head_dim=7, num_heads=2, batch=19, levels=2, latents=6,
         mlp_ratio=1.5, ln_eps=1e-3, ln_k_q=True, part="decoder.level_decoder_alternate."),
]


def draw(rng, k):
    heads, d = rng.randint(1, 5), rng.randint(1, 9)
    width = heads * d
    form = k % 4
    spec = dict(latent_dim=width, context_dim=width, depth=rng.randint(1, 3), head_dim=d, num_heads=heads,
                batch=rng.randint(1, 67), levels=rng.randint(1, 13), latents=rng.randint(1, 9),
                mlp_ratio=rng.choice([1.0, 2.0, 4.0]), ln_eps=rng.choice([1e-5, 1e-5, 1e-3]),
                ln_k_q=rng.random() < 0.5)
    if form == 0:
        spec |= dict(latent_dim=rng.randint(2, 40), context_dim=rng.randint(2, 40),
                     residual_latent=rng.random() < 0.5)
    elif form == 1:
        spec |= dict(part=AGG, atmos_latents=True)
    elif form == 2:
        spec |= dict(part=DEAGG)
    else:
        spec |= dict(part="net." + AGG, atmos_latents=True)
    return spec


def build(spec, seed):
    spec = dict(spec)
    batch, levels, latents = (spec.pop(k) for k in ("batch", "levels", "latents"))
    part, own = spec.pop("part", ""), spec.pop("atmos_latents", False)
    module = lone("aurora.model.perceiver", model__util=dict(fp16_safe_scaled_dot_product_attention=None))
    model = randomise(module.PerceiverResampler(**spec), seed)
    gen = generator(seed + 1)
    inputs = {"x": normal(gen, batch, levels, spec["context_dim"])}
    weights = weights_of(model, part)
    if own:
        z = normal(gen, latents, spec["latent_dim"])
        weights[part.removesuffix("level_agg.") + "atmos_latents"] = z
        z = z[None].expand(batch, -1, -1)
    else:
        z = inputs["latents"] = normal(gen, batch, latents, spec["latent_dim"])
    outputs = {}
    # one layer at a time is the reference's own loop; the whole has to agree with it
    at, layers = z, model.layers
    for i, layer in enumerate(layers):
        model.layers = nn.ModuleList([layer])
        at = outputs[f"layer.{i}"] = model(at, inputs["x"])
    model.layers = layers
    outputs["output"] = model(z, inputs["x"])
    assert (outputs["output"] - at).abs().max() == 0
    config = {"model_type": "perceiver-family", "family": "aurora", "num_heads": spec["num_heads"],
              "residual_latent": spec.get("residual_latent", True), "ln_eps": spec.get("ln_eps", 1e-5),
              "ln_k_q": spec.get("ln_k_q", False)}
    if part:
        config["part"] = part
        width = spec["latent_dim"]
        top = "net." if part.startswith("net.") else ""
        weights |= {top + k: v for k, v in strangers(
            seed, encoder__surf_level_encoding=(width,), encoder__surf_norm__weight=(width,),
            backbone__encoder_layers__0__blocks__0__norm1__bias=(3,),
            decoder__surf_heads__2t__bias=(4,)).items()}
    return Case(config, weights, inputs, outputs)
