#!/usr/bin/env python3
"""This engine beside PyTorch: the same full-size checkpoints, inputs and device, in one run.

    python3 tools/reference/side_by_side.py --torch-device cuda --device gpu --batch 1,8
    python3 tools/reference/side_by_side.py --torch-device cpu --device cpu --settings f32 --models flow

For every model: random weights of the official configuration are written once (golden.py's), then timed
by transformers' own class in each setting, a process for each, and by `perceiver bench`. Outputs are
compared: every setting and the engine against the f32 run of transformers. The result goes to
benches/results/DATE-NAME.json with machine, driver, versions and commit; `results_table.py` makes
the table in docs/performance.md from all such files.

Settings of PyTorch: f32, f16, bf16 (eager, as transformers ships it, which makes the whole score matrix);
f32-sdpa, f16-sdpa, bf16-sdpa (its attention replaced by torch's fused scaled_dot_product_attention);
f32-compile, f16-compile (torch.compile of the f32-sdpa and f16-sdpa forms). A setting that fails says so in the
result and the run goes on.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
MODELS = ("mlm", "img-learned", "img-fourier", "img-conv", "flow", "multimodal")
SETTINGS = ("f32", "f16", "bf16", "f32-sdpa", "f16-sdpa", "bf16-sdpa", "f32-compile", "f16-compile")


# -- one setting of PyTorch, in a process of its own --------------------------

def fused_attention(modeling: Any, torch: Any) -> None:
    """Replaces the class's attention by torch's fused one. Weights and results stay the same."""

    def forward(self, hidden_states, attention_mask=None, inputs=None, inputs_mask=None, output_attentions=False):
        hidden_states = self.layernorm1(hidden_states)
        source, mask = hidden_states, attention_mask
        if inputs is not None:
            source, mask = self.layernorm2(inputs), inputs_mask
        heads = lambda x: x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
        q, k, v = heads(self.query(hidden_states)), heads(self.key(source)), heads(self.value(source))
        context = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return (context.transpose(1, 2).flatten(2),)

    modeling.PerceiverSelfAttention.forward = forward


def peak_bytes(torch: Any, device: str) -> int | None:
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(l.split()[1]) * 1024 for l in lines if l.startswith("VmHWM:")), None)


def worker(args: argparse.Namespace) -> dict[str, Any]:
    import torch
    import transformers
    from safetensors.torch import load_file, save_file
    from timing import arguments

    device, setting = args.torch_device, args.worker
    if args.threads:
        torch.set_num_threads(args.threads)
    # Products of f32 stay f32: tensor cores would round them to 10 bits.
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    dtype = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}[setting.split("-")[0]]
    if setting.endswith(("-sdpa", "-compile")):
        fused_attention(transformers.models.perceiver.modeling_perceiver, torch)
    folder = args.folder
    name = json.loads((folder / "config.json").read_text())["architectures"][0]
    net = getattr(transformers, name).from_pretrained(folder, attn_implementation="eager").eval().to(device, dtype)
    case = load_file(folder / "inputs.safetensors")
    batch = int(args.batch)
    # Points to decode belong to all items of a batch.
    repeat = lambda k, v: v if k.startswith("points") else v.repeat(batch, *[1] * (v.dim() - 1))
    case = {k: repeat(k, v) for k, v in case.items() if not k.startswith(("raw.", "unpadded.", "interp."))}
    case = {k: (v.to(dtype) if v.is_floating_point() else v).to(device) for k, v in case.items()}
    call = arguments(case)
    run = torch.compile(net) if setting.endswith("-compile") else net
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    seconds, first = [], None
    with torch.inference_mode():
        for _ in range(args.runs + 1):
            wait()
            start = time.perf_counter()
            out = run(**call).logits
            wait()
            elapsed = time.perf_counter() - start
            if first is None:
                first = elapsed
                if device == "cuda":
                    torch.cuda.reset_peak_memory_stats()
            else:
                seconds.append(elapsed)
    parts = out if isinstance(out, dict) else {"": out}
    named = {f"logits.{k}" if k else "logits": v[:1].float().cpu().contiguous() for k, v in parts.items()}
    save_file(named, folder / f"out.{setting}.safetensors")
    return {"first_seconds": first, "seconds": statistics.median(seconds), "fastest_seconds": min(seconds),
            "peak_bytes": peak_bytes(torch, device)}


# -- the whole ----------------------------------------------------------------

def relative_l2(folder: Path, one: str, other: str) -> float | None:
    """Largest distance of any output of `one` from that of `other`."""
    from safetensors.torch import load_file
    try:
        a, b = load_file(folder / f"out.{one}.safetensors"), load_file(folder / f"out.{other}.safetensors")
    except OSError:
        return None
    distance = lambda x, y: float((x.double() - y.double()).norm() / y.double().norm().clamp_min(1e-300))
    return max(distance(a[k].reshape(-1), b[k].reshape(-1)) for k in b)


def torch_row(args: argparse.Namespace, folder: Path, setting: str, batch: int) -> dict[str, Any]:
    command = [sys.executable, __file__, "--worker", setting, "--folder", folder, "--torch-device", args.torch_device,
               "--runs", args.runs, "--threads", args.threads, "--batch", batch]
    try:
        done = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=args.timeout)
    except subprocess.TimeoutExpired:
        return {"error": f"took more than {args.timeout} s"}
    if done.returncode != 0:
        return {"error": (done.stderr.strip().splitlines() or ["died"])[-1][:300]}
    return json.loads(done.stdout.strip().splitlines()[-1])


def engine_row(args: argparse.Namespace, folder: Path, precision: str, batch: int) -> dict[str, Any]:
    common = ["--device", args.device] + (["--precision", precision] if precision != "f32" else [])
    bench = [args.perceiver, "bench", folder, "--runs", args.runs, "--batch", batch, "--json", *common]
    done = subprocess.run([str(c) for c in bench], capture_output=True, text=True, timeout=args.timeout)
    if done.returncode != 0:
        return {"error": (done.stderr.strip().splitlines() or ["died"])[-1][:300]}
    row = json.loads(done.stdout)[0]
    out = folder / f"out.engine-{precision}.safetensors"
    once = [args.perceiver, "run", "--model", folder, "--inputs", folder / "inputs.safetensors", "--outputs", out, *common]
    done = subprocess.run([str(c) for c in once], capture_output=True, text=True, timeout=args.timeout)
    if done.returncode != 0:
        return {"error": (done.stderr.strip().splitlines() or ["died"])[-1][:300]}
    return {"device": row["device"], "first_seconds": row["first_seconds"], "seconds": row["seconds"],
            "fastest_seconds": row["fastest_seconds"], "peak_bytes": row["allocated_bytes"]}


def prepare(args: argparse.Namespace, model: str) -> Path:
    """The checkpoint and its inputs, written once."""
    folder = args.work / model
    if not (folder / "outputs.safetensors").exists():
        subprocess.run([sys.executable, HERE / "golden.py", "--out", args.work, "--models", model, "--size", "full",
                        "--no-f64", "--max-rows", "1", "--threads", str(os.cpu_count() or 1)], check=True)
    return folder


def said(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, cwd=ROOT).stdout.strip()
    except OSError:
        return ""


def machine(args: argparse.Namespace) -> dict[str, Any]:
    import torch
    import transformers
    from golden import processor_name
    devices = said(str(args.perceiver), "devices", "--json")
    return {
        "name": args.name, "processor": processor_name(), "cores": os.cpu_count(), "system": platform.platform(),
        "gpu": torch.cuda.get_device_name() if args.torch_device == "cuda" else None,
        "driver": said("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader") or None,
        "adapters": json.loads(devices) if devices else None,
        "torch": torch.__version__, "transformers": transformers.__version__, "threads": args.threads or None,
        "commit": said("git", "rev-parse", "--short", "HEAD"), "changed_files": bool(said("git", "status", "--porcelain")),
        "date": datetime.date.today().isoformat(),
    }


def main() -> None:
    ap = argparse.ArgumentParser(description=__doc__.splitlines()[0], epilog="Details: the head of this file.")
    ap.add_argument("--models", default="mlm,img-fourier,flow,multimodal", help="of: " + ", ".join(MODELS))
    ap.add_argument("--settings", default=",".join(SETTINGS), help="of PyTorch; f32 is always run")
    ap.add_argument("--precisions", default="f32,f16", help="of the engine")
    ap.add_argument("--batch", default="1", help="items per run, comma-separated")
    ap.add_argument("--runs", type=int, default=10, help="timed runs after the first")
    ap.add_argument("--threads", type=int, default=0, help="of PyTorch on a CPU")
    ap.add_argument("--torch-device", choices=("cuda", "cpu"), default="cuda")
    ap.add_argument("--device", default="gpu", help="of the engine, as `perceiver --device` takes it")
    ap.add_argument("--perceiver", type=Path, default=ROOT / "target/release/perceiver", help="the built command")
    ap.add_argument("--work", type=Path, default=ROOT / "target/side-by-side", help="checkpoints are kept here")
    ap.add_argument("--out", type=Path, default=ROOT / "benches/results")
    ap.add_argument("--name", default=platform.node() or "machine", help="of the machine, for the file's name")
    ap.add_argument("--timeout", type=int, default=1800, help="seconds for one setting")
    ap.add_argument("--worker", choices=SETTINGS, help=argparse.SUPPRESS)
    ap.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = ap.parse_args()
    if args.worker:
        print(json.dumps(worker(args)))
        return
    models, settings = args.models.split(","), args.settings.split(",")
    if unknown := (set(models) - set(MODELS)) | (set(settings) - set(SETTINGS)):
        ap.error(f"unknown: {', '.join(sorted(unknown))}")
    if not args.perceiver.exists():
        ap.error(f"{args.perceiver} does not exist: cargo build --release")
    settings = ["f32"] + [s for s in settings if s != "f32"]
    result: dict[str, Any] = {"kind": "side by side", "machine": machine(args), "runs": args.runs, "rows": []}
    path = args.out / f"{result['machine']['date']}-{args.name}.json"
    for model in models:
        folder = prepare(args, model)
        for batch in map(int, args.batch.split(",")):
            rows = [("torch", s, torch_row(args, folder, s, batch)) for s in settings]
            rows += [("engine", p, engine_row(args, folder, p, batch)) for p in args.precisions.split(",")]
            for who, setting, row in rows:
                name = setting if who == "torch" else f"engine-{setting}"
                if "error" not in row:
                    row["distance_from_torch_f32"] = relative_l2(folder, name, "f32")
                row = {"model": model, "batch": batch, "by": who, "setting": setting, **row}
                result["rows"].append(row)
                figures = row.get("error") or f"{row['seconds']:.4f} s, {(row['peak_bytes'] or 0) / 2**20:.0f} MiB, " \
                    f"distance {row['distance_from_torch_f32']:.1e}"
                print(f"{model:<12} batch {batch}  {who:<6} {setting:<12} {figures}", flush=True)
            # What is measured is on disk before the next model begins.
            args.out.mkdir(parents=True, exist_ok=True)
            partial = path.with_suffix(".tmp")
            partial.write_text(json.dumps(result, indent=1) + "\n")
            partial.replace(path)
    print(path)


if __name__ == "__main__":
    main()
