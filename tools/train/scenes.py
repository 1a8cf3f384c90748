"""Short clips of one moving shape with its sound, made as they are needed.

Video: FRAMES frames of SIDE x SIDE pixels; a plain shape moves at constant speed before a
background of two colours that blend into each other.  Sound: PER_FRAME samples a frame.
Its pitch follows the height of the shape, its loudness the place from left to right and the
size, and its timbre is the shape's own.  The label says what moves where.
"""

from __future__ import annotations

import math

import numpy as np

from drawings import distance

FRAMES, SIDE, PER_FRAME, RATE = 8, 24, 128, 2048
SHAPES = ("circle", "triangle", "cross")
WAYS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
LABELS = tuple(f"{shape} {way}" for shape in SHAPES for way in WAYS)
TIMBRES = {"circle": (1.0,), "triangle": (0.7, 0.5), "cross": (0.7, 0.0, 0.5)}  # amplitudes of the harmonics


def make_clips(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Video u8 [count, FRAMES, SIDE, SIDE, 3], sound i16 [count, samples], labels i64 [count]."""
    labels = rng.integers(len(LABELS), size=count)
    shape, way = labels // len(WAYS), np.array(list(WAYS.values()))[labels % len(WAYS)]
    radius, speed = rng.uniform(4, 6.5, count), rng.uniform(0.8, 1.6, count)
    tilt = rng.uniform(-0.3, 0.3, count)
    # the middle of the path is near the middle of the picture, so that the shape stays in sight
    middle = (SIDE - 1) / 2 + rng.uniform(-1, 1, (count, 2)) * np.where(way == 0, 5.0, 2.0)
    times = np.arange(FRAMES) - (FRAMES - 1) / 2
    centre = middle[:, None] + (speed[:, None] * times)[..., None] * way[:, None]  # [count, FRAMES, 2]: x, y

    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    dx, dy = (p - centre[..., axis, None, None] for axis, p in enumerate((x, y)))
    cos, sin, r = (v[:, None, None, None] for v in (np.cos(tilt), np.sin(tilt), radius))
    u, v = (cos * dx + sin * dy) / r, (cos * dy - sin * dx) / r
    cover = np.empty(u.shape, np.float32)
    for i, name in enumerate(SHAPES):
        mine = shape == i
        cover[mine] = np.clip(0.5 - distance(name, u[mine], v[mine]) * r[mine], 0, 1)

    back = rng.uniform(0, 1, (2, count, 3))
    front = rng.uniform(0, 1, (count, 3))
    close = np.linalg.norm(front - back.mean(0), axis=1) < 0.5
    front[close] = np.round(1 - back.mean(0)[close])
    turn = rng.uniform(0, 2 * math.pi, (count, 1, 1))
    blend = 0.5 + (np.cos(turn) * (x - SIDE / 2) + np.sin(turn) * (y - SIDE / 2)) / (1.5 * SIDE)
    ground = (back[0][:, None, None] * (1 - blend[..., None]) + back[1][:, None, None] * blend[..., None])[:, None]
    video = ground + (front[:, None, None, None] - ground) * cover[..., None]
    video += 0.01 * rng.standard_normal(video.shape)

    # sound: the path goes on between the frames
    at = np.arange(FRAMES * PER_FRAME) / PER_FRAME - FRAMES / 2
    path = middle[:, None] + (speed[:, None] * at)[..., None] * way[:, None]
    pitch = 60.0 + 80.0 * np.clip(1 - path[..., 1] / SIDE, 0, 1)  # Hz
    loud = 0.2 + 0.6 * np.clip(path[..., 0] / SIDE, 0, 1) * (radius[:, None] / 6.5)
    phase = 2 * math.pi * (np.cumsum(pitch, 1) / RATE + rng.random((count, 1)))
    sound = np.zeros_like(phase)
    for i, name in enumerate(SHAPES):
        mine = shape == i
        sound[mine] = sum(a * np.sin((k + 1) * phase[mine]) for k, a in enumerate(TIMBRES[name]))
    sound = loud * sound + 0.01 * rng.standard_normal(sound.shape)
    return ((np.clip(video, 0, 1) * 255).round().astype(np.uint8), (np.clip(sound, -1, 1) * 32767).astype(np.int16),
            labels)
