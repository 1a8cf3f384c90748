#!/usr/bin/env python3
"""Small weight files as torch and numpy write them, for tests of other readers.

OUT/ gets

  types.bin             torch.save: all element types, a transposed and a sliced tensor, two of one storage,
                        a Parameter, a scalar, an empty tensor, an OrderedDict with `_metadata`
  types-legacy.bin      the same as torch saved before 1.6
  types.safetensors     the same values, dense
  haiku-<p>.pickle      modules with numpy arrays, pickled with protocol p (2 to 5): C and Fortran order,
                        big-endian, 16, 32 and 64 bits, a scalar, an empty array, under params and state
  haiku.safetensors     the same values under module/name
  refused-<name>.bin    pickles that call something: a reader must not
  training.pth          a recorded family's weights as a training saves them, beside other objects

Nothing is downloaded.  The files are the same on every run but for what zip and torch note about themselves.
"""

from __future__ import annotations

import argparse
import collections
import os
import pickle
import sys
import types
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import load_file
from safetensors.torch import save_file as save_tensors


def state_dict() -> collections.OrderedDict:
    rng = np.random.Generator(np.random.Philox(7))
    base = torch.from_numpy(rng.standard_normal((6, 5), dtype=np.float32))
    shared = torch.arange(12, dtype=torch.float32)
    out = collections.OrderedDict(
        float32=base.clone(),
        float64=base.double() / 3,
        float16=base.half(),
        bfloat16=base.bfloat16(),
        int64=torch.tensor([[1, -2], [3, 2**40]]),
        int32=torch.tensor([1, -2**31], dtype=torch.int32),
        int16=torch.tensor([1, -2**15], dtype=torch.int16),
        uint8=torch.tensor([0, 255], dtype=torch.uint8),
        bool=torch.tensor([True, False, True]),
        transposed=base.t(),
        permuted=torch.arange(24, dtype=torch.float32).reshape(2, 3, 4).permute(2, 0, 1),
        sliced=base[1:5:2, 1:4],
        whole=shared,
        part=shared[3:7],
        parameter=torch.nn.Parameter(base[:2].clone()),
        scalar=torch.tensor(2.5),
        empty=torch.zeros(0, 3),
    )
    out._metadata = collections.OrderedDict({"": {"version": 1}})
    return out


def modules() -> dict:
    rng = np.random.Generator(np.random.Philox(8))
    w = rng.standard_normal((3, 4), dtype=np.float32)
    params = {
        "linear": {"w": w, "b": np.arange(4, dtype=np.float32)},
        "net/~/linear_1": {"w": np.asfortranarray(w[:, :3]), "b": w[0, :3].astype(">f4")},
        "types": {"f2": w.astype(np.float16), "f8": w.astype(np.float64) / 3, "scalar": np.float32(2.5),
                  "empty": np.zeros((0, 3), np.float32)},
    }
    state = {"norm/~/mean_ema": {"counter": np.array(7, np.int32), "average": w[:1, None, :]}}
    return {"params": params, "state": state}


class Calls:
    """Pickles as a call."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def training(weights: dict) -> dict:
    """What a training saves: weights within a mapping, beside a configuration of a type that nobody else has."""
    module = types.ModuleType("voice_configs")
    module.VoiceConfig = type("VoiceConfig", (), {"__module__": "voice_configs"})
    sys.modules["voice_configs"] = module
    config = module.VoiceConfig()
    config.rate, config.names = 24000, {"a", "b"}
    config.inner = collections.OrderedDict(x=[1, 2.5, None])
    return {"model": {"cond_enc.perceiver." + name: tensor for name, tensor in weights.items()}, "config": config,
            "args": argparse.Namespace(steps=3), "epoch": 7,
            "optimizer": {"state": {0: {"step": torch.tensor(1.0), "exp_avg": torch.zeros(2)}},
                          "param_groups": [{"lr": 1e-3, "params": [0]}]}}


def main() -> None:
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("--out", type=Path, required=True)
    out = ap.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    state = state_dict()
    torch.save(state, out / "types.bin")
    torch.save(state, out / "types-legacy.bin", _use_new_zipfile_serialization=False)
    save_tensors({k: v.detach().contiguous().clone() for k, v in state.items()}, out / "types.safetensors")
    nested = modules()
    for protocol in (2, 3, 4, 5):
        (out / f"haiku-{protocol}.pickle").write_bytes(pickle.dumps(nested, protocol=protocol))
    flat = {f"{module}/{name}": np.ascontiguousarray(np.asarray(a).astype(a.dtype.newbyteorder("=")))
            .reshape(np.shape(a))
            for part in nested.values() for module, arrays in part.items() for name, a in arrays.items()}
    save_arrays(flat, out / "haiku.safetensors")
    torch.save({"a": Calls(os.system, "true")}, out / "refused-system.bin")
    torch.save({"a": Calls(eval, "1")}, out / "refused-eval-legacy.bin", _use_new_zipfile_serialization=False)
    torch.save(torch.nn.Linear(2, 2), out / "refused-module.bin")
    family = Path(__file__).parents[2] / "tests/fixtures/families/chatterbox-2/model.safetensors"
    torch.save(training(load_file(family)), out / "training.pth")


if __name__ == "__main__":
    main()
