//! Scenes with known flow.

use perceiver::media::Frame;
use perceiver_cli::flow_style::warp_and_compare;
use perceiver_cli::scenes::{Scene, ScenePair};

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

/// Absolute colour differences, the smallest first, of the first frame and the second one, read at
/// `sign` × flow; means over the three colours.
fn differences(pair: &ScenePair, sign: f64) -> Vec<f64> {
    let (width, height) = (pair.first.width(), pair.first.height());
    let mut found = Vec::new();
    for y in 0..height {
        for x in 0..width {
            let [u, v] = pair.truth.vectors()[y * width + x].map(|w| sign * f64::from(w));
            if let Some(seen) = between(&pair.second, x as f64 + u, y as f64 + v) {
                let colour = pair.first.pixel(x, y).unwrap();
                let apart = (0..3).map(|c| (f64::from(colour[c]) - seen[c]).abs());
                found.push(apart.sum::<f64>() / 3.0);
            }
        }
    }
    assert!(3 * found.len() > 2 * width * height, "most of the picture stays inside");
    found.sort_by(f64::total_cmp);
    found
}

fn difference(seed: u64, sign: f64) -> f64 {
    let found = differences(&Scene::pair(seed, 96, 64, 4.0, 0.05).unwrap(), sign);
    found.iter().sum::<f64>() / found.len() as f64
}

#[test]
fn points_of_a_scene_keep_their_colour_along_the_flow() {
    for seed in 0..4 {
        let (along, against, none) =
            (difference(seed, 1.0), difference(seed, -1.0), difference(seed, 0.0));
        // What is left along the flow is the error of linear interpolation.
        assert!(along < 5.0, "seed {seed}: {along}");
        assert!(along * 5.0 < none && none < against * 1.5, "{seed}: {along} {none} {against}");
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
    for (shift, affine) in [(-1.0, 0.0), (f64::NAN, 0.0), (1e9, 0.0), (0.0, f64::INFINITY)] {
        assert_eq!(
            message(Scene::pair(1, 4, 4, shift, affine)),
            format!(
                "input `scene`: shift {shift}, affine {affine}; expected numbers from 0 that move no \
                 point further than 16384 pixels"
            )
        );
    }
}

/// How many neighbours have flows that differ by more than an affine motion makes them.
fn borders(pair: &ScenePair) -> usize {
    let width = pair.first.width();
    pair.truth
        .vectors()
        .chunks_exact(width)
        .flat_map(|row| row.windows(2))
        .filter(|w| (w[0][0] - w[1][0]).hypot(w[0][1] - w[1][1]) > 0.2)
        .count()
}

#[test]
fn layers_keep_their_colours_along_the_flow_but_where_they_are_hidden() {
    let mut with_borders = 0;
    for seed in 0..12 {
        let pair = Scene::layers(seed, 128, 96, 3.0, 0.04).unwrap();
        // Nine in ten pixels: the others are at borders or hidden in the second frame.
        let most = |found: Vec<f64>| {
            let kept = &found[..found.len() * 9 / 10];
            kept.iter().sum::<f64>() / kept.len() as f64
        };
        let along = most(differences(&pair, 1.0));
        let none = most(differences(&pair, 0.0));
        assert!(along < 4.5 && along * 1.5 < none, "seed {seed}: {along} {none}");
        with_borders += usize::from(borders(&pair) > 40);
        // Nothing moves further than its shift and its affine part about its own middle allow.
        let furthest = pair.truth.vectors().iter().flatten().fold(0f32, |m, v| m.max(v.abs()));
        assert!(furthest > 0.3 && furthest < 3.0 + 2.0 * 0.04 * 120.0, "{furthest}");
    }
    assert!(with_borders >= 10, "scenes have figures in front: {with_borders}");
}

#[test]
fn layers_are_drawn_from_their_seed() {
    let pair = |seed| Scene::layers(seed, 24, 16, 2.0, 0.02).unwrap();
    assert_eq!(pair(1), pair(1));
    assert_ne!(pair(1), pair(2));
    // Without motion, the noise of the two frames is all that differs.
    let still = Scene::layers(5, 31, 17, 0.0, 0.0).unwrap();
    assert!(still.truth.vectors().iter().flatten().all(|&v| v == 0.0));
    let pixels = still.first.rgb().iter().zip(still.second.rgb());
    assert!(pixels.clone().all(|(a, b)| a.abs_diff(*b) < 30));
    // Any size, a single pixel too.
    assert_eq!(Scene::layers(1, 1, 1, 2.0, 0.1).unwrap().truth.vectors().len(), 1);
}

#[test]
fn layers_that_cannot_be_are_refused() {
    assert_eq!(
        message(Scene::layers(1, 0, 4, 1.0, 0.0)),
        "input `scene`: 0×4 pixels; expected sides from 1 to 16384"
    );
    assert_eq!(
        message(Scene::layers(1, 4, 4, f64::NAN, 0.0)),
        "input `scene`: shift NaN, affine 0; expected numbers from 0 that move no point further than \
         16384 pixels"
    );
    assert_eq!(
        message(Scene::layers(1, 4, 4, 1.0, 0.5)),
        "input `scene`: affine 0.5; expected a number from 0 to 0.4, so that no layer folds over"
    );
}

#[test]
fn the_second_frame_is_brought_back() {
    let pair = Scene::pair(5, 48, 40, 2.0, 0.02).unwrap();
    let shown = warp_and_compare(&pair.first, &pair.second, &pair.truth).unwrap();
    assert_eq!((shown.width(), shown.height()), (144, 40));
    assert_eq!(shown.crop(0, 0, 48, 40).unwrap(), pair.first);
    let back = pair.truth.warp(&pair.second).unwrap();
    assert_eq!(shown.crop(48, 0, 48, 40).unwrap(), back);
    let difference = shown.crop(96, 0, 48, 40).unwrap();
    let mean =
        |f: &Frame| f.rgb().iter().map(|&v| f64::from(v)).sum::<f64>() / f.rgb().len() as f64;
    assert!(mean(&difference) < 2.0, "{}", mean(&difference));
}
