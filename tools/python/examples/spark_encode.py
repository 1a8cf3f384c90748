#!/usr/bin/env python3
"""Encodes pictures with Spark: `mapInArrow` makes states, `applyInArrow` merges those of a picture to its latents.

    python tools/python/examples/spark_encode.py [--model DIR] [--pictures 4]

Needs pyspark, pyarrow and Java 17. Executors need the package, and the model's folder under the same path (or a name on the hub).
"""

import argparse
import functools
import os
import sys
from pathlib import Path

import numpy as np
import perceiver
import pyarrow as pa
from pyspark.sql import SparkSession

MODEL = Path(__file__).resolve().parents[3] / "models" / "shapes-tiny"
SIDE, PIECE, CHANNELS = 32, 128, 3


def states(model, device):
    """From pieces to one state for each picture of a partition."""

    def encode(batches):
        # Imported by the executor; a partition opens the model once.
        loaded = perceiver.Engine(device).load(model)
        encoders = {}
        for batch in batches:
            for row in batch.to_pylist():
                if row["picture"] not in encoders:
                    encoders[row["picture"]] = loaded.encoder(image=(SIDE, SIDE))
                encoders[row["picture"]].push("pixel", row["first"], np.reshape(row["pixels"], (-1, CHANNELS)))
        stored = [encoder.state.to_bytes() for encoder in encoders.values()]
        yield pa.RecordBatch.from_pydict({"picture": pa.array(list(encoders), pa.int64()), "state": pa.array(stored, pa.binary())})

    return encode


def latents(model, device):
    """From the states of a picture to its latents."""

    def finish(table):
        merged = functools.reduce(
            perceiver.EncoderState.merge, map(perceiver.EncoderState.from_bytes, table["state"].to_pylist())
        )
        encoder = perceiver.Engine(device).load(model).encoder(image=(SIDE, SIDE))
        encoder.merge(merged)
        found = [encoder.finish().to_bytes()]
        return pa.table({"picture": table["picture"].slice(0, 1), "latents": pa.array(found, pa.binary())})

    return finish


def main():
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--model", default=str(MODEL))
    options.add_argument("--device", default="cpu")
    options.add_argument("--pictures", type=int, default=4)
    options = options.parse_args()
    random = np.random.default_rng(0)
    pictures = random.random((options.pictures, 3, SIDE, SIDE), dtype=np.float32)
    rows = pictures.reshape(len(pictures), 3, -1).transpose(0, 2, 1)
    pieces = [
        (number, first, rows[number, first : first + PIECE].ravel().tolist())
        for number in range(len(pictures))
        for first in range(0, SIDE * SIDE, PIECE)
    ]
    random.shuffle(pieces)

    # Executors on this machine run the Python that has the package.
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    spark = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false").getOrCreate()
    spark.conf.set("spark.sql.shuffle.partitions", 2)
    table = spark.createDataFrame(pieces, "picture long, first long, pixels array<float>").repartition(3)
    encoded = (
        table.mapInArrow(states(options.model, options.device), "picture long, state binary")
        .groupBy("picture")
        .applyInArrow(latents(options.model, options.device), "picture long, latents binary")
        .orderBy("picture")
        .collect()
    )
    spark.stop()
    whole = perceiver.Engine(options.device).load(options.model).encode(pixel_values=pictures).numpy()
    for row in encoded:
        found = perceiver.Latents.from_bytes(bytes(row.latents)).numpy()[0]
        print(f"picture {row.picture}: latents {np.abs(found - whole[row.picture]).max():.1e} from those of one machine")


if __name__ == "__main__":
    main()
