//! Unit tests of `src/tasks/classes.rs`.

use super::*;
use crate::perceiver::Architecture;

#[test]
fn the_best_comes_first() {
    let config = PerceiverConfig {
        labels: vec!["cat".to_owned(), "dog".to_owned()],
        ..PerceiverConfig::new(Architecture::ImageFourier)
    };
    let best = top_classes(&config, &[0.0, 3f32.ln()], 1).expect("classes");
    assert_eq!(best[0].label, "dog");
    assert!((best[0].probability.expect("a probability") - 0.75).abs() < 1e-6);
}
