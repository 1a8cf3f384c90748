//! Frames, patches, tiles and blending.

use perceiver::internals::tasks::flow_tiles::{Blend, Tiles, patches};
use perceiver::internals::tasks::flow_with;
use perceiver::media::Frame;
use perceiver::tasks::{FlowField, FlowOptions};
use perceiver::{Error, NamedTensors, Result, Tensor};

use super::{message, recorded};
use crate::common::noise;

/// Frames out of a recorded `u8` array `[.., height, width, 3]`.
fn frames(tensor: &Tensor) -> Vec<Frame> {
    let [.., height, width, 3] = *tensor.shape() else {
        panic!("frames are expected, not {:?}", tensor.shape())
    };
    tensor
        .as_u8()
        .unwrap()
        .chunks_exact(height * width * 3)
        .map(|rgb| Frame::new(width, height, rgb.to_vec()).unwrap())
        .collect()
}

#[test]
fn frames_are_checked_and_cropped() {
    let frame = Frame::from_fn(4, 3, |x, y| [x as u8, y as u8, 7]).unwrap();
    assert_eq!((frame.width(), frame.height(), frame.rgb().len()), (4, 3, 36));
    assert_eq!(frame.pixel(3, 2), Some([3, 2, 7]));
    assert_eq!((frame.pixel(4, 0), frame.pixel(0, 3)), (None, None));
    let part = frame.crop(1, 2, 2, 1).unwrap();
    assert_eq!(part.rgb(), [1, 2, 7, 2, 2, 7]);
    for (width, height, bytes) in [(0, 1, 0), (1, 0, 0), (2, 2, 11), (usize::MAX, 2, 0)] {
        assert_eq!(
            message(Frame::new(width, height, vec![0; bytes])),
            format!(
                "input `frame`: {bytes} bytes for {width}×{height} pixels; expected at least one \
                 pixel, and three bytes for each"
            )
        );
    }
    for (left, top, width, height) in
        [(3, 0, 2, 1), (0, 3, 1, 1), (0, 0, 0, 1), (usize::MAX, 0, 2, 1)]
    {
        assert_eq!(
            message(frame.crop(left, top, width, height)),
            format!(
                "input `crop`: {width}×{height} pixels at ({left}, {top}); expected a part of the \
                 frame's 4×3"
            )
        );
    }
    let huge = Frame::from_fn(usize::MAX, 2, |_, _| [0; 3]);
    assert!(matches!(huge, Err(Error::Limit { .. })));
    assert!(message(Frame::from_fn(0, 2, |_, _| [0; 3])).contains("0×2 pixels"));
}

#[test]
fn patches_are_the_recorded_ones() {
    for case in ["flow-v0-s0", "flow-v2-s0"] {
        let inputs = recorded(case, "inputs.safetensors");
        let frames = frames(&inputs["raw.frames"]);
        let pairs: Vec<(&Frame, &Frame)> = frames.chunks_exact(2).map(|p| (&p[0], &p[1])).collect();
        // Bit for bit.
        assert_eq!(patches(&pairs).unwrap(), inputs["patches"], "{case}");
    }
    assert_eq!(message(patches(&[])), "input `frames`: there are none; expected at least one pair");
}

/// Rows and columns at which tiles start, with how often each tile counts.
fn corners(width: usize, height: usize, tile: [usize; 2], overlap: usize) -> Vec<[usize; 3]> {
    let tiles = Tiles::new(width, height, tile, Some(overlap)).unwrap();
    assert!(!tiles.as_slice().is_empty());
    tiles.as_slice().iter().map(|t| [t.top, t.left, t.count]).collect()
}

#[test]
fn tiles_start_where_the_published_recipe_puts_them() {
    let real = [368, 496];
    let sintel = [[0, 0, 1], [0, 476, 1], [0, 528, 1], [68, 0, 1], [68, 476, 1], [68, 528, 1]];
    assert_eq!(corners(1024, 436, real, 20), sintel);
    let kitti = [[0, 0, 1], [0, 476, 1], [0, 746, 1], [7, 0, 1], [7, 476, 1], [7, 746, 1]];
    assert_eq!(corners(1242, 375, real, 20), kitti);
    // The published code fails here: its tile at 1428 would end at 1924. Moved back it is the last
    // one again, and counts twice.
    let hd = corners(1920, 1080, real, 20);
    let rows: Vec<usize> = hd.iter().step_by(4).map(|c| c[0]).collect();
    assert_eq!(rows, [0, 348, 696, 712]);
    assert_eq!(hd[..4], [[0, 0, 1], [0, 476, 1], [0, 952, 1], [0, 1424, 2]]);
    // One tile, which the recipe counts twice along each axis.
    assert_eq!(corners(496, 368, real, 20), [[0, 0, 4]]);
    // The default: 20 pixels, or a quarter of a small tile.
    assert_eq!(
        Tiles::new(1024, 436, real, None).expect("tiles"),
        Tiles::new(1024, 436, real, Some(20)).expect("tiles")
    );
    assert_eq!(
        Tiles::new(99, 70, [24, 32], None).expect("tiles"),
        Tiles::new(99, 70, [24, 32], Some(6)).expect("tiles")
    );
}

#[test]
fn tiles_cover_the_frame() {
    for (width, height, overlap) in [(13, 9, 0), (14, 10, 8), (40, 31, 3), (27, 50, 5)] {
        let tiles = Tiles::new(width, height, [9, 13], Some(overlap)).unwrap();
        let mut blend = Blend::new(&tiles);
        for tile in tiles.as_slice() {
            blend.add(tile, &[0.125; 9 * 13 * 2]).unwrap();
        }
        // Where nothing was added there would be zero.
        assert_eq!(blend.finish(), vec![[2.5; 2]; width * height], "{width}×{height}, {overlap}");
    }
}

#[test]
fn tiles_that_cannot_be_are_refused() {
    assert_eq!(
        message(Tiles::new(40, 40, [9, 13], Some(9))),
        "input `overlap`: 9 pixels; expected less than the shorter side of a 13×9 tile"
    );
    assert_eq!(
        message(Tiles::new(12, 40, [9, 13], None)),
        "input `frame`: 12×40 pixels; expected at least one tile of 13×9"
    );
    assert!(message(Tiles::new(1, 1, [0, 0], None)).contains("`overlap`: 0 pixels"));
    let tiles = Tiles::new(13, 9, [9, 13], None).unwrap();
    let tile = tiles.as_slice()[0];
    assert_eq!(
        message(Blend::new(&tiles).add(&tile, &[0.0; 3])),
        "input `logits`: 3 numbers for a tile; expected 2 × 13 × 9"
    );
    assert_eq!(
        message(Blend::new(&tiles).add(&tile, &[f32::INFINITY; 9 * 13 * 2])),
        "input `logits`: inf in the tile at (0, 0); expected finite numbers; are the weights damaged?"
    );
}

/// A stand-in network: flow from the pixel's neighbours and its place in the tile.
fn network(inputs: &NamedTensors) -> Result<NamedTensors> {
    let tensor = &inputs["patches"];
    let [batch, 2, 27, height, width] = *tensor.shape() else {
        panic!("patches are expected, not {:?}", tensor.shape())
    };
    let values = tensor.as_f32().unwrap();
    let pixels = height * width;
    let mut logits = Vec::new();
    for item in 0..batch {
        for pixel in 0..pixels {
            let at = |frame: usize, channel: usize| {
                values[((item * 2 + frame) * 27 + channel) * pixels + pixel]
            };
            let (x, y) = ((pixel % width + 1) as f32, (pixel / width + 1) as f32);
            logits.push(at(0, 12) * y / 64.0 + at(1, 0) / 8.0);
            logits.push(at(1, 14) * x / 64.0 - at(0, 26) / 8.0);
        }
    }
    let logits = Tensor::f32(vec![batch, height, width, 2], logits)?;
    Ok(NamedTensors::from([("logits".to_owned(), logits)]))
}

fn flow(pair: &[Frame], tile: [usize; 2], options: &FlowOptions) -> Result<FlowField> {
    flow_with(&pair[0], &pair[1], tile, options, &mut |_, _| (), &mut |inputs, _| network(inputs))
}

/// What `tiled_flow` of `tools/reference/golden.py` gives with the same stand-in.
#[test]
fn blended_flow_is_that_of_the_published_recipe() {
    type Case = (&'static str, [usize; 2], usize, f64, [(usize, usize, [f32; 2]); 6]);
    let cases: [Case; 2] = [
        // The starts of this one pass the border, and one tile counts twice.
        (
            "flow-v0-s0",
            [9, 13],
            3,
            1629.969559763017,
            [
                (0, 0, [-0.006_127_451, 2.099_264_6]),
                (15, 11, [0.522_058_84, -1.031_862_7]),
                (30, 21, [1.824_755, -2.756_127_6]),
                (29, 3, [-0.181_372_55, 1.348_039_2]),
                (5, 18, [-0.849_264_7, -0.193_627_48]),
                (10, 5, [1.911_764_7, 0.472_426_5]),
            ],
        ),
        (
            "flow-v2-s0",
            [6, 11],
            4,
            376.741_229_731_138_7,
            [
                (0, 0, [-0.1875, 1.915_441_2]),
                (6, 6, [-0.861_928_1, -0.354_779_36]),
                (11, 12, [-2.517_156_8, -2.844_362_7]),
                (10, 3, [2.883_578_5, 0.713_643_8]),
                (5, 9, [0.237_273_75, 1.061_887_3]),
                (4, 5, [0.567_401_95, 0.271_854_58]),
            ],
        ),
    ];
    for (case, tile, overlap, sum, points) in cases {
        let inputs = recorded(case, "inputs.safetensors");
        let pair = frames(&inputs["raw.tiled_frames"]);
        for tiles_per_batch in [1, 5] {
            let options =
                FlowOptions { overlap: Some(overlap), tiles_per_batch, ..FlowOptions::default() };
            let found = flow(&pair, tile, &options).unwrap();
            let total: f64 = found.vectors().iter().flatten().map(|&v| f64::from(v.abs())).sum();
            assert!((total - sum).abs() < 1e-3, "{case}: {total}, {sum}");
            for (x, y, wanted) in points {
                let vector = found.vectors()[y * found.width() + x];
                for (a, b) in vector.iter().zip(wanted) {
                    assert!((a - b).abs() < 2e-6, "{case} at ({x}, {y}): {vector:?}, {wanted:?}");
                }
            }
        }
    }
}

#[test]
fn small_frames_are_grown_and_cut_out_again() {
    let [first, second] = noise(3, 5, 20);
    let options = FlowOptions::default();
    let mut middle = None;
    let found = flow_with(&first, &second, [9, 14], &options, &mut |_, _| (), &mut |inputs, _| {
        // The frame begins at column (14 - 5) / 2; its border repeats on both sides.
        let plane = &inputs["patches"].as_f32().unwrap()[12 * 9 * 14..][..14];
        middle.get_or_insert_with(|| plane.to_vec());
        network(inputs)
    })
    .unwrap();
    assert_eq!((found.width(), found.height()), (5, 20));
    let row: Vec<f32> = (0..14usize)
        .map(|x| {
            let [red, _, _] = first.pixel(x.saturating_sub(4).min(4), 0).unwrap();
            (f64::from(red) / 255.0 * 2.0 - 1.0) as f32
        })
        .collect();
    assert_eq!(middle, Some(row));
}

#[test]
fn progress_counts_all_tiles() {
    let [first, second] = noise(4, 31, 22);
    let options = FlowOptions { overlap: Some(3), tiles_per_batch: 5, ..FlowOptions::default() };
    let mut heard = Vec::new();
    flow_with(
        &first,
        &second,
        [9, 13],
        &options,
        &mut |done, total| heard.push((done, total)),
        &mut |inputs, progress| {
            let total = inputs["patches"].shape()[0] as u64 * 100;
            progress(total / 2, total);
            progress(total, total);
            network(inputs)
        },
    )
    .unwrap();
    // Twelve tiles: five, five and two.
    let wanted = [250, 500, 750, 1000, 1100, 1200].map(|done| (done, 1200));
    assert_eq!(heard, wanted);
}

#[test]
fn flow_of_wrong_inputs_is_refused() {
    let frame = |w, h| Frame::new(w, h, vec![0; w * h * 3]).unwrap();
    assert_eq!(
        message(flow(&[frame(4, 3), frame(3, 4)], [2, 2], &FlowOptions::default())),
        "input `frames`: 4×3 pixels and 3×4; expected two frames of one size"
    );
    let whole = FlowOptions { one_pass: true, ..FlowOptions::default() };
    let text = message(flow(&[frame(4, 3), frame(4, 3)], [2, 2], &whole));
    assert!(text.contains("network of one size"), "{text}");
    let none = FlowOptions { tiles_per_batch: 0, ..FlowOptions::default() };
    assert_eq!(
        message(flow(&[frame(4, 3), frame(4, 3)], [2, 2], &none)),
        "input `tiles_per_batch`: 0; expected at least 1"
    );
    let (a, b) = (frame(4, 3), frame(4, 3));
    let empty = flow_with(&a, &b, [3, 4], &FlowOptions::default(), &mut |_, _| (), &mut |_, _| {
        Ok(NamedTensors::new())
    });
    assert_eq!(
        message(empty),
        "input `logits`: the model gave none; expected 32-bit floats of shape [1, 3, 4, 2]"
    );
}

#[test]
fn end_point_errors_are_mean_distances() {
    let still = FlowField::new(2, 1, vec![[0.0; 2]; 2]).unwrap();
    let moving = FlowField::new(2, 1, vec![[3.0, 4.0], [0.0, -1.0]]).unwrap();
    assert_eq!(still.end_point_error(&moving).unwrap(), 3.0);
    let other = FlowField::new(1, 2, vec![[0.0; 2]; 2]).unwrap();
    assert_eq!(
        message(still.end_point_error(&other)),
        "input `flow`: 2×1 vectors and 1×2; expected two fields of one size"
    );
    assert_eq!(
        message(FlowField::new(2, 2, Vec::new())),
        "input `flow`: 0 vectors for 2×2 pixels; expected at least one pixel, and one vector for each"
    );
}

#[test]
fn tiles_of_sintel_lie_where_the_published_ones_do() {
    let sintel = Tiles::new(1024, 436, [368, 496], None).unwrap();
    let corners: Vec<_> = sintel.as_slice().iter().map(|t| (t.top, t.left)).collect();
    assert_eq!(corners, [(0, 0), (0, 476), (0, 528), (68, 0), (68, 476), (68, 528)]);
}
