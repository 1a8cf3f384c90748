//! Shapes and glyphs of generated scenes, as signed distances to their edge.
//!
//! Each figure is about as large as the unit circle; the distance is negative inside, and y points
//! down. The shapes are those of `tools/train/drawings.py`.

use std::f64::consts::{PI, TAU};

use perceiver::internals::random::Random;

/// A line of a letter from (x, y) to (x, y).
type Stroke = [f64; 4];

const LETTER_A: &[Stroke] =
    &[[-0.62, 0.9, 0.0, -0.9], [0.0, -0.9, 0.62, 0.9], [-0.36, 0.25, 0.36, 0.25]];
const LETTER_E: &[Stroke] = &[
    [-0.5, -0.8, -0.5, 0.8],
    [-0.5, -0.8, 0.55, -0.8],
    [-0.5, 0.0, 0.4, 0.0],
    [-0.5, 0.8, 0.55, 0.8],
];
const LETTER_T: &[Stroke] = &[[-0.65, -0.8, 0.65, -0.8], [0.0, -0.8, 0.0, 0.85]];
/// Half the width of a stroke.
const STROKE: f64 = 0.2;

/// A kind of figure.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Disc,
    Square,
    Triangle,
    Star,
    Cross,
    Heart,
    Letter(&'static [Stroke]),
}

const KINDS: [Kind; 9] = [
    Kind::Disc,
    Kind::Square,
    Kind::Triangle,
    Kind::Star,
    Kind::Cross,
    Kind::Heart,
    Kind::Letter(LETTER_A),
    Kind::Letter(LETTER_E),
    Kind::Letter(LETTER_T),
];

/// A figure at a place, turned, stretched, of a size in pixels.
#[derive(Debug)]
pub(super) struct Figure {
    kind: Kind,
    centre: [f64; 2],
    /// Cosine and sine of its turn.
    turn: [f64; 2],
    radius: f64,
    aspect: f64,
}

impl Figure {
    /// Any figure with the middle at `centre`; `aspect` is how much wider it may be than high, or the
    /// other way round.
    pub(super) fn new(random: &mut Random, centre: [f64; 2], radius: f64, aspect: f64) -> Self {
        let kind = KINDS[random.below(KINDS.len())];
        let angle = random.unit_f64() * TAU;
        let aspect = 1.0 / aspect + random.unit_f64() * (aspect - 1.0 / aspect);
        Figure { kind, centre, turn: [angle.cos(), angle.sin()], radius, aspect }
    }

    pub(super) fn centre(&self) -> [f64; 2] {
        self.centre
    }

    /// How much of the pixel at a point the figure covers, in [0, 1].
    pub(super) fn cover(&self, [x, y]: [f64; 2]) -> f64 {
        let (x, y) = (x - self.centre[0], y - self.centre[1]);
        // No figure reaches further than this.
        let far = 1.6 * self.radius * self.aspect.max(1.0 / self.aspect) + 1.0;
        if x * x + y * y > far * far {
            return 0.0;
        }
        let [cos, sin] = self.turn;
        let u = (cos * x + sin * y) / self.radius * self.aspect;
        let v = (cos * y - sin * x) / self.radius / self.aspect;
        (0.5 - distance(self.kind, u, v) * self.radius).clamp(0.0, 1.0)
    }
}

fn distance(kind: Kind, u: f64, v: f64) -> f64 {
    match kind {
        Kind::Disc => u.hypot(v) - 0.95,
        Kind::Square => upright(u, v, 0.8, 0.8),
        Kind::Triangle => [0.25, 0.25 + 1.0 / 3.0, 0.25 - 1.0 / 3.0]
            .map(|turns| beyond(u, v, turns, 0.5))
            .into_iter()
            .fold(f64::MIN, f64::max),
        Kind::Star => star(u, v),
        Kind::Cross => upright(u, v, 1.0, 0.27).min(upright(u, v, 0.27, 1.0)),
        Kind::Heart => {
            let lobe = |side: f64| (u - side).hypot(v + 0.3) - 0.52;
            let point = beyond(u, v, 0.125, 0.62).max(beyond(u, v, 0.375, 0.62)).max(-0.15 - v);
            lobe(0.42).min(lobe(-0.42)).min(point)
        }
        Kind::Letter(strokes) => {
            let nearest = strokes.iter().map(|s| from_stroke(u, v, s));
            nearest.fold(f64::MAX, f64::min) - STROKE
        }
    }
}

/// Distance to a box about the origin; inside, that to the nearest side.
fn upright(u: f64, v: f64, half_width: f64, half_height: f64) -> f64 {
    (u.abs() - half_width).max(v.abs() - half_height)
}

/// Distance beyond a straight border whose normal points `turns` round and that is `away` from the origin.
fn beyond(u: f64, v: f64, turns: f64, away: f64) -> f64 {
    u * (TAU * turns).cos() + v * (TAU * turns).sin() - away
}

fn from_stroke(u: f64, v: f64, &[x0, y0, x1, y1]: &Stroke) -> f64 {
    let (dx, dy) = (x1 - x0, y1 - y0);
    let along = ((u - x0) * dx + (v - y0) * dy) / (dx * dx + dy * dy);
    let t = along.clamp(0.0, 1.0);
    (u - x0 - t * dx).hypot(v - y0 - t * dy)
}

/// Five points; the notches are at 0.42 of the tips.
fn star(u: f64, v: f64) -> f64 {
    const NOTCH: f64 = 0.42;
    let angle = (v.atan2(u).rem_euclid(TAU / 5.0) - PI / 5.0).abs();
    let radius = u.hypot(v);
    let (x, y) = (radius * angle.cos(), radius * angle.sin());
    let (tip_x, tip_y) = ((PI / 5.0).cos(), (PI / 5.0).sin());
    let normal = (tip_y, NOTCH - tip_x);
    ((x - NOTCH) * normal.0 + y * normal.1) / normal.0.hypot(normal.1)
}
