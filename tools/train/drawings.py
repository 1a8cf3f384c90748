"""Pictures of sixteen kinds, drawn as they are needed: shapes, letters and textures.

Every picture is u8 [SIZE, SIZE, 3].  Place, size, angle, colours, gradients and noise
are random; edges are smooth (coverage of a pixel from the signed distance to the edge).
"""

from __future__ import annotations

import math

import numpy as np

SIZE = 32
CLASSES = ("circle", "ring", "crescent", "square", "triangle", "star", "cross", "arrow",
           "heart", "letter A", "letter E", "letter T", "stripes", "checkerboard", "dots", "waves")
TEXTURES = 12  # classes from this one on fill the whole picture
LETTERS = {
    "letter A": ((-0.62, 0.9, 0.0, -0.9), (0.0, -0.9, 0.62, 0.9), (-0.36, 0.25, 0.36, 0.25)),
    "letter E": ((-0.5, -0.8, -0.5, 0.8), (-0.5, -0.8, 0.55, -0.8), (-0.5, 0.0, 0.4, 0.0), (-0.5, 0.8, 0.55, 0.8)),
    "letter T": ((-0.65, -0.8, 0.65, -0.8), (0.0, -0.8, 0.0, 0.85)),
}


def box(u, v, cu, cv, hu, hv):
    """Distance to an axis-parallel box (inside: that to the nearest side)."""
    return np.maximum(np.abs(u - cu) - hu, np.abs(v - cv) - hv)


def segment(u, v, x0, y0, x1, y1):
    dx, dy = x1 - x0, y1 - y0
    t = np.clip(((u - x0) * dx + (v - y0) * dy) / (dx * dx + dy * dy), 0, 1)
    return np.hypot(u - x0 - t * dx, v - y0 - t * dy)


def half_planes(u, v, *planes):
    """Distance to the common part of half planes (normal angle in turns, distance of the border)."""
    return np.maximum.reduce([u * math.cos(2 * math.pi * a) + v * math.sin(2 * math.pi * a) - d for a, d in planes])


def star(u, v):
    angle = np.abs(np.mod(np.arctan2(v, u), 2 * math.pi / 5) - math.pi / 5)
    radius = np.hypot(u, v)
    x, y = radius * np.cos(angle), radius * np.sin(angle)  # the notch is on the axis, the tip at a turn / 10
    notch, tip = 0.42, (math.cos(math.pi / 5), math.sin(math.pi / 5))
    nx, ny = tip[1], notch - tip[0]
    return ((x - notch) * nx + y * ny) / math.hypot(nx, ny)


def distance(name: str, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Signed distance to the edge of a shape of radius one, negative inside; v points down."""
    radius = np.hypot(u, v)
    if name == "circle":
        return radius - 0.95
    if name == "ring":
        return np.abs(radius - 0.75) - 0.2
    if name == "crescent":
        return np.maximum(radius - 1, 0.85 - np.hypot(u - 0.5, v))
    if name == "square":
        return box(u, v, 0, 0, 0.8, 0.8)
    if name == "triangle":
        return half_planes(u, v, (0.25, 0.5), (0.25 + 1 / 3, 0.5), (0.25 - 1 / 3, 0.5))
    if name == "star":
        return star(u, v)
    if name == "cross":
        return np.minimum(box(u, v, 0, 0, 1, 0.27), box(u, v, 0, 0, 0.27, 1))
    if name == "arrow":
        head = np.maximum(half_planes(u, v, (0.125, 0.7), (-0.125, 0.7)), 0.1 - u)
        return np.minimum(box(u, v, -0.4, 0, 0.6, 0.2), head)
    if name == "heart":
        lobes = np.minimum(np.hypot(u - 0.42, v + 0.3), np.hypot(u + 0.42, v + 0.3)) - 0.52
        point = np.maximum(half_planes(u, v, (0.125, 0.62), (0.375, 0.62)), -0.15 - v)
        return np.minimum(lobes, point)
    return np.minimum.reduce([segment(u, v, *s) for s in LETTERS[name]]) - 0.2


def texture(name: str, u: np.ndarray, v: np.ndarray, period: np.ndarray) -> np.ndarray:
    """Coverage of a pattern; u and v in pixels, the period too."""
    a, b = 2 * math.pi * u / period, 2 * math.pi * v / period
    steep = period / math.pi
    if name == "stripes":
        return np.clip(0.5 + steep * np.sin(a), 0, 1)
    if name == "checkerboard":
        return np.clip(0.5 + steep * np.sin(a / 1.5) * np.sin(b / 1.5), 0, 1)
    if name == "dots":
        near = np.hypot(np.mod(u, period) - period / 2, np.mod(v, period) - period / 2)
        return np.clip(0.5 + 0.3 * period - near, 0, 1)
    return np.clip(0.5 + steep * np.sin(a + 2.0 * np.sin(b / 2)), 0, 1)


def draw(rng: np.random.Generator, count: int, labels: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Pictures u8 [count, SIZE, SIZE, 3] and labels i64 [count]."""
    if labels is None:
        labels = rng.integers(len(CLASSES), size=count)
    labels = np.asarray(labels, np.int64)

    def number(low: float, high: float) -> np.ndarray:
        return rng.uniform(low, high, (count, 1, 1)).astype(np.float32)

    radius, period = number(7.5, 13), number(6, 11)
    room = np.maximum(SIZE / 2 - radius, 0)
    cx, cy = (SIZE - 1) / 2 + number(-1, 1) * room, (SIZE - 1) / 2 + number(-1, 1) * room
    # letters and hearts stay nearly upright; the others turn freely
    tilted = (labels >= CLASSES.index("heart")) & (labels < TEXTURES)
    angle = np.where(tilted[:, None, None], number(-0.35, 0.35), number(0, 2 * math.pi))
    y, x = np.mgrid[:SIZE, :SIZE].astype(np.float32)
    dx, dy = x - cx, y - cy
    u = np.cos(angle) * dx + np.sin(angle) * dy
    v = -np.sin(angle) * dx + np.cos(angle) * dy

    cover = np.empty((count, SIZE, SIZE), np.float32)
    for label in np.unique(labels):
        i, name = labels == label, CLASSES[label]
        if label >= TEXTURES:
            cover[i] = texture(name, u[i], v[i], period[i])
        else:
            cover[i] = np.clip(0.5 - distance(name, u[i] / radius[i], v[i] / radius[i]) * radius[i], 0, 1)

    back = rng.uniform(0, 1, (count, 3))
    away = rng.standard_normal((count, 3))
    front = np.clip(back + rng.uniform(0.5, 1.0, (count, 1)) * away / np.linalg.norm(away, axis=1, keepdims=True), 0, 1)
    # where clipping has brought the colours close together, take the complement
    close = np.linalg.norm(front - back, axis=1) < 0.35
    front[close] = (back[close] + 0.5) % 1
    slope = rng.uniform(-0.12, 0.12, (2, count, 3)) / SIZE
    picture = back[:, None, None] + (front - back)[:, None, None] * cover[..., None]
    picture += slope[0][:, None, None] * (x - SIZE / 2)[..., None] + slope[1][:, None, None] * (y - SIZE / 2)[..., None]
    picture += rng.uniform(0, 0.06, (count, 1, 1, 1)) * rng.standard_normal(picture.shape)
    return (np.clip(picture, 0, 1) * 255).round().astype(np.uint8), labels
