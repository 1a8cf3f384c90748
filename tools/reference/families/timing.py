"""timing.py OUT [FAMILY...]: families at their published sizes, timed in PyTorch (float32) and written for `perceiver bench`.

For each it writes OUT/FAMILY/{config.json, model.safetensors, inputs.safetensors} with random weights and prints the fastest of
a few runs of the reference module, eager as it is. Then, with as many threads:

    perceiver bench OUT/FAMILY --inputs OUT/FAMILY/inputs.safetensors --json
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import save_file

THREADS = 2


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


def xtts():
    import xtts as family

    net = family.reference.PerceiverResampler(dim=1024, depth=2, dim_context=1024, num_latents=32, dim_head=64, heads=8, ff_mult=4)
    x = normal(1, 1024, 1024)
    return net, {"x": x}, lambda: net(x), {"heads": 8}


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
    return net, {"x": x}, lambda: net(x), {"heads": 8}


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
    return net, {"image_hidden_states": x}, lambda: net(x, mask), kept


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


def main():
    out, names = Path(sys.argv[1]), sys.argv[2:]
    torch.set_num_threads(THREADS)
    torch.set_grad_enabled(False)
    for make in [xtts, chatterbox, ip_adapter, flamingo, idefics2, aurora, hunyuan3d]:
        name = make.__name__
        if names and name not in names:
            continue
        net, inputs, run, config = make()
        filled(net)
        folder = out / name
        folder.mkdir(parents=True, exist_ok=True)
        config = {"model_type": "perceiver-family", "family": name} | config
        (folder / "config.json").write_text(json.dumps(config))
        save_file({k: v.contiguous().clone() for k, v in net.state_dict().items()}, str(folder / "model.safetensors"))
        save_file(inputs, str(folder / "inputs.safetensors"))
        times = []
        for _ in range(4):
            start = time.perf_counter()
            run()
            times.append(time.perf_counter() - start)
        print(f"{name}: torch {torch.__version__}, {THREADS} threads: {min(times):.4f} s", flush=True)


if __name__ == "__main__":
    main()
