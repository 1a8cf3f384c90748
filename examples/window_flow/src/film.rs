//! The frames: those of a file, again from the beginning when they end, or a pattern that moves.

use std::path::PathBuf;
use std::time::Duration;

use perceiver::media::{Frame, Frames};

use crate::Failure;

/// How long a frame is shown where a file does not say.
const FRAME: Duration = Duration::from_millis(40);
/// Width and height of generated frames.
const SIZE: (usize, usize) = (320, 240);

/// Frames without end.
pub(crate) struct Film {
    source: Source,
    /// How long the last frame is shown.
    pub(crate) time: Duration,
}

enum Source {
    Pattern(u32),
    File(PathBuf, Frames),
}

impl Film {
    pub(crate) fn open(file: Option<PathBuf>) -> Result<Film, Failure> {
        let source = match file {
            None => Source::Pattern(0),
            Some(path) => {
                let frames = Frames::open(&path)?;
                Source::File(path, frames)
            }
        };
        Ok(Film { source, time: FRAME })
    }

    /// The next frame; `None` where there are no more, because standard input cannot be read again.
    pub(crate) fn next_frame(&mut self) -> Result<Option<Frame>, Failure> {
        match &mut self.source {
            Source::Pattern(n) => {
                *n = n.wrapping_add(1);
                pattern(*n).map(Some)
            }
            Source::File(path, frames) => {
                let mut next = frames.next();
                if next.is_none() && path.as_os_str() != "-" {
                    *frames = Frames::open(&*path)?;
                    next = frames.next();
                }
                let Some(next) = next.transpose()? else {
                    return Ok(None);
                };
                self.time = next.time.filter(|t| !t.is_zero()).unwrap_or(FRAME);
                Ok(Some(next.frame))
            }
        }
    }
}

/// Something round that moves: its radius, and its way around the middle of the picture as amplitudes in pixels,
/// speeds in radians a frame, and a phase.
struct Disc {
    radius: f32,
    way: [f32; 2],
    speed: [f32; 2],
    phase: f32,
}

const DISCS: [Disc; 3] = [
    Disc { radius: 42.0, way: [95.0, 50.0], speed: [0.06, 0.07], phase: 0.0 },
    Disc { radius: 30.0, way: [110.0, 75.0], speed: [0.05, 0.06], phase: 2.0 },
    Disc { radius: 54.0, way: [60.0, 65.0], speed: [0.07, 0.05], phase: 4.0 },
];

/// Frame `n` of discs that move over a ground that moves.
fn pattern(n: u32) -> Result<Frame, Failure> {
    let time = (n % 1_000_000) as f32;
    let middle = [SIZE.0 as f32 / 2.0, SIZE.1 as f32 / 2.0];
    let places = DISCS.map(|d| {
        let along = |i: usize| middle[i] + d.way[i] * (d.speed[i] * time + d.phase).sin();
        [along(0), along(1)]
    });
    let ground = [40.0 * (0.03 * time).sin(), 30.0 * (0.04 * time).cos()];
    let frame = Frame::from_fn(SIZE.0, SIZE.1, |x, y| {
        let at = [x as f32, y as f32];
        let seen =
            DISCS.iter().zip(places).zip(1u32..).find(|((disc, place), _)| {
                (at[0] - place[0]).hypot(at[1] - place[1]) < disc.radius
            });
        let (from, surface) = seen.map_or((ground, 0), |((_, place), n)| (place, n));
        texture([at[0] - from[0], at[1] - from[1]], surface)
    })?;
    Ok(frame)
}

/// The colour of a surface: smooth noise, fine on coarse, nearly grey, so that the colours of flow are seen on it.
fn texture([x, y]: [f32; 2], surface: u32) -> [u8; 3] {
    let seed = 10 * surface;
    let grey = 0.4 * noise([x / 24.0, y / 24.0], seed) + 0.5 * noise([x / 9.0, y / 9.0], seed + 1);
    [2, 3, 4].map(|tint| {
        let value = grey + 0.1 * noise([x / 40.0, y / 40.0], seed + tint);
        (255.0 * value) as u8
    })
}

/// Random numbers from 0 to 1 at whole places, and smoothly between them.
fn noise(at: [f32; 2], seed: u32) -> f32 {
    let [x, y] = at.map(f32::floor);
    let [u, v] = [at[0] - x, at[1] - y].map(|t| t * t * (3.0 - 2.0 * t));
    let value = |x: f32, y: f32| {
        let mut n = (x as i32 as u32).wrapping_mul(0x9e37_79b1);
        n ^= (y as i32 as u32).wrapping_mul(0x85eb_ca77) ^ seed.wrapping_mul(0xc2b2_ae3d);
        n = (n ^ (n >> 15)).wrapping_mul(0x2c1b_3c6d);
        n = (n ^ (n >> 12)).wrapping_mul(0x297a_2d39);
        (n ^ (n >> 15)) as f32 / u32::MAX as f32
    };
    let mix = |a: f32, b: f32, part: f32| a + part * (b - a);
    let above = mix(value(x, y), value(x + 1.0, y), u);
    let below = mix(value(x, y + 1.0), value(x + 1.0, y + 1.0), u);
    mix(above, below, v)
}
