#!/usr/bin/env python3
"""Train models/multimodal-tiny: an autoencoder of short clips, their sound and their label.

Data: scenes.py, made as they are needed.  The model and the files it is saved in are
those of transformers (PerceiverForMultimodalAutoencoding): 16 numbers of sound or 4 x 4
pixels an input, all modalities through one encoder and one decoder.  The label is
always masked at the input, so that decoding it is classification.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from transformers import PerceiverForMultimodalAutoencoding

from align import Wave, align, folded_context, fourier_waves, grid_points, layer_after, pick, point_features, self_layer, turn
from common import export, fit, parser, rng_for, small_config, write_fixture, write_results, xavier
from scenes import FRAMES, LABELS, PER_FRAME, SIDE, make_clips

PATCH, CELL = 16, 4
ROWS = SIDE // CELL
SOUND = FRAMES * PER_FRAME // PATCH  # inputs of each modality
PICTURE = FRAMES * ROWS * ROWS
CONTENT = 3 * CELL * CELL
POINTS = FRAMES * SIDE * SIDE
HEADS, GLOBAL = 8, 16


def tensors(video: np.ndarray, sound: np.ndarray) -> dict[str, torch.Tensor]:
    """What the class is called with."""
    return {
        "image": torch.from_numpy(video).permute(0, 1, 4, 2, 3).float() / 255,
        "audio": torch.from_numpy(sound).float()[..., None] / 32768,
        "label": torch.zeros(len(video), len(LABELS)),
    }


# -- initial weights --------------------------------------------------------

@torch.no_grad()
def build(width: int, layers: int) -> PerceiverForMultimodalAutoencoding:
    """Latents: a grid over frames, rows and columns; places along the sound; a few that stand for no place.

    The first channels of a latent hold the features of its place: 6 waves of the pictures, 3 of the
    sound, and one channel that tells the two apart.  Inputs and queries of both modalities share their
    channels, so that the features of the one are chance numbers to the other; this last channel, which
    the padding of each modality feeds, keeps latents and inputs of different kinds from matching.
    """
    grid, places = (FRAMES // 2, ROWS, ROWS), 16
    config = small_config(
        num_latents=math.prod(grid) + places + GLOBAL, d_latents=width, qk_channels=width, v_channels=width,
        num_self_attends_per_block=layers, num_self_attention_heads=HEADS, num_cross_attention_heads=HEADS,
        num_frames=FRAMES, image_size=ROWS, audio_samples_per_frame=PER_FRAME, samples_per_patch=PATCH,
        output_shape=[1, FRAMES, SIDE, SIDE], output_num_channels=64, _label_trainable_num_channels=64,
        d_model=PATCH + 385 + 4, id2label=dict(enumerate(LABELS)), label2id={n: i for i, n in enumerate(LABELS)})
    model = PerceiverForMultimodalAutoencoding(config)
    p = model.perceiver
    for module in (p.input_preprocessor, p.decoder):
        channels = module.num_channels if hasattr(module, "num_channels") else module.num_query_channels
        for name, sign in (("audio", 1.0), ("image", -1.0), ("label", 0.0)):
            padding = module.padding[name]
            padding.normal_(0, 0.02)
            kind = channels - (4 if module is p.input_preprocessor else 2)  # channels that are padding in both
            padding[:, kind - (channels - padding.shape[1]) :] = 1.5 * sign
    p.input_preprocessor.mask["label"].normal_(0, 0.02)

    # The waves as the encoder's inputs have them; those of the queries are as near as the bands allow.
    # Queries lie at -1 + 2 i / n, inputs at linspace(-1, 1): e = scale * d + shift.
    resolution, ears = (FRAMES, ROWS, ROWS), (FRAMES * PER_FRAME,)
    seen = fourier_waves(resolution, 32, CONTENT, [[0, 15], [0, 11], [0, 11]])
    heard = fourier_waves(ears, 192, PATCH, [[0, 2, 4]], 1.4)
    asked = fourier_waves(resolution, 32, 0, [[2, 19], [3, 16], [3, 16]])
    told = fourier_waves(ears, 192, 0, [[0, 2, 4]], 1.4)
    used = kind = 2 * (len(seen) + len(heard))

    latents = p.embeddings.latents
    latents.normal_(0, 0.02)
    cells, along = slice(0, math.prod(grid)), slice(math.prod(grid), math.prod(grid) + places)
    latents[along.stop :].normal_(0, 0.25)
    latents[along.stop :, : used + 1] = 0
    latents[cells, : 2 * len(seen)] = point_features(grid_points(grid, resolution), seen)
    latents[along, 2 * len(seen) : used] = point_features(grid_points((places,), (SOUND,)), heard)
    latents[cells, kind], latents[along, kind] = -1.0, 1.0

    encoder, decoder = p.encoder.cross_attention, p.decoder.decoder.decoding_cross_attention
    both = [*seen, *(Wave(3, w.frequency, w.sine, w.cosine, w.weight) for w in heard)]
    offsets = torch.zeros(HEADS, 4)  # half of the heads for each of two frames; two for each of four patches of sound
    for h in range(HEADS):
        offsets[h, 0] = (h % 2 - 0.5) * 2 / (FRAMES - 1)
        offsets[h, 3] = (h // 2 - 1.5) * 2 / (SOUND - 1)
    inputs = positions_of(model)[:-1]
    inputs[:, :PATCH] = 0.3 * torch.randn(len(inputs), PATCH)
    inputs[SOUND:, :CONTENT] = 0.5 + 0.3 * torch.randn(PICTURE, CONTENT)
    align(encoder.attention.self, latents[: along.stop], inputs, both, offsets, sharpness=2.0)
    each = width // HEADS
    for h in range(HEADS):
        encoder.attention.self.query.weight[h * each + used, kind] = 0.7
        encoder.attention.self.key.weight[h * each + used, -4:] = 1.0
    value = encoder.attention.self.value.weight.normal_(0, 0.02)
    value[:, :CONTENT] += torch.randn(width, CONTENT) * 2 * CONTENT ** -0.5

    attention = decoder.attention.self
    for linear in (attention.query, attention.key):
        linear.weight.normal_(0, 0.01)
    shift = torch.tensor([1 / FRAMES, 1 / SIDE, 1 / SIDE, 0.0])
    asked = [*asked, *(Wave(3, w.frequency, w.sine, w.cosine, w.weight) for w in told)]
    gain = math.sqrt(4.0 * math.sqrt(width) / (1.4 * 2.0))
    channels = p.decoder.num_query_channels
    attention.query.weight[:used] += gain * turn(asked, shift) @ pick(asked, channels)
    attention.key.weight[:used, :used] += gain * torch.eye(used)
    attention.query.weight[used, -2:] = 2.0
    attention.key.weight[used, kind] = 4.0

    for layer in p.encoder.self_attends:
        xavier(layer.attention.self.query, layer.attention.self.key, layer.attention.self.value)
    xavier(attention.value)
    for layer in (encoder, decoder, *p.encoder.self_attends):
        xavier(layer.attention.output.dense, layer.mlp.dense1, layer.mlp.dense2)
        if layer is not decoder:
            layer.attention.output.dense.weight *= 0.7
            layer.mlp.dense2.weight *= 0.7
            layer.attention.output.dense.weight[: used + 1] *= 0.1  # leave the places nearly as they are
            layer.mlp.dense2.weight[: used + 1] *= 0.1
    xavier(p.decoder.decoder.final_layer)
    post = p.output_postprocessor.modalities
    xavier(post["image"].classifier, post["audio"].classifier, post["label"].classifier)
    post["image"].classifier.bias.fill_(0.5)
    return model


# -- the class's own result, at less cost -----------------------------------

def positions_of(model: PerceiverForMultimodalAutoencoding) -> torch.Tensor:
    """What is the same in the inputs of all clips [SOUND + PICTURE + 1, C]: positions, padding, the masked label."""
    pre = model.perceiver.input_preprocessor
    out = []
    for name, size, first in (("audio", (SOUND,), PATCH), ("image", (FRAMES, ROWS, ROWS), CONTENT)):
        places = pre.modalities[name].position_embeddings(size, batch_size=1, device="cpu", dtype=torch.float32)[0]
        padding = pre.padding[name].expand(len(places), -1)
        out.append(torch.cat([torch.zeros(len(places), first), places, padding], 1))
    return torch.cat([*out, pre.mask["label"]], 0)


def content_of(x: dict[str, torch.Tensor]) -> torch.Tensor:
    """The first channels of all inputs [B, SOUND + PICTURE + 1, CONTENT]."""
    batch = len(x["image"])
    sound = F.pad(x["audio"].reshape(batch, SOUND, PATCH), (0, CONTENT - PATCH))
    cells = x["image"].reshape(batch, FRAMES, 3, ROWS, CELL, ROWS, CELL).permute(0, 1, 3, 5, 4, 6, 2)
    return torch.cat([sound, cells.reshape(batch, PICTURE, CONTENT), torch.zeros(batch, 1, CONTENT)], 1)


def decode(model: PerceiverForMultimodalAutoencoding, x: dict[str, torch.Tensor],
           points: torch.Tensor) -> dict[str, torch.Tensor]:
    """Results at `points` of the pictures, of all the sound, and of the label."""
    p = model.perceiver
    encoder, latents = p.encoder.cross_attention, p.embeddings.latents
    hidden = layer_after(encoder, latents,
                         folded_context(encoder.attention.self, latents, content_of(x), positions_of(model)))
    for layer in p.encoder.self_attends:
        hidden = self_layer(layer, hidden)
    sizes = {"audio": SOUND, "image": PICTURE, "label": 1}
    wanted = {"audio": torch.arange(SOUND), "image": points, "label": None}
    query = p.decoder.decoder_query(torch.zeros(1, sum(sizes.values()), 1), sizes, None, wanted)[0]
    layer = p.decoder.decoder.decoding_cross_attention
    attention = layer.attention.self
    normed = attention.layernorm2(hidden)
    asked = attention.query(attention.layernorm1(query)).expand(len(hidden), 1, -1, -1)
    mixed = F.scaled_dot_product_attention(asked, attention.key(normed)[:, None], attention.value(normed)[:, None])
    out = p.decoder.decoder.final_layer(layer_after(layer, 0.0, mixed[:, 0]))
    post = p.output_postprocessor.modalities
    sound, picture, label = out.split([SOUND, len(points), 1], 1)
    return {"audio": post["audio"].classifier(sound).flatten(1), "image": post["image"].classifier(picture),
            "label": post["label"].classifier(label)[:, 0]}


def errors(out: dict[str, torch.Tensor], x: dict[str, torch.Tensor],
           points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean square errors of each clip's pictures and sound."""
    picture = x["image"].permute(0, 1, 3, 4, 2).flatten(1, 3)[:, points]
    return ((out["image"] - picture).square().mean((1, 2)),
            (out["audio"].reshape(len(picture), -1) - x["audio"][..., 0]).square().mean(1))


# -- measuring --------------------------------------------------------------

@torch.no_grad()
def measure(model: PerceiverForMultimodalAutoencoding, clips: int, forward) -> dict[str, float]:
    """Held-out clips: share of right labels, mean PSNR of the pictures, signal to noise ratio of the sound."""
    right, psnr, noise, signal = 0, [], 0.0, 0.0
    for part in range(clips // 16):
        video, sound, labels = make_clips(rng_for(1, "heldout", part), 16)
        x = tensors(video, sound)
        points = torch.arange(POINTS)
        out = forward(x, points)
        picture, ear = errors(out, x, points)
        right += int((out["label"].argmax(-1).numpy() == labels).sum())
        psnr += (-10 * picture.log10()).tolist()
        noise, signal = noise + float(ear.sum()), signal + float(x["audio"].square().mean((1, 2)).sum())
    return {"clips": clips, "label_accuracy": right / clips, "video_psnr_db": float(np.mean(psnr)),
            "sound_snr_db": 10 * math.log10(signal / noise)}


def main() -> None:
    ap = parser(__doc__.split("\n")[0], name="multimodal-tiny", steps=3000, batch=16, rate=1e-3)
    ap.add_argument("--width", type=int, default=192, help="d_latents")
    ap.add_argument("--layers", type=int, default=4)
    ap.add_argument("--label-weight", type=float, default=1.5, help="of the cross-entropy in the loss")
    ap.add_argument("--points", type=int, default=384, help="pixels decoded of each clip in training")
    args = ap.parse_args()
    if args.heldout_fixture:
        video, sound, labels = make_clips(rng_for(1, "fixture", 0), 16)
        return write_fixture(args, video=video, sound=sound, labels=labels)
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    model = build(args.width, args.layers)
    print(sum(p.numel() for p in model.parameters()), "parameters", flush=True)

    def loss_at(step: int) -> torch.Tensor:
        rng = rng_for(args.seed, "train", step)
        video, sound, labels = make_clips(rng, args.batch)
        x, points = tensors(video, sound), torch.from_numpy(rng.integers(0, POINTS, args.points))
        out = decode(model, x, points)
        picture, ear = errors(out, x, points)
        return 30 * picture.mean() + 10 * ear.mean() + args.label_weight * F.cross_entropy(out["label"], torch.from_numpy(labels))

    def quick() -> float:
        found = measure(model, 64, lambda x, points: decode(model, x, points))
        print(found, flush=True)
        return found["video_psnr_db"]

    def whole(x: dict[str, torch.Tensor], points: torch.Tensor) -> dict[str, torch.Tensor]:
        return model(inputs=x, subsampled_output_points={"image": points, "audio": torch.arange(SOUND),
                                                         "label": None}).logits

    spent = fit(model, args, loss_at, quick)
    model = export(model, args)
    write_results(args, {**spent, "parameters": sum(p.numel() for p in model.parameters()),
                         "heldout": measure(model, 256, whole)})


if __name__ == "__main__":
    main()
