"""timing.py OUT [FAMILY...] [--command PERCEIVER]: families at their published sizes, timed in PyTorch (float32) and here.

For each it writes OUT/FAMILY/{config.json, model.safetensors, inputs.safetensors} with random weights and prints the fastest of
a few runs of the reference module: as it is, and, where it computes its scores itself, with torch's scaled_dot_product_attention in
the place of that. With --command the same is run by `perceiver bench`, right after, with as many threads, and the ratio printed.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

THREADS = 2
ROUNDS = 4


def filled(module):
    """Weights that keep activations of ordinary size."""
    gen = torch.Generator().manual_seed(1)
    for name, p in module.named_parameters():
        if p.dim() > 1 and "latents" not in name:
            p.data.normal_(0, p.shape[-1] ** -0.5, generator=gen)
        elif p.dim() > 1:
            p.data.normal_(0, 1, generator=gen)
    return module.float().eval()


def normal(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(2))


def attend(heads, q, k, v, **how):
    """Rows of heads side by side, through torch's fused attention."""
    q, k, v = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, **how).transpose(1, 2).flatten(2)


def fused(net, kind, forward):
    """Gives all modules of a class another forward; returns what does so."""
    def patch():
        for module in net.modules():
            if type(module).__name__ == kind:
                module.forward = forward.__get__(module)
    return patch


def xtts():
    import xtts as family

    net = family.reference.PerceiverResampler(dim=1024, depth=2, dim_context=1024, num_latents=32, dim_head=64, heads=8, ff_mult=4)
    x = normal(1, 1024, 1024)
    forward = lambda self, q, k, v, mask=None: F.scaled_dot_product_attention(q, k, v, attn_mask=mask)  # noqa: E731
    return net, {"x": x}, lambda: net(x), {"heads": 8}, fused(net, "Attend", forward)


def chatterbox():
    import chatterbox as family

    net = family.reference.Perceiver(pre_attention_query_token=32, pre_attention_query_size=1024, embedding_dim=1024, num_attn_heads=4)
    x = normal(1, 1024, 1024)
    return net, {"h": x}, lambda: net(x), {"num_attn_heads": 4}


def ip_adapter():
    from diffusers.models.embeddings import IPAdapterPlusImageProjection

    net = IPAdapterPlusImageProjection(embed_dims=1280, output_dims=2048, hidden_dims=1280, depth=4, dim_head=64, heads=20,
                                       num_queries=16, ffn_ratio=4)
    x = normal(1, 257, 1280)
    return net, {"x": x}, lambda: net(x), {"heads": 20}


def flamingo():
    import flamingo as family

    net = family.open_flamingo.PerceiverResampler(dim=1024, depth=6, dim_head=64, heads=8, num_latents=64)
    x = normal(1, 2, 1, 256, 1024)

    def forward(self, x, latents):
        latents = self.norm_latents(latents)
        k, v = self.to_kv(torch.cat((self.norm_media(x), latents), dim=-2)).chunk(2, dim=-1)
        rows = [t.flatten(0, 1) for t in (self.to_q(latents), k, v)]
        return self.to_out(attend(self.heads, *rows)).unflatten(0, x.shape[:2])

    return net, {"x": x}, lambda: net(x), {"heads": 8}, fused(net, "PerceiverAttention", forward)


def idefics2():
    import idefics2 as family

    config = family.Idefics2Config(
        perceiver_config={"hidden_size": 4096, "resampler_depth": 1},
        text_config={"model_type": "mistral", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 1,
                     "vocab_size": 32},
        vision_config={"hidden_size": 1152, "num_hidden_layers": 1})
    net = family.reference.Idefics2Connector(config)
    x, mask = normal(1, 1024, 1152), torch.ones(1, 1024)
    kept = {"resampler_n_heads": 16, "rms_norm_eps": 1e-6, "part": "perceiver_resampler."}

    def patch():
        for module in net.modules():
            if hasattr(module, "config"):
                module.config._attn_implementation = "sdpa"

    return net, {"image_hidden_states": x}, lambda: net(x, mask), kept, patch


def aurora():
    import aurora as family

    module = family.lone("aurora.model.perceiver", model__util=dict(fp16_safe_scaled_dot_product_attention=None))
    net = module.PerceiverResampler(latent_dim=512, context_dim=512, depth=1, head_dim=32, num_heads=16)
    x, z = normal(6480, 13, 512), normal(3, 512).expand(6480, 3, 512).contiguous()
    return net, {"x": x, "latents": z}, lambda: net(z, x), {"num_heads": 16}


def hunyuan3d():
    import hunyuan3d as family

    vae = family.shape_vae(**(family.V20 | dict(num_latents=3072, embed_dim=64, width=1024, heads=16, num_decoder_layers=1)))
    z, q = normal(1, 3072, 64), normal(1, 16384, 3).clamp(-1, 1)
    return vae, {"latents": z, "queries": q}, lambda: vae.geo_decoder(queries=q, latents=vae(z)), {"heads": 16, "include_pi": False}


def idefics():
    from transformers.models.idefics.configuration_idefics import IdeficsConfig
    from transformers.models.idefics.perceiver import IdeficsPerceiverResampler

    config = IdeficsConfig(use_resampler=True, vision_config={"embed_dim": 1280})
    net = IdeficsPerceiverResampler(config, 1280, 6, 16, 96, 64)
    x = normal(1, 257, 1280)

    def forward(self, context, latents):
        latents = self.latents_layer_norm(latents)
        both = torch.cat([self.context_layer_norm(context), latents], dim=1)
        return self.output_proj(attend(self.n_heads, self.q_proj(latents), self.k_proj(both), self.v_proj(both)))

    return net, {"context": x}, lambda: net(x), {"resampler_n_heads": 16}, fused(net, "IdeficsPerceiverAttention", forward)


def pool_forward(self, x, positions, padding=None):
    """The pool without the weights of its attention, which makes torch take the fused one."""
    x, q = self.ln_kv(self.kv_proj(x)), self.ln_q(self.query)
    if hasattr(self, "pos_embed"):
        q = q + self.pos_embed
    mask = padding if padding is None or padding.any() else None
    return self.attn(q.expand(x.shape[0], -1, -1), x + positions, x, key_padding_mask=mask, need_weights=False)[0]


def minicpmv():
    import minicpmv as family

    net = family.Resampler(64, 3584, 28, 1152)
    x, sizes = normal(1, 1024, 1152), torch.tensor([[32, 32]])
    patch = lambda: setattr(net, "forward", lambda x, _: net.ln_post(pool_forward(net, x, here)) @ net.proj)  # noqa: E731
    here = family.sincos(3584, 32, 32).float()
    # The published module keeps its positions too.
    family.sincos = lambda *_: here
    return net, {"x": x, "tgt_sizes": sizes}, lambda: net(x, sizes), {"num_heads": 28}, patch


def qwen_vl():
    import qwen_vl as family

    net = family.Visual(16, 4096, 32, 1664)
    x = normal(1, 1024, 1664)
    return net, {"x": x}, lambda: net(x), {"num_heads": 32}, fused(net, "Pool", pool_forward)


def nv_embed():
    import nv_embed as family

    net = family.LatentAttention(512, 4096, 8, 4096)
    x, mask = normal(1, 256, 4096), torch.ones(1, 256, dtype=torch.int64)

    def forward(self, x, context):
        return self.to_out(attend(self.heads, self.to_q(x), *self.to_kv(context).chunk(2, dim=-1)))

    return net, {"hiddens": x, "attention_mask": mask}, lambda: net(x, mask), {"num_cross_heads": 8}, fused(net, "Attention", forward)


def vecset():
    import vecset as family

    net = family.VecSet(512, 8, 64, 24, latent_dim=8)
    pc, queries = normal(1, 2048, 3).clamp(-1, 1), normal(1, 8192, 3).clamp(-1, 1)
    sampled = pc[:, :512].contiguous()

    def forward(self, x, context=None):
        context = x if context is None else context
        return self.to_out(attend(self.heads, self.to_q(x), *self.to_kv(context).chunk(2, -1)))

    run = lambda: net.decode(net.mean_fc(net.encode(pc, sampled)), queries)  # noqa: E731
    return net, {"pc": pc, "sampled_pc": sampled, "queries": queries}, run, {"heads": 8}, fused(net, "Attention", forward)


def tabicl():
    import tabicl as family

    net = family.lone("tabicl._model.encoders").SetTransformer(
        num_blocks=3, d_model=128, nhead=8, dim_feedforward=256, num_inds=128, ssmax="qassmax-mlp-elementwise")
    src = normal(1, 20, 1024, 128)
    config = {"nhead": 8, "ssmax": "qassmax-mlp-elementwise"}
    return net, {"src": src, "train_size": torch.tensor([768])}, lambda: net(src, 768), config


def poyo():
    import poyo as family

    module = family.lone("torch_brain.models.poyo", batching=dict(pad8=None, track_mask8=None), data=dict(Data=object),
                         datasets=dict(Dataset=object))
    net = module.POYO(sequence_length=1.0, latent_step=0.125, num_latents_per_step=16, dim=64, depth=6, dim_head=64, cross_heads=2,
                      self_heads=8, dim_out=2)
    index, at = module.create_linspace_latent_tokens(0, 1.0, step=0.125, num_latents_per_step=16)
    events, queries = 8192, 128
    inputs = {"inputs": normal(1, events, 64), "input_timestamps": torch.rand(1, events),
              "input_mask": torch.ones(1, events, dtype=torch.bool),
              "latent_index": torch.as_tensor(index)[None], "latent_timestamps": torch.as_tensor(at).float()[None],
              "output_queries": normal(1, queries, 64), "output_timestamps": torch.rand(1, queries)}
    net.unit_emb, net.token_type_emb = family.Given(inputs["inputs"]), family.Given(0.0)
    net.session_emb = family.Given(family.Rows(inputs["output_queries"]))
    run = lambda: net(input_unit_index=None, input_token_type=None, session_index=None,  # noqa: E731
                      **{k: inputs[k] for k in ("input_timestamps", "input_mask", "latent_index", "latent_timestamps",
                                                "output_timestamps")})
    return net, inputs, run, {"cross_heads": 2, "self_heads": 8}


def perceiver_ar():
    import perceiver_ar as family

    module = family.lone("perceiver_ar_pytorch.perceiver_ar_pytorch")
    net = module.PerceiverAR(num_tokens=20000, dim=512, depth=8, dim_head=64, heads=8, max_seq_len=4096, cross_attn_seq_len=3072)
    x = torch.randint(20000, (1, 4096), generator=torch.Generator().manual_seed(2))
    causal = torch.ones(1024, 4096, dtype=torch.bool).tril(3072)

    def turned(heads, at, *rows):
        rows = [t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in rows]
        return [module.apply_rotary_pos_emb(at, t).transpose(1, 2).flatten(2) for t in rows]

    def forward(self, x, rotary_pos_emb=None):
        q, k, v = self.to_qkv(self.norm(x)).chunk(3, dim=-1)
        q, k = turned(self.heads, rotary_pos_emb, q, k)
        return self.to_out(attend(self.heads, q, k, v, is_causal=True))

    def prefixed(self, x, context, context_mask=None, rotary_pos_emb=None):
        x = self.norm(x)
        k, v = self.to_kv(torch.cat([self.context_norm(context), x], dim=1)).chunk(2, dim=-1)
        (q,), (k,) = turned(self.heads, rotary_pos_emb, self.to_q(x)), turned(self.heads, rotary_pos_emb, k)
        return self.to_out(attend(self.heads, q, k, v, attn_mask=causal))

    def patch():
        fused(net, "CausalAttention", forward)()
        fused(net, "CausalPrefixAttention", prefixed)()

    return net, {"x": x}, lambda: net(x), {"heads": 8, "cross_attn_seq_len": 3072}, patch


def perceiver_pytorch():
    import perceiver_pytorch as family

    net = family.package.Perceiver(num_freq_bands=6, max_freq=10.0, input_channels=3, input_axis=2, depth=6, num_latents=256,
                                   latent_dim=512, cross_heads=1, latent_heads=8, cross_dim_head=64, latent_dim_head=64,
                                   num_classes=1000, self_per_cross_attn=2)
    x = normal(1, 224, 224, 3)

    def forward(self, x, context=None, mask=None, inverted_attention=False):
        context = x if context is None else context
        return self.to_out(attend(self.heads, self.to_q(x), *self.to_kv(context).chunk(2, dim=-1)))

    config = {"class": "Perceiver", "cross_heads": 1, "latent_heads": 8, "input_axis": 2, "fourier_encode_data": True,
              "num_freq_bands": 6, "max_freq": 10.0}
    return net, {"data": x}, lambda: net(x), config, fused(net, "Attention", forward)


def set_transformer():
    import set_transformer as family

    net = family.SetTransformer(family.Mine, 3, 1, 40, 32, 256, 4, True, 0, True)
    x = normal(8, 1000, 3)

    def forward(self, queries, keys):
        q = self.fc_q(queries)
        o = self.ln0(q + attend(self.num_heads, q, self.fc_k(keys), self.fc_v(keys), scale=1 / math.sqrt(q.shape[-1])))
        return self.ln1(o + F.relu(self.fc_o(o)))

    return net, {"X": x}, lambda: net(x), {"num_heads": 4}, fused(net, "MAB", forward)


FAMILIES = [xtts, chatterbox, ip_adapter, flamingo, idefics2, aurora, hunyuan3d, idefics, minicpmv, qwen_vl, nv_embed, vecset, tabicl,
            poyo, perceiver_ar, perceiver_pytorch, set_transformer]


def fastest(run):
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        out = run()
        times.append(time.perf_counter() - start)
    return min(times), out


def ours(command, folder):
    """The fastest run that `perceiver bench` sees."""
    arguments = [command, "bench", str(folder), "--inputs", str(folder / "inputs.safetensors"), "--device", "cpu", "--json"]
    told = subprocess.run(arguments, env=os.environ | {"RAYON_NUM_THREADS": str(THREADS)}, capture_output=True, text=True)
    if told.returncode:
        raise SystemExit(told.stderr)
    return json.loads(told.stdout)[0]["fastest_seconds"]


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("out", type=Path)
    ap.add_argument("families", nargs="*")
    ap.add_argument("--command", help="the perceiver command, to be timed right after")
    args = ap.parse_args()
    torch.set_num_threads(THREADS)
    torch.set_grad_enabled(False)
    for make in FAMILIES:
        name = make.__name__
        if args.families and name not in args.families:
            continue
        net, inputs, run, config, *patch = make()
        filled(net)
        folder = args.out / name
        folder.mkdir(parents=True, exist_ok=True)
        config = {"model_type": "perceiver-family", "family": name} | config
        (folder / "config.json").write_text(json.dumps(config))
        save_file({k: v.contiguous().clone() for k, v in net.state_dict().items()}, str(folder / "model.safetensors"))
        save_file({k: (v.to(torch.int64) if v.dtype == torch.bool else v).clone() for k, v in inputs.items()},
                  str(folder / "inputs.safetensors"))
        eager, out = fastest(run)
        line, best = f"{name}: torch {torch.__version__}, {THREADS} threads: {eager:.4f} s", eager
        for change in patch:
            change()
            other, same = fastest(run)
            apart = float((same - out).norm() / out.norm())
            line += f", with its fused attention {other:.4f} s (apart by {apart:.1e})"
            best = min(best, other)
        print(line, flush=True)
        del net, run, out, patch
        if args.command:
            own = ours(args.command, folder)
            print(f"  here {own:.4f} s, ratio {best / own:.2f}", flush=True)


if __name__ == "__main__":
    main()
