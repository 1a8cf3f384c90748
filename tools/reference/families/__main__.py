"""Recorded cases of Perceivers that live inside larger models, run in float64.

    python tools/reference/families OUT [FAMILY...] [--seed S] [--cases N]
    python tools/reference/families tests/fixtures/families [FAMILY...] --fixtures

Writes OUT/FAMILY-K/{config.json,model,inputs,outputs.safetensors}: N cases of random odd shapes a family,
drawn again where rounding weights to float16 moves an output by 2e-3, or exactly the committed ones.
Nothing is downloaded.
"""

from __future__ import annotations

import argparse
import importlib
import os
import random
import sys
import traceback
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import common  # noqa: E402


def drawn(family, name: str, seed: int, k: int):
    """What a seed draws, or the first after it that does not multiply roundings."""
    for turn in range(100):
        spec = family.draw(random.Random(f"{name}/{seed}" + f"/{turn}" * (turn > 0)), k)
        if case := common.steady(family, spec, seed + 7919 * turn):
            return spec, case
    raise ValueError(f"{name}, seed {seed}: no steady case")


def main() -> int:
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("out", type=Path)
    ap.add_argument("families", nargs="*", metavar="FAMILY")
    ap.add_argument("--seed", type=int, default=0)
    ap.add_argument("--cases", type=int, default=3)
    ap.add_argument("--fixtures", action="store_true", help="the committed cases instead of random ones")
    args = ap.parse_args()
    known = sorted(p.stem for p in HERE.glob("*.py") if p.stem not in ("common", "timing", "__main__")
                   and not p.stem.startswith("_"))
    failed = 0
    for name in args.families or known:
        try:
            family = importlib.import_module(name)
            for k in range(len(family.FIXTURES) if args.fixtures else args.cases):
                seed = 1000 + k if args.fixtures else args.seed * 1_000_003 + k
                if args.fixtures:
                    spec = family.FIXTURES[k]
                    case = family.build(spec, seed)
                else:
                    spec, case = drawn(family, name, seed, k)
                folder = args.out / f"{name}-{k}"
                size = common.record(folder, case.config, case.weights, case.inputs, case.outputs)
                spread = case.outputs["output"].double()
                print(f"{folder}  {size} bytes  output {tuple(spread.shape)} sd {float(spread.std()):.3g}  {spec}")
                if args.fixtures and size > common.LIMIT:
                    print(f"  too large: {size} bytes")
                    failed += 1
        except Exception:
            traceback.print_exc()
            failed += 1
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
