"""NV-Embed's latent attention, written anew from its public code (no package has it): modeling_nvembed.py of
nvidia/NV-Embed-v2, LatentAttentionModel (read, and these cases checked against it, in abhaybd/NV-Embed-v2_fixed).

    h += O attend(Q norm(h), [K V] norm_context(latents)), the HIDDENS are the queries
    h += W2 (a * gelu(g)) + b2, (a, g) = halves of W0 norm(h) + b0
    out = normalised(sum_s mask h / sum_s mask)
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from common import Case, generator, key_mask, normal, randomise, strangers, weights_of


class Attention(nn.Module):
    def __init__(self, query, context, heads, head_dim):
        super().__init__()
        self.heads, inner = heads, heads * head_dim
        self.to_q = nn.Linear(query, inner, bias=False)
        self.to_kv = nn.Linear(context, 2 * inner, bias=False)
        self.to_out = nn.Linear(inner, query, bias=False)

    def forward(self, x, context):
        def split(t):
            return t.unflatten(-1, (self.heads, -1)).transpose(1, 2)

        k, v = self.to_kv(context).chunk(2, dim=-1)
        q, k, v = split(self.to_q(x)), split(k), split(v)
        scores = (q @ k.transpose(-1, -2)) * q.shape[-1] ** -0.5
        return self.to_out((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(dim, 8 * dim), nn.Identity(), nn.Linear(4 * dim, dim))

    def forward(self, x):
        a, gate = self.net[0](x).chunk(2, dim=-1)
        return self.net[2](a * F.gelu(gate))


class PreNorm(nn.Module):
    def __init__(self, dim, fn, context=None):
        super().__init__()
        self.fn, self.norm = fn, nn.LayerNorm(dim)
        if context:
            self.norm_context = nn.LayerNorm(context)


class LatentAttention(nn.Module):
    def __init__(self, latents, dim, heads, head_dim):
        super().__init__()
        self.latents = nn.Parameter(torch.zeros(latents, dim))
        self.cross_attend_blocks = nn.ModuleList([PreNorm(dim, Attention(dim, dim, heads, head_dim), dim),
                                                  PreNorm(dim, FeedForward(dim))])

    def forward(self, hiddens, attention_mask=None, normalize=True):
        cross, ff = self.cross_attend_blocks
        context = cross.norm_context(self.latents).expand(hiddens.shape[0], -1, -1)
        h = hiddens + cross.fn(cross.norm(hiddens), context)
        h = h + ff.fn(ff.norm(h))
        self.hidden = h
        if attention_mask is None:
            return h
        weight = attention_mask.to(h.dtype)
        pooled = (h * weight[..., None]).sum(1) / weight.sum(1, keepdim=True)
        return F.normalize(pooled, p=2, dim=-1) if normalize else pooled


FIXTURES = [
    dict(form="", dim=11, heads=3, head_dim=5, latents=7, batch=2, length=13, masked=True, normalize=True),
    dict(form="hf", dim=10, heads=8, head_dim=3, latents=5, batch=3, length=7, masked=True, normalize=True,
         defaults=True),
    dict(form="latent_attention_model.", dim=9, heads=5, head_dim=4, latents=3, batch=1, length=11, masked=False,
         normalize=True),
    dict(form="hf", dim=12, heads=3, head_dim=5, latents=4, batch=2, length=9, masked=True, normalize=False),
    dict(form="", dim=8, heads=1, head_dim=7, latents=6, batch=3, length=5, masked=True, normalize=False),
]


def draw(rng, k):
    return dict(form=["hf", "", "latent_attention_model."][k % 3], dim=rng.randint(4, 30), heads=rng.randint(1, 5),
                head_dim=rng.randint(2, 13), latents=rng.randint(1, 13), batch=rng.randint(1, 3),
                length=rng.randint(1, 37), masked=rng.random() < 0.75, normalize=rng.random() < 0.75)


def build(s, seed):
    net = randomise(LatentAttention(s["latents"], s["dim"], s["heads"], s["head_dim"]), seed)
    gen = generator(seed + 1)
    inputs = {"hiddens": normal(gen, s["batch"], s["length"], s["dim"])}
    if s["masked"]:
        inputs["attention_mask"] = key_mask(gen, s["batch"], s["length"])
    out = net(**inputs, normalize=s["normalize"])
    hf = s["form"] == "hf"
    prefix = "latent_attention_model." if hf else s["form"]
    weights = weights_of(net, prefix)
    if prefix:
        weights |= strangers(seed, embedding_model__norm__weight=(5,), embedding_model__embed_tokens__weight=(6, 3))
    if hf:
        # The published config.json leaves all of latent_attention_config to the class's defaults (8 heads, normalised).
        latent = {} if s.get("defaults") else dict(
            num_latents_value=s["latents"], num_cross_heads=s["heads"], cross_dim_head=s["head_dim"],
            latent_dim=s["dim"], hidden_dim=s["dim"], output_normalize=s["normalize"])
        config = dict(architectures=["NVEmbedModel"], model_type="nvembed", add_eos=True, add_pad_token=True,
                      hidden_size=s["dim"], is_mask_instruction=True, mask_type="b", padding_side="right",
                      latent_attention_config={"model_type": "latent_attention"} | latent,
                      text_config=dict(model_type="bidir_mistral", hidden_size=s["dim"], intermediate_size=9,
                                       num_attention_heads=1, num_hidden_layers=1, num_key_value_heads=1, vocab_size=6))
    else:
        config = {"model_type": "perceiver-family", "family": "nv_embed", "num_cross_heads": s["heads"],
                  "output_normalize": s["normalize"]}
        if prefix:
            config["part"] = prefix
    return Case(config, weights, inputs, {"layer.0": net.hidden, "output": out})
