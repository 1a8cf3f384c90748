//! Scenes with known flow.

use perceiver::tasks::{Frame, Scene};

use super::message;

/// The colour of a frame between its pixels.
fn between(frame: &Frame, x: f64, y: f64) -> Option<[f64; 3]> {
    if x < 0.0 || y < 0.0 {
        return None;
    }
    let (left, top) = (x as usize, y as usize);
    let (a, b) = (x.fract(), y.fract());
    let corner = |dx: usize, dy: usize| frame.pixel(left + dx, top + dy);
    let (nw, ne, sw, se) = (corner(0, 0)?, corner(1, 0)?, corner(0, 1)?, corner(1, 1)?);
    Some(std::array::from_fn(|c| {
        let mix = |l: u8, r: u8| f64::from(l) * (1.0 - a) + f64::from(r) * a;
        mix(nw[c], ne[c]) * (1.0 - b) + mix(sw[c], se[c]) * b
    }))
}

/// Mean absolute colour difference of the first frame and the second one, read at `sign` × flow.
fn difference(seed: u64, sign: f64) -> f64 {
    let pair = Scene::pair(seed, 96, 64, 4.0, 0.05).unwrap();
    let (mut sum, mut count) = (0.0, 0);
    for y in 0..64 {
        for x in 0..96 {
            let [u, v] = pair.truth.vectors()[y * 96 + x].map(|w| sign * f64::from(w));
            if let Some(seen) = between(&pair.second, x as f64 + u, y as f64 + v) {
                let colour = pair.first.pixel(x, y).unwrap();
                sum += (0..3)
                    .map(|c| (f64::from(colour[c]) - seen[c]).abs())
                    .sum::<f64>();
                count += 3;
            }
        }
    }
    assert!(count > 96 * 64, "most of the picture stays inside");
    sum / f64::from(count)
}

#[test]
fn points_of_a_scene_keep_their_colour_along_the_flow() {
    for seed in 0..4 {
        let (along, against, none) = (
            difference(seed, 1.0),
            difference(seed, -1.0),
            difference(seed, 0.0),
        );
        // What is left along the flow is the error of linear interpolation.
        assert!(along < 5.0, "seed {seed}: {along}");
        assert!(
            along * 5.0 < none && none < against * 1.5,
            "{seed}: {along} {none} {against}"
        );
    }
}

#[test]
fn scenes_are_drawn_from_their_seed() {
    let pair = |seed| Scene::pair(seed, 24, 16, 2.0, 0.02).unwrap();
    assert_eq!(pair(1), pair(1));
    assert_ne!(pair(1), pair(2));
    // No motion: twice the same picture.
    let still = Scene::pair(5, 9, 7, 0.0, 0.0).unwrap();
    assert_eq!(still.first, still.second);
    assert!(still.truth.vectors().iter().flatten().all(|&v| v == 0.0));
    // Pure shift: the same vector everywhere, within its range.
    let shifted = Scene::pair(6, 9, 7, 3.0, 0.0).unwrap();
    let [u, v] = shifted.truth.vectors()[0];
    assert!(u.abs() <= 3.0 && v.abs() <= 3.0 && u != 0.0);
    assert!(shifted.truth.vectors().iter().all(|&w| w == [u, v]));
}

#[test]
fn scenes_that_cannot_be_are_refused() {
    for (width, height) in [(0, 4), (4, 0), (16385, 1)] {
        assert_eq!(
            message(Scene::pair(1, width, height, 1.0, 0.0)),
            format!("input `scene`: {width}×{height} pixels; expected sides from 1 to 16384")
        );
    }
    for (shift, affine) in [
        (-1.0, 0.0),
        (f64::NAN, 0.0),
        (1e9, 0.0),
        (0.0, f64::INFINITY),
    ] {
        assert_eq!(
            message(Scene::pair(1, 4, 4, shift, affine)),
            format!(
                "input `scene`: shift {shift}, affine {affine}; expected numbers from 0 that move no \
                 point further than 16384 pixels"
            )
        );
    }
}
