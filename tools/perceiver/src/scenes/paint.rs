//! What the layers of generated scenes look like: noise, gradients, patterns, scattered figures.
//!
//! A paint can be read at any point, between pixels too. Its smallest marks are a few pixels wide, and no
//! part of it is without marks, so that motion can be seen everywhere. The kinds are those of
//! `tools/train/layers.py`, which trains `flow-tiny`.

use std::f64::consts::TAU;

use perceiver::internals::random::Random;

use super::figure::Figure;

/// Points of a noise lattice along each side; beyond them it begins again.
const LATTICE: usize = 64;
/// Marks on a ground of 256 × 256 of the paint's own pixels.
const MARKS_PER_AREA: f64 = 90.0 / (256.0 * 256.0);

/// Uniform in [low, high).
pub(super) fn between(random: &mut Random, low: f64, high: f64) -> f64 {
    low + random.unit_f64() * (high - low)
}

/// The look of one layer.
pub(super) struct Paint {
    /// Cosine and sine of its turn, times its pixels per pixel of the frame.
    turn: [f64; 2],
    ground: Ground,
    from: [f64; 3],
    to: [f64; 3],
    /// Noise over the ground, but for grounds that are noise.
    grain: Option<(f64, Noise)>,
    marks: Vec<(Figure, [f64; 3])>,
    contrast: f64,
    light: f64,
}

/// How far a point is on the way from the one colour to the other.
enum Ground {
    /// Steepness; how far the three colours go their own ways.
    Noise(Noise, f64, f64),
    Linear([f64; 2], f64),
    Round([f64; 2], f64),
    Pattern(Pattern, f64),
}

#[derive(Clone, Copy)]
enum Pattern {
    Stripes,
    Checkerboard,
    Dots,
    Waves,
}

impl Paint {
    /// A paint for points up to `reach` pixels from the origin.
    pub(super) fn new(random: &mut Random, reach: f64) -> Self {
        let (from, to) = two_colours(random);
        let scale = 1.0 / between(random, 0.7, 1.25);
        let reach = reach * scale;
        let angle = random.unit_f64() * TAU;
        let kind = random.unit_f64();
        let noisy = kind < 0.45;
        let ground = if noisy {
            let noise = Noise::new(random, &[5.0, 8.0, 16.0, 32.0]);
            Ground::Noise(noise, between(random, 1.2, 2.5), random.unit_f64())
        } else if kind < 0.65 {
            let patterns = [Pattern::Stripes, Pattern::Checkerboard, Pattern::Dots, Pattern::Waves];
            Ground::Pattern(patterns[random.below(4)], between(random, 9.0, 20.0))
        } else {
            let wave = TAU / between(random, 60.0, 240.0);
            if random.unit_f64() < 0.5 {
                let angle = random.unit_f64() * TAU;
                Ground::Linear([angle.cos() * wave, angle.sin() * wave], random.unit_f64() * TAU)
            } else {
                Ground::Round([(); 2].map(|()| between(random, -reach, reach)), wave)
            }
        };
        let grain =
            (!noisy).then(|| (between(random, 0.08, 0.18), Noise::new(random, &[5.0, 8.0, 16.0])));
        let mut marks = Vec::new();
        if kind >= 0.8 {
            let count = MARKS_PER_AREA * (2.0 * reach).powi(2);
            for _ in 0..count.ceil() as usize {
                let centre = [(); 2].map(|()| between(random, -reach, reach));
                let radius = between(random, 5.0, 16.0);
                let figure = Figure::new(random, centre, radius, 1.0);
                marks.push((figure, [(); 3].map(|()| random.unit_f64())));
            }
        }
        Paint {
            turn: [angle.cos() * scale, angle.sin() * scale],
            ground,
            from,
            to,
            grain,
            marks,
            contrast: between(random, 0.6, 1.0),
            light: random.unit_f64(),
        }
    }

    /// The colour at a point, each part in [0, 1].
    pub(super) fn at(&self, [x, y]: [f64; 2]) -> [f64; 3] {
        let [cos, sin] = self.turn;
        let p = [cos * x + sin * y, cos * y - sin * x];
        let way = self.ground.at(p);
        let grain = match &self.grain {
            Some((strength, noise)) => noise.at(p).map(|n| n * strength),
            None => [0.0; 3],
        };
        let mut colour: [f64; 3] =
            std::array::from_fn(|c| self.from[c] + (self.to[c] - self.from[c]) * way[c] + grain[c]);
        for (figure, own) in &self.marks {
            let cover = figure.cover(p);
            if cover > 0.0 {
                colour = mix(colour, *own, cover);
            }
        }
        colour.map(|c| c.clamp(0.0, 1.0) * self.contrast + (1.0 - self.contrast) * self.light)
    }
}

/// `share` of the second colour, the rest of the first.
pub(super) fn mix(below: [f64; 3], above: [f64; 3], share: f64) -> [f64; 3] {
    std::array::from_fn(|c| below[c] + (above[c] - below[c]) * share)
}

/// Two colours that can be told apart.
fn two_colours(random: &mut Random) -> ([f64; 3], [f64; 3]) {
    loop {
        let a = [(); 3].map(|()| random.unit_f64());
        let b = [(); 3].map(|()| random.unit_f64());
        let apart: f64 = a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum();
        if apart > 0.25 {
            return (a, b);
        }
    }
}

impl Ground {
    fn at(&self, [x, y]: [f64; 2]) -> [f64; 3] {
        let way = match self {
            Ground::Noise(noise, steep, free) => {
                let ways = noise.at([x, y]).map(|n| 1.0 / (1.0 + (-steep * n).exp()));
                return ways.map(|way| free * way + (1.0 - free) * ways[0]);
            }
            Ground::Linear([across, down], phase) => {
                0.5 + 0.5 * (across * x + down * y + phase).sin()
            }
            Ground::Round([cx, cy], wave) => 0.5 + 0.5 * (wave * (x - cx).hypot(y - cy)).sin(),
            Ground::Pattern(pattern, period) => pattern.at(x, y, *period),
        };
        [way; 3]
    }
}

impl Pattern {
    fn at(self, x: f64, y: f64, period: f64) -> f64 {
        let (a, b) = (TAU * x / period, TAU * y / period);
        let steep = period / std::f64::consts::PI;
        let cover = match self {
            Pattern::Stripes => 0.5 + steep * a.sin(),
            Pattern::Checkerboard => 0.5 + steep * (a / 1.5).sin() * (b / 1.5).sin(),
            Pattern::Dots => {
                let from = |p: f64| p.rem_euclid(period) - period / 2.0;
                0.5 + 0.3 * period - from(x).hypot(from(y))
            }
            Pattern::Waves => 0.5 + steep * (a + 2.0 * (b / 2.0).sin()).sin(),
        };
        cover.clamp(0.0, 1.0)
    }
}

/// Smooth noise of a few sizes in three colours, of variance one.
struct Noise {
    octaves: Vec<Octave>,
}

struct Octave {
    /// Pixels between the lattice's points.
    cell: f64,
    amplitude: f64,
    offset: [f64; 2],
    values: Vec<[f32; 3]>,
}

impl Noise {
    fn new(random: &mut Random, cells: &[f64]) -> Self {
        // Squares of the amplitudes: uniform among those of sum one.
        let shares: Vec<f64> = cells.iter().map(|_| -(1.0 - random.unit_f64()).ln()).collect();
        let sum: f64 = shares.iter().sum();
        let octaves = cells.iter().zip(shares).map(|(&cell, share)| Octave {
            cell,
            amplitude: (share / sum).sqrt(),
            offset: [(); 2].map(|()| random.unit_f64() * LATTICE as f64),
            values: (0..LATTICE * LATTICE)
                .map(|_| [(); 3].map(|()| random.signed() * 3f32.sqrt()))
                .collect(),
        });
        Noise { octaves: octaves.collect() }
    }

    fn at(&self, [x, y]: [f64; 2]) -> [f64; 3] {
        let mut sums = [0.0; 3];
        for octave in &self.octaves {
            let (left, across) = taps(x / octave.cell + octave.offset[0]);
            let (top, down) = taps(y / octave.cell + octave.offset[1]);
            for (row, wy) in top.iter().zip(down) {
                for (column, wx) in left.iter().zip(across) {
                    let value = &octave.values[row * LATTICE + column];
                    for (sum, v) in sums.iter_mut().zip(value) {
                        *sum += octave.amplitude * wy * wx * f64::from(*v);
                    }
                }
            }
        }
        sums
    }
}

/// Four neighbouring lattice points and their Catmull-Rom weights.
fn taps(place: f64) -> ([usize; 4], [f64; 4]) {
    let base = place.floor();
    let weights = super::catmull_rom(place - base);
    let first = (base - 1.0).rem_euclid(LATTICE as f64) as usize;
    (std::array::from_fn(|i| (first + i) % LATTICE), weights)
}
