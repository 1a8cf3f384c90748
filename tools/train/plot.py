#!/usr/bin/env python3
"""Draw models/NAME/training.svg from models/NAME/training.csv: the loss and the held-out figure over the steps.

    python3 tools/train/plot.py [NAME ...]      # all models without names

Nothing but Python is needed.  The left axis is the loss (a running mean, logarithmic), the right one the
figure on held-out examples; the learning rate is drawn faintly, without an axis.
"""

from __future__ import annotations

import argparse
import csv
import math
from pathlib import Path

HELD_OUT = {
    "flow-tiny": "held-out error / error of predicting no motion",
    "multimodal-tiny": "held-out video, PSNR in dB",
    "shape-tiny": "held-out solids, intersection over union",
    "shapes-tiny": "held-out drawings right",
    "shapes-conv-tiny": "held-out drawings right",
    "text-tiny": "held-out masked bytes right",
}
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 640, 300, 56, 56, 40, 36
LOSS, FIGURE, RATE = "#1f5fa8", "#b8461f", "#cccccc"


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers between two."""
    step = 10 ** math.floor(math.log10((high - low) / count))
    step *= next(m for m in (1, 2, 5, 10) if (high - low) / (step * m) <= count)
    return [i * step for i in range(math.ceil(low / step), math.floor(high / step) + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Round numbers of a logarithmic axis; where it is short, those of a plain one."""
    found = [m * 10.0 ** e for e in range(-4, 4) for m in (1, 2, 5) if low <= m * 10.0 ** e <= high]
    return found if len(found) > 2 else ticks(low, high)


def draw(name: str, rows: list[dict[str, str]]) -> str:
    steps = [int(r["step"]) for r in rows]
    loss = [float(r["train_loss"]) for r in rows]
    rate = [float(r["learning_rate"]) for r in rows]
    figures = [(int(r["step"]), float(r["heldout"])) for r in rows if r["heldout"]]
    low, high = min(loss), max(loss)
    bottom, top = min(f for _, f in figures), max(f for _, f in figures)
    room = 0.05 * (top - bottom) or 0.05
    bottom, top = bottom - room, top + room

    def x(step: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * step / steps[-1]

    def y(share: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share

    def by_loss(v: float) -> float:
        return y(math.log(v / low) / math.log(high / low))

    def by_figure(v: float) -> float:
        return y((v - bottom) / (top - bottom))

    def line(points: list[tuple[float, float]], colour: str, width: float = 1.5) -> str:
        joined = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
        return f'<polyline points="{joined}" fill="none" stroke="{colour}" stroke-width="{width}"/>'

    def text(a: float, b: float, said: str, colour: str, anchor: str) -> str:
        return f'<text x="{a:.1f}" y="{b:.1f}" fill="{colour}" text-anchor="{anchor}">{said}</text>'

    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        'font-family="sans-serif" font-size="11">',
        f"<title>Training of {name}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        text(LEFT, 16, f"{name}: training loss", LOSS, "start"),
        text(WIDTH - RIGHT, 16, HELD_OUT.get(name, "held-out figure"), FIGURE, "end"),
        f'<rect x="{LEFT}" y="{TOP}" width="{WIDTH - LEFT - RIGHT}" height="{HEIGHT - TOP - BOTTOM}" fill="none" stroke="#888888"/>',
        line([(x(s), y(r / max(rate))) for s, r in zip(steps, rate)], RATE, 1.0),
        *(text(x(s), HEIGHT - BOTTOM + 16, f"{s:g}", "#444444", "middle") for s in ticks(0, steps[-1], 8)),
        text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 4, "step (grey: learning rate)", "#444444", "middle"),
        *(text(LEFT - 6, by_loss(v) + 4, f"{v:g}", LOSS, "end") for v in log_ticks(low, high)),
        *(text(WIDTH - RIGHT + 6, by_figure(v) + 4, f"{v:.4g}", FIGURE, "start") for v in ticks(bottom, top)),
        line([(x(s), by_loss(v)) for s, v in zip(steps, loss)], LOSS),
        line([(x(s), by_figure(v)) for s, v in figures], FIGURE),
        *(f'<circle cx="{x(s):.1f}" cy="{by_figure(v):.1f}" r="2" fill="{FIGURE}"/>' for s, v in figures),
        "</svg>",
    ]
    return "\n".join(out) + "\n"


def main() -> None:
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("names", nargs="*", help="default: all that have a log")
    ap.add_argument("--models", type=Path, default=Path("models"), help="folder of the models")
    args = ap.parse_args()
    folders = [args.models / n for n in args.names] or sorted(p.parent for p in args.models.glob("*/training.csv"))
    for folder in folders:
        with (folder / "training.csv").open(newline="") as f:
            rows = list(csv.DictReader(f))
        (folder / "training.svg").write_text(draw(folder.name, rows))
        print(folder / "training.svg")


if __name__ == "__main__":
    main()
