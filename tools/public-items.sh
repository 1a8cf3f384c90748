#!/usr/bin/env bash
# Documents the workspace, with warnings as errors, counts the public items of the library, as rustdoc sees them, and
# fails where there are more than LIMIT:
#   tools/public-items.sh LIMIT
# What counts: modules, structs, enums, traits, functions, methods, constants, type aliases and macros of this crate
# that can be reached by name from its root. Fields and variants belong to their type; methods that a trait
# declares count once, in the trait; hidden items do not count.
# rustdoc writes JSON only with unstable options, which RUSTC_BOOTSTRAP lets a stable toolchain take. It is set for
# rustdoc alone: cargo would build every dependency again if it saw it.
set -euo pipefail
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}
wrapper=$(mktemp)
trap 'rm -f "$wrapper"' EXIT
printf '#!/bin/sh\nRUSTC_BOOTSTRAP=1 exec rustdoc "$@"\n' > "$wrapper"
chmod +x "$wrapper"
# With the examples, dependencies have the features that lints and tests have built them with.
RUSTDOC="$wrapper" RUSTDOCFLAGS="-D warnings -Z unstable-options --output-format json" \
  cargo doc --quiet --workspace --no-deps --all-features --lib --examples
python3 - "$target/doc/perceiver.json" "$1" <<'PYTHON'
import json, sys
from collections import Counter

document, limit = json.load(open(sys.argv[1])), int(sys.argv[2])
index, seen, count = document["index"], set(), Counter()

def visit(id):
    item = index.get(str(id))
    if item is None or id in seen or item["crate_id"] != 0:
        return
    seen.add(id)
    (kind, inner), = item["inner"].items()
    if kind == "use":
        if inner["id"] is not None:
            visit(inner["id"])
        return
    if kind == "impl":
        if inner["trait"] is None:
            for child in inner["items"]:
                visit(child)
        return
    if kind not in ("struct_field", "variant"):
        count[kind] += 1
    children = inner.get("items", []) if isinstance(inner, dict) else []
    impls = inner.get("impls", []) if isinstance(inner, dict) else []
    for child in [*children, *impls]:
        visit(child)

visit(document["root"])
total = sum(count.values()) - 1  # the root itself
print("  ", total, "public items:", ", ".join(f"{n} {k}" for k, n in count.most_common()))
if total > limit:
    sys.exit(f"more than {limit} public items")
PYTHON
