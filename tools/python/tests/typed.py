"""What a type checker must accept, and where `type: ignore` stands refuse."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import perceiver

engine = perceiver.Engine("cpu", precision="f32", memory_budget="1GiB")
perceiver.Engine(precision="f8")  # type: ignore[arg-type]
name: str = engine.devices[0]["name"]
model: perceiver.Model = perceiver.Model.load("folder", engine=engine, part=None)
model = perceiver.Model.load(b"weights", config={"model_type": "perceiver"})
perceiver.Model.load(5)  # type: ignore[arg-type]
shape: tuple[int | None, ...] = model.inputs[0].shape
told: Callable[[int, int], None] = lambda done, total: None
outputs: dict[str, npt.NDArray[np.float32]] = model.run(inputs=np.zeros((1, 2)), progress=told)
outputs = model.run({"input_ids": [[1, 2]], "attention_mask": None}, intermediates=True)
outputs = model.run(inputs={"image": np.zeros(3), "label": None})
latents: perceiver.Latents = model.encode(input_ids=[[1]])[0]
for queries, rows in model.decode(latents, "logits", queries=range(10)):
    first: slice = queries
    values: npt.NDArray[np.float32] = rows
encoder = model.encoder(image=(32, 32))
encoder.push("pixel", 0, np.zeros((4, 3)))
state: perceiver.EncoderState = perceiver.EncoderState.from_bytes(encoder.state.merge(encoder.state).to_bytes())
encoder.merge(b"state")  # type: ignore[arg-type]
text: str = model.fill_mask("a[MASK]")["text"]
texts: list[str] = [filled["text"] for filled in model.fill_mask(["a[MASK]"])]
decibels: float | None = model.autoencode(np.zeros((1, 2, 2, 3), np.uint8))["video_psnr"]
model.flow(1, 2, overlap="wide")  # type: ignore[arg-type]
module: object = object()
other: perceiver.Model = perceiver.from_transformers(module)
