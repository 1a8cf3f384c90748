//! Flow drawn as arrows, and the second frame brought back.

use perceiver::media::Frame;
use perceiver::tasks::FlowField;
use perceiver_cli::flow_style::{arrows, longest, warp_and_compare};

use super::message;

#[test]
fn arrows_point_where_the_flow_goes() {
    let frame = Frame::from_fn(40, 40, |_, _| [100; 3]).unwrap();
    let field = |vector| FlowField::new(40, 40, vec![vector; 1600]).unwrap();
    let drawn = |vector, full| arrows(&frame, &field(vector), full).unwrap();
    let yellow = |frame: &Frame, x, y| frame.pixel(x, y) == Some([255, 225, 0]);
    // Arrows are twelve pixels apart, the first at (6, 6).
    let right = drawn([2.0, 0.0], None);
    assert!((6..=18).all(|x| yellow(&right, x, 6)));
    assert!(yellow(&right, 14, 4) && yellow(&right, 14, 8), "the head");
    assert!((7..12).all(|y| !yellow(&right, 6, y)));
    let down = drawn([0.0, 2.0], None);
    assert!((6..=18).all(|y| yellow(&down, 6, y)));
    // Half as long at twice the scale.
    let short = drawn([2.0, 0.0], Some(4.0));
    assert!((6..=12).all(|x| yellow(&short, x, 6)) && !yellow(&short, 14, 6));
    // A dot where nothing moves, and nothing where the motion is unknown.
    let still = drawn([0.0; 2], None);
    assert!(yellow(&still, 6, 6) && !yellow(&still, 7, 6));
    assert_eq!(still.pixel(7, 6), Some([0; 3]), "its edge");
    for unknown in [f32::NAN, f32::INFINITY, 2e9] {
        assert_eq!(drawn([unknown, 0.0], None), frame);
    }
    // Out of the picture, however far.
    drawn([1e9, -1e9], Some(1e-6));
    assert_eq!(longest(&field([3.0, 4.0])), 5.0);
    let small = Frame::new(1, 1, vec![0; 3]).unwrap();
    let wanted = "input `flow`: 40×40 vectors; expected one for each of the frame's 1×1 pixels";
    assert_eq!(message(arrows(&small, &field([0.0; 2]), None)), wanted);
    assert_eq!(message(field([0.0; 2]).warp(&small)), wanted);
    assert_eq!(message(warp_and_compare(&small, &small, &field([0.0; 2]))), wanted);
}

#[test]
fn frames_are_read_along_the_flow() {
    // Half a pixel is the mean of two; outside and unknown are black.
    let second = Frame::new(2, 2, [0, 0, 0, 100, 50, 20].repeat(2)).unwrap();
    let vectors = vec![[0.5, 0.5], [0.5, 0.0], [0.0, -1.0], [f32::NAN, 0.0]];
    let field = FlowField::new(2, 2, vectors).unwrap();
    assert_eq!(field.warp(&second).unwrap().rgb(), [50, 25, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
}
