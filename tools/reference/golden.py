#!/usr/bin/env python3
"""Golden data: transformers' Perceiver classes with random weights, run in float64.

For each model, OUT/<model>/ gets what another implementation needs to be compared:

  config.json          as save_pretrained writes it
  model.safetensors    float32 weights (not with --no-weights)
  pytorch_model.bin    the same as a zip pickle (only with --bin)
  inputs.safetensors   raw inputs ("raw.*") and what the model is called with
  outputs.safetensors  results of the float64 run, rounded to float32
  meta.json            what was run, statistics, float32 errors, times, versions

Inputs:
  mlm, seqcls   input_ids, attention_mask [B,S] i64; raw.text.<b> u8;
                mlm: unpadded.input_ids [1,S0], to be run without a mask
  img-*         pixel_values [B,3,H,W]; raw.image.<b> u8 [h,w,3];
                img-learned: interp.pixel_values, to be run with interpolated positions
  flow          patches [B,2,27,H,W]; raw.frames u8 [B,2,H,W,3];
                tiny: raw.tiled_frames u8 [2,H2,W2,3], larger than the training size
  multimodal    image [B,T,3,H,W], audio [B,samples,1], label [B,classes] (zeros),
                points.image, points.audio i64; raw.video u8 [B,T,H,W,3], raw.audio i16

Outputs (those that a model has):
  logits, logits.image/.audio/.label   what the class returns
  encoder_input                        after the input preprocessor
  latents_after_cross, latents_after_layer1, latents_after_block1, last_latents
  decoder_query, decoder_hidden        before and after the decoder's cross-attention
  decoder_output                       before the output postprocessor
  unpadded.logits, interp.logits       on the inputs of these names
  tiled.flow                           raw.tiled_frames: tiles blended, times 20 (tiny)
  full.image, full.audio               multimodal: all chunks joined (tiny)
  <name>.rows                          which rows (axis 1) of a large intermediate are kept

In meta.json, "data" says how the model inputs follow from the raw ones: masked token
range (mlm, first text), tile overlap (flow), number of chunks (multimodal).

transformers computes Fourier position features in float32 whatever the model's type,
so that rounding is part of the float64 results.  Nothing is downloaded.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import time
from pathlib import Path
from typing import Any, Callable

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import numpy as np
import safetensors
import torch
import transformers
from safetensors.torch import save_file

from inputs import Tensors, chunk_points, flow_patches, make_inputs
from shapes import MODELS, Shape, shape_of
from weights import randomise

transformers.utils.logging.disable_progress_bar()

CLASSES = dict(zip(MODELS, (
    transformers.PerceiverForMaskedLM,
    transformers.PerceiverForSequenceClassification,
    transformers.PerceiverForImageClassificationLearned,
    transformers.PerceiverForImageClassificationFourier,
    transformers.PerceiverForImageClassificationConvProcessing,
    transformers.PerceiverForOpticalFlow,
    transformers.PerceiverForMultimodalAutoencoding,
)))
FLOW_SCALE = 20.0


# -- entry points of a network ----------------------------------------------

def forward(net: torch.nn.Module, model: str, x: Tensors, dtype: torch.dtype) -> Tensors:
    """What the class returns, under the names of the outputs."""
    if model in ("mlm", "seqcls"):
        return {"logits": net(inputs=x["input_ids"], attention_mask=x["attention_mask"]).logits}
    if model == "multimodal":
        points = {"image": x["points.image"], "audio": x["points.audio"], "label": None}
        parts = net(inputs={k: x[k].to(dtype) for k in points}, subsampled_output_points=points).logits
        return {f"logits.{k}": v for k, v in parts.items()}
    return {"logits": net(inputs=x["patches" if model == "flow" else "pixel_values"].to(dtype)).logits}


def tile_starts(length: int, tile: int, overlap: int) -> list[int]:
    """As published, with starts that would pass the border moved back.  Equal starts stay: they count twice."""
    starts = list(range(0, length, tile - overlap))
    starts[-1] = length - tile
    return [min(s, length - tile) for s in starts]


def tiled_flow(net: torch.nn.Module, frames: np.ndarray, tile: tuple[int, int], overlap: int,
               dtype: torch.dtype) -> torch.Tensor:
    """Flow of a large pair in pixels; each tile weighs by the distance to its border."""
    (th, tw), (height, width) = tile, frames.shape[1:3]
    y, x = torch.meshgrid(torch.arange(th), torch.arange(tw), indexing="ij")
    weight = torch.minimum(torch.minimum(x + 1, tw - x), torch.minimum(y + 1, th - y)).to(dtype)[..., None]
    total = torch.zeros(height, width, 2, dtype=dtype)
    norm = torch.zeros(height, width, 1, dtype=dtype)
    for top, left in itertools.product(tile_starts(height, th, overlap), tile_starts(width, tw, overlap)):
        rows, cols = slice(top, top + th), slice(left, left + tw)
        piece = net(inputs=flow_patches(frames[:, rows, cols])[None].to(dtype)).logits[0] * FLOW_SCALE
        total[rows, cols] += piece * weight
        norm[rows, cols] += weight
    return total / norm


def decode_all(net: torch.nn.Module, shape: Shape, x: Tensors, dtype: torch.dtype) -> Tensors:
    """Video and audio of the multimodal model, chunk by chunk."""
    count = shape.data["nchunks"]
    parts: dict[str, list[torch.Tensor]] = {"image": [], "audio": []}
    for i in range(count):
        image, audio = chunk_points(shape.config, count, i)
        chunk = forward(net, "multimodal", {**x, "points.image": image, "points.audio": audio}, dtype)
        for k, v in parts.items():
            v.append(chunk[f"logits.{k}"])
    video_shape = (shape.data["batch"], *shape.config["output_shape"][1:], 3)
    return {"full.image": torch.cat(parts["image"], 1).reshape(video_shape), "full.audio": torch.cat(parts["audio"], 1)}


def further(net: torch.nn.Module, model: str, shape: Shape, x: Tensors, dtype: torch.dtype, full: bool) -> Tensors:
    """Results of the other ways to run the same network."""
    out: Tensors = {}
    if model == "mlm":
        out["unpadded.logits"] = net(inputs=x["unpadded.input_ids"]).logits
    if "interp.pixel_values" in x:
        out["interp.logits"] = net(inputs=x["interp.pixel_values"].to(dtype), interpolate_pos_encoding=True).logits
    if "raw.tiled_frames" in x:
        out["tiled.flow"] = tiled_flow(net, x["raw.tiled_frames"].numpy(), tuple(shape.config["train_size"]),
                                       shape.data["overlap"], dtype)
    if model == "multimodal" and not full:
        out.update(decode_all(net, shape, x, dtype))
    return out


# -- intermediates ----------------------------------------------------------

class Tap:
    """While open, collects the intermediates of the first forward pass."""

    NAMES = ("encoder_input", "latents_after_cross", "latents_after_layer1", "latents_after_block1", "last_latents",
             "decoder_query", "decoder_hidden", "decoder_output")

    def __init__(self, net: torch.nn.Module):
        self.found: Tensors = {}
        self.net = net

    def __enter__(self) -> Tensors:
        perceiver = self.net.perceiver
        encoder, decoder = perceiver.encoder, perceiver.decoder
        basic = decoder if hasattr(decoder, "decoding_cross_attention") else decoder.decoder
        first = lambda out: out[0] if isinstance(out, tuple) else out
        watched = [
            (perceiver.input_preprocessor, "encoder_input", first),
            (encoder.cross_attention, "latents_after_cross", first),
            (encoder.self_attends[0], "latents_after_layer1", first),
            (encoder.self_attends[-1], "latents_after_block1", first),
            (encoder, "last_latents", lambda out: out[0]),
            (basic.decoding_cross_attention, "decoder_hidden", first),
            (decoder, "decoder_output", lambda out: out.logits),
        ]
        self.hooks = [module.register_forward_hook(self._keeper(name, get)) for module, name, get in watched]
        make_query = decoder.decoder_query

        def decoder_query(*args, **kwargs):
            query = make_query(*args, **kwargs)
            self._keep("decoder_query", query)
            return query

        decoder.decoder_query = decoder_query
        return self.found

    def __exit__(self, *_: Any) -> None:
        del self.net.perceiver.decoder.decoder_query  # the class's own method again
        for hook in self.hooks:
            hook.remove()

    def _keeper(self, name: str, get: Callable[[Any], torch.Tensor]) -> Callable:
        return lambda _module, _args, out: self._keep(name, get(out))

    def _keep(self, name: str, value: torch.Tensor) -> None:
        if name not in self.found:
            self.found[name] = value.detach().clone()  # the flow decoder divides in place later


def thin(name: str, value: torch.Tensor, rows: int) -> Tensors:
    """At most `rows` rows of a large intermediate: the first half, then evenly spread to the last."""
    if rows <= 0 or value.dim() < 3 or value.shape[1] <= rows:
        return {name: value}
    head = rows // 2
    spread = torch.linspace(head, value.shape[1] - 1, rows - head, dtype=torch.float64).round().long()
    kept = torch.unique(torch.cat([torch.arange(head), spread]))
    return {name: value[:, kept], f"{name}.rows": kept}


# -- measuring --------------------------------------------------------------

def relative_l2(a: torch.Tensor, b: torch.Tensor) -> float:
    a, b = a.double(), b.double()
    return float((a - b).norm() / b.norm().clamp_min(1e-300))


def statistics(t: torch.Tensor) -> dict[str, Any]:
    out: dict[str, Any] = {"dtype": str(t.dtype).removeprefix("torch."), "shape": list(t.shape)}
    if t.is_floating_point() and t.numel():
        v = t.double()
        out.update(mean=float(v.mean()), std=float(v.std(correction=0)), absmax=float(v.abs().max()),
                   finite=bool(torch.isfinite(v).all()))
    return out


def peak_rss(reset: bool = False) -> int | None:
    """Peak resident bytes of this process (Linux; elsewhere None)."""
    try:
        if reset:
            Path("/proc/self/clear_refs").write_text("5")
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None
    return next((int(l.split()[1]) * 1024 for l in status.splitlines() if l.startswith("VmHWM:")), None)


def processor_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    info = {k.strip(): v.strip() for k, v in (l.split(":", 1) for l in lines if ":" in l)}
    return f"{info.get('model name')} (family {info.get('cpu family')}, model {info.get('model')})"


# -- one model --------------------------------------------------------------

def generate(model: str, args: argparse.Namespace) -> dict[str, Any]:
    full = args.size == "full"
    shape = shape_of(model, args.size, args.variant)
    with torch.device("meta"):
        net = CLASSES[model](transformers.PerceiverConfig(**shape.config))
    net = net.to_empty(device="cpu").float().eval()
    randomise(net, model, shape, args.seed)
    x = make_inputs(model, shape, args.seed, full)
    folder = args.out / model
    save_model(net, folder, args)

    with torch.inference_mode():
        rss_before, seconds = peak_rss(reset=True), []
        for _ in range(args.repeat or (1 if full else 3)):
            began = time.perf_counter()
            single = forward(net, model, x, torch.float32)
            seconds.append(time.perf_counter() - began)
        rss_peak = peak_rss()
        other = None if full else forward(net, model, make_inputs(model, shape, args.seed + 1_000_003, full),
                                          torch.float32)
        everything, seconds64 = {}, None
        for dtype in (torch.float32,) if args.no_f64 else (torch.float32, torch.float64):
            net = net.to(dtype)
            with Tap(net) as found:
                began = time.perf_counter()
                result = forward(net, model, x, dtype)
                seconds64 = time.perf_counter() - began if dtype == torch.float64 else None
            if full and dtype == torch.float32 and not args.no_f64:  # spare the memory
                found = {k: v for k, v in found.items() if v.numel() * 4 < 1 << 28}
            everything[dtype] = {**result, **found, **further(net, model, shape, x, dtype, full)}

    reference = everything[torch.float32 if args.no_f64 else torch.float64]
    error = {} if args.no_f64 else {k: relative_l2(v, reference[k]) for k, v in everything[torch.float32].items()}
    reference = {k: v.float() for k, v in reference.items()}
    repeatable = all(torch.equal(v, everything[torch.float32][k]) for k, v in single.items())
    sensitivity = None if other is None else {k: relative_l2(v, single[k]) for k, v in other.items()
                                              if v.shape == single[k].shape}

    rows = args.max_rows if args.max_rows is not None else (256 if full else 0)
    stored: Tensors = {}
    for name, value in reference.items():
        stored.update(thin(name, value, rows if name in Tap.NAMES else 0))
    save_file({k: v.contiguous() for k, v in x.items()}, folder / "inputs.safetensors")
    save_file({k: v.contiguous().clone() for k, v in stored.items()}, folder / "outputs.safetensors")
    meta = {
        "model": model, "class": CLASSES[model].__name__, "size": args.size,
        "variant": None if full else args.variant, "seed": args.seed,
        "parameters": sum(p.numel() for p in net.parameters()),
        "config": shape.config,
        "data": shape.data,
        "reference_dtype": "float32" if args.no_f64 else "float64",
        "inputs": {k: statistics(v) for k, v in x.items()},
        "outputs": {k: statistics(v) for k, v in reference.items()},
        "torch_float32_vs_float64_rel_l2": error,
        "float32_repeatable": repeatable,
        "input_sensitivity_rel_l2": sensitivity,
        "timing": {"float32_forward_seconds": seconds, "float64_forward_seconds": seconds64,
                   "rss_bytes_before_forward": rss_before, "peak_rss_bytes_float32": rss_peak,
                   "threads": torch.get_num_threads(), "cpu": processor_name(), "logical_cpus": os.cpu_count()},
        "versions": {"python": platform.python_version(), "torch": torch.__version__,
                     "transformers": transformers.__version__, "numpy": np.__version__,
                     "safetensors": safetensors.__version__},
    }
    (folder / "meta.json").write_text(json.dumps(meta, indent=1, ensure_ascii=False) + "\n")
    if not full and not args.no_weights:
        check_round_trip(model, folder, x, single)
    return meta


def save_model(net: torch.nn.Module, folder: Path, args: argparse.Namespace) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    net.config.architectures = [type(net).__name__]
    (net.config if args.no_weights else net).save_pretrained(folder)
    if args.bin:
        torch.save(net.state_dict(), folder / "pytorch_model.bin")


def check_round_trip(model: str, folder: Path, x: Tensors, expected: Tensors) -> None:
    """Load what was written and compare."""
    net = CLASSES[model].from_pretrained(folder, local_files_only=True).float().eval()
    with torch.inference_mode():
        got = forward(net, model, x, torch.float32)
    if not all(torch.allclose(got[k], v, rtol=1e-5, atol=1e-6) for k, v in expected.items()):
        raise SystemExit(f"{model}: the result changed after saving and loading")


def summary(meta: dict[str, Any]) -> str:
    timing, errors = meta["timing"], meta["torch_float32_vs_float64_rel_l2"]
    lines = [f"{meta['model']:<12} {meta['parameters']:>11,} parameters"
             f"  float32 {min(timing['float32_forward_seconds']):.3f} s"
             + (f", float64 {timing['float64_forward_seconds']:.3f} s" if timing["float64_forward_seconds"] else "")
             + (f", peak {timing['peak_rss_bytes_float32'] >> 20} MiB" if timing["peak_rss_bytes_float32"] else "")]
    for name, s in meta["outputs"].items():
        if name not in Tap.NAMES:
            lines.append(f"    {name:<16} {str(s['shape']):<20} std {s['std']:.4g}"
                         + (f"  float32 error {errors[name]:.2e}" if name in errors else ""))
    return "\n".join(lines)


def main() -> None:
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0],
                                 epilog="File formats: see the head of this file.")
    ap.add_argument("--out", type=Path, required=True, help="output folder, one sub-folder a model")
    ap.add_argument("--models", default="all", help="comma-separated, of: " + ", ".join(MODELS))
    ap.add_argument("--size", choices=("tiny", "full"), default="tiny",
                    help="tiny: small, every feature kept; full: the official checkpoint's configuration")
    ap.add_argument("--variant", type=int, default=0, help="tiny shapes: 0 to 3 written out, others drawn from the number")
    ap.add_argument("--seed", type=int, default=0, help="weights and inputs")
    ap.add_argument("--bin", action="store_true", help="write pytorch_model.bin too")
    ap.add_argument("--no-weights", action="store_true", help="write no weights (timing)")
    ap.add_argument("--no-f64", action="store_true", help="outputs from float32")
    ap.add_argument("--max-rows", type=int, help="rows kept of an intermediate, 0: all (default: tiny all, full 256)")
    ap.add_argument("--repeat", type=int, default=0, help="timed float32 runs (default: tiny 3, full 1)")
    ap.add_argument("--threads", type=int, default=0, help="torch threads (default: tiny 1, full 2)")
    args = ap.parse_args()
    names = list(MODELS) if args.models == "all" else args.models.split(",")
    if unknown := set(names) - set(MODELS):
        ap.error(f"unknown models: {', '.join(sorted(unknown))}")
    torch.set_num_threads(args.threads or (2 if args.size == "full" else 1))

    bad = []
    for name in names:
        meta = generate(name, args)
        print(summary(meta), flush=True)
        bad += [f"{name}/{k}" for k, s in meta["outputs"].items() if not s.get("finite", True) or s.get("std", 1) < 1e-4]
    if bad:
        raise SystemExit("degenerate or not finite: " + ", ".join(bad))


if __name__ == "__main__":
    main()
