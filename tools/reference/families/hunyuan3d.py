"""Hunyuan3D-2 ShapeVAE, decoding side: latents and query coordinates to logits.

Reference: hy3dgen 2.0.2 (PyPI), hy3dgen/shapegen/models/autoencoders/{model,attention_blocks}.py
(github.com/Tencent/Hunyuan3D-2; the same modules in Hunyuan3D-2.1's hy3dshape).

    h = post_kl(latents); h = h + SA(LN h); h = h + MLP(LN h)            (num_decoder_layers times)
    q = query_proj([x, sin(f x), cos(f x)]), f = 2^i (times pi); h = latents_proj(h) where downsampled
    q = q + CA(LN q, LN h); q = q + MLP(LN q); logits = output_proj(LN q)
"""

from __future__ import annotations

import logging

from _lone import lone
from common import Case, Tap, generator, normal, randomise, strangers, weights_of

KEYS = ("heads", "geo_decoder_downsample_ratio", "geo_decoder_ln_post", "num_freqs", "include_pi", "qk_norm",
        "qkv_bias")

V20 = dict(include_pi=False, qkv_bias=False, qk_norm=True, num_freqs=8, geo_decoder_mlp_expand_ratio=4,
           geo_decoder_downsample_ratio=1, geo_decoder_ln_post=True)
TURBO = V20 | dict(geo_decoder_mlp_expand_ratio=1, geo_decoder_downsample_ratio=2, geo_decoder_ln_post=False)

FIXTURES = [
    V20 | dict(num_latents=7, embed_dim=5, width=15, heads=3, num_decoder_layers=2, batch=2, queries=11),
    TURBO | dict(num_latents=5, embed_dim=6, width=20, heads=4, num_decoder_layers=2, batch=1, queries=13,
                 prefix="vae."),
    V20 | dict(num_latents=6, embed_dim=4, width=20, heads=2, num_decoder_layers=1, batch=3, queries=7,
               num_freqs=5, include_pi=True, qkv_bias=True, qk_norm=False),
    V20 | dict(num_latents=9, embed_dim=7, width=12, heads=2, num_decoder_layers=2, batch=1, queries=10,
               prefix="vae.", encoder=True),
]


def draw(rng, k):
    form = [V20, TURBO, V20 | dict(include_pi=True, qkv_bias=True, qk_norm=rng.random() < 0.5)][k % 3]
    heads = 2 * rng.randint(1, 3) if form is TURBO else rng.randint(1, 5)
    return form | dict(
        num_latents=rng.randint(1, 23), embed_dim=rng.randint(1, 9), width=heads * 2 * rng.randint(1, 6),
        heads=heads, num_decoder_layers=rng.randint(1, 3), batch=rng.randint(1, 3), queries=rng.randint(1, 29),
        num_freqs=rng.randint(1, 8), prefix="vae." if k % 2 else "", encoder=bool(k % 4 == 3))


def shape_vae(**sizes):
    module = lone(
        "hy3dgen.shapegen.models.autoencoders.model",
        shapegen__utils=dict(logger=logging.getLogger("hy3dgen"), synchronize_timer=lambda _name: lambda f: f,
                             smart_load_model=None),
        shapegen__models__autoencoders__surface_extractors=dict(MCSurfaceExtractor=object, SurfaceExtractors={}),
        shapegen__models__autoencoders__volume_decoders=dict(
            VanillaVolumeDecoder=object, FlashVDMVolumeDecoding=object, HierarchicalVolumeDecoding=object))
    return module.ShapeVAE(**sizes)


def build(spec, seed):
    spec = dict(spec)
    batch, queries = spec.pop("batch"), spec.pop("queries")
    prefix, encoder = spec.pop("prefix", ""), spec.pop("encoder", False)
    vae = randomise(shape_vae(**spec), seed)
    gen = generator(seed + 1)
    latents = normal(gen, batch, spec["num_latents"], spec["embed_dim"])
    x = normal(gen, batch, queries, 3, std=0.6).clamp(-1.0, 1.0)
    with Tap(*vae.transformer.resblocks) as tap, Tap(vae.geo_decoder.cross_attn_decoder) as cross:
        h = vae(latents)
        logits = vae.geo_decoder(queries=x, latents=h)
    weights = weights_of(vae, prefix)
    if prefix:
        weights |= strangers(seed, model__latent_in__weight=(5, 3), model__latent_in__bias=(5,),
                             conditioner__main_image_encoder__model__layernorm__weight=(7,))
    if encoder:  # 2.1's file has the encoding side too
        weights |= {prefix + k: v for k, v in strangers(
            seed + 2, pre_kl__weight=(2 * spec["embed_dim"], spec["width"]), pre_kl__bias=(2 * spec["embed_dim"],),
            encoder__input_proj__bias=(spec["width"],),
            encoder__self_attn__resblocks__0__ln_1__weight=(spec["width"],)).items()}
    config = {"model_type": "perceiver-family", "family": "hunyuan3d"} | {k: spec[k] for k in KEYS}
    if prefix:
        config["part"] = prefix
    return Case(config, weights, {"latents": latents, "queries": x},
                tap.layers() | {"decoder": cross.kept[0], "output": logits})
