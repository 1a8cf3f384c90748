#!/usr/bin/env python3
"""Collect English prose from the documentation installed with a Rust toolchain.

Only books whose text is under MIT OR Apache-2.0 are read (see BOOKS; the Embedded
Rust Book, for one, is not).  Writes two UTF-8 files into the output folder, one
paragraph a line and an empty line between pages:

  train.txt     pages to train on
  heldout.txt   about one page in twenty, chosen by the hash of its path; no
                paragraph of it occurs in train.txt
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
from html.parser import HTMLParser
from pathlib import Path

BOOKS = ("book", "reference", "cargo", "nomicon", "edition-guide", "rust-by-example",
         "rustc", "rustdoc", "error_codes", "clippy")
SKIP_PAGES = {"print.html", "toc.html", "404.html", "not_found.html"}  # print.html repeats the whole book
MIN_CHARS = 40


class Paragraphs(HTMLParser):
    """Text of the <p> elements inside <main>, white space collapsed."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[str] = []
        self._main = 0
        self._text: list[str] | None = None

    def handle_starttag(self, tag, attrs):
        if tag == "main":
            self._main += 1
        elif tag == "p" and self._main:
            self._flush()
            self._text = []

    def handle_endtag(self, tag):
        if tag == "main":
            self._flush()
            self._main -= 1
        elif tag == "p":
            self._flush()

    def handle_data(self, data):
        if self._text is not None:
            self._text.append(data)

    def _flush(self):
        if self._text is not None:
            text = " ".join("".join(self._text).split())
            if len(text) >= MIN_CHARS:
                self.found.append(text)
        self._text = None


def read_page(path: Path) -> list[str]:
    parser = Paragraphs()
    parser.feed(path.read_text(encoding="utf-8", errors="ignore"))
    return parser.found


def is_held_out(page: str) -> bool:
    return hashlib.sha256(page.encode()).digest()[0] % 20 == 0


def default_docs() -> Path:
    root = subprocess.run(["rustc", "--print", "sysroot"], check=True, capture_output=True, text=True).stdout.strip()
    return Path(root) / "share/doc/rust/html"


def main() -> None:
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("--docs", type=Path, help="HTML documentation root (default: of the active toolchain)")
    ap.add_argument("--out", type=Path, default=Path("target/train/text-data"))
    args = ap.parse_args()
    docs = args.docs or default_docs()

    pages: dict[bool, list[list[str]]] = {True: [], False: []}
    for book in BOOKS:
        for path in sorted((docs / book).rglob("*.html")):
            if path.name not in SKIP_PAGES and (found := read_page(path)):
                pages[is_held_out(path.relative_to(docs).as_posix())].append(found)

    seen: set[str] = set()  # the held-out pages come first, so a repeated paragraph is lost to training
    args.out.mkdir(parents=True, exist_ok=True)
    counts = {}
    for held_out, name in ((True, "heldout"), (False, "train")):
        kept = []
        for page in pages[held_out]:
            fresh = [p for p in page if not (p in seen or seen.add(p))]
            if fresh:
                kept.append("\n".join(fresh) + "\n")
        data = "\n".join(kept).encode()
        (args.out / f"{name}.txt").write_bytes(data)
        counts[name] = {"pages": len(kept), "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (args.out / "counts.json").write_text(json.dumps(counts, indent=1) + "\n")
    print(json.dumps(counts, indent=1))


if __name__ == "__main__":
    main()
