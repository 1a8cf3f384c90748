#!/usr/bin/env python3
"""Encodes and classifies pictures with Ray Data, on one machine or a cluster.

    python tools/python/examples/ray_encode.py [--model DIR] [--pictures 4]

The pixels of each picture come in pieces, in no order, as a large input would from many files. `EncodeRows` aggregates them: a
worker encodes the pieces it has to a state of fixed size, states travel and merge, one worker finishes. `Classify` is the usual
way for inputs that fit one worker: actors that hold the model, and batches.
"""

import argparse
import functools
from pathlib import Path

import numpy as np
import perceiver
import ray
from ray.data.aggregate import AggregateFnV2
from ray.data.block import BlockAccessor

MODEL = Path(__file__).resolve().parents[3] / "models" / "shapes-tiny"
SIDE, PIECE = 32, 128


@functools.cache
def loaded(model, device):
    """The model of this process. Workers load it themselves: it is large, and devices do not travel."""
    return perceiver.Engine(device).load(model)


class EncodeRows(AggregateFnV2):
    """Latents of the pieces in a column; the accumulator is an encoder's state, as bytes.

    A piece is [rows, 1 + channels]: the number of each row, which follow each other, and its channels. Ray gives an aggregation
    one column.
    """

    def __init__(self, model, device):
        super().__init__("latents", zero_factory=lambda: None, on="piece", ignore_nulls=True)
        self.model, self.device = model, device

    def _encoder(self):
        return loaded(self.model, self.device).encoder(image=(SIDE, SIDE))

    def aggregate_block(self, block):
        encoder = self._encoder()
        for row in BlockAccessor.for_block(block).iter_rows(public_row_format=True):
            piece = row["piece"]
            encoder.push("pixel", int(piece[0, 0]), piece[:, 1:])
        return encoder.state.to_bytes()

    def combine(self, current_accumulator, new):
        one, other = map(perceiver.EncoderState.from_bytes, (current_accumulator, new))
        return one.merge(other).to_bytes()

    def finalize(self, accumulator):
        encoder = self._encoder()
        encoder.merge(perceiver.EncoderState.from_bytes(accumulator))
        return encoder.finish().to_bytes()


class Classify:
    """An actor that holds the model."""

    def __init__(self, model, device):
        self.model = perceiver.Engine(device).load(model)

    def __call__(self, batch):
        logits = self.model.run(pixel_values=batch["pixel_values"])["logits"]
        return {"picture": batch["picture"], "class": logits.argmax(axis=1)}


def main():
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--model", default=str(MODEL))
    options.add_argument("--device", default="cpu")
    options.add_argument("--pictures", type=int, default=4)
    options = options.parse_args()
    random = np.random.default_rng(0)
    pictures = random.random((options.pictures, 3, SIDE, SIDE), dtype=np.float32)
    rows = pictures.reshape(len(pictures), 3, -1).transpose(0, 2, 1)
    places = np.broadcast_to(np.arange(SIDE * SIDE, dtype=np.float32)[:, None], (len(rows), SIDE * SIDE, 1))
    numbered = np.concatenate([places, rows], axis=2)
    pieces = [
        {"picture": number, "piece": numbered[number, first : first + PIECE]}
        for number in range(len(pictures))
        for first in range(0, SIDE * SIDE, PIECE)
    ]
    random.shuffle(pieces)

    encoded = ray.data.from_items(pieces, override_num_blocks=4).groupby("picture", num_partitions=2)
    encoded = encoded.aggregate(EncodeRows(options.model, options.device)).take_all()
    model = loaded(options.model, options.device)
    whole = model.encode(pixel_values=pictures).numpy()
    for row in sorted(encoded, key=lambda row: row["picture"]):
        latents = perceiver.Latents.from_bytes(row["latents"])
        ((_, logits),) = model.decode(latents, "logits")
        away = np.abs(latents.numpy()[0] - whole[row["picture"]]).max()
        print(f"picture {row['picture']}: class {logits[0].argmax()}, latents {away:.1e} from those of one machine")

    items = [{"picture": number, "pixel_values": picture} for number, picture in enumerate(pictures)]
    classes = ray.data.from_items(items).map_batches(
        Classify, fn_constructor_args=(options.model, options.device), batch_size=2, concurrency=1
    )
    for row in sorted(classes.take_all(), key=lambda row: row["picture"]):
        print(f"actor: picture {row['picture']}: class {row['class']}")


if __name__ == "__main__":
    # As a module that workers import too: what a script defines is copied to them, function by function, and nothing is kept.
    import ray_encode

    ray_encode.main()
