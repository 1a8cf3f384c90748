//! Layers in independent motion, one before the other: pairs of frames with exact flow.
//!
//! In the manner of FlyingChairs (Dosovitskiy et al., 2015) and AutoFlow (Sun et al., 2021): a textured ground and one to
//! four textured figures before it, each with an affine motion of its own, hiding what is behind. The
//! distribution is that of `tools/train/layers.py`, on which `flow-tiny` is trained; the numbers are
//! this module's own, the same on every machine up to the last bits of `exp`, `sin` and `cos`.

use perceiver::Result;
use perceiver::internals::random::Random;
use perceiver::media::Frame;
use perceiver::tasks::FlowField;

use super::figure::Figure;
use super::paint::{Paint, between, mix};
use super::{Scene, ScenePair, check};

/// Figures before the ground.
const FIGURES: (usize, usize) = (1, 4);
/// Radius of a figure, as a share of the frame's height.
const RADIUS: (f64, f64) = (0.14, 0.36);
/// The largest standard deviation of the noise in both frames.
const GRAIN: f64 = 0.012;

/// flow(p) = shift + matrix (p - centre)
struct Motion {
    centre: [f64; 2],
    shift: [f64; 2],
    matrix: [f64; 4],
}

struct Layer {
    /// None covers everything.
    figure: Option<Figure>,
    motion: Motion,
    paint: Paint,
}

impl Motion {
    fn new(random: &mut Random, centre: [f64; 2], shift: f64, affine: f64) -> Self {
        Motion {
            centre,
            shift: [(); 2].map(|()| between(random, -shift, shift)),
            matrix: [(); 4].map(|()| between(random, -affine, affine)),
        }
    }

    fn at(&self, [x, y]: [f64; 2]) -> [f64; 2] {
        let (x, y) = (x - self.centre[0], y - self.centre[1]);
        let [a, b, c, d] = self.matrix;
        [self.shift[0] + a * x + b * y, self.shift[1] + c * x + d * y]
    }

    /// Where the point that is now at `p` was before.
    fn back(&self, [x, y]: [f64; 2]) -> [f64; 2] {
        let x = x - self.centre[0] - self.shift[0];
        let y = y - self.centre[1] - self.shift[1];
        let [a, b, c, d] = self.matrix;
        let det = (1.0 + a) * (1.0 + d) - b * c;
        [
            self.centre[0] + ((1.0 + d) * x - b * y) / det,
            self.centre[1] + ((1.0 + a) * y - c * x) / det,
        ]
    }
}

impl Layer {
    /// How much of the point it covers, and its colour there relative to its own middle.
    fn cover(&self, p: [f64; 2]) -> f64 {
        self.figure.as_ref().map_or(1.0, |f| f.cover(p))
    }

    fn colour(&self, p: [f64; 2]) -> [f64; 3] {
        self.paint.at([p[0] - self.motion.centre[0], p[1] - self.motion.centre[1]])
    }
}

impl Scene {
    /// A pair of frames of a textured ground with one to four textured figures before it, all drawn from `seed`.
    ///
    /// The flow of a layer at p is `t + A (p - c)` with c its middle, both parts of t uniform in
    /// [-shift, shift] pixels and the four numbers of A uniform in [-affine, affine], a third of that
    /// for the ground. The true flow of a pixel is that of the layer that covers most of it in the first frame,
    /// also where another one hides it in the second.
    ///
    /// ```
    /// use perceiver_cli::scenes::Scene;
    /// let pair = Scene::layers(1, 128, 96, 3.0, 0.04)?;
    /// assert_eq!(pair.truth.vectors().len(), 128 * 96);
    /// # Ok::<(), perceiver::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Input`](perceiver::Error::Input) when a side is zero or above 16384, the shift is not finite,
    /// negative or beyond 16384 pixels, or `affine` is not in [0, 0.4], where a layer could fold over.
    pub fn layers(
        seed: u64,
        width: usize,
        height: usize,
        shift: f64,
        affine: f64,
    ) -> Result<ScenePair> {
        check(width, height, shift, affine, 0.4)?;
        let random = &mut Random::new(seed);
        let layers = draw(random, width, height, shift, affine);
        let grain = random.unit_f64() * GRAIN;

        let mut vectors = Vec::with_capacity(width * height);
        let mut first = Vec::with_capacity(3 * width * height);
        let mut second = Vec::with_capacity(3 * width * height);
        for i in 0..width * height {
            let p = [(i % width) as f64, (i / width) as f64];
            let mut before = [0.0; 3];
            let mut after = [0.0; 3];
            let mut flow = [0.0; 2];
            for layer in &layers {
                let cover = layer.cover(p);
                if cover > 0.0 {
                    before = mix(before, layer.colour(p), cover);
                }
                if cover >= 0.5 {
                    flow = layer.motion.at(p);
                }
                let back = layer.motion.back(p);
                let cover = layer.cover(back);
                if cover > 0.0 {
                    after = mix(after, layer.colour(back), cover);
                }
            }
            vectors.push(flow.map(|v| v as f32));
            for (colour, bytes) in [(before, &mut first), (after, &mut second)] {
                bytes.extend(colour.map(|c| {
                    let c = c + grain * normal(random);
                    (c.clamp(0.0, 1.0) * 255.0).round() as u8
                }));
            }
        }
        Ok(ScenePair {
            first: Frame::new(width, height, first)?,
            second: Frame::new(width, height, second)?,
            truth: FlowField::new(width, height, vectors)?,
        })
    }
}

/// The layers, the furthest first.
fn draw(random: &mut Random, width: usize, height: usize, shift: f64, affine: f64) -> Vec<Layer> {
    let (right, bottom) = (width as f64 - 1.0, height as f64 - 1.0);
    let figures = FIGURES.0 + random.below(FIGURES.1 - FIGURES.0 + 1);
    let reach = right.hypot(bottom) + 2.0 * shift;
    let mut layers = vec![Layer {
        figure: None,
        motion: Motion::new(random, [right / 2.0, bottom / 2.0], shift, affine / 3.0),
        paint: Paint::new(random, reach),
    }];
    for _ in 0..figures {
        let centre = [right, bottom].map(|side| side * between(random, -0.05, 1.05));
        let radius = between(random, RADIUS.0, RADIUS.1) * height as f64;
        let figure = Figure::new(random, centre, radius, 1.25);
        layers.push(Layer {
            motion: Motion::new(random, figure.centre(), shift, affine),
            figure: Some(figure),
            paint: Paint::new(random, 2.0 * radius),
        });
    }
    layers
}

/// Nearly normal: the sum of twelve uniform numbers.
fn normal(random: &mut Random) -> f64 {
    (0..12).map(|_| random.unit_f64()).sum::<f64>() - 6.0
}
