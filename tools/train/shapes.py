#!/usr/bin/env python3
"""Train models/shapes-tiny and, with --conv, models/shapes-conv-tiny: classifiers of small drawings.

Data: drawings.py, made as they are needed.  The models and the files they are saved in
are those of transformers (PerceiverForImageClassificationFourier and ...ConvProcessing).
"""

from __future__ import annotations

import json
import sys

import numpy as np
import torch
import torch.nn.functional as F
from transformers import PerceiverForImageClassificationConvProcessing, PerceiverForImageClassificationFourier

from align import align, align_neighbours, folded_context, fourier_waves, grid_points, layer_after, point_features, self_layer
from common import export, fit, parser, rng_for, small_config, write_fixture, write_results, xavier
from drawings import CLASSES, SIZE, draw

COLOURS, FEATURES, BANDS = 3, 64, 64
PROCESSOR = {
    "image_processor_type": "PerceiverImageProcessor", "do_center_crop": True, "do_resize": True, "do_rescale": True,
    "do_normalize": True, "crop_size": {"height": SIZE, "width": SIZE}, "size": {"height": SIZE, "width": SIZE},
    "resample": 3, "rescale_factor": 1 / 255, "image_mean": [0.5] * 3, "image_std": [0.5] * 3,
}


def pixel_values(pictures: np.ndarray) -> torch.Tensor:
    """u8 [B, H, W, 3] -> f32 [B, 3, H, W] in [-1, 1]."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1


@torch.no_grad()
def build(conv: bool, width: int, layers: int) -> torch.nn.Module:
    """A model whose latents are a grid, each looking at the pixels (or features) of its cell."""
    # Fourier: 8 heads for every second of the 4 x 4 pixels of a cell.  Convolution: one feature vector per latent.
    grid, split = ((7, 7), FEATURES) if conv else ((8, 8), COLOURS)
    heads = 8
    config = small_config(
        num_latents=grid[0] * grid[1], d_latents=width, d_model=split + 258, qk_channels=width, v_channels=width,
        num_self_attends_per_block=layers, num_self_attention_heads=8, num_cross_attention_heads=heads,
        id2label=dict(enumerate(CLASSES)), label2id={name: i for i, name in enumerate(CLASSES)})
    model = (PerceiverForImageClassificationConvProcessing if conv else PerceiverForImageClassificationFourier)(config)
    p = model.perceiver
    size, resolution = (grid, 56) if conv else ((SIZE, SIZE), 224)
    bands = [0, 2, 4] if conv else [0, 1, 2, 4]
    waves = fourier_waves((resolution,) * 2, BANDS, split, [bands] * 2)
    p.embeddings.latents.normal_(0, 0.02)
    p.embeddings.latents[:, : 2 * len(waves)] = point_features(grid_points(grid, size), waves)

    inputs = positions_of(model, size)
    inputs[:, :split] = torch.randn(len(inputs), split) * 0.5
    inside = torch.zeros(heads, 2)
    if not conv:
        inside = torch.tensor([(y - 1.5, x - 1.5) for y in range(4) for x in range(4) if (y + x) % 2 == 0]) * 2 / (SIZE - 1)
    encoder = p.encoder.cross_attention
    attention = encoder.attention.self
    align(attention, p.embeddings.latents, inputs, waves, inside, sharpness=4.0 if conv else 2.0)
    attention.value.weight.normal_(0, 0.002)
    content = attention.value.weight.view(heads, width // heads, -1)[:, :, :split]
    if conv:
        content.normal_(0, 1.5 * split ** -0.5)
    else:
        content[:] = torch.randn(width // heads, COLOURS)  # the same colours of all heads
    step = 2 * SIZE / grid[1] / (SIZE - 1)
    around = torch.tensor([(y * step, x * step) for y in (-1, 0, 1) for x in (-1, 0, 1) if y or x])
    for i, layer in enumerate(p.encoder.self_attends):
        xavier(layer.attention.self.query, layer.attention.self.key, layer.attention.self.value)
        if not conv and i < layers - 1:
            align_neighbours(layer.attention.self, waves, around, sharpness=1.5)
    decoder = p.decoder.decoder.decoding_cross_attention
    xavier(decoder.attention.self.query, decoder.attention.self.key, decoder.attention.self.value)
    for layer in (encoder, decoder, *p.encoder.self_attends):
        xavier(layer.attention.output.dense, layer.mlp.dense1, layer.mlp.dense2)
        layer.attention.output.dense.weight *= 0.7
        layer.mlp.dense2.weight *= 0.7
        if not conv and layer is not decoder:  # leave the places nearly as they are
            layer.attention.output.dense.weight[: 2 * len(waves)] *= 0.1
            layer.mlp.dense2.weight[: 2 * len(waves)] *= 0.1
    if not conv:
        # differences of the pixels of a cell: edges, whatever the colours; a few channels keep the mean
        mixed = encoder.attention.output.dense.weight
        each = mixed[2 * len(waves) + 16 :].view(-1, heads, width // heads)
        each.normal_(0, 2 * width ** -0.5)
        each -= each.mean(1, keepdim=True)
    return model


def positions_of(model: torch.nn.Module, size: tuple[int, int]) -> torch.Tensor:
    """The position channels [H * W, C] of the model's inputs, zero where the picture is."""
    encoding = model.perceiver.input_preprocessor.position_embeddings
    places = encoding(size, batch_size=1, device="cpu", dtype=torch.float32)[0]
    return F.pad(places, (model.config.d_model - places.shape[1], 0))


def logits_of(model: torch.nn.Module, values: torch.Tensor) -> torch.Tensor:
    """What the class itself gives, at less cost (see align.folded_context)."""
    p = model.perceiver
    if hasattr(p.input_preprocessor, "convnet"):
        values = p.input_preprocessor.convnet(values)
    positions = positions_of(model, tuple(values.shape[2:]))
    encoder, latents = p.encoder.cross_attention, p.embeddings.latents
    context = folded_context(encoder.attention.self, latents, values.flatten(2).transpose(1, 2), positions)
    hidden = layer_after(encoder, latents, context)
    for layer in p.encoder.self_attends:
        hidden = self_layer(layer, hidden)
    return p.decoder(p.decoder.decoder_query(hidden), hidden).logits


@torch.no_grad()
def measure(model: torch.nn.Module, count: int, forward) -> tuple[float, np.ndarray]:
    """Share of right classes among held-out drawings, and the table [truth, answer]."""
    table = np.zeros((len(CLASSES),) * 2, np.int64)
    for part in range(count // 64):
        pictures, labels = draw(rng_for(1, "heldout", part), 64)
        answers = forward(pixel_values(pictures)).argmax(-1).numpy()
        np.add.at(table, (labels, answers), 1)
    return float(np.trace(table) / table.sum()), table


def main() -> None:
    conv = "--conv" in sys.argv
    ap = parser(__doc__.split("\n")[0], name="shapes-conv-tiny" if conv else "shapes-tiny", steps=3000, batch=64,
                rate=1e-3)
    ap.add_argument("--conv", action="store_true", help="the model with a convolution before it")
    ap.add_argument("--width", type=int, default=128, help="d_latents")
    ap.add_argument("--layers", type=int, default=4)
    args = ap.parse_args()
    if args.heldout_fixture:
        pictures, labels = draw(rng_for(1, "fixture", 0), 96)
        return write_fixture(args, pictures=pictures, labels=labels)
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    model = build(conv, args.width, args.layers)
    if args.warm:
        model.load_state_dict(type(model).from_pretrained(args.warm, dtype=torch.float32, local_files_only=True).state_dict())
    print(sum(p.numel() for p in model.parameters()), "parameters", flush=True)

    def loss_at(step: int) -> torch.Tensor:
        pictures, labels = draw(rng_for(args.seed, "train", step), args.batch)
        return F.cross_entropy(logits_of(model, pixel_values(pictures)).float(), torch.from_numpy(labels))

    spent = fit(model, args, loss_at, lambda: measure(model, 1024, lambda v: logits_of(model, v))[0])
    model = export(model, args)
    (args.out / "preprocessor_config.json").write_text(json.dumps(PROCESSOR, indent=2) + "\n")
    accuracy, table = measure(model, 4096, lambda v: model(inputs=v).logits)
    write_results(args, {
        **spent,
        "parameters": sum(p.numel() for p in model.parameters()),
        "heldout": {"pictures": int(table.sum()), "accuracy": accuracy},
        "accuracy_by_class": {n: round(float(table[i, i] / table[i].sum()), 4) for i, n in enumerate(CLASSES)},
    })


if __name__ == "__main__":
    main()
