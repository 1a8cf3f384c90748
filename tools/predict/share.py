"""share.py VARIANTS.json FAMILY=FOLDER...: how much of what AMD's compiler makes of the tiled attentions is work.

VARIANTS.json is what `perceiver kernels attention factored_attention --json` writes; a folder has what `counts.py` reads, which
tells the parts of a shader. A row is a head, a column a variant's share over a whole tile of keys: multiply-adds that the op asks
for (lanes beside a head's channels and its padding are none) among all vector instructions, each loop as often as it is passed.
Of factored attention an exponential of each score is work too. What comes before and after the loop over tiles is left out, and
options that are not asked for, as in `counts.py`. Instructions are counted alike, whatever their rate."""
import json
import math
import sys

from counts import parts

# Channels of keys and of values of a head.
HEADS = {
    "attention": [(32, 32), (64, 64), (96, 96), (128, 128), (160, 160), (32, 160), (64, 512), (261, 261), (322, 322), (704, 704)],
    "factored_attention": [(3, 3), (16, 16), (48, 48), (64, 64)],
}


def vector(part):
    return sum(part[n] for n in ("products", "paired", "other", "slow"))


def share(kernel, found, tile, head):
    if "LINES" in tile:
        # Invocations that keep their own keys: products are written out, tiles have all channels.
        holds = 3 if tile["THREE"] else 4 * tile["CHUNKS"]
        pairs = 4 * tile["KEYS_EACH"] * tile["LINES"]
        return pairs * (sum(head) + 1) / vector({n: sum(t[n] for t in found["tile"]) for n in found["tile"][0]}) if head[0] <= holds else None
    keys_each, groups = tile["KEYS_EACH"], tile["GROUPS"]
    keys, chunk = tile["TX"] * keys_each, 4 * tile["TX"] * tile["COLUMNS_EACH"]
    qk, v = (math.ceil(d / 4) for d in head)
    there = math.ceil(4 * v / chunk)
    turns = math.ceil(there / tile["CHUNKS"])
    if kernel == "factored_attention" and turns > 1:
        return None
    one = lambda kind: {n: sum(t[n] for t in found[kind]) / len(found[kind]) for n in ("products", "paired", "other", "slow")}
    part_work = 4 * groups * keys_each * 4 * qk
    # Products that the compiler has written out are in the part around them.
    total = vector(one("tile"))
    for kind in found["lanes"]:
        total += tile["TX"] * vector(kind)
    for outer, leaf, passes, work in (
        ("slice", "score", math.ceil(qk / 4), part_work),
        ("part", "context", None, 16 * groups * tile["COLUMNS_EACH"] * keys),
    ):
        if outer == "part":
            # What a workgroup has of the chunks: the last of several may have fewer.
            chunks = there / turns
            passes, work = chunks * keys / tile.get("VALUE_TILE", 32), chunks * work
        if found[outer]:
            total += passes * vector(one(outer))
            work -= passes * one(outer)["products"]
        if found[leaf]:
            total += max(work, 0) / max(one(leaf)["products"], 1) * vector(one(leaf))
    pairs = 4 * groups * keys_each
    useful = sum(head) + (1 if kernel == "factored_attention" else 0)
    # Scores are computed anew by each group of columns.
    return pairs * useful / (turns * total)


def main():
    variants = [v for v in json.load(open(sys.argv[1]))["variants"] if v["entry"] in ("tiled", "own") and not v["f16"] and "CHUNKS" in v["constants"]]
    for word in sys.argv[2:]:
        family, folder = word.split("=")
        for kernel, heads in HEADS.items():
            print(f"{family}, {kernel}: " + ", ".join("×".join(map(str, head)) for head in heads))
            best = [0.0] * len(heads)
            for v in variants:
                name = v["kernel"] + "." + v["variant"].replace(" ", "_")
                if v["kernel"] != kernel or v["variant"].endswith("factored"):
                    continue
                found = parts(f"{folder}/{name}.asm", family != "navi21")
                row = [share(kernel, found, v["constants"], head) for head in heads]
                best = [max(b, s or 0.0) for b, s in zip(best, row)]
                print(f"  {v['variant']:18}" + " ".join(f"{s:5.2f}" if s else "    –" for s in row))
            print(f"  {'best':18}" + " ".join(f"{s:5.2f}" for s in best))


if __name__ == "__main__":
    main() if len(sys.argv) > 2 else sys.exit(__doc__)
