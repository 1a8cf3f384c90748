//! Moving textures with exact flow: pairs of frames to measure a flow network with.
//!
//! One texture in one motion; [`Scene::layers`] puts several before each other. The numbers are the same on
//! every machine up to the last bit of `exp`. Texture: three colours, each a sigmoid of smooth noise at four sizes. Motion: a shift and
//! an affine map about the centre. The flow is known exactly, not measured.

mod figure;
mod layers;
mod paint;

use perceiver::internals::random::Random;
use perceiver::media::Frame;
use perceiver::tasks::FlowField;
use perceiver::{Error, Result};

/// Pixels between the points of the noise lattice, and how much each size weighs.
const OCTAVES: [(f64, f64); 4] = [(4.0, 1.0), (8.0, 0.7), (16.0, 0.5), (32.0, 0.4)];
/// Contrast before the sigmoid.
const GAIN: f64 = 1.5;
/// Lattice points beside the picture that the cubic kernel needs.
const MARGIN: usize = 2;
/// The largest picture and the furthest motion, in pixels.
const LIMIT: f64 = 16384.0;

/// Uniform in [-reach, reach).
fn within(random: &mut Random, reach: f64) -> f64 {
    (2.0 * random.unit_f64() - 1.0) * reach
}

/// Noise of one size.
struct Octave {
    cell: f64,
    amplitude: f64,
    columns: usize,
    rows: usize,
    offset: [f64; 2],
    /// Three planes of lattice points.
    values: Vec<f32>,
}

/// A smooth random texture that can be read at any point, between pixels too.
pub struct Scene {
    reach: f64,
    octaves: Vec<Octave>,
}

/// Two frames and the flow from the first to the second.
#[derive(Debug, Clone, PartialEq)]
pub struct ScenePair {
    /// The first frame.
    pub first: Frame,
    /// The second frame.
    pub second: Frame,
    /// Where every pixel of the first frame has gone.
    pub truth: FlowField,
}

impl Scene {
    /// A texture for pictures of `width` × `height` that may be read up to `reach` pixels beyond
    /// their borders.
    fn new(random: &mut Random, width: usize, height: usize, reach: f64) -> Self {
        let points = |side: usize, cell: f64| {
            ((side as f64 + 2.0 * reach) / cell).ceil() as usize + 2 * MARGIN + 2
        };
        let octaves = OCTAVES
            .iter()
            .map(|&(cell, amplitude)| {
                let (columns, rows) = (points(width, cell), points(height, cell));
                let offset = [random.unit_f64(), random.unit_f64()];
                // Variance 1.
                let values =
                    (0..3 * columns * rows).map(|_| within(random, 3f64.sqrt()) as f32).collect();
                Octave { cell, amplitude, columns, rows, offset, values }
            })
            .collect();
        Scene { reach, octaves }
    }

    /// The colour at a point. Points further outside than the texture reaches have the colour of
    /// its border.
    #[must_use]
    pub fn at(&self, x: f64, y: f64) -> [u8; 3] {
        let mut sums = [0.0; 3];
        for octave in &self.octaves {
            octave.add(x + self.reach, y + self.reach, &mut sums);
        }
        sums.map(|sum| (255.0 / (1.0 + (-GAIN * sum).exp())).round() as u8)
    }

    /// A pair of frames: texture, shift and affine map all drawn from `seed`.
    ///
    /// The flow at p is `t + A (p - centre)` with the centre at ((width - 1) / 2, (height - 1) / 2),
    /// both parts of t uniform in [-shift, shift] pixels and the four numbers of A uniform in
    /// [-affine, affine].
    ///
    /// # Errors
    /// [`Error::Input`] when a side is zero or above 16384, or the motion is not finite, negative or
    /// further than 16384 pixels.
    pub fn pair(
        seed: u64,
        width: usize,
        height: usize,
        shift: f64,
        affine: f64,
    ) -> Result<ScenePair> {
        let (w, h) = (width as f64, height as f64);
        check(width, height, shift, affine, f64::INFINITY)?;
        let reach = shift + affine * (w + h) / 2.0 + 1.0;
        let mut random = Random::new(seed);
        let t = [within(&mut random, shift), within(&mut random, shift)];
        let a: [f64; 4] = std::array::from_fn(|_| within(&mut random, affine));
        let scene = Scene::new(&mut random, width, height, reach);
        let vectors = (0..width * height)
            .map(|i| {
                let x = (i % width) as f64 - (w - 1.0) / 2.0;
                let y = (i / width) as f64 - (h - 1.0) / 2.0;
                [(t[0] + a[0] * x + a[1] * y) as f32, (t[1] + a[2] * x + a[3] * y) as f32]
            })
            .collect();
        let truth = FlowField::new(width, height, vectors)?;
        // From the rounded flow, so that it is exact.
        let first = Frame::from_fn(width, height, |x, y| {
            let [u, v] = truth.vectors()[y * width + x];
            scene.at(x as f64 + f64::from(u), y as f64 + f64::from(v))
        })?;
        let second = Frame::from_fn(width, height, |x, y| scene.at(x as f64, y as f64))?;
        Ok(ScenePair { first, second, truth })
    }
}

impl Octave {
    /// Adds the noise at a point, counted in pixels from the lattice's first inner point.
    fn add(&self, x: f64, y: f64, sums: &mut [f64; 3]) {
        let (left, across) = taps(x / self.cell + self.offset[0], self.columns);
        let (top, down) = taps(y / self.cell + self.offset[1], self.rows);
        for (c, sum) in sums.iter_mut().enumerate() {
            let plane = c * self.rows;
            let mut value = 0.0;
            for (j, wy) in down.iter().enumerate() {
                let first = (plane + top + j) * self.columns + left;
                let row = &self.values[first..first + 4];
                let along: f64 = row.iter().zip(&across).map(|(&v, wx)| f64::from(v) * wx).sum();
                value += wy * along;
            }
            *sum += self.amplitude * value;
        }
    }
}

/// The first of four neighbouring lattice points and their Catmull-Rom weights.
fn taps(place: f64, points: usize) -> (usize, [f64; 4]) {
    // `as usize` takes what is negative or no number to 0.
    let base = ((place.floor() + MARGIN as f64) as usize).clamp(1, points - 3);
    let t = (place + (MARGIN as f64 - base as f64)).clamp(0.0, 1.0);
    (base - 1, catmull_rom(t))
}

/// Weights of the lattice points before, at, after and two after a point that is `t` in [0, 1] past the second.
pub(super) fn catmull_rom(t: f64) -> [f64; 4] {
    let (t2, t3) = (t * t, t * t * t);
    let weights =
        [-t3 + 2.0 * t2 - t, 3.0 * t3 - 5.0 * t2 + 2.0, -3.0 * t3 + 4.0 * t2 + t, t3 - t2];
    weights.map(|w| w / 2.0)
}

/// Whether there can be such a scene.
pub(super) fn check(width: usize, height: usize, shift: f64, affine: f64, most: f64) -> Result<()> {
    let (w, h) = (width as f64, height as f64);
    if width == 0 || height == 0 || w > LIMIT || h > LIMIT {
        return Err(Error::input(
            "scene",
            format!("{width}×{height} pixels"),
            format!("sides from 1 to {LIMIT}"),
        ));
    }
    // Written so that a NaN fails.
    let reach = shift + affine * (w + h) / 2.0 + 1.0;
    if !(shift >= 0.0 && affine >= 0.0 && reach <= LIMIT) {
        return Err(Error::input(
            "scene",
            format!("shift {shift}, affine {affine}"),
            format!("numbers from 0 that move no point further than {LIMIT} pixels"),
        ));
    }
    if affine > most {
        return Err(Error::input(
            "scene",
            format!("affine {affine}"),
            format!("a number from 0 to {most}, so that no layer folds over"),
        ));
    }
    Ok(())
}
