"""POYO's Perceiver: events with timestamps, latents with timestamps, queries with timestamps.

Reference: torch-brain 0.2.1 (PyPI), torch_brain/models/poyo.py POYO, torch_brain/nn/rotary_attention.py and
position_embeddings.py (github.com/neuro-galaxy/torch_brain).  POYO itself runs here; its look-ups of units, token types
and sessions give the embedded inputs and queries of the case.

    R(t): pair (2i, 2i+1) of every head turned by t * omega_i (omega is 0 in the upper half of a head)
    z = z + R(-t_z) att(R(t_z) q, R(t_x) k, R(t_x) v);  z = z + GEGLU(LN z)        (from the events; then depth times itself)
    y = y + att(R(t_y) q, R(t_z) k, v);  y = y + GEGLU(LN y);  output = readout(y)
"""

from __future__ import annotations

import torch
from torch import nn

from _lone import lone
from common import Case, generator, normal, randomise, strangers, weights_of

FIXTURES = [
    dict(dim=8, depth=2, dim_head=8, cross_heads=2, self_heads=3, num_latents_per_step=3, steps=2, dim_out=2,
         batch=2, events=29, queries=7, masked=True, prefix="model."),
    dict(dim=10, depth=1, dim_head=12, cross_heads=1, self_heads=2, num_latents_per_step=5, steps=1, dim_out=3,
         batch=1, events=17, queries=11, t_min=0.01, t_max=4.0),
    dict(dim=7, depth=1, dim_head=16, cross_heads=1, self_heads=1, num_latents_per_step=0, latents=6, dim_out=1,
         batch=3, events=13, queries=5, masked=True, prefix="model."),
]


def draw(rng, k):
    own = k % 3 != 2
    return dict(dim=rng.randint(4, 20), depth=rng.randint(1, 3), dim_head=4 * rng.randint(2, 5),
                cross_heads=rng.randint(1, 3), self_heads=rng.randint(1, 4),
                num_latents_per_step=rng.randint(1, 7) if own else 0, steps=rng.randint(1, 4),
                latents=rng.randint(1, 19), dim_out=rng.randint(1, 5), batch=rng.randint(1, 3),
                events=rng.randint(1, 61), queries=rng.randint(1, 23), masked=rng.random() < 0.7,
                prefix="model." if rng.random() < 0.5 else "",
                **(dict(t_min=0.01, t_max=4.0) if rng.random() < 0.3 else {}))


class Given(nn.Module):
    """Stands for a look-up: gives the embedded rows."""

    def __init__(self, rows):
        super().__init__()
        self.rows = rows

    def is_lazy(self):
        return False

    def forward(self, _index):
        return self.rows


class Rows:
    """Queries that differ from row to row, where the model would repeat one of a session."""

    def __init__(self, rows):
        self.rows = rows

    def unsqueeze(self, _axis):
        return self

    def expand(self, *_shape):
        return self.rows


def build(spec, seed):
    module = lone("torch_brain.models.poyo", batching=dict(pad8=None, track_mask8=None), data=dict(Data=object),
                  datasets=dict(Dataset=object))
    per_step, batch, dim = spec["num_latents_per_step"], spec["batch"], spec["dim"]
    periods = {k: spec[k] for k in ("t_min", "t_max") if k in spec}
    net = module.POYO(sequence_length=1.0, latent_step=1.0, num_latents_per_step=per_step or 1,
                      **{k: spec[k] for k in ("dim", "depth", "dim_head", "cross_heads", "self_heads", "dim_out")},
                      **periods)
    gen = generator(seed + 1)

    def times(*shape):
        return torch.rand(*shape, generator=gen).double()

    inputs = {"inputs": normal(gen, batch, spec["events"], dim), "input_timestamps": times(batch, spec["events"])}
    mask = None
    if spec.get("masked"):
        mask = torch.rand(batch, spec["events"], generator=gen) < 0.7
        mask[:, 0] = True
        inputs["input_mask"] = mask
    if per_step:
        step = 1.0 / spec["steps"]
        index, at = module.create_linspace_latent_tokens(0, 1.0, step=step, num_latents_per_step=per_step)
        index = torch.as_tensor(index)[None].expand(batch, -1)
        inputs["latent_index"] = index
        inputs["latent_timestamps"] = torch.as_tensor(at).float().double()[None].expand(batch, -1)
    else:
        index = None
        inputs["latents"] = normal(gen, batch, spec["latents"], dim)
        inputs["latent_timestamps"] = times(batch, spec["latents"])
        net.latent_emb = Given(inputs["latents"])
    inputs["output_queries"] = normal(gen, batch, spec["queries"], dim)
    inputs["output_timestamps"] = times(batch, spec["queries"])
    net.unit_emb, net.token_type_emb = Given(inputs["inputs"]), Given(0.0)
    net.session_emb = Given(Rows(inputs["output_queries"]))
    randomise(net, seed, keep=("omega",))

    # a feed-forward's residual sum is what the next module reads
    seen = {}

    def reads(name):
        def hook(_module, args, *_rest):
            seen[name] = args[0].clone()
        return hook

    hooks = [net.readout.register_forward_pre_hook(reads("decoder"))]
    for i, layer in enumerate(net.proc_layers):
        hooks.append(layer[0].register_forward_pre_hook(reads(f"layer.{i - 1}" if i else "encoder")))

    def last(_module, args):
        seen[f"layer.{spec['depth'] - 1}"] = args[1].clone()

    hooks.append(net.dec_atn.register_forward_pre_hook(last))
    output = net(input_unit_index=None, input_timestamps=inputs["input_timestamps"], input_token_type=None,
                 input_mask=mask, latent_index=index, latent_timestamps=inputs["latent_timestamps"],
                 session_index=None, output_timestamps=inputs["output_timestamps"])
    for hook in hooks:
        hook.remove()
    prefix = spec.get("prefix", "")
    weights = weights_of(net, prefix)
    weights |= {prefix + k: v for k, v in strangers(seed, unit_emb__weight=(5, dim), session_emb__weight=(2, dim),
                                                    token_type_emb__weight=(4, dim)).items()}
    config = {"model_type": "perceiver-family", "family": "poyo", "cross_heads": spec["cross_heads"],
              "self_heads": spec["self_heads"]} | periods
    if prefix:
        config["part"] = prefix
    return Case(config, weights, inputs, seen | {"output": output})
