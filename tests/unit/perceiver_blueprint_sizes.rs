//! Unit tests of `src/perceiver/blueprint/sizes.rs`.

use super::*;

#[test]
fn blocks_find_their_places() {
    let upsampling = Upsampling { grid: [1, 2], block: [2, 2], image: [3, 5] };
    // One channel: two blocks of 2×2.
    let rows = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0];
    let picture = upsampling.apply(&rows, 1);
    let wanted = [[1.0, 2.0, 5.0, 6.0, 6.0], [3.0, 4.0, 7.0, 8.0, 8.0], [3.0, 4.0, 7.0, 8.0, 8.0]];
    assert_eq!(picture, wanted.concat());
}
