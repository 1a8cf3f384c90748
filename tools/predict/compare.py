"""compare.py MEASURED.json PREDICTED.json: how well a prediction orders and scales what was measured.

MEASURED is what `perceiver profile MODEL --json` writes, PREDICTED what `perceiver plan MODEL --predict CARD --json` does. Launches
and dispatches are joined by stage, kernel, variant, operations and bytes. Or MEASURED is a table of lines KERNEL, SHAPE,
VARIANT, SECONDS (as `h200.tsv` beside this) and PREDICTED what `perceiver kernels --predict CARD --json` writes.

Prints the rank correlation (Spearman's), and the ratio of measured to predicted time: median, and the tenth and ninetieth per cent."""
import json
import statistics
import sys


def ranks(values):
    order = sorted(range(len(values)), key=values.__getitem__)
    rank = [0] * len(values)
    for place, i in enumerate(order):
        rank[i] = place
    return rank


def correlation(pairs):
    return statistics.correlation(*(ranks(list(side)) for side in zip(*pairs)))


def joined(measured, predicted):
    if measured.endswith(".json"):
        launches = json.load(open(measured))["launches"]
        table = json.load(open(predicted))["prediction"]["dispatches"]
        key = lambda d: (d["stage"], d["kernel"], d["variant"].split(" ")[0], d["flops"], d["bytes"])
        of = {key(d): d["each"]["seconds"] for d in table}
        times = {}
        for launch in launches:
            times.setdefault(key(launch), []).append(launch["seconds"])
        return {k: (statistics.median(t), of[k]) for k, t in times.items() if k in of}
    table = json.load(open(predicted))["dispatches"]
    of = {(d["kernel"], d["shape"], d["variant"]): d["each"]["seconds"] for d in table}
    rows = [line.rstrip("\n").split("\t") for line in open(measured) if not line.startswith("#")]
    return {tuple(r[:3]): (float(r[3]), of[tuple(r[:3])]) for r in rows if tuple(r[:3]) in of}


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    found = joined(*sys.argv[1:])
    kernels = sorted({key[1] if len(key) > 3 else key[0] for key in found})
    print(f"{'':20} {'pairs':>6} {'rank corr.':>10} {'measured / predicted: median':>29} {'10 %':>6} {'90 %':>6}")
    for kernel in kernels + ["all"]:
        pairs = [p for key, p in found.items() if kernel in ("all", key[1] if len(key) > 3 else key[0])]
        ratios = sorted(measured / predicted for measured, predicted in pairs)
        at = lambda part: ratios[min(len(ratios) - 1, int(part * len(ratios)))]
        order = f"{correlation(pairs):10.2f}" if len(pairs) > 2 else f"{'':10}"
        print(f"{kernel:20} {len(pairs):6} {order} {at(0.5):29.2f} {at(0.1):6.2f} {at(0.9):6.2f}")
