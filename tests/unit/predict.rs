//! Unit tests of `src/measure/predict`.

use super::*;
use crate::kernels::attention::Attention;
use crate::kernels::factored_attention::{FactoredAttention, Factors};
use crate::kernels::gemm::Gemm;

fn card() -> Card {
    Card::of(&DeviceTraits::webgpu_default())
}

fn ops() -> Vec<Op> {
    let factors = Factors { content: 48, dimensions: 2, axes: [64, 64, 1] };
    vec![
        Op::Gemm(Gemm::new(2048, 1024, 512)),
        Op::Gemm(Gemm { normalise: true, splits: 2, ..Gemm::new(64, 2048, 512) }),
        Op::Attention(Attention::new(512, 2048, 8, 32, 160)),
        Op::FactoredAttention(FactoredAttention::new(512, 4096, factors)),
    ]
}

/// Multiply-adds that the estimated parts of a shader do, padding included.
fn work(op: &Op, variant: &Variant) -> f64 {
    let card = card();
    let parts = shape::parts(op, variant, card.subgroup);
    let lane: f64 = passes(&parts, None, card.subgroup).map(|(n, c)| n * c.products).sum();
    lane * f64::from(variant.invocations) * op.workgroups(variant) as f64
}

#[test]
fn estimated_parts_do_the_work_of_the_op() {
    let traits = DeviceTraits { subgroups: Some([8, 32]), ..DeviceTraits::webgpu_default() };
    for op in ops() {
        for variant in op.candidates(&traits) {
            let (least, does) = (op.cost().flops as f64 / 2.0, work(&op, &variant));
            let title = variant.title();
            assert!(does >= 0.99 * least, "{title}: {does:e} of {least:e} in {}", op.describe());
            // Tiles are padded: of 160 columns to 512, of 48 channels to 512.
            assert!(does < 8.0 * least, "{title}: {does:e} of {least:e} in {}", op.describe());
        }
    }
}

#[test]
fn times_grow_with_work_and_stay_above_the_peaks() {
    let (card, traits) = (card(), DeviceTraits::webgpu_default());
    for op in ops() {
        for variant in op.candidates(&traits) {
            let p = card.predict(&op, &variant, None);
            assert!(p.seconds >= p.least && p.seconds.is_finite(), "{}", variant.title());
            assert!(!p.counted && p.workgroups > 0 && p.resident > 0.0);
        }
    }
    let product = |rows| Op::Gemm(Gemm::new(rows, 1024, 1024));
    let variant = product(64).candidates(&traits)[0];
    let seconds = |rows| card.predict(&product(rows), &variant, None).seconds;
    assert!(seconds(65_536) > 10.0 * seconds(4096));
}

#[test]
fn a_product_that_the_compiler_wrote_out_is_not_counted_twice() {
    let op = Op::Gemm(Gemm::new(1024, 1024, 1024));
    let traits = DeviceTraits::webgpu_default();
    let variant = op.candidates(&traits).into_iter().find(|v| v.entry == "tiled").expect("tiled");
    let parts = shape::parts(&op, &variant, 32.0);
    let each = 16.0 * (variant.size("ROWS_EACH") * variant.size("VECTORS_EACH")) as f64;
    let slice = each * variant.size("SLICE") as f64;
    let counted = |list: &[(Kind, f64)]| Counted {
        registers: 128,
        spilled: 0,
        code: 0,
        parts: list
            .iter()
            .map(|&(kind, products)| (kind, Counts { products, ..Counts::default() }))
            .collect(),
    };
    let sum = |c: &Counted| passes(&parts, Some(c), 32.0).map(|(n, c)| n * c.products).sum::<f64>();
    let nested = sum(&counted(&[(Kind::Tile, 0.0), (Kind::Score, each)]));
    let written_out = sum(&counted(&[(Kind::Tile, slice)]));
    let half = sum(&counted(&[(Kind::Tile, slice / 2.0), (Kind::Score, each)]));
    assert_eq!(nested, written_out);
    assert_eq!(nested, half);
}
