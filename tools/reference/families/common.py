"""What every family file shares: random weights, the float64 run, and the recorded folder.

A family file NAME.py (the name of the family) has

    FIXTURES: list[dict]            what is committed, one dict of sizes and options a case
    draw(rng: random.Random, k)     the same for a hidden case, of random odd sizes; k counts the cases
    build(spec: dict, seed: int)    Case(config, weights, inputs, outputs)

and `__main__.py` finds it by its name.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

torch.set_num_threads(1)
torch.set_grad_enabled(False)

LIMIT = 60_000  # bytes of a committed folder


@dataclass
class Case:
    config: dict
    weights: dict[str, torch.Tensor]
    inputs: dict[str, torch.Tensor]
    outputs: dict[str, torch.Tensor] = field(default_factory=dict)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(int(seed) & 0x7FFF_FFFF_FFFF_FFFF)


COARSE = False  # whether weights are rounded to float16


def exact(x: torch.Tensor) -> torch.Tensor:
    """float64 whose values are float32's."""
    return x.to(torch.float32).to(torch.float64)


def steady(family, spec: dict, seed: int) -> Case | None:
    """The case of a seed, unless it multiplies roundings: tiny models of random weights may do so by hundreds, where a norm of
    heads of two channels is little more than their sign, and then f32 is no better than noise in any implementation."""
    global COARSE
    case = family.build(spec, seed)
    COARSE = True
    try:
        rounded = family.build(spec, seed).outputs
    finally:
        COARSE = False
    errors = [(rounded[k].double() - t.double()).norm() / t.double().norm() for k, t in case.outputs.items()]
    return case if all(error < 2e-3 or not torch.isfinite(error) for error in errors) else None


def normal(gen: torch.Generator, *shape: int, std: float = 1.0, mean: float = 0.0) -> torch.Tensor:
    return exact(torch.randn(*shape, generator=gen, dtype=torch.float64) * std + mean)


NORMS = ("LayerNorm", "RMSNorm", "GroupNorm", "BatchNorm")


def randomise(module: nn.Module, seed: int, keep: tuple[str, ...] = (), gain: float = 1.3) -> nn.Module:
    """Random values in every parameter (and float buffer of the state) but those that end with one of `keep`.

    Linear and convolution weights N(0, gain/sqrt(in)), biases 0.2 N, norm gains 1 + 0.3 N, norm biases 0.3 N,
    everything else (latents, queries, embeddings) N(0, 1); then the module is float64 in eval mode."""
    module.double().eval()
    gen = generator(seed)
    owners = dict(module.named_modules(remove_duplicate=False))
    state = module.state_dict(keep_vars=True)
    for name in sorted(state):
        t = state[name]
        if not t.is_floating_point():
            continue
        if name.endswith(keep) if keep else False:
            t.data.copy_(exact(t.data))
            continue
        path, _, leaf = name.rpartition(".")
        kind = type(owners.get(path, module)).__name__
        shape = tuple(t.shape)
        if any(n in kind for n in NORMS):
            is_gain = leaf in ("weight", "gamma", "g", "scale")
            value = normal(gen, *shape, std=0.3, mean=1.0 if is_gain else 0.0)
        elif leaf in ("bias", "in_proj_bias", "bias_k", "bias_v") or leaf.endswith("_bias"):
            value = normal(gen, *shape, std=0.2)
        elif leaf == "in_proj_weight" or isinstance(owners.get(path), (nn.Linear, nn.Conv1d, nn.Conv2d)):
            value = normal(gen, *shape, std=gain / math.sqrt(math.prod(shape[1:])))
        else:
            value = normal(gen, *shape)
        t.data.copy_(value.to(torch.float16).to(torch.float64) if COARSE else value)
    return module


def weights_of(module: nn.Module, prefix: str = "") -> dict[str, torch.Tensor]:
    return {prefix + k: v.detach().clone() for k, v in module.state_dict().items()}


def strangers(seed: int, **shapes: tuple[int, ...]) -> dict[str, torch.Tensor]:
    """Small tensors of the larger model that the family's part does not read; '__' in a name stands for '.'."""
    gen = generator(seed ^ 0x5EED)
    return {name.replace("__", "."): normal(gen, *shape) for name, shape in shapes.items()}


class Tap:
    """Forward hooks that keep outputs: Tap(module.layers[0].ff, ...) -> .kept in the order of the calls."""

    def __init__(self, *modules: nn.Module, pick=lambda out: out):
        self.kept: list[torch.Tensor] = []
        self.hooks = [m.register_forward_hook(lambda _m, _i, out: self.kept.append(pick(out).detach().clone()))
                      for m in modules]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for h in self.hooks:
            h.remove()

    def layers(self) -> dict[str, torch.Tensor]:
        return {f"layer.{i}": t for i, t in enumerate(self.kept)}


def stored(t, what: str) -> torch.Tensor:
    t = torch.as_tensor(np.asarray(t) if not torch.is_tensor(t) else t).detach()
    if t.dtype in (torch.bool, torch.int32, torch.int64, torch.uint8):
        return t.to(torch.int64).contiguous().clone()
    f = t.to(torch.float32).contiguous().clone()
    if not torch.isfinite(f).all():
        raise ValueError(f"{what}: not finite")
    return f


def record(folder: Path | str, config: dict, weights: dict, inputs: dict, outputs: dict) -> int:
    """Writes a case; returns its bytes.  Weights and inputs have to be float32's values already."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for group in (weights, inputs):
        for name, t in group.items():
            if torch.is_tensor(t) and t.dtype == torch.float64 and not torch.equal(exact(t), t):
                raise ValueError(f"{name}: has values that float32 cannot hold")
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    for file, group in (("model", weights), ("inputs", inputs), ("outputs", outputs)):
        save_file({k: stored(v, k) for k, v in group.items()}, str(folder / f"{file}.safetensors"))
    return sum(p.stat().st_size for p in folder.iterdir())


def key_mask(gen: torch.Generator, batch: int, length: int) -> torch.Tensor:
    """int64 [batch, length] of ones and zeros: padding at the end in even rows, holes in odd ones, never empty."""
    out = torch.ones(batch, length, dtype=torch.int64)
    for b in range(batch):
        if b % 2 == 0:
            out[b, int(torch.randint(1, length + 1, (1,), generator=gen)):] = 0
        else:
            out[b] = torch.rand(length, generator=gen) < 0.6
            out[b, int(torch.randint(0, length, (1,), generator=gen))] = 1
    return out


def single_file(distribution: str, path: str):
    """The module of one file of an installed distribution, without its package's other imports."""
    import importlib.metadata
    import importlib.util

    file = importlib.metadata.distribution(distribution).locate_file(path)
    spec = importlib.util.spec_from_file_location("_reference_" + Path(path).stem, str(file))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def bare_packages(distribution: str, *names: str) -> None:
    """Packages without what their __init__ imports, so that single files of theirs can import one another."""
    import importlib.metadata
    import sys
    import types

    root = importlib.metadata.distribution(distribution)
    for name in names:
        module = types.ModuleType(name)
        module.__path__ = [str(root.locate_file(name.replace(".", "/")))]
        sys.modules.setdefault(name, module)
