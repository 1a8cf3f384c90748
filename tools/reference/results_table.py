#!/usr/bin/env python3
"""Writes the side-by-side tables of docs/performance.md from benches/results/*.json.

    python3 tools/reference/results_table.py           # rewrites what is between the two markers
    python3 tools/reference/results_table.py --check   # fails where the page is not what it would write
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = ROOT / "docs/performance.md"
BEGIN, END = "<!-- side by side: begin -->", "<!-- side by side: end -->"
NAMES = {"mlm": "language", "img-learned": "ImageNet learned", "img-fourier": "ImageNet Fourier",
         "img-conv": "ImageNet convolution", "flow": "flow", "multimodal": "multimodal, 1/128 of outputs"}


def mebibytes(row: dict[str, Any]) -> str:
    return f"{row['peak_bytes'] / 2**20:.0f} MiB" if row.get("peak_bytes") else "-"


def tables(path: Path) -> list[str]:
    """One file: where it was measured, then a line a model, batch and precision."""
    result = json.loads(path.read_text())
    m = result["machine"]
    where = f"{m['gpu']}, driver {m['driver']}" if m["gpu"] else f"{m['processor']}, {m['threads'] or m['cores']} threads"
    engines = sorted({r["device"] for r in result["rows"] if r["by"] == "engine" and "error" not in r})
    lines = [f"**{where}**; engine on {', '.join(engines) or 'nothing'}; torch {m['torch']}, transformers "
             f"{m['transformers']}; {m['date']}, commit {m['commit']}"
             f"{' with changes' if m['changed_files'] else ''} (`benches/results/{path.name}`)", "",
             "| model | batch | engine | PyTorch eager f32 | best PyTorch | against eager f32 | against best | "
             "memory | PyTorch eager f32's | distance |", "|---|---|---|---|---|---|---|---|---|---|"]
    groups: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for row in result["rows"]:
        groups.setdefault((row["model"], row["batch"]), []).append(row)
    for (model, batch), rows in groups.items():
        torch = [r for r in rows if r["by"] == "torch" and "error" not in r]
        eager = next((r for r in torch if r["setting"] == "f32"), None)
        for row in (r for r in rows if r["by"] == "engine"):
            if "error" in row or eager is None:
                what = row.get("error", "no PyTorch run")
                lines.append(f"| {NAMES[model]} | {batch} | {row['setting']}: {what} | | | | | | | |")
                continue
            # f32 is compared with what computes in f32, f16 with anything.
            rivals = [r for r in torch if row["setting"] != "f32" or r["setting"].startswith("f32")]
            best = min(rivals, key=lambda r: r["seconds"])
            lines.append(
                f"| {NAMES[model]} | {batch} | {row['setting']}: {row['seconds']:.4g} s | {eager['seconds']:.4g} s "
                f"| {best['setting']}: {best['seconds']:.4g} s | {eager['seconds'] / row['seconds']:.2f} "
                f"| {best['seconds'] / row['seconds']:.2f} | {mebibytes(row)} | {mebibytes(eager)} "
                f"| {row['distance_from_torch_f32']:.1e} |")
    return lines + [""]


def main() -> None:
    files = sorted((ROOT / "benches/results").glob("*.json"))
    body = [line for f in files if json.loads(f.read_text()).get("kind") == "side by side" for line in tables(f)]
    page = PAGE.read_text()
    before, rest = page.split(BEGIN)
    after = rest.split(END)[1]
    wanted = before + "\n".join([BEGIN, "", *body]) + END + after
    if "--check" in sys.argv:
        if wanted != page:
            raise SystemExit("docs/performance.md is not what results_table.py writes: run it")
        return
    PAGE.write_text(wanted)


if __name__ == "__main__":
    main()
