//! CPU twin of `attention_merge`.

use super::AttentionMerge;
use crate::kernels::Real;
use crate::kernels::attention::LOWEST_SCORE;
use crate::kernels::blocks::States;

/// Plain loops.
pub(crate) fn reference<T: Real>(a: &AttentionMerge, inputs: &[&[T]], outputs: &mut [&mut [T]]) {
    let (acc, stats) = (inputs[0], inputs[1]);
    let acc_row = a.heads * a.v_stride();
    let stats_row = (2 * a.heads).next_multiple_of(4);
    for out in outputs.iter_mut() {
        out.fill(T::default());
    }
    for row in 0..a.batch * a.queries {
        for head in 0..a.heads {
            let part = |p: usize| p * a.batch * a.queries + row;
            let mut maximum = T::from_f32(LOWEST_SCORE);
            for p in 0..a.parts {
                let m = stats[part(p) * stats_row + 2 * head];
                if m > maximum {
                    maximum = m;
                }
            }
            let mut sum = T::default();
            for p in 0..a.parts {
                let m = stats[part(p) * stats_row + 2 * head];
                let l = stats[part(p) * stats_row + 2 * head + 1];
                let factor = (m - maximum).exp();
                sum += l * factor;
                for c in head * a.v_stride()..head * a.v_stride() + a.d_v {
                    outputs[0][row * acc_row + c] += acc[part(p) * acc_row + c] * factor;
                }
            }
            if a.finish {
                if sum > T::default() {
                    for c in head * a.v_stride()..head * a.v_stride() + a.d_v {
                        let out = &mut outputs[0][row * acc_row + c];
                        *out = *out / sum;
                    }
                }
            } else {
                outputs[1][row * stats_row + 2 * head] = maximum;
                outputs[1][row * stats_row + 2 * head + 1] = sum;
            }
        }
    }
}

/// Rows on all threads.
pub(crate) fn fast(a: &AttentionMerge, inputs: &[&[f32]], outputs: &mut [&mut [f32]]) {
    let (acc, stats) = (inputs[0], inputs[1]);
    let acc_row = a.heads * a.v_stride();
    let stats_row = (2 * a.heads).next_multiple_of(4);
    let rows = a.batch * a.queries;
    if rows == 0 || a.heads == 0 {
        return;
    }
    let states = States { splits: 1, batch: 1, queries: rows, row: [acc_row, stats_row] };
    states.each_block(1, outputs, |(), block, out, mut out_stats| {
        let row = block.first_query;
        out.fill(0.0);
        if let Some(s) = out_stats.as_deref_mut() {
            s.fill(0.0);
        }
        for head in 0..a.heads {
            let state = |p: usize| {
                let at = (p * rows + row) * stats_row + 2 * head;
                (stats[at], stats[at + 1])
            };
            let maximum = (0..a.parts).fold(LOWEST_SCORE, |m, p| m.max(state(p).0));
            let columns = head * a.v_stride()..head * a.v_stride() + a.d_v;
            let mut sum = 0.0;
            for p in 0..a.parts {
                let (m, l) = state(p);
                let factor = (m - maximum).exp();
                sum += l * factor;
                let from = &acc[(p * rows + row) * acc_row..][columns.clone()];
                for (out, &x) in out[columns.clone()].iter_mut().zip(from) {
                    *out += x * factor;
                }
            }
            match out_stats.as_deref_mut() {
                Some(s) => {
                    s[2 * head] = maximum;
                    s[2 * head + 1] = sum;
                }
                None if sum > 0.0 => {
                    for x in &mut out[columns] {
                        *x /= sum;
                    }
                }
                None => {}
            }
        }
    });
}
