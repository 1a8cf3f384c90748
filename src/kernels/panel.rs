//! Products of strips of rows with panels of columns: the inner loop of `gemm` and `attention` on the CPU.
//!
//! A panel is 32 columns of the right operand, one row after the other, so that it is read from its beginning to its end. A
//! strip is twelve rows of the left operand in blocks of 16 columns, so that a block is read at constant distances and packed
//! by copying whole vectors. Twelve rows by two vectors are as many sums as 32 registers of AVX-512 hold beside what
//! they are multiplied with; where there are 16, six rows.
//!
//! Measured on one core with AVX-512 whose multiply-adds alone reach 114 GFLOP/s, against `faer`, which packs W in each call:
//! 105 to 114 at 12 to 64 rows of 256 to 1280 channels, where `faer` has 84 to 111; less at 64 channels (59 to 69 for 66 to 76).
//! On two cores and in whole towers no difference could be shown yet (`docs/performance.md`).

use pulp::{Simd, WithSimd};

pub(crate) use super::gemm::PANEL;

/// Rows of a strip.
pub(crate) const STRIP: usize = 12;
/// Columns of a block.
pub(crate) const BLOCK: usize = 16;

/// A block of a strip.
pub(crate) type Block = [[f32; BLOCK]; STRIP];
/// A strip by a panel, as blocks.
pub(crate) type Tile = [Block; PANEL / BLOCK];

pub(crate) const EMPTY: Block = [[0.0; BLOCK]; STRIP];

/// Copies one row into row `r` of a strip.
#[inline(always)]
pub(crate) fn pack_row(row: &[f32], r: usize, strip: &mut [Block]) {
    let (whole, rest) = row.as_chunks();
    for (block, from) in strip.iter_mut().zip(whole) {
        block[r] = *from;
    }
    if let Some(block) = strip.get_mut(whole.len()) {
        block[r][..rest.len()].copy_from_slice(rest);
    }
}

/// The first `rows` rows of a strip times a panel, in place of the tile or added to it.
///
/// A function by itself: inlined into a larger one, sums did not stay in registers, which halved its rate.
#[inline(never)]
pub(crate) fn multiply<S: Simd>(
    simd: S,
    strip: &[Block],
    panel: &[[f32; PANEL]],
    rows: usize,
    add: bool,
    tile: &mut Tile,
) {
    simd.vectorize(Product { strip, panel, rows, add, tile });
}

struct Product<'a> {
    strip: &'a [Block],
    panel: &'a [[f32; PANEL]],
    rows: usize,
    add: bool,
    tile: &'a mut Tile,
}

impl WithSimd for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Product { strip, panel, rows, add, tile } = self;
        let wide = S::REGISTER_COUNT >= 32;
        for column in (0..PANEL).step_by(2 * S::F32_LANES) {
            let mut first = 0;
            while first < rows {
                let at = [first, column];
                first += match rows - first {
                    12.. if wide => sums::<S, 12>(simd, strip, panel, at, add, tile),
                    8.. if wide => sums::<S, 8>(simd, strip, panel, at, add, tile),
                    6.. => sums::<S, 6>(simd, strip, panel, at, add, tile),
                    4.. => sums::<S, 4>(simd, strip, panel, at, add, tile),
                    2.. => sums::<S, 2>(simd, strip, panel, at, add, tile),
                    _ => sums::<S, 1>(simd, strip, panel, at, add, tile),
                };
            }
        }
    }
}

/// `R` rows by two vectors, all sums in registers.
#[inline(always)]
fn sums<S: Simd, const R: usize>(
    simd: S,
    strip: &[Block],
    panel: &[[f32; PANEL]],
    [first, column]: [usize; 2],
    add: bool,
    tile: &mut Tile,
) -> usize {
    let lanes = S::F32_LANES;
    let at = |v: usize| ((column + v * lanes) / BLOCK, (column + v * lanes) % BLOCK);
    // Counted loops over all of an array: these are written out early enough for it to become registers.
    let mut sums = [[simd.splat_f32s(0.0); 2]; R];
    if add {
        for r in 0..R {
            for v in 0..2 {
                let (block, start) = at(v);
                let from = &tile[block][first + r][start..start + lanes];
                sums[r][v] = S::as_simd_f32s(from).0[0];
            }
        }
    }
    // No iterators over both: where one of their functions is not inlined, its call has all sums stored and loaded again.
    for b in 0..strip.len().min(panel.len().div_ceil(BLOCK)) {
        let rows = &panel[b * BLOCK..panel.len().min((b + 1) * BLOCK)];
        let Some(block) = strip[b][first..].first_chunk::<R>() else {
            continue;
        };
        for k in 0..rows.len() {
            let right = S::as_simd_f32s(&rows[k][column..column + 2 * lanes]).0;
            let right = [right[0], right[1]];
            for r in 0..R {
                let left = simd.splat_f32s(block[r][k % BLOCK]);
                for v in 0..2 {
                    sums[r][v] = simd.mul_add_e_f32s(left, right[v], sums[r][v]);
                }
            }
        }
    }
    for r in 0..R {
        for v in 0..2 {
            let (block, start) = at(v);
            let to = &mut tile[block][first + r][start..start + lanes];
            S::as_mut_simd_f32s(to).0[0] = sums[r][v];
        }
    }
    R
}
