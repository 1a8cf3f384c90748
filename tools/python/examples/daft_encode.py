#!/usr/bin/env python3
"""Encodes and classifies pictures with Daft.

    python tools/python/examples/daft_encode.py [--model DIR] [--pictures 4]

The pixels of each picture come in pieces, in no order. `encode` makes a state of each piece where it lies; the states of a picture,
of fixed size, are gathered and merged to its latents. `classify` runs batches of whole pictures with the model held by its worker.
"""

import argparse
import functools
from pathlib import Path

import daft
import numpy as np
import perceiver
from daft import DataType, Series, col

MODEL = Path(__file__).resolve().parents[3] / "models" / "shapes-tiny"
SIDE, PIECE = 32, 128


@daft.cls
class Pictures:
    """The model of a worker, made when its first rows come."""

    def __init__(self, model: str, device: str):
        self.model = perceiver.Engine(device).load(model)

    def _encoder(self):
        return self.model.encoder(image=(SIDE, SIDE))

    @daft.method(return_dtype=DataType.binary())
    def encode(self, first: int, pixels: np.ndarray) -> bytes:
        encoder = self._encoder()
        encoder.push("pixel", first, pixels)
        return encoder.state.to_bytes()

    @daft.method(return_dtype=DataType.binary())
    def finish(self, states: list[bytes]) -> bytes:
        encoder = self._encoder()
        encoder.merge(functools.reduce(perceiver.EncoderState.merge, map(perceiver.EncoderState.from_bytes, states)))
        return encoder.finish().to_bytes()

    @daft.method.batch(return_dtype=DataType.int64(), batch_size=8)
    def classify(self, pictures: Series) -> np.ndarray:
        return self.model.run(pixel_values=np.stack(pictures.to_pylist()))["logits"].argmax(axis=1)


def main():
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--model", default=str(MODEL))
    options.add_argument("--device", default="cpu")
    options.add_argument("--pictures", type=int, default=4)
    options = options.parse_args()
    random = np.random.default_rng(0)
    pictures = random.random((options.pictures, 3, SIDE, SIDE), dtype=np.float32)
    rows = pictures.reshape(len(pictures), 3, -1).transpose(0, 2, 1)
    places = [(number, first) for number in range(len(pictures)) for first in range(0, SIDE * SIDE, PIECE)]
    random.shuffle(places)
    worker = Pictures(options.model, options.device)

    pieces = daft.from_pydict(
        {
            "picture": [int(number) for number, _ in places],
            "first": [int(first) for _, first in places],
            "pixels": [rows[number, first : first + PIECE] for number, first in places],
        }
    )
    states = pieces.select("picture", worker.encode(col("first"), col("pixels")).alias("state"))
    gathered = states.groupby("picture").agg(col("state").list_agg().alias("states"))
    encoded = gathered.select("picture", worker.finish(col("states")).alias("latents")).sort("picture").to_pydict()
    model = perceiver.Engine(options.device).load(options.model)
    whole = model.encode(pixel_values=pictures).numpy()
    for number, latents in zip(encoded["picture"], map(perceiver.Latents.from_bytes, encoded["latents"])):
        ((_, logits),) = model.decode(latents, "logits")
        away = np.abs(latents.numpy()[0] - whole[number]).max()
        print(f"picture {number}: class {logits[0].argmax()}, latents {away:.1e} from those of one machine")

    items = daft.from_pydict({"picture": list(range(len(pictures))), "pixel_values": list(pictures)})
    classes = items.select("picture", worker.classify(col("pixel_values")).alias("class")).sort("picture").to_pydict()
    for number, found in zip(classes["picture"], classes["class"]):
        print(f"batch: picture {number}: class {found}")


if __name__ == "__main__":
    main()
