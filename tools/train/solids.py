"""Random solids with exact occupancy: up to four primitives in random pose, joined, intersected and cut.

A solid is the left-to-right combination of its primitives: union = min, intersection = max, difference = max(d, -s) of
signed distances.  Its sign is exact (its size is a bound only).  Surface points are drawn evenly on the surfaces of the
primitives and kept where the distance of the whole is zero, so they are even on the surface of the solid.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

KINDS = ("sphere", "box", "cylinder", "torus", "ellipsoid")
SPHERE, BOX, CYLINDER, TORUS, ELLIPSOID = range(5)
NONE, UNION, INTERSECTION, DIFFERENCE = range(4)
PARTS = 4
MIN_SHARE = 0.03  # of the cube [-1, 1]^3 that a solid fills
MIN_EFFECT = 0.08  # of a solid's volume that each of its operations changes


@dataclass
class Solids:
    """B solids of K parts.  A point p is ((p - centre) @ pose) in the axes of a part."""

    kind: np.ndarray  # [B, K]
    op: np.ndarray  # [B, K]; NONE: no such part
    size: np.ndarray  # [B, K, 3]: r | half sides | r, half height | ring, tube | half axes
    pose: np.ndarray  # [B, K, 3, 3]
    centre: np.ndarray  # [B, K, 3]

    def __getitem__(self, which) -> "Solids":
        return Solids(self.kind[which], self.op[which], self.size[which], self.pose[which], self.centre[which])

    def moved(self, middle: np.ndarray, scale: np.ndarray) -> "Solids":
        """(p - middle) * scale of each solid."""
        s = scale[:, None, None]
        return Solids(self.kind, self.op, self.size * s, self.pose, (self.centre - middle[:, None]) * s)

    def stages(self, points: np.ndarray) -> list[np.ndarray]:
        """Signed distance [B, P] at points [B, P, 3] after the first part, the second, ..."""
        b, k = self.kind.shape
        out = np.full((b, k, points.shape[1]), np.inf, np.float32)
        for kind in range(len(KINDS)):
            solid, part = np.nonzero((self.kind == kind) & (self.op != NONE))
            if len(solid):
                local = (points[solid] - self.centre[solid, part, None]) @ self.pose[solid, part]
                out[solid, part] = distance(kind, local, self.size[solid, part, None])
        stages = [out[:, 0]]
        for i in range(1, k):
            d, s, op = stages[-1], out[:, i], self.op[:, i, None]
            joined = np.where(op == UNION, np.minimum(d, s), np.maximum(d, np.where(op == DIFFERENCE, -s, s)))
            stages.append(np.where(op == NONE, d, joined))
        return stages

    def distance(self, points: np.ndarray) -> np.ndarray:
        return self.stages(points)[-1]


def distance(kind: int, p: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Signed distance of primitives at p [n, P, 3] in their own axes; size [n, 1, 3]."""
    if kind == SPHERE:
        return np.sqrt((p * p).sum(-1)) - size[..., 0]
    if kind == ELLIPSOID:  # first order: right in sign and near the surface
        q = p / size
        g = q / size
        k0, k1 = np.sqrt((q * q).sum(-1)), np.sqrt((g * g).sum(-1))
        return k0 * (k0 - 1) / np.maximum(k1, 1e-9)
    if kind == TORUS:
        return np.hypot(np.hypot(p[..., 0], p[..., 1]) - size[..., 0], p[..., 2]) - size[..., 1]
    if kind == CYLINDER:
        q = np.stack([np.hypot(p[..., 0], p[..., 1]), np.abs(p[..., 2])], -1) - size[..., :2]
    else:
        q = np.abs(p) - size
    out = np.maximum(q, 0)
    return np.sqrt((out * out).sum(-1)) + np.minimum(q.max(-1), 0)


def envelope(kind: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Area of each primitive, more where `on_surface` throws points away."""
    a, b, c = np.moveaxis(size, -1, 0)
    each = [4 * np.pi * a * a, 8 * (a * b + b * c + c * a), 2 * np.pi * a * (a + 2 * b), 4 * np.pi ** 2 * b * (a + b),
            4 * np.pi * np.maximum(np.maximum(a * b, b * c), c * a)]
    return np.choose(kind, each)


def directions(rng: np.random.Generator, n: int) -> np.ndarray:
    p = rng.standard_normal((n, 3), np.float32)
    return p / np.sqrt((p * p).sum(-1, keepdims=True))


def on_surface(rng: np.random.Generator, kind: int, size: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One point [n, 3] of the surface of each primitive, in its own axes, and which of them to keep for an even density."""
    n = len(size)
    a, b, c = size.T
    keep = np.ones(n, bool)
    if kind == SPHERE:
        return directions(rng, n) * size[:, :1], keep
    if kind == ELLIPSOID:
        p = directions(rng, n)
        faces = np.stack([b * c, c * a, a * b], -1)
        stretch = np.sqrt(((p * faces) ** 2).sum(-1))
        return p * size, rng.random(n, np.float32) * faces.max(-1) < stretch
    u = rng.random((n, 3), np.float32) * 2 - 1
    if kind == TORUS:
        turn, tube = np.pi * u[:, 0], np.pi * u[:, 1]
        away = a + b * np.cos(tube)
        return np.stack([away * np.cos(turn), away * np.sin(turn), b * np.sin(tube)], -1), (u[:, 2] + 1) / 2 * (a + b) < away
    pick = rng.random(n, np.float32)
    if kind == CYLINDER:
        cap = pick * (a + 2 * b) < a
        r = np.where(cap, a * np.sqrt(np.abs(u[:, 1])), a)
        z = np.where(cap, np.where(u[:, 1] < 0, -b, b), u[:, 2] * b)
        return np.stack([r * np.cos(np.pi * u[:, 0]), r * np.sin(np.pi * u[:, 0]), z], -1), keep
    area = np.cumsum(np.stack([b * c, c * a, a * b], -1), -1)
    axis = (pick[:, None] * area[:, 2:] >= area[:, :2]).sum(-1)
    rows = np.arange(n)
    u[rows, axis] = np.sign(u[rows, axis])
    return u * size, keep


def surface(rng: np.random.Generator, solids: Solids, tries: int, tolerance: float = 1e-5) -> tuple[np.ndarray, np.ndarray]:
    """`tries` points [B, tries, 3] of the primitives, and which of them [B, tries] are on the surface of the solid."""
    b = len(solids.kind)
    share = np.cumsum(np.where(solids.op == NONE, 0, envelope(solids.kind, solids.size)), 1)
    part = (rng.random((b, tries, 1), np.float32) * share[:, None, -1:] >= share[:, None, :-1]).sum(-1)
    rows = np.broadcast_to(np.arange(b)[:, None], part.shape)
    points, keep = np.empty((b, tries, 3), np.float32), np.empty((b, tries), bool)
    kinds = solids.kind[rows, part]
    for kind in range(len(KINDS)):
        at = np.nonzero(kinds == kind)
        owner = at[0], part[at]
        local, keep[at] = on_surface(rng, kind, solids.size[owner])
        points[at] = (solids.pose[owner] * local[:, None]).sum(-1) + solids.centre[owner]
    return points, keep & (np.abs(solids.distance(points)) < tolerance)


def rotations(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Evenly distributed rotations, from unit quaternions."""
    q = rng.standard_normal((*shape, 4), np.float32)
    w, x, y, z = np.moveaxis(q / np.sqrt((q * q).sum(-1, keepdims=True)), -1, 0)
    return np.stack([1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w),
                     2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w),
                     2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)], -1).reshape(*shape, 3, 3)


def proposals(rng: np.random.Generator, b: int) -> Solids:
    """Solids of any place and size; some are empty, or hardly show all of their parts."""
    shape = (b, PARTS)
    kind = rng.integers(len(KINDS), size=shape)
    low = np.array([(0.35, 0, 0), (0.2, 0.2, 0.2), (0.2, 0.2, 0), (0.4, 0.15, 0), (0.25, 0.25, 0.25)], np.float32)
    high = np.array([(0.7, 0, 0), (0.65, 0.65, 0.65), (0.5, 0.7, 0), (0.6, 0.3, 0), (0.7, 0.7, 0.7)], np.float32)
    size = low[kind] + (high - low)[kind] * rng.random((*shape, 3), np.float32)
    later = np.arange(PARTS) > 0
    size *= np.where(later, 0.7 + 0.4 * rng.random(shape, np.float32), 1)[..., None]
    centre = directions(rng, b * PARTS).reshape(*shape, 3) * (later * (0.1 + 0.6 * rng.random(shape, np.float32)))[..., None]
    parts = rng.choice(PARTS, size=b, p=[0.1, 0.25, 0.33, 0.32]) + 1
    op = np.where(later, rng.choice([UNION, INTERSECTION, DIFFERENCE], size=shape, p=[0.45, 0.2, 0.35]), UNION)
    op[np.arange(PARTS) >= parts[:, None]] = NONE
    return Solids(kind, op, size, rotations(rng, *shape), centre)


def draw(rng: np.random.Generator, count: int, points: int) -> tuple[Solids, np.ndarray]:
    """`count` solids inside [-1, 1]^3 and `points` points [count, points, 3] of their surfaces.

    The middle of the box around each is the origin; its longest half side is 0.75 to 0.95.
    """
    found, clouds, have = [], [], 0
    while have < count:
        b = max(8, int((count - have) * 1.6))
        solids = proposals(rng, b)
        # first, cheaply: does every operation change something?
        probes = rng.random((b, 384, 3), np.float32) * 2.4 - 1.2
        inside = [d < 0 for d in solids.stages(probes)]
        changed = np.stack([(x != y).sum(1) for x, y in zip(inside, inside[1:])], 1)
        volume = inside[-1].sum(1)
        fine = (volume > 0) & ((changed >= MIN_EFFECT * volume[:, None]) | (solids.op[:, 1:] == NONE)).all(1)
        solids = solids[fine]
        cloud, on = surface(rng, solids, 4 * points)
        # in the box around it, and enough of it?
        low = np.where(on[..., None], cloud, np.inf).min(1)
        high = np.where(on[..., None], cloud, -np.inf).max(1)
        enough = on.sum(1) >= points
        solids, cloud, on, low, high = solids[enough], cloud[enough], on[enough], low[enough], high[enough]
        half = ((high - low) / 2).max(1)
        scale = (0.75 + 0.2 * rng.random(len(half), np.float32)) / half
        share = volume[fine][enough] / 384 * 2.4 ** 3 / 8 * scale ** 3
        enough = share >= MIN_SHARE
        solids, cloud, on = solids.moved((low + high) / 2, scale)[enough], \
            ((cloud - (low + high)[:, None] / 2) * scale[:, None, None])[enough], on[enough]
        found.append(solids)
        clouds += [c[o][:points] for c, o in zip(cloud, on)]
        have += len(solids.kind)
    join = [np.concatenate([getattr(s, f) for s in found])[:count] for f in ("kind", "op", "size", "pose", "centre")]
    return Solids(*join), np.stack(clouds[:count])


def queries(rng: np.random.Generator, solids: Solids, cloud: np.ndarray, each: int) -> tuple[np.ndarray, np.ndarray]:
    """`each` places even in the cube, then `each` near the surface: [B, 2 * each, 3], and whether they are inside."""
    b = len(cloud)
    even = rng.random((b, each, 3), np.float32) * 2 - 1
    spread = np.where(np.arange(each) % 2, 0.03, 0.1)[:, None]
    picked = cloud[np.arange(b)[:, None], rng.integers(cloud.shape[1], size=(b, each))]
    near = (picked + spread * rng.standard_normal((b, each, 3), np.float32)).clip(-1, 1)
    places = np.concatenate([even, near.astype(np.float32)], 1)
    return places, solids.distance(places) < 0


def example(rng: np.random.Generator, points: int) -> tuple[Solids, np.ndarray]:
    """A torus with a sphere cut out of it."""
    solid = Solids(np.array([[TORUS, SPHERE]]), np.array([[UNION, DIFFERENCE]]),
                   np.array([[(0.6, 0.28, 0), (0.4, 0, 0)]], np.float32),
                   np.stack([rotations(np.random.default_rng(3), 1)[0]] * 2)[None], np.zeros((1, 2, 3), np.float32))
    solid.centre[0, 1] = solid.pose[0, 0] @ np.array((0.64, 0, 0.06), np.float32)
    cloud, on = surface(rng, solid, 4 * points)
    return solid, cloud[:, on[0]][:, :points]


def farthest(cloud: np.ndarray, count: int) -> np.ndarray:
    """Farthest point sampling from the first point on: [B, N, 3] -> [B, count, 3]."""
    b = np.arange(len(cloud))
    axes = np.ascontiguousarray(cloud.transpose(2, 0, 1))
    out = np.empty((len(cloud), count, 3), np.float32)
    gap = np.full(cloud.shape[:2], np.inf, np.float32)
    at = np.zeros(len(cloud), int)
    for i in range(count):
        out[:, i] = p = cloud[b, at]
        x, y, z = axes[0] - p[:, :1], axes[1] - p[:, 1:2], axes[2] - p[:, 2:]
        np.minimum(gap, x * x + y * y + z * z, out=gap)
        at = gap.argmax(1)
    return out
