"""Parts shared by the training scripts: the loop, checkpoints, the log, export."""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import time
from pathlib import Path
from typing import Callable

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import numpy as np
import torch
from safetensors.numpy import save_file
from transformers import PerceiverConfig, PreTrainedModel

LOG_FIELDS = ("step", "seconds", "learning_rate", "train_loss", "heldout")


def parser(description: str, *, name: str, steps: int, batch: int, rate: float) -> argparse.ArgumentParser:
    """Options that all scripts have."""
    ap = argparse.ArgumentParser(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    ap.add_argument("--steps", type=int, default=steps, help="optimiser steps of the whole schedule")
    ap.add_argument("--batch", type=int, default=batch, help="examples a step")
    ap.add_argument("--rate", type=float, default=rate, help="peak learning rate")
    ap.add_argument("--warmup", type=int, default=200, help="steps of linear warm-up")
    ap.add_argument("--weight-decay", type=float, default=1e-2)
    ap.add_argument("--seed", type=int, default=0, help="initial weights and training data")
    ap.add_argument("--threads", type=int, default=2, help="torch threads")
    ap.add_argument("--bf16", type=int, default=0, metavar="N",
                    help="bfloat16 matrix products (autocast) in the first N steps; for processors that have them")
    ap.add_argument("--log-every", type=int, default=50)
    ap.add_argument("--eval-every", type=int, default=200)
    ap.add_argument("--save-every", type=int, default=200, help="steps between resumable checkpoints")
    ap.add_argument("--work", type=Path, default=Path("target/train") / name, help="checkpoint and log")
    ap.add_argument("--out", type=Path, default=Path("models") / name, help="where the finished model goes")
    ap.add_argument("--warm", type=Path, metavar="MODEL",
                    help="begin with the weights of this finished model; its log and its counts come before this run's")
    ap.add_argument("--export-only", action="store_true", help="no training: export and measure the checkpoint")
    ap.add_argument("--heldout-fixture", type=Path, metavar="FILE",
                    help="no training: write a few held-out examples as safetensors, for the tests")
    return ap


def rng_for(seed: int, stream: str, step: int) -> np.random.Generator:
    """The generator of one step's data.  It depends on the step alone, so a resumed run sees the same data."""
    return np.random.default_rng([seed, sum(stream.encode()), step])


def learning_rate(step: int, args: argparse.Namespace) -> float:
    """Linear warm-up, then a cosine down to zero at the last step."""
    warm = min(1.0, (step + 1) / args.warmup)
    return args.rate * warm * 0.5 * (1 + math.cos(math.pi * step / args.steps))


def replanned(args: argparse.Namespace) -> int:
    """Steps of the schedule: a number in the file `steps` of the work folder takes the place of `--steps`, also while
    a run goes on, for machines on which nobody knows how long a step takes tomorrow."""
    try:
        args.steps = int((args.work / "steps").read_text())
    except (OSError, ValueError):
        pass
    return args.steps


def fit(model: PreTrainedModel, args: argparse.Namespace, loss_at: Callable[[int], torch.Tensor],
        heldout: Callable[[], float]) -> dict:
    """Train, continuing from the checkpoint in `args.work` if there is one.

    `loss_at(step)` makes the step's data and returns its loss; `heldout()` is a
    quick figure for the log.  Returns {"steps", "seconds"} over all runs.
    """
    args.work.mkdir(parents=True, exist_ok=True)
    checkpoint, log = args.work / "checkpoint.pt", args.work / "log.csv"
    decay = [p for p in model.parameters() if p.dim() >= 2]
    plain = [p for p in model.parameters() if p.dim() < 2]
    optimizer = torch.optim.AdamW([{"params": decay, "weight_decay": args.weight_decay},
                                   {"params": plain, "weight_decay": 0.0}], lr=args.rate, betas=(0.9, 0.98))
    start, before = 0, 0.0
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        start, before = saved["step"], saved["seconds"]
        print(f"continuing at step {start}", flush=True)
    elif not args.export_only:
        with log.open("w", newline="") as f:
            csv.writer(f).writerow(LOG_FIELDS)
        if args.warm:
            (args.work / "warm.csv").write_bytes((args.warm / "training.csv").read_bytes())
    if args.export_only:
        return {"steps": start, "seconds": round(before)}

    def save(step: int, seconds: float) -> None:
        part = checkpoint.with_suffix(".part")
        torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(),
                    "step": step, "seconds": seconds}, part)
        part.replace(checkpoint)

    began, mean, seconds, done = time.perf_counter(), None, before, start
    model.train()
    while done < replanned(args):
        step = done
        rate = learning_rate(step, args)
        for group in optimizer.param_groups:
            group["lr"] = rate
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=step < args.bf16):
            loss = loss_at(step)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

        value = loss.item()
        mean = value if mean is None else 0.95 * mean + 0.05 * value
        done, seconds = step + 1, before + time.perf_counter() - began
        if done % args.log_every == 0 or done == args.steps:
            figure = ""
            if done % args.eval_every == 0 or done == args.steps:
                model.eval()
                figure = f"{heldout():.4f}"
                model.train()
            row = (done, f"{seconds:.1f}", f"{rate:.6f}", f"{mean:.4f}", figure)
            with log.open("a", newline="") as f:
                csv.writer(f).writerow(row)
            print(*(f"{k} {v}" for k, v in zip(LOG_FIELDS, row)), flush=True)
        if done % args.save_every == 0:
            save(done, seconds)
    save(done, seconds)
    model.eval()
    return {"steps": done, "seconds": round(seconds)}


def export(model: PreTrainedModel, args: argparse.Namespace) -> PreTrainedModel:
    """Write the model in float16 with `save_pretrained` and load it again in float32.

    What is measured afterwards is therefore what the files hold.
    """
    model.config.architectures = [type(model).__name__]
    model.half().save_pretrained(args.out)
    if (args.work / "log.csv").exists():
        write_log(args)
    return type(model).from_pretrained(args.out, dtype=torch.float32, local_files_only=True).eval()


def read_log(path: Path) -> list[dict[str, str]]:
    """The rows; of a step that was taken again after a break, the last one."""
    with path.open(newline="") as f:
        rows = {int(r["step"]): r for r in csv.DictReader(f)}
    return [rows[step] for step in sorted(rows)]


def write_log(args: argparse.Namespace) -> None:
    """training.csv: this run's log, after that of the model that it began with (whose copy the work folder keeps,
    as the new model may take its place)."""
    rows = read_log(args.work / "log.csv")
    before = args.work / "warm.csv"
    if args.warm and before.exists():
        old = read_log(before)
        steps, seconds = int(old[-1]["step"]), float(old[-1]["seconds"])
        rows = old + [{**r, "step": int(r["step"]) + steps, "seconds": f"{float(r['seconds']) + seconds:.1f}"} for r in rows]
    with (args.out / "training.csv").open("w", newline="") as f:
        out = csv.DictWriter(f, LOG_FIELDS)
        out.writeheader()
        out.writerows(rows)


def write_fixture(args: argparse.Namespace, **arrays: np.ndarray) -> None:
    """Held-out examples for tests/accuracy.rs."""
    args.heldout_fixture.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: np.ascontiguousarray(a) for name, a in arrays.items()}, args.heldout_fixture)


def write_results(args: argparse.Namespace, results: dict) -> None:
    text = json.dumps(results, indent=1)
    (args.out / "results.json").write_text(text + "\n")
    print(text, flush=True)


def small_config(**more) -> PerceiverConfig:
    """One block of one-times-widened layers, no dropout."""
    return PerceiverConfig(num_blocks=1, attention_probs_dropout_prob=0.0, self_attention_widening_factor=1,
                           cross_attention_widening_factor=1, **more)


@torch.no_grad()
def xavier(*layers: torch.nn.Linear) -> None:
    for layer in layers:
        torch.nn.init.xavier_uniform_(layer.weight)
