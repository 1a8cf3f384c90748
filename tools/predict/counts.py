"""counts.py OUT.json FAMILY=FOLDER...: what AMD's compiler makes of each part of a shader, for `src/measure/predict`.

A folder has, for one family of AMD's GPUs, the assembly of every variant (KERNEL.VARIANT.asm, subgroups of 64) and the
driver's table of statistics (FAMILY.tsv: a line of names, then a line a variant), of SPIR-V that `perceiver kernels --emit
spirv` wrote. The parts of a shader are its loops, which are told apart by where they lie and by whether they multiply:

    once      what lies before the outermost loop; what follows it depends on the op and is estimated
    segment   factored_attention: the loop around the tiles of keys
    tile      the loop over slices (gemm) or tiles of keys (attentions) without the loops in it; all of it where invocations
              keep their own keys
    slice     attentions: the loop over slices of queries and keys, without the product in it
    score     the product of queries and keys; of gemm the product, where it is a loop of its own
    lanes     loops over the lanes of a row in workgroup memory; other small loops are rare and left out
    part      attentions: the loop over parts of a chunk of values, without the product in it
    context   the product of weights and values

Numbers of a part, of one lane and one pass: multiply-adds; other vector instructions that RDNA3 and 4 run for 64 lanes in one
cycle; other vector instructions; instructions at a quarter of the rate; products of cooperative matrices; bytes to and from
workgroup memory; bytes to and from memory; cycles that a subgroup waits which has a SIMD to itself. Of several chunks the mean.
A branch that all lanes of a subgroup take or leave together, around text without loops and products, is an option that is
not asked for (a mask, a carried state): it is left out. A branch of lanes around exponentials rescales sums when a maximum
has passed their reference, which is rare: left out, too. Others are counted as if some lane went each way."""
import collections
import json
import re
import sys

BYTES = {"u8": 1, "i8": 1, "b8": 1, "u16": 2, "i16": 2, "b16": 2, "b32": 4, "b64": 8, "b96": 12, "b128": 16,
         "ubyte": 1, "ushort": 2, "short": 2, "dword": 4, "dwordx2": 8, "dwordx3": 12, "dwordx4": 16}
NUMBERS = ["products", "paired", "other", "slow", "matrix", "shared", "memory", "waits"]
# Cycles until what was loaded is there: from workgroup memory, and from memory or a cache.
SHARED_LATENCY, MEMORY_LATENCY, BARRIER = 64, 400, 32


def width(op):
    words = [BYTES[word] for word in op.split("_") if word in BYTES]
    return words[-1] * (2 if "_2addr_" in op or "read2" in op or "write2" in op else 1) if words else 0


def numbers(op):
    n = collections.Counter()
    if op.startswith("v_wmma"):
        n["matrix"] = 1
    elif re.match(r"v_(dual_)?(fma|fmac|mac|mad)_?(ak|mk)?.*_f32|v_(fmaak|fmamk)", op) or op.startswith("v_dot2"):
        n["products"] = 1
    elif op.startswith("v_fma_mix"):
        n["products"], n["other"] = 1, 0.5  # not run for 64 lanes at once
    elif re.match(r"v_(exp|rcp|rsq|sqrt|log|mul_lo|mul_hi|mad_u64|mad_co_u64)", op):
        n["slow"] = 1
    elif re.match(r"v_(mul|add|sub|subrev|max|min)_f32|v_mov_b32", op):
        n["paired"] = 1
    elif op.startswith("v_"):
        n["other"] = 1
    elif op.startswith("ds_") and not op.startswith("ds_bpermute"):
        n["shared"] = width(op)
    elif re.match(r"(buffer|global|flat)_(load|store)", op):
        n["memory"] = width(op)
    elif op.startswith("scratch_"):
        n["memory"] = width(op)
    return n


def parsed(path):
    """Instructions, the spans of loops by their beginning, outer ones first, and which instructions are options."""
    starts, code = {}, []
    for line in open(path):
        label = re.match(r"^\s*(BB\d+):", line)
        if label:
            starts[label.group(1)] = len(code)
            continue
        found = re.match(r"^\s+([a-z]\w*)\s*(.*?)(;.*)?$", line)
        if found:
            code.append((found.group(1), found.group(2)))
    spans, jumps = {}, []
    for i, (op, args) in enumerate(code):
        if op.startswith(("s_cbranch", "s_branch")):
            to = re.search(r"(BB\d+)", args)
            if to and starts.get(to.group(1), i + 1) <= i:
                first = starts[to.group(1)]
                spans[first] = max(spans.get(first, 0), i)
            elif to and re.match("s_cbranch_(scc|vcc|execz)", op):
                jumps.append((i, starts[to.group(1)]))
    options = set()
    for a, b in jumps:
        rare = any(op.startswith("v_exp") for op, _ in code[a:b]) and not any(op.startswith("s_barrier") for op, _ in code[a:b])
        if code[a][0] == "s_cbranch_execz":
            options.update(range(a + 1, b) if rare else [])
            continue
        looping = any(a < first < b or a < last < b for first, last in spans.items())
        few = sum(numbers(op)["products"] + 64 * numbers(op)["matrix"] for op, _ in code[a:b]) < 16
        if few and (rare or not looping):
            options.update(range(a + 1, b))
    return code, sorted(spans.items(), key=lambda span: (span[0], -span[1])), options


def cycles(op, dual):
    n = numbers(op)
    if n["matrix"]:
        return 32
    if n["slow"]:
        return 8
    if n["products"] or n["paired"]:
        return 1 if dual else 2
    return 2 if op.startswith("v_") else 1


def waits(code, dual):
    """Cycles of a second pass, less those of its instructions, for a subgroup that has a SIMD to itself."""
    now, spent, shared, memory = 0, 0, [], []
    for _ in range(2):
        begun, spent = now, 0
        for op, args in code:
            now += cycles(op, dual)
            spent += cycles(op, dual)
            if op.startswith("ds_"):
                now += width(op) // 2 if width(op) > 2 else 0  # 64 lanes, 128 bytes a cycle
                spent += width(op) // 2 if width(op) > 2 else 0
                shared.append(now + SHARED_LATENCY)
            elif re.match(r"(buffer|global|flat|scratch)_load", op):
                memory.append(now + MEMORY_LATENCY)
            elif op.startswith("s_barrier") and "signal" not in op:
                now += BARRIER
            elif op.startswith("s_wait"):
                limits = {k: int(v) for k, v in re.findall(r"(\w+)\((\d+)\)", args)}
                plain = re.match(r"\s*(0x[0-9a-f]+|\d+)\s*$", args)
                if plain and op.startswith(("s_wait_dscnt", "s_wait_loadcnt")):
                    limits["lgkmcnt" if "ds" in op else "vmcnt"] = int(plain.group(1), 0)
                for name, queue in (("lgkmcnt", shared), ("vmcnt", memory)):
                    if name in limits:
                        while len(queue) > limits[name]:
                            now = max(now, queue.pop(0))
        took = now - begun
    return max(0, took - spent)


def parts(path, dual):
    code, spans, options = parsed(path)
    inside = lambda a, b: b[0] <= a[0] and a[1] <= b[1] and a != b
    whole = (0, len(code) - 1)
    children = lambda span: [s for s in spans if inside(s, span) and not any(inside(s, t) and inside(t, span) for t in spans)]

    def own(span):
        kids = children(span)
        within = lambda i: i not in options and not any(a <= i <= b for a, b in kids)
        ops = [code[i] for i in range(span[0], span[1] + 1) if within(i)]
        total = collections.Counter()
        for op, _ in ops:
            total.update(numbers(op))
        total["waits"] = waits(ops, dual) if span in spans else 0
        return total

    def multiplies(span):
        total = collections.Counter()
        for op, _ in code[span[0] : span[1] + 1]:
            total.update(numbers(op))
        return total["products"] + 64 * total["matrix"]

    found = collections.defaultdict(list)
    kernel = path.split("/")[-1].split(".")[0]
    main = max(children(whole), key=multiplies)
    found["once"].append(own((0, main[0] - 1)))
    if kernel == "factored_attention":
        found["segment"].append(own(main))
        main = max(children(main), key=multiplies)
    found["tile"].append(own(main))
    products = [s for s in children(main) if multiplies(s) >= 16]
    for s in children(main):
        if s not in products and s[0] not in options and own(s)["shared"]:
            found["lanes"].append(own(s))
    for i, s in enumerate(products):
        inner = [t for t in children(s) if multiplies(t) >= 16]
        outer, leaf = ("slice", "score") if i == 0 else ("part", "context")
        if inner:
            found[outer].append(own(s))
            for t in inner:
                found[leaf].append(own(t))
        else:
            found[leaf].append(own(s))
    return found


def mean(kind, totals):
    # Loops over lanes are all passed, chunks one by one.
    count = 1 if kind == "lanes" else len(totals)
    return [round(sum(t[n] for t in totals) / count, 1) for n in NUMBERS]


if __name__ == "__main__" and len(sys.argv) > 2:
    families = {}
    for word in sys.argv[2:]:
        family, folder = word.split("=")
        lines = [line.rstrip("\n").split("\t") for line in open(f"{folder}/{family}.tsv")]
        names = next(line for line in lines if line[0] == "#name")
        variants = {}
        for line in lines:
            if line[0].startswith("#") or len(line) != len(names):
                continue
            told = dict(zip(names, line))
            kinds = parts(f"{folder}/{line[0]}.asm", family != "navi21")
            variants[line[0]] = {
                "registers": int(told["VGPRs"]),
                "spilled": int(told["Spilled_VGPRs"]),
                "code": int(told["Code_size"]),
                "parts": {kind: mean(kind, totals) for kind, totals in kinds.items()},
            }
        families[family] = variants
    with open(sys.argv[1], "w") as out:
        out.write("{\n")
        for i, (family, variants) in enumerate(families.items()):
            out.write(f' "{family}": {{\n')
            rows = [f"  {json.dumps(name)}: {json.dumps(v, separators=(',', ':'))}" for name, v in sorted(variants.items())]
            out.write(",\n".join(rows) + "\n }" + ("," if i + 1 < len(families) else "") + "\n")
        out.write("}\n")
elif __name__ == "__main__":
    sys.exit(__doc__)
