"""Which shapes are generated: the official configurations, and tiny ones.

A `Shape` has the arguments of PerceiverConfig and a dictionary that says what the
inputs look like.  Everything here depends on the model's name and the variant
number only, never on the seed.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np

MODELS = ("mlm", "seqcls", "img-learned", "img-fourier", "img-conv", "flow", "multimodal")


@dataclass
class Shape:
    config: dict[str, Any]
    data: dict[str, Any] = field(default_factory=dict)


def latent(n: int, d: int, blocks: int, layers: int, self_heads: int, cross_heads: int, *,
           widen: tuple[int, int] = (1, 1), shape: str = "kv", residual: bool = True, **more: Any) -> dict[str, Any]:
    """Config keys common to all models; `widen` is (self-attention, cross-attention)."""
    return dict(num_latents=n, d_latents=d, num_blocks=blocks, num_self_attends_per_block=layers,
                num_self_attention_heads=self_heads, num_cross_attention_heads=cross_heads,
                self_attention_widening_factor=widen[0], cross_attention_widening_factor=widen[1],
                cross_attention_shape_for_attention=shape, use_query_residual=residual, **more)


# -- official ---------------------------------------------------------------

_TEXT = dict(num_latents=256, d_latents=1280, d_model=768, num_blocks=1, num_self_attends_per_block=26,
             num_self_attention_heads=8, num_cross_attention_heads=8, qk_channels=256, v_channels=1280,
             vocab_size=262, max_position_embeddings=2048)
_IMAGE = dict(num_latents=512, d_latents=1024, num_blocks=8, num_self_attends_per_block=6,
              num_self_attention_heads=8, num_cross_attention_heads=1, num_labels=1000)
_FLOW = dict(num_latents=2048, d_latents=512, d_model=322, num_blocks=1, num_self_attends_per_block=24,
             num_self_attention_heads=16, num_cross_attention_heads=1, train_size=[368, 496])
_MULTIMODAL = dict(num_latents=784, d_latents=512, d_model=704, num_blocks=1, num_self_attends_per_block=8,
                   num_self_attention_heads=8, num_cross_attention_heads=1, num_labels=700, image_size=56,
                   num_frames=16, audio_samples_per_frame=1920, samples_per_patch=16,
                   output_shape=[1, 16, 224, 224], output_num_channels=512)
_PHOTO = dict(batch=1, size=(224, 224), raw=(480, 640))


def full(model: str) -> Shape:
    """The configuration of the official checkpoint of this kind."""
    return {
        "mlm": lambda: Shape(dict(_TEXT), dict(lengths=(60,), mask=(52, 61))),
        "seqcls": lambda: Shape(dict(_TEXT), dict(lengths=(60,))),
        "img-learned": lambda: Shape(dict(_IMAGE, d_model=512, image_size=224), dict(_PHOTO)),
        "img-fourier": lambda: Shape(dict(_IMAGE, d_model=261), dict(_PHOTO)),
        "img-conv": lambda: Shape(dict(_IMAGE, d_model=322), dict(_PHOTO)),
        "flow": lambda: Shape(dict(_FLOW), dict(batch=1)),
        "multimodal": lambda: Shape(dict(_MULTIMODAL), dict(batch=1, nchunks=128)),
    }[model]()


# -- tiny, written out ------------------------------------------------------

# The four latent parts that most models share: plain; several blocks and widened;
# "q" shape, no residual; more latents than a workgroup of 64.
_QUERY_SHAPE = dict(widen=(1, 2), shape="q")


def _text(model: str) -> list[Shape]:
    widths = {"mlm": (24, 24, 56, 88), "seqcls": (27, 21, 13, 85)}[model]  # mlm: a multiple of 8 decoder heads
    labels = [{}] * 4 if model == "mlm" else [dict(num_labels=n) for n in (3, 2, 1, 7)]
    latents = [
        latent(9, 40, 1, 3, 8, 8, qk_channels=24, v_channels=40),
        latent(5, 36, 2, 2, 6, 3, widen=(2, 3)),
        latent(33, 28, 1, 4, 4, 2, residual=False, **_QUERY_SHAPE),
        latent(67, 72, 2, 3, 4, 8, qk_channels=40, v_channels=72),
    ]
    lengths = ((41, 17), (33,), (19, 3, 11), (120, 77))
    masks = ((7, 16), (3, 9), (1, 4), (30, 49))
    out = []
    for i, positions in enumerate((50, 37, 21, 131)):
        config = dict(latents[i], d_model=widths[i], max_position_embeddings=positions, **labels[i])
        data: dict[str, Any] = dict(lengths=lengths[i])
        if model == "mlm":
            data["mask"] = masks[i]
        out.append(Shape(config, data))
    return out


def _image(model: str) -> list[Shape]:
    cross_1 = {"img-learned": 4, "img-fourier": 3, "img-conv": 7}[model]
    latents = [
        latent(7, 30, 2, 3, 6, 1),
        latent(10, 42 if model == "img-conv" else 36, 3, 2, 3, cross_1, widen=(2, 1)),
        latent(35, 44, 1, 3, 4, 2, residual=model == "img-learned", **_QUERY_SHAPE),
        latent(66, 76, 2, 2, 4, 1),
    ]
    sizes = {"img-learned": ((9, 9), (6, 6), (8, 8), (13, 13)),
             "img-fourier": ((9, 13), (11, 6), (8, 8), (17, 15)),
             "img-conv": ((32, 36), (27, 44), (24, 24), (53, 47))}[model]
    raws = ((61, 53), (120, 101), (33, 33), (90, 70)) if model == "img-conv" else ((37, 53), (20, 11), (33, 33), (90, 70))
    out = []
    for i, (labels, batch) in enumerate(zip((11, 5, 17, 101), (2, 1, 3, 2))):
        config, data = dict(latents[i], num_labels=labels), dict(batch=batch, size=sizes[i], raw=raws[i])
        if model == "img-learned":
            config["image_size"] = sizes[i][0]
            data["interp"] = ((12, 7), (5, 9), (8, 13), (17, 15))[i]
        out.append(Shape(config, data))
    return out


def _flow() -> list[Shape]:
    return [
        Shape(latent(11, 48, 1, 3, 16, 1, train_size=[9, 13]), dict(batch=2, tiled=(22, 31), overlap=3)),
        Shape(latent(6, 36, 2, 2, 3, 2, widen=(2, 1), train_size=[12, 7]), dict(batch=1, tiled=(12, 16), overlap=2)),
        Shape(latent(34, 44, 1, 3, 4, 2, **_QUERY_SHAPE, train_size=[6, 11]), dict(batch=1, tiled=(13, 12), overlap=4)),
        Shape(latent(70, 112, 1, 4, 16, 7, train_size=[15, 18]), dict(batch=1, tiled=(31, 18), overlap=5)),
    ]


def _multimodal() -> list[Shape]:
    def av(frames: int, side: int, samples: int, patch: int, channels: int, labels: int, label_channels: int) -> dict:
        return dict(num_frames=frames, image_size=side, audio_samples_per_frame=samples, samples_per_patch=patch,
                    output_shape=[1, frames, 4 * side, 4 * side], output_num_channels=channels, num_labels=labels,
                    _label_trainable_num_channels=label_channels)

    return [
        # the label is the widest modality, as in the official model
        Shape(latent(10, 32, 1, 3, 8, 1, **av(3, 4, 32, 16, 24, 433, 411)), dict(batch=1, nchunks=6)),
        # the audio is the widest; two heads need channels divisible by two
        Shape(latent(7, 36, 2, 2, 6, 2, widen=(2, 1), shape="q", **av(2, 3, 36, 6, 15, 19, 33)),
              dict(batch=2, nchunks=4)),
        Shape(latent(34, 28, 1, 4, 4, 1, widen=(1, 2), residual=False, **av(2, 5, 60, 12, 31, 402, 386)),
              dict(batch=1, nchunks=5)),
        Shape(latent(67, 72, 1, 3, 8, 1, **av(4, 6, 48, 16, 40, 500, 512)), dict(batch=1, nchunks=12)),
    ]


# -- tiny, drawn at random --------------------------------------------------

class _Draw:
    def __init__(self, model: str, variant: int):
        self.rng = np.random.default_rng([variant, zlib.crc32(model.encode())])

    def pick(self, *choices: Any) -> Any:
        return choices[int(self.rng.integers(len(choices)))]

    def between(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high + 1))


def _drawn(model: str, variant: int) -> Shape:
    """Shapes drawn from the variant number.  The order of the draws is part of the definition."""
    r = _Draw(model, variant)
    self_heads = r.pick(2, 3, 4, 8)
    # one draw per kind of model, whichever is used
    drawn = {"img-fourier": r.pick(1, 3), "img-conv": r.pick(1, 2, 7), "flow": r.pick(1, 2, 7), "other": r.pick(1, 2)}
    cross_heads = drawn.get(model, drawn["other"])
    unit = int(np.lcm(self_heads, cross_heads))
    d = unit * r.between(max(1, 16 // unit), max(2, 80 // unit))
    attention_shape = r.pick("kv", "kv", "q")
    n, blocks, layers = r.between(3, 70), r.between(1, 3), r.between(1, 4)
    widen = r.between(1, 3), r.between(1, 3)
    config = latent(n, d, blocks, layers, self_heads, cross_heads, widen=widen, shape=attention_shape,
                    residual=r.pick(True, True, False))
    labels = r.between(2, 40)

    if model in ("mlm", "seqcls"):
        positions = r.between(12, 140)
        config.update(d_model=8 * r.between(2, 12) if model == "mlm" else cross_heads * r.between(5, 60),
                      max_position_embeddings=positions)
        if r.pick(True, False):
            config.update(qk_channels=unit * r.between(1, 6), v_channels=d)
        if model == "seqcls":
            config.update(num_labels=labels)
        lengths = tuple(r.between(6, positions - 4) for _ in range(r.between(1, 3)))
        start = r.between(1, lengths[0] // 2)
        data: dict[str, Any] = dict(lengths=lengths)
        if model == "mlm":
            data["mask"] = (start, min(lengths[0] - 1, start + r.between(1, 9)))
        return Shape(config, data)

    if model.startswith("img-"):
        low = 18 if model == "img-conv" else 5
        size = r.between(low, low + 25), r.between(low, low + 25)
        config.update(num_labels=labels)
        if model == "img-learned":
            size = (size[0], size[0])
            config.update(image_size=size[0])
        data = dict(batch=r.between(1, 3), size=size)
        if model == "img-learned":
            data["interp"] = (size[0] + r.between(1, 6), max(3, size[1] - r.between(1, 4)))
        # Far larger than the result: for targets that are not square, the order of Pillow's
        # two resize passes depends on its version unless the width shrinks a lot.
        least = 2 * max(*size, *data.get("interp", size)) + 5
        data["raw"] = r.between(least, least + 80), r.between(least, least + 80)
        return Shape(config, data)

    if model == "flow":
        train = [r.between(5, 20), r.between(5, 20)]
        config.update(train_size=train)
        return Shape(config, dict(batch=r.between(1, 2),
                                  tiled=(train[0] + r.between(0, 20), train[1] + r.between(0, 20)),
                                  overlap=r.between(1, min(train) - 2)))

    frames, side, per_chunk = r.between(2, 4), r.between(2, 7), r.between(2, 6)  # transformers fails with one frame
    patch, nchunks = r.pick(4, 6, 8, 16), r.pick(2, 4)
    config.update(num_labels=r.pick(labels, r.between(410, 480)), image_size=side, num_frames=frames,
                  audio_samples_per_frame=patch * per_chunk * nchunks, samples_per_patch=patch,
                  output_shape=[1, frames, 4 * side, 4 * side], output_num_channels=r.between(5, 40),
                  _label_trainable_num_channels=r.pick(r.between(5, 60), r.between(390, 500)))
    widest = max(patch + 385, 48 + 195, config["num_labels"]) + 4
    if cross_heads > 1 and attention_shape == "kv" and widest % cross_heads:
        config["cross_attention_shape_for_attention"] = "q"
    return Shape(config, dict(batch=r.between(1, 2), nchunks=nchunks))


def tiny(model: str, variant: int) -> Shape:
    if model in ("mlm", "seqcls"):
        written = _text(model)
    elif model.startswith("img-"):
        written = _image(model)
    else:
        written = {"flow": _flow, "multimodal": _multimodal}[model]()
    return written[variant] if variant < len(written) else _drawn(model, variant)


def shape_of(model: str, size: str, variant: int) -> Shape:
    return full(model) if size == "full" else tiny(model, variant)
