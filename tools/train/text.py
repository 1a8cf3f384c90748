#!/usr/bin/env python3
"""Train models/text-tiny: a byte-level Perceiver IO masked language model.

Data: the two files that extract_text.py writes.  The model and the files it is
saved in are those of transformers (PerceiverForMaskedLM).

A training row is [CLS] bytes [SEP] as PerceiverTokenizer gives it.  Most rows are
windows of the text of full length; the others are whole sentences, which leave
room to spare, padded and masked out.  15 % of the bytes of a row are replaced by
[MASK]: single bytes in most rows, else spans (2 to 6 bytes, or one word
with the space before it).  Only the masked positions are decoded in training,
which changes nothing, as decoder queries do not interact.
"""

from __future__ import annotations

import argparse
import math
import re
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from transformers import PerceiverForMaskedLM

from common import export, fit, parser, rng_for, small_config, write_fixture, write_results, xavier

PAD, MASK, CLS, SEP, FIRST_BYTE = 0, 3, 4, 5, 6
MASKED = 0.15
WIDTH = 256


# -- data -------------------------------------------------------------------

class Corpus:
    """Bytes of one text file and where its sentences are."""

    def __init__(self, path: Path):
        raw = path.read_bytes()
        self.ids = np.frombuffer(raw, np.uint8).astype(np.int64) + FIRST_BYTE
        ends = [m.end() for m in re.finditer(rb"[.!?:](?=[ \n])|\n+", raw)]
        begins = [m.end() for m in re.finditer(rb"(?:^|[.!?] |\n)(?=[A-Z`])", raw)]
        self.begins, self.ends = np.array(begins), np.array(ends)

    def log_share(self) -> torch.Tensor:
        """Logarithm of the share of each id, never below that of one occurrence in a million."""
        count = np.bincount(self.ids, minlength=256 + FIRST_BYTE) / len(self.ids)
        return torch.from_numpy(np.log(np.maximum(count, 1e-6))).float()

    def window(self, rng: np.random.Generator, size: int) -> np.ndarray:
        at = int(rng.integers(len(self.ids) - size))
        return self.ids[at : at + size]

    def sentences(self, rng: np.random.Generator, size: int) -> np.ndarray:
        """From a sentence's beginning to the last sentence end within a random limit."""
        at = int(rng.choice(self.begins))
        limit = at + int(rng.integers(size // 3, size + 1))
        last = int(np.searchsorted(self.ends, limit, side="right")) - 1
        end = int(self.ends[last]) if last >= 0 and self.ends[last] > at + 15 else limit
        return self.ids[at : min(end, at + size)]


def mask_bytes(rng: np.random.Generator, text: np.ndarray, count: int, spans: bool) -> np.ndarray:
    """`count` positions of `text` to hide."""
    if not spans:
        return rng.choice(len(text), count, replace=False)
    space = FIRST_BYTE + ord(" ")
    gaps = np.flatnonzero(text == space)
    chosen: set[int] = set()
    while len(chosen) < count:
        if len(gaps) and rng.random() < 0.5:
            start = int(rng.choice(gaps))
            after = gaps[gaps > start]
            stop = min(int(after[0]) if len(after) else len(text), start + 12)
        else:
            start = int(rng.integers(len(text)))
            stop = start + int(rng.integers(2, 7))
        chosen.update(range(start, min(stop, len(text), start + count - len(chosen))))
    return np.fromiter(chosen, np.int64, len(chosen))


def make_batch(corpus: Corpus, rng: np.random.Generator, rows: int, length: int, *,
               sentence_rows: float, span_rows: float) -> dict[str, torch.Tensor]:
    """input_ids and attention_mask [rows, length]; where and target [rows, k], target -100 where unused."""
    room = length - 2
    k = max(1, round(MASKED * room))
    ids, where = np.full((rows, length), PAD), np.zeros((rows, k), np.int64)
    target = np.full((rows, k), -100)
    for r in range(rows):
        take = corpus.sentences if rng.random() < sentence_rows else corpus.window
        text = take(rng, room)
        n = len(text)
        hidden = mask_bytes(rng, text, max(1, round(MASKED * n)), rng.random() < span_rows)
        ids[r, 0], ids[r, 1 : n + 1], ids[r, n + 1] = CLS, text, SEP
        where[r, : len(hidden)] = hidden + 1
        target[r, : len(hidden)] = text[hidden]
        ids[r, hidden + 1] = MASK
    ids = torch.from_numpy(ids)
    return {"input_ids": ids, "attention_mask": (ids != PAD).long(),
            "where": torch.from_numpy(where), "target": torch.from_numpy(target)}


# -- model ------------------------------------------------------------------

def sinusoids(count: int, width: int, waves_of: int | None = None) -> torch.Tensor:
    """Wavelengths from 4 positions to four times the whole length (or another)."""
    place = torch.arange(count, dtype=torch.float32)[:, None]
    rate = 2 * math.pi / torch.logspace(math.log10(4), math.log10(4 * (waves_of or count)), width // 2)
    return torch.stack([torch.sin(place * rate), torch.cos(place * rate)], -1).reshape(count, width)


@torch.no_grad()
def build(length: int, latents: int, layers: int, byte_log_share: torch.Tensor, gain: float = 1.6) -> PerceiverForMaskedLM:
    """A model whose attentions look at matching positions from the first step.

    Input positions, decoder queries and latents are sinusoids of one family (the
    latents at evenly spaced positions), and the query and key projections of each
    attention are one and the same orthogonal matrix, times a gain.  With the default
    initialisation a model of this size stays at byte frequencies for very long;
    here these are given, as the output bias.
    """
    config = small_config(
        num_latents=latents, d_latents=WIDTH, d_model=WIDTH, qk_channels=WIDTH, v_channels=WIDTH,
        num_self_attends_per_block=layers, num_self_attention_heads=8, num_cross_attention_heads=8,
        max_position_embeddings=length)
    model = PerceiverForMaskedLM(config)
    p = model.perceiver
    table = sinusoids(length, WIDTH)
    p.input_preprocessor.embeddings.weight.normal_(0, 1)
    p.input_preprocessor.position_embeddings.weight.copy_(table)
    p.decoder.output_position_encodings.position_embeddings.copy_(table)
    p.embeddings.latents.copy_(table[torch.linspace(0, length - 1, latents).long()])
    encoder, decoder = p.encoder.cross_attention, p.decoder.decoding_cross_attention
    for layer, g in ((encoder, gain), (decoder, gain), *((s, 1.0) for s in p.encoder.self_attends)):
        shared = torch.nn.init.orthogonal_(torch.empty(WIDTH, WIDTH), gain=g)
        layer.attention.self.query.weight.copy_(shared)
        layer.attention.self.key.weight.copy_(shared)
    for layer in (encoder, *p.encoder.self_attends):
        xavier(layer.attention.self.value, layer.mlp.dense1)
        for out in (layer.attention.output.dense, layer.mlp.dense2):
            xavier(out)
            out.weight *= 0.5
    model.embedding_decoder.bias.copy_(byte_log_share)
    return model


@torch.no_grad()
def warm_start(model: PerceiverForMaskedLM, folder: Path) -> None:
    """Begin with the weights of a finished model of the same width that is as long or shorter.

    Further positions, and latents at the old distance from each other, continue the old sinusoids
    (whose wavelengths hang on the old length) and have what the old ones have learnt in common.
    Further layers start as nothing added.
    """
    old = PerceiverForMaskedLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    length, latents = old.config.max_position_embeddings, old.config.num_latents
    longer = model.config.max_position_embeddings
    table = sinusoids(longer, WIDTH, waves_of=length)
    spread = (length - 1) / (latents - 1)
    places = (torch.arange(model.config.num_latents) * spread).round().long().clamp(max=longer - 1)
    weights = model.state_dict()
    for name, value in old.state_dict().items():
        if value.shape == weights[name].shape:
            weights[name] = value
        else:
            start = table[places] if name.endswith("latents") else table
            common = (value - start[: len(value)]).mean(0)
            weights[name] = torch.cat([value, start[len(value) :] + common])
    model.load_state_dict(weights)
    for layer in model.perceiver.encoder.self_attends[old.config.num_self_attends_per_block :]:
        layer.attention.output.dense.weight.zero_()
        layer.mlp.dense2.weight.zero_()


def logits_at(model: PerceiverForMaskedLM, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Logits of the rows `where` only: what the whole model gives there, at less cost."""
    p = model.perceiver
    rows = len(batch["input_ids"])
    embedded = p.input_preprocessor(batch["input_ids"])[0]
    bias = (1.0 - batch["attention_mask"].float())[:, None, None, :] * -1e9
    latents = p.encoder(p.embeddings(batch_size=rows), inputs=embedded, inputs_mask=bias)[0]
    query = F.embedding(batch["where"], p.decoder.output_position_encodings.position_embeddings)
    hidden = p.decoder(query, latents).logits
    return model.embedding_decoder(hidden, embedding_layer=p.input_preprocessor.embeddings)


def loss_of(model: PerceiverForMaskedLM, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    return F.cross_entropy(logits_at(model, batch).float().flatten(0, 1), batch["target"].flatten())


# -- measuring --------------------------------------------------------------

@torch.no_grad()
def accuracy(model: PerceiverForMaskedLM, corpus: Corpus, length: int, *, rows: int, sentence_rows: float,
             span_rows: float, seed: int = 1) -> float:
    """Share of hidden bytes that the class itself ranks first; fixed draws."""
    right = total = 0
    for part in range(rows // 64):
        batch = make_batch(corpus, rng_for(seed, "heldout", part), 64, length,
                           sentence_rows=sentence_rows, span_rows=span_rows)
        logits = model(inputs=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        guess = logits.argmax(-1).gather(1, batch["where"])
        used = batch["target"] != -100
        right += int((guess == batch["target"])[used].sum())
        total += int(used.sum())
    return right / total


SAMPLES = ("The{ program} does not compile.", "You can use the{ cargo} command to build your project.",
           "This function returns{ a} reference to the value.", "The borrow checker{ ensures} that references are valid.")


@torch.no_grad()
def fill(model: PerceiverForMaskedLM, sample: str, length: int) -> str:
    """Fill the span in braces, as a user would with PerceiverTokenizer."""
    before, hidden, after = (s.encode() for s in re.split("[{}]", sample))
    ids = [CLS, *(b + FIRST_BYTE for b in before), *[MASK] * len(hidden), *(b + FIRST_BYTE for b in after), SEP]
    ids = torch.tensor([ids + [PAD] * (length - len(ids))])
    best = model(inputs=ids, attention_mask=(ids != PAD).long()).logits[0].argmax(-1)
    span = best[1 + len(before) : 1 + len(before) + len(hidden)] - FIRST_BYTE
    return bytes(int(b) for b in span.clamp(0, 255)).decode(errors="replace")


def main() -> None:
    ap = parser(__doc__.split("\n")[0], name="text-tiny", steps=2400, batch=48, rate=1e-3)
    ap.add_argument("--data", type=Path, default=Path("target/train/text-data"), help="folder of extract_text.py")
    ap.add_argument("--length", type=int, default=160, help="max_position_embeddings")
    ap.add_argument("--latents", type=int, default=80)
    ap.add_argument("--layers", type=int, default=4)
    ap.add_argument("--sentence-rows", type=float, default=0.2)
    ap.add_argument("--span-rows", type=float, default=0.4)
    ap.add_argument("--span-ramp", type=int, default=800, help="steps until that share of rows is reached")
    args = ap.parse_args()
    if args.heldout_fixture:
        single = dict(sentence_rows=0.0, span_rows=0.0)
        batch = make_batch(Corpus(args.data / "heldout.txt"), rng_for(1, "fixture", 0), 64, args.length, **single)
        return write_fixture(args, **{k: v.numpy().astype(np.int64) for k, v in batch.items()})
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)

    train, heldout = Corpus(args.data / "train.txt"), Corpus(args.data / "heldout.txt")
    model = build(args.length, args.latents, args.layers, train.log_share())
    if args.warm:
        warm_start(model, args.warm)
    print(sum(p.numel() for p in model.parameters()), "parameters", flush=True)

    def loss_at(step: int) -> torch.Tensor:
        spans = args.span_rows * min(1.0, step / args.span_ramp)  # single bytes first: they are easier
        batch = make_batch(train, rng_for(args.seed, "train", step), args.batch, args.length,
                           sentence_rows=args.sentence_rows, span_rows=spans)
        return loss_of(model, batch)

    single = dict(sentence_rows=0.0, span_rows=0.0)
    spent = fit(model, args, loss_at, lambda: accuracy(model, heldout, args.length, rows=256, **single))
    model = export(model, args)
    rows = 2048
    write_results(args, {
        **spent,
        "parameters": sum(p.numel() for p in model.parameters()),
        "heldout_rows": rows,
        "accuracy_single_bytes": accuracy(model, heldout, args.length, rows=rows, **single),
        "accuracy_spans": accuracy(model, heldout, args.length, rows=rows, sentence_rows=0.0, span_rows=1.0),
        "accuracy_single_bytes_sentences": accuracy(model, heldout, args.length, rows=rows, sentence_rows=1.0, span_rows=0.0),
        "fills": {s: fill(model, s, args.length) for s in SAMPLES},
    })


if __name__ == "__main__":
    main()
