//! Unit tests of `src/measure/tune.rs`.

use super::*;
use crate::kernels::attention::Attention;
use crate::kernels::gemm::Gemm;

#[test]
fn few_tiles_are_tried_which_are_new_and_the_best_by_prediction() {
    let traits = DeviceTraits::webgpu_default();
    let card = Card::of(&traits);
    for op in
        [Op::Gemm(Gemm::new(512, 1024, 1024)), Op::Attention(Attention::new(512, 512, 8, 128, 128))]
    {
        let known = op.candidates(&traits);
        let tiles = tiles(&traits, &op, &known);
        assert_eq!(tiles.len(), MOST_TILES);
        let seconds = |v: &Variant| card.predict(&op, v, None).seconds;
        assert!(tiles.windows(2).all(|pair| seconds(&pair[0]) <= seconds(&pair[1])));
        assert!(tiles.iter().all(|v| known.iter().all(|k| k.constants != v.constants)));
        let left: Vec<_> =
            op.tile_candidates(&traits).into_iter().filter(|v| !tiles.contains(v)).collect();
        assert!(left.len() > 50, "{}", left.len());
        // No named tile that the space has left over is faster by prediction than the best of these.
        let best = seconds(&tiles[0]);
        let left = left.iter().filter(|v| known.iter().all(|k| k.constants != v.constants));
        assert!(left.map(seconds).all(|s| s >= best));
    }
    let software = DeviceTraits { software: true, ..traits };
    let op = Op::Gemm(Gemm::new(512, 1024, 1024));
    assert!(super::tiles(&software, &op, &[]).is_empty());
}
